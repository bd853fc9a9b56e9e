"""Analyzes finished snapshots: differences, queries, exports and reports."""
