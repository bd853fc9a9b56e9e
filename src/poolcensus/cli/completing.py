"""Shell completions for the values of options and arguments. On any error, nothing is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click
    from click.shell_completion import CompletionItem

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def words(
    given: Iterable[str] | Callable[[], Iterable[str]],
    *kinds: str,
    otherwise: Callable[[], Iterable[str]] = tuple,
) -> Completer:
    """Return a completer that offers words for the last item of a comma-separated value.

    `given` is the words, or a function that returns them. If none of them matches, the words of `otherwise`
    are offered. `kinds` are completions that the shell makes itself: `file`, `dir`. They come first, because
    bash drops the words that precede them.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - Click's signature
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        known = given() if callable(given) else given
        fitting = [each for each in known if each.startswith(last)]
        fitting = fitting or [each for each in otherwise() if each.startswith(last)]
        found = [CompletionItem(f"{before}{comma}{each}") for each in fitting]
        return [*(CompletionItem(incomplete, type=kind) for kind in kinds), *found]

    return complete


def regions() -> Completer:
    """Return a completer for regions. It offers those queried by default, and others only if none matches."""
    return words(_usual_regions, otherwise=_known_regions)


def _usual_regions() -> Iterable[str]:
    from poolcensus.partitions import usual_regions

    return usual_regions()


def _known_regions() -> Iterable[str]:
    from poolcensus.partitions import known_regions

    return sorted(known_regions())


def queries() -> list[str]:
    """Return the names of the built-in queries."""
    from poolcensus.analysis.named import named_queries

    return [each.name for each in named_queries()]


def snapshots(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - Click's signature
    """Offer folders, then the snapshots at the destination, the newest first.

    Snapshots in a bucket are not offered: each press of the Tab key would cost a call and a second.
    """
    from click.shell_completion import CompletionItem

    found = [each for each in ("latest", *_ids(ctx)) if each.startswith(incomplete)]
    return [CompletionItem(incomplete, type="dir"), *map(CompletionItem, found)]


def _ids(ctx: click.Context) -> list[str]:
    from poolcensus.config import load_settings
    from poolcensus.errors import CensusError
    from poolcensus.storage.destination import open_source
    from poolcensus.storage.naming import is_local

    try:
        dest = load_settings(ctx.params.get("config"), {"dest": ctx.params.get("dest")}).dest
        if not is_local(dest):
            return []
        with open_source(dest, None) as source:
            return source.ids()[::-1]
    except (CensusError, OSError):
        return []
