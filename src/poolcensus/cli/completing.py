"""What a shell is offered for the value of an option or an argument. It never fails: at worst, nothing."""

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
    """Return what offers words, for the last of several with commas between them, or from a function.

    Where none of the words fits, those of `otherwise` are offered. `kinds` are what the shell completes
    itself: `file`, `dir`. They come first: at one of them, bash forgets the words before it.
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
    """Return what offers the regions that are asked by default, and others only where none of these fits."""
    return words(_usual_regions, otherwise=_known_regions)


def _usual_regions() -> Iterable[str]:
    from poolcensus.partitions import usual_regions

    return usual_regions()


def _known_regions() -> Iterable[str]:
    from poolcensus.partitions import known_regions

    return sorted(known_regions())


def queries() -> list[str]:
    """Return the names of the queries that come with the program."""
    from poolcensus.analysis.named import named_queries

    return [each.name for each in named_queries()]


def snapshots(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - Click's signature
    """Offer folders, and the snapshots of the destination that is given or set, the newest first.

    Folders come first, as in `words`. A bucket is not asked: each key that is pressed would cost a call and
    a second.
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
