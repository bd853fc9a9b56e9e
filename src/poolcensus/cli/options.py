"""The command line options for settings, made from one table. Help and defaults come from the settings."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
import msgspec

from poolcensus.cli.completing import regions, words
from poolcensus.cli.places import remember
from poolcensus.config.entries import SETTINGS
from poolcensus.paths import exists, is_folder
from poolcensus.storage.naming import in_snapshot, is_in_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcensus.cli.completing import Completer
    from poolcensus.config import Settings

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class SettingOption(msgspec.Struct, frozen=True):
    """An option and the key of its setting. Without a `metavar` it is a switch: --strict/--no-strict."""

    flag: str
    key: str
    metavar: str | None
    repeats: bool = False


OPTIONS = tuple(
    SettingOption(*row)
    for row in (
        ("--dest", "dest", "DEST"),
        ("--accounts", "accounts", "ID,...", True),
        ("--exclude-accounts", "exclude_accounts", "ID,...", True),
        ("--ou", "ous", "OU,...", True),
        ("--exclude-ou", "exclude_ous", "OU,...", True),
        ("--account-tag", "account_tags", "KEY=VALUE", True),
        ("--account-names", "account_names", "NAME,...", True),
        ("--exclude-account-names", "exclude_account_names", "NAME,...", True),
        ("--accounts-from", "accounts_from", "organization|self|FILE", True),
        ("--accounts-snapshot", "accounts_snapshot", "FILE"),
        ("--include-ou-path", "include_ou_path", None),
        ("--include-account-tags", "include_account_tags", None),
        ("--regions", "regions", "PATTERN,...", True),
        ("--exclude-regions", "exclude_regions", "PATTERN,...", True),
        ("--region-status", "region_status", "member|management|off"),
        ("--region-status-max-age", "region_status_max_age", "DURATION"),
        ("--profile", "profile", "NAME"),
        ("--role-name", "role_name", "NAME"),
        ("--role-arn", "role_arn", "ARN"),
        ("--role-chain", "role_chain", "ARN,...", True),
        ("--external-id", "external_id", "ID"),
        ("--external-id-file", "external_id_file", "FILE"),
        ("--session-name", "session_name", "NAME"),
        ("--session-duration", "session_duration", "DURATION"),
        ("--source-identity", "source_identity", "ID"),
        ("--session-tag", "session_tags", "KEY=VALUE", True),
        ("--session-policy", "session_policy", None),
        ("--sts-region", "sts_region", "REGION"),
        ("--endpoint-url", "endpoint_url", "URL"),
        ("--transport", "transport", "fast|sdk"),
        ("--pool-id", "pool_ids", "ID", True),
        ("--filter", "filters", "NAME:OPERATOR:VALUE,...", True),
        ("--page-size", "page_size", "N"),
        ("--concurrency", "concurrency", "N"),
        ("--per-account", "per_account", "N"),
        ("--per-region", "per_region", "N"),
        ("--compress", "compress", "none|gzip|zstd"),
        ("--strict", "strict", None),
        ("--max-failed", "max_failed", "N|N%"),
        ("--known-gap", "known_gaps", "ACCOUNT:REGION:OUTCOME", True),
        ("--resume", "resume", None),
        ("--deadline", "deadline", "DURATION"),
        ("--shard", "shard", "I/N"),
        ("--engine", "engine", "local|dask"),
        ("--scheduler", "scheduler", "ADDRESS"),
        ("--workers", "workers", "N"),
        ("--allow-plaintext-scheduler", "allow_plaintext_scheduler", None),
        ("--progress", "progress", "auto|always|never"),
        ("--log-format", "log_format", "text|json"),
        ("--log-level", "log_level", "debug|info|warning|error"),
        ("--metrics-file", "metrics_file", "FILE"),
        ("--notify-command", "notify_command", "COMMAND"),
        ("--json", "json", None),
    )
)
FLAGS: Mapping[str, str] = {option.key: option.flag for option in OPTIONS}

EVERYTHING = tuple(option.key for option in OPTIONS)
LOGGING = ("log_format", "log_level")
# Settings that an empty value does not reset to the default. `--dest "$DEST"` with an unset variable would
# have `prune` and `collect` work on the default destination, which nobody meant.
_NEVER_EMPTY = frozenset({"dest"})
# For commands that refuse a destination of -, because they stream no records.
_DEST_OF_SNAPSHOTS = "Where snapshots are: a directory or s3://BUCKET/PREFIX."


def settings_options(
    *keys: str, config: bool = True
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """Return a decorator that adds the options of these settings, in the table's order, and `--config`."""

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        for option in reversed([each for each in OPTIONS if each.key in keys]):
            text = SETTINGS[option.key].description
            if option.key == "dest" and "accounts" not in keys:
                text = _DEST_OF_SNAPSHOTS
            function = _decorator(option, text)(function)
        if not config:
            return function
        return click.option(
            "--config",
            metavar="FILE",
            callback=path_of,
            shell_complete=words((), "file"),
            help="Read the settings from this TOML file.",
        )(function)

    return decorate


def comma_list(
    flag: str, metavar: str, text: str, completer: Completer | None = None
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """Return a decorator that adds an option with several values, separated by commas or repeated."""

    def split(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001 - Click's signature
        return tuple(part for each in value for part in (piece.strip() for piece in each.split(",")) if part)

    return click.option(
        flag,
        metavar=metavar,
        multiple=True,
        callback=split,
        shell_complete=completer,
        help=f"{text}  [may be repeated]",
    )


def _decorator(
    option: SettingOption, description: str
) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    text = f"{description}{_hints(option)}"
    # Click leaves the values as text. The settings check all of them together, and errors name the place of
    # each.
    if option.metavar is None:
        both = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        return click.option(both, option.key, is_flag=True, default=None, help=text)
    return click.option(
        option.flag,
        option.key,
        metavar=option.metavar,
        multiple=option.repeats,
        shell_complete=_completer(option.metavar),
        help=text,
    )


def _completer(metavar: str) -> Completer:
    """Return the completer for an option's value, which its metavar tells."""
    if metavar == "PATTERN,...":
        return regions()
    parts = metavar.split("|")
    kinds = {"FILE": "file", "DEST": "dir"}
    return words(
        [each for each in parts if each.islower()], *(kinds[each] for each in parts if each in kinds)
    )


def _hints(option: SettingOption) -> str:
    default = SETTINGS[option.key].default
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, tuple):
        default = ",".join(default)
    if default is True:
        default = "on"
    hints = [
        *(["may be repeated"] if option.repeats else []),
        *([f"default: {default}"] if default not in (None, "", False) else []),
    ]
    return f"  [{'; '.join(hints)}]" if hints else ""


def read_settings(config: Path | None, given: Mapping[str, object], *, ambient: bool = True) -> Settings:
    """Return the settings of a command. Its options override the other sources.

    Without `ambient`, neither the environment nor a default settings file is read.
    """
    from poolcensus.config import load_with_places

    options = {key: _without_empty(value) for key, value in given.items() if value not in (None, ())}
    undone = frozenset(key for key, value in options.items() if value in ("", ()) and key not in _NEVER_EMPTY)
    kept = {key: value for key, value in options.items() if key not in undone}
    settings, places = load_with_places(config, kept, option_names=FLAGS, ambient=ambient, undone=undone)
    remember(places)
    return settings


def path_of(_: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """Return the path that an option names. Raises `UsageError` for text that can't name a file."""
    if value is not None:
        _check_name(value, param.opts[0])
    return None if value is None else Path(value)


def _check_name(value: str, option: str) -> None:
    # A Path would drop the final slash, and an empty text would become the current folder.
    if not value:
        raise click.UsageError(f"{option} needs the name of a file")
    if value.endswith(("/", "/.")):
        raise click.UsageError(f"{option}: {value} names a folder, not a file")


def check_no_bucket(output: str, *, folder: bool = False) -> None:
    """Raise `UsageError` for an --output in S3, which would be taken for a local path."""
    if is_in_s3(output):
        what, copy = ("folder", "sync FOLDER") if folder else ("file", "cp FILE")
        then = f"aws s3 {copy} {shlex.quote(output)}"
        raise click.UsageError(f"--output takes no bucket. Write it to a {what}, and afterwards run: {then}")


def check_output_file(output: str) -> None:
    """Raise `UsageError` unless --output names a file in an existing folder, before any work is done."""
    check_no_bucket(output)
    _check_name(output, "--output")
    path = Path(output)
    if is_folder(path):
        raise click.UsageError(f"--output: {path} is a folder, not a file")
    if not is_folder(path.parent):
        wrong = (
            f"{path.parent} is not a folder" if exists(path.parent) else f"There is no folder {path.parent}"
        )
        raise click.UsageError(f"--output: {wrong}.")
    check_outside_snapshots(output)


def check_outside_snapshots(output: str) -> None:
    """Raise `UsageError` for an --output inside a snapshot, which it would damage."""
    if (wrong := in_snapshot(output)) is not None:
        raise click.UsageError(f"--output: {wrong}.")


def _without_empty(value: object) -> object:
    """Return the value of an option; of a list, without the empty texts."""
    return tuple(each for each in value if each != "") if isinstance(value, tuple) else value
