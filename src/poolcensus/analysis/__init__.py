"""What snapshots say when they are read side by side: changes, queries, exports and reports."""
