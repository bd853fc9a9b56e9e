"""Every setting: its type, its allowed values, its help text and its default."""

# No `from __future__ import annotations`: the table of settings is made from the annotations at every start,
# so they have to be objects instead of text.

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import msgspec

from poolcensus.config import cluster, readers, roles
from poolcensus.config.cluster import EngineKind
from poolcensus.config.known_gaps import read_known_gaps
from poolcensus.config.organizations import OrganizationTable, read_organizations
from poolcensus.config.readers import Reader
from poolcensus.config.values import (
    FailureBudget,
    LogFormat,
    LogLevel,
    Mode,
    PoolFilter,
    ProgressMode,
    RegionStatusSource,
    S3Encryption,
    Secret,
    TransportKind,
)
from poolcensus.model import Compression, KnownGap, Shard


class Setting(msgspec.Struct, frozen=True):
    """A setting and its reader. `key` is its name in files and variables, `name` its name in Python."""

    key: str
    name: str
    default: object
    read: Reader
    description: str


# Types that several entries share, each with its reader or its constraint.
_Accounts = Annotated[tuple[str, ...], readers.each_of(readers.AccountId)]
_Units = Annotated[tuple[str, ...], readers.each_of(readers.UnitId)]
_Patterns = Annotated[tuple[str, ...], readers.each_of(readers.RegionPattern)]
_Names = Annotated[tuple[str, ...], readers.each_of(readers.AccountNamePattern)]
_Calls = Annotated[int, readers.whole(1, 4096)]
_Workers = Annotated[int, readers.whole(1, 256)]
_Choice = Annotated[bool, readers.flag]


def _organizations(value: object) -> tuple[OrganizationTable, ...]:
    return read_organizations(value, {setting.key: setting.read for setting in SETTINGS.values()})


class Entries(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"json_output": "json"},
):
    """All settings, in the order of the help and of the example configuration.

    The text of an entry is the help text of its option, and the comment in the example configuration.
    """

    dest: Annotated[
        str,
        readers.destination,
        "Where snapshots go: a directory, s3://BUCKET/PREFIX, or - for standard output.",
    ] = "snapshots"

    accounts: Annotated[_Accounts, "Only these account IDs. Default: all active accounts."] = ()
    exclude_accounts: Annotated[_Accounts, "Exclude these account IDs."] = ()
    ous: Annotated[_Units, "Only accounts under these organizational units or roots, at any depth."] = ()
    exclude_ous: Annotated[_Units, "Exclude accounts under these organizational units, at any depth."] = ()
    account_tags: Annotated[
        tuple[tuple[str, str], ...],
        readers.account_tags,
        "Only accounts with this tag, KEY=VALUE. With several tags, accounts that have all of them.",
    ] = ()
    account_names: Annotated[
        _Names, "Only accounts whose name matches one of these patterns, such as prod-*. Case counts."
    ] = ()
    exclude_account_names: Annotated[
        _Names, "Exclude accounts whose name matches one of these patterns."
    ] = ()
    accounts_from: Annotated[
        tuple[str, ...],
        readers.accounts_from,
        (
            "Where to list accounts: organization (the caller's), self (only the caller's account),"
            " or the path of a file of accounts. Several are joined."
        ),
    ] = ("organization",)
    accounts_snapshot: Annotated[
        Path | None,
        readers.path,
        "Take the list of accounts from this file, which 'plan --output' wrote, and list none.",
    ] = None
    include_ou_path: Annotated[
        _Choice, "Put each account's place in the Organization into records and ledger, as ou_path."
    ] = False
    include_account_tags: Annotated[
        _Choice, "Put each account's tags into records and ledger, as account_tags."
    ] = False

    regions: Annotated[
        _Patterns,
        ("Only these regions, by name or pattern such as eu-*. Default: all regions that have WorkSpaces."),
    ] = ()
    exclude_regions: Annotated[_Patterns, "Exclude these regions, by name or pattern."] = ()
    extra_regions: Annotated[
        tuple[str, ...],
        readers.each_of(readers.Region),
        "Further regions that have WorkSpaces, newer than this version of poolcensus.",
    ] = ()

    region_status: Annotated[
        RegionStatusSource,
        "Who says which opt-in regions an account has enabled: member (the account itself), management (the"
        " caller's account, by trusted access for Account Management) or off (nobody; every region is"
        " called).",
    ] = RegionStatusSource.MEMBER
    region_status_max_age: Annotated[
        float,
        readers.age,
        "Accept an account's region status from an earlier run that is at most this old, in seconds or such"
        " as 12h; 0: ask in each run.",
    ] = 0.0

    profile: Annotated[
        readers.SomeText | None,
        "The profile of your AWS config to use for the caller's credentials.",
    ] = None
    role_name: Annotated[
        str,
        readers.role_name,
        "Name of the role to assume in each member account, with its path if it has one.",
    ] = "PoolCensusReader"
    role_arn: Annotated[
        str | None,
        roles.role_arn,
        "ARN of the role to assume in each account, with {account_id} and {partition} in it, in place of"
        " role_name.",
    ] = None
    role_chain: Annotated[
        tuple[roles.HubRole, ...],
        roles.role_chain,
        "Hub roles to assume first, in this order, by ARN. In a file, a table has role_arn and external_id.",
    ] = ()
    external_id: Annotated[
        Secret | None,
        readers.external_id,
        (
            "External ID that the role's trust policy requires. Prefer POOLCENSUS_EXTERNAL_ID or a"
            " private file:"
            " other users of this machine can see the command line."
        ),
    ] = None
    external_id_file: Annotated[
        Path | None,
        readers.path,
        (
            "Read the external ID from this file. Default: the file external-id in $CREDENTIALS_DIRECTORY,"
            " where systemd sets one."
        ),
    ] = None
    session_name: Annotated[
        readers.SessionName | None,
        (
            "Session name of the assumed role, as CloudTrail shows it. Default: poolcensus and the"
            " caller's name."
        ),
    ] = None
    session_duration: Annotated[int, readers.session_seconds, "Duration of the role session, in seconds."] = (
        3600
    )
    source_identity: Annotated[
        readers.SessionName | None,
        "Source identity of the role session, which CloudTrail shows with every call.",
    ] = None
    session_tags: Annotated[
        tuple[tuple[str, str], ...], readers.session_tags, "Tag of the role session, KEY=VALUE."
    ] = ()
    session_policy: Annotated[
        _Choice,
        "Narrow each role session to the actions of the census, by an inline session policy.",
    ] = True
    sts_region: Annotated[
        readers.Region | None,
        "Region whose STS is called. Default: the region of your AWS config.",
    ] = None
    endpoint_url: Annotated[str | None, readers.endpoint_url, "Send all AWS requests to this URL."] = None

    transport: Annotated[
        TransportKind,
        (
            "How to send requests: fast (own connections) or sdk (aioboto3's clients; slower). The"
            " snapshot is"
            " the same."
        ),
    ] = TransportKind.FAST

    pool_ids: Annotated[tuple[str, ...], readers.each_of(readers.PoolId), "Only pools with these IDs."] = ()
    filters: Annotated[
        tuple[PoolFilter, ...],
        readers.filters,
        (
            "Only pools that match this filter, NAME:OPERATOR:VALUE,VALUE. NAME is PoolName;"
            " OPERATOR is EQUALS,"
            " NOTEQUALS, CONTAINS or NOTCONTAINS."
        ),
    ] = ()
    page_size: Annotated[int, readers.whole(1, 25), "Maximum pools per page."] = 25

    concurrency: Annotated[_Calls, "Maximum concurrent API calls."] = 256
    per_account: Annotated[_Calls, "Maximum concurrent API calls in one account."] = 32
    per_region: Annotated[_Calls, "Maximum concurrent API calls in one region."] = 64

    compress: Annotated[Compression, "Compression of the snapshot's data files."] = Compression.NONE
    strict: Annotated[_Choice, "Publish only if every target is covered."] = False
    max_failed: Annotated[
        FailureBudget | None,
        readers.failure_budget,
        "Publish only if at most N targets, or N% of them, failed.",
    ] = None
    known_gaps: Annotated[
        tuple[KnownGap, ...],
        read_known_gaps,
        "What is refused on purpose, ACCOUNT:REGION:OUTCOME, with * for all. It does not count as failed.",
    ] = ()
    resume: Annotated[
        _Choice, "Continue an interrupted run at this destination, a folder, if it is less than 24 hours old."
    ] = False
    deadline: Annotated[
        float | None,
        readers.seconds,
        "Stop after this time, in seconds or such as 1h30m, and publish what was collected; unfinished"
        " targets are marked timed_out or cancelled. A run that is still listing accounts then publishes"
        " nothing.",
    ] = None
    shard: Annotated[
        Shard | None,
        readers.shard,
        "Process only the I-th of N parts of the accounts.",
    ] = None
    engine: Annotated[
        EngineKind, "What makes the calls: local (this process) or dask (worker processes, or a cluster)."
    ] = EngineKind.LOCAL
    scheduler: Annotated[
        str | None,
        cluster.scheduler,
        "The scheduler of a running Dask cluster, tls://HOST:PORT. Default: worker processes are started.",
    ] = None
    workers: Annotated[
        _Workers | None,
        "Number of worker processes to start. Default: one for each CPU.",
    ] = None
    allow_plaintext_scheduler: Annotated[
        _Choice,
        "Use a scheduler on another host without TLS: whoever reaches it can run code on its workers.",
    ] = False

    max_attempts: Annotated[int, readers.whole(1, 100), "Maximum attempts for one page."] = 12
    attempt_timeout: Annotated[
        float, readers.seconds, "Timeout of one API call, in seconds, including its whole reply."
    ] = 30.0
    connect_timeout: Annotated[
        float,
        readers.seconds,
        "Timeout for connecting to a host, in seconds. The TLS handshake has its own.",
    ] = 5.0
    target_timeout: Annotated[
        float, readers.seconds, "Timeout of one account in one region, in seconds, including retries."
    ] = 600.0
    give_up_region_after: Annotated[
        int,
        readers.whole(1, 1000),
        (
            "After this many accounts in a row could not reach a region, other calls wait until it"
            " answers again."
        ),
    ] = 3

    progress: Annotated[
        ProgressMode,
        "When to show progress on standard error; auto: if it is a terminal.",
    ] = ProgressMode.AUTO
    log_format: Annotated[LogFormat, "Format of log lines on standard error."] = LogFormat.TEXT
    log_level: Annotated[LogLevel, "Minimum level of log lines."] = LogLevel.WARNING
    metrics_file: Annotated[
        Path | None,
        readers.file,
        "Write metrics to this file in Prometheus text format, also after a failed run.",
    ] = None
    notify_command: Annotated[
        str | None,
        readers.command,
        "Run this command when a run has ended, without a shell, with its summary as JSON on standard input.",
    ] = None
    json_output: Annotated[_Choice, "Print the result as JSON (NDJSON where there are rows)."] = False

    file_mode: Annotated[
        int, readers.file_mode, 'The permissions of a snapshot\'s files, as octal text such as "0600".'
    ] = Mode(0o600)
    folder_mode: Annotated[
        int, readers.folder_mode, 'The permissions of a snapshot\'s folders, as octal text such as "0700".'
    ] = Mode(0o700)

    s3_encryption: Annotated[
        S3Encryption,
        "The encryption to ask S3 for; none: what the bucket does by itself.",
    ] = S3Encryption.NONE
    s3_kms_key: Annotated[
        readers.KmsKey | None,
        "The KMS key to encrypt a snapshot on S3 with, by id, ARN or alias. Implies aws:kms.",
    ] = None
    s3_bucket_owner: Annotated[
        readers.Owner | None, "The account, by its 12-digit id, that has to own the bucket on S3."
    ] = None

    organization: Annotated[
        tuple[OrganizationTable, ...],
        _organizations,
        "Several Organizations in one run, a table for each, with what is set for it alone.",
    ] = ()


def _settings() -> Iterator[Setting]:
    for name, key, default in zip(
        Entries.__struct_fields__,
        Entries.__struct_encode_fields__,
        Entries.__struct_defaults__,
        strict=True,
    ):
        annotation = Entries.__annotations__[name]
        *checks, description = annotation.__metadata__
        read = next(filter(callable, checks), None)
        if read is None:
            # For a type such as `str | None`, the first part.
            kind, *_ = get_args(annotation.__origin__) or (annotation,)
            read = partial(readers.plain, kind)
        yield Setting(key, name, default, read, description)


# All settings by key, in the order of the entries above.
SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _settings()}
