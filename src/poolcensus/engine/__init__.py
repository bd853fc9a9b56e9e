"""Runs targets to their outcomes. Knows no service."""
