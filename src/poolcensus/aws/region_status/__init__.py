"""Region status: which opt-in regions an account has enabled."""
