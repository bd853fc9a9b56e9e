"""Which opt-in regions an account has enabled."""
