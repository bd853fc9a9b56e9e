"""The extras of the distribution: what some commands need besides, and how it is had."""

from __future__ import annotations


def need(extra: str) -> str:
    """Return the sentence for a command that needs an extra."""
    return f'Needs the extra "{extra}": see "Install" in the README.'


def installation(extra: str) -> str:
    """Return the order to install an extra. The package is on no index, so that no one command has it."""
    return f"Install poolcensus with its extra {extra}, in a checkout: pipx install --force '.[{extra}]'"
