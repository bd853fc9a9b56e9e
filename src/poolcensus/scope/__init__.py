"""Which accounts and regions are asked."""
