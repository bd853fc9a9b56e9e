"""Settings that are valid on their own, but contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus import partitions
from poolcensus.config.cluster import EngineKind, is_open_to_others
from poolcensus.config.problems import Clash
from poolcensus.config.readers import shown
from poolcensus.config.values import S3Encryption
from poolcensus.format.text import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poolcensus.config.entries import Entries

_ROLES_AND_IDS = (("role_arn", "role_name"), ("external_id_file", "external_id"))
ALTERNATIVES = (*_ROLES_AND_IDS, ("scheduler", "workers"))
"""Pairs of settings for the same thing. The one from the source with higher precedence replaces the other."""
# Pairs of settings that one source must not give together. Files of accounts may be combined with a list,
# since they still say how their accounts are called.
EXCLUSIVE = (*_ROLES_AND_IDS, ("accounts_snapshot", "accounts_from"))


def clashes(settings: Entries, defaults: Mapping[str, object]) -> Iterator[Clash]:
    """Yield the contradictions between settings that are valid on their own. `defaults` has them by key."""
    for kept, left_out, what in (
        ("accounts", "exclude_accounts", "account"),
        ("account_names", "exclude_account_names", "name"),
        ("ous", "exclude_ous", "organizational unit"),
    ):
        excluded = set(getattr(settings, left_out))
        for each in getattr(settings, kept):
            if each in excluded:
                message = f"{what} {each} is both in `{kept}` and in `{left_out}`"
                yield Clash(left_out, message, frozenset({kept, left_out}))
    if settings.accounts_from == ("self",) and settings.accounts_snapshot is None and settings.ous:
        message = "`accounts_from` is the caller's account alone: organizational units choose among many"
        yield Clash("ous", message, frozenset({"ous", "accounts_from"}))
    for one, other in _ROLES_AND_IDS:
        if getattr(settings, one) is not None and getattr(settings, other) != defaults[other]:
            message = f"excludes `{other}`: set only one of them"
            yield Clash(one, message, frozenset({one, other}))
    if settings.s3_kms_key is not None and settings.s3_encryption is S3Encryption.AES256:
        message = "a key of KMS and AES256 as `s3_encryption` exclude each other"
        yield Clash("s3_kms_key", message, frozenset({"s3_kms_key", "s3_encryption"}))
    if settings.organization and settings.accounts_snapshot is not None:
        message = "takes the list of one Organization, and `organization` names several: leave one out"
        yield Clash("accounts_snapshot", message, frozenset({"accounts_snapshot", "organization"}))
    yield from _of_workers(settings)
    gaps = tuple(region for gap in settings.known_gaps for region in gap.regions)
    if settings.regions or settings.exclude_regions or gaps or settings.sts_region:
        yield from _unknown_regions(settings, gaps)
    yield from _no_region_left(settings)


def _of_workers(settings: Entries) -> Iterator[Clash]:
    """Yield the contradictions between the settings for workers."""
    address = settings.scheduler
    for key in ("scheduler", "workers"):
        if getattr(settings, key) is not None and settings.engine is EngineKind.LOCAL:
            yield Clash(key, "needs `engine` to be dask", frozenset({key, "engine"}))
    if address is None:
        return
    if settings.workers is not None:
        message = "a cluster has its own workers: leave out `workers` or `scheduler`"
        yield Clash("workers", message, frozenset({"workers", "scheduler"}))
    if any(hub.external_id is not None for hub in settings.role_chain):
        message = (
            "its external IDs can't get to the workers of a cluster, since secrets are never sent to workers:"
            " use `workers` on this machine, or hub roles without one"
        )
        yield Clash("role_chain", message, frozenset({"role_chain", "scheduler"}))
    # The environment of a worker can have only one external ID.
    if len(_external_ids(settings)) > 1:
        message = (
            "the external IDs of several Organizations can't get to the workers of a cluster: set an"
            " `external_id_file` for each, which all workers have"
        )
        yield Clash("organization", message, frozenset({"organization", "scheduler"}))
    if is_open_to_others(address) and not settings.allow_plaintext_scheduler:
        message = (
            f"{shown(address)} is not encrypted, and whoever reaches such a scheduler can run code on its"
            " workers. Use tls://, with the certificates in Dask's own configuration, or set"
            " `allow_plaintext_scheduler`."
        )
        yield Clash("scheduler", message, frozenset({"scheduler", "allow_plaintext_scheduler"}))


def _external_ids(settings: Entries) -> set[object]:
    """Return the external IDs of all Organizations, except those in files."""
    found = set()
    for table in settings.organization:
        own = dict(table.settings)
        if "external_id_file" not in own:
            found.add(own.get("external_id", settings.external_id))
    return found - {None}


def _no_region_left(settings: Entries) -> Iterator[Clash]:
    """Yield a clash if the settings leave no region of any partition.

    The partition of the caller is known only once AWS has been called.
    """
    # The tables of Organizations may replace these settings, and each is checked separately.
    if not settings.exclude_regions or settings.organization:
        return
    known = partitions.known_regions() | set(settings.extra_regions)
    chosen = {each for each in known if not settings.regions or partitions.matches(each, settings.regions)}
    # If `regions` matches nothing, another clash says so.
    if chosen and all(partitions.matches(each, settings.exclude_regions) for each in chosen):
        message = "leaves out all of `regions`" if settings.regions else "leaves out every region"
        yield Clash("exclude_regions", message, frozenset({"exclude_regions", "regions"}))


def _unknown_regions(settings: Entries, gaps: tuple[str, ...]) -> Iterator[Clash]:
    usual = {*partitions.usual_regions(), *settings.extra_regions}
    known = partitions.known_regions() | usual
    named = {"regions": settings.regions, "exclude_regions": settings.exclude_regions, "known_gaps": gaps}
    named["sts_region"] = () if settings.sts_region is None else (settings.sts_region,)
    for key, regions in named.items():
        keys = frozenset({key, "extra_regions"})
        for each in regions:
            if partitions.is_pattern(each):
                chosen = any(partitions.matches(region, (each,)) for region in known)
                if key != "exclude_regions" and not chosen:
                    yield Clash(key, f"{shown(each)} matches no region", keys)
            elif each not in known:
                # us-est-1 is as close to us-west-1, which has no WorkSpaces, as to us-east-1.
                hint = did_you_mean(nearest(each, known, preferred=usual))
                yield Clash(
                    key,
                    f"{shown(each)} is not a region.{hint}"
                    " A region that is newer than this version of poolcensus goes into `extra_regions`.",
                    keys,
                )
