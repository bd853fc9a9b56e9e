"""Evaluates the results of targets: groups of failures, expected failures, and advice."""
