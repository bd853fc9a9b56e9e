"""Every setting: its type, its default, what it means and what it allows."""

# Annotations are values here and not text: the table of the settings is read from them, at every start.

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import msgspec

from poolcensus import partitions
from poolcensus.config import readers, roles, sources
from poolcensus.config.known_gaps import read_known_gaps
from poolcensus.config.organizations import OrganizationTable, read_organizations
from poolcensus.config.readers import EntryError, Reader
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
from poolcensus.errors import SettingsError
from poolcensus.model import Compression, JsonObject, JsonValue, KnownGap, Shard


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a setting. The message holds the value where that may be shown.

    `key` is what a person writes, in a file for one.
    """

    key: str
    message: str

    def at(self, place: str) -> str:
        """Return the message of a value there, which goes on from the place where it begins with its verb."""
        separator = " " if self.message.startswith(("takes ", "excludes ")) else ": "
        return f"{place}{separator}{self.message}"


class Clash(Problem, frozen=True):
    """A value that is right by itself and wrong beside others. `keys` are all that play a part."""

    keys: frozenset[str]


class InvalidSettingsError(SettingsError, ValueError):
    """Settings can't be made of these values. `problems` are all of them: single values, then clashes."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(each.at(each.key) for each in problems))
        self.problems = problems


class Field(msgspec.Struct, frozen=True):
    """A setting as a table's row. `key` is what a person writes, `name` what a program does."""

    key: str
    name: str
    default: object
    read: Reader
    description: str


# What entries share: the type that a value has, and what reads or constrains it.
_Accounts = Annotated[tuple[str, ...], readers.each_of(readers.AccountId)]
_Units = Annotated[tuple[str, ...], readers.each_of(readers.UnitId)]
_Patterns = Annotated[tuple[str, ...], readers.each_of(readers.RegionPattern)]
_Names = Annotated[tuple[str, ...], readers.each_of(readers.AccountNamePattern)]
_Calls = Annotated[int, readers.whole(1, 4096)]
_Choice = Annotated[bool, readers.flag]


_IN_PLACE_OF: Mapping[str, tuple[str, ...]] = {
    "external_id": ("external_id_file",),
    "external_id_file": ("external_id",),
    "role_arn": ("role_name",),
    "role_name": ("role_arn",),
}


def _organizations(value: object) -> tuple[OrganizationTable, ...]:
    return read_organizations(value, {field.key: field.read for field in FIELDS.values()})


class Settings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"json_output": "json"},
):
    """What a census is asked to do, and how. Immutable; `load` reads it from every source.

    A value may be given as text too, in the form that it has in a file or a variable. Raises
    `InvalidSettingsError` with every problem. The text in a field's entry is the help text of its
    command-line option and the comment in the example configuration.
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
        _Choice, "Put each account's place in the organization into records and ledger, as ou_path."
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
        _Choice, "Continue an interrupted run at this destination, if it is less than 24 hours old."
    ] = False
    deadline: Annotated[
        float | None,
        readers.seconds,
        "Stop after this time, in seconds or such as 1h30m, and publish what was collected; unfinished"
        " targets are marked timed_out or cancelled.",
    ] = None
    shard: Annotated[
        Shard | None,
        readers.shard,
        "Process only the I-th of N parts of the accounts.",
    ] = None

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
    log_level: Annotated[LogLevel, readers.log_level, "Minimum level of log lines."] = LogLevel.WARNING
    metrics_file: Annotated[
        Path | None,
        readers.path,
        "Write metrics to this file in Prometheus text format, also after a failed run.",
    ] = None
    notify_command: Annotated[
        str | None,
        readers.command,
        "Run this command when a run has ended, with its summary as JSON on standard input.",
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

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **overrides: object) -> "Settings":
        """Read the settings: `overrides` over POOLCENSUS_* variables over the TOML file over defaults.

        Without `path`, the file is the first of $POOLCENSUS_CONFIG, ./poolcensus.toml and
        poolcensus/config.toml in the user's configuration folder that exists. An override of None means
        "not given". Raises `SettingsError` with every problem, one a line.
        """
        return load_settings(path, overrides)

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        for field in FIELDS.values():
            value = getattr(self, field.name)
            if value is field.default:
                continue
            try:
                read = field.read(value)
            except ValueError as error:
                problems.append(Problem(field.key, _complaint(value, error)))
                # The clashes between the values that are right are found in the same go.
                read = field.default
            msgspec.structs.force_setattr(self, field.name, read)
        bad = {each.key for each in problems}
        problems += (clash for clash in self._clashes() if not clash.keys & bad)
        if problems:
            raise InvalidSettingsError(tuple(problems))

    def _clashes(self) -> Iterator[Clash]:
        for kept, left_out, what in (
            ("accounts", "exclude_accounts", "account"),
            ("account_names", "exclude_account_names", "name"),
            ("ous", "exclude_ous", "organizational unit"),
        ):
            excluded = set(getattr(self, left_out))
            for each in getattr(self, kept):
                if each in excluded:
                    message = f"{what} {each} is both in {kept} and in {left_out}"
                    yield Clash(left_out, message, frozenset({kept, left_out}))
        if self.accounts_from == ("self",) and self.accounts_snapshot is None and self.ous:
            message = "the caller's account alone is asked for: organizational units choose among many"
            yield Clash("ous", message, frozenset({"ous", "accounts_from"}))
        for one, other in (("role_arn", "role_name"), ("external_id_file", "external_id")):
            if getattr(self, one) is not None and getattr(self, other) != FIELDS[other].default:
                message = f"excludes `{other}`: set only one of them"
                yield Clash(one, message, frozenset({one, other}))
        if self.s3_kms_key is not None and self.s3_encryption is S3Encryption.AES256:
            message = "a key of KMS and the encryption AES256 exclude each other"
            yield Clash("s3_kms_key", message, frozenset({"s3_kms_key", "s3_encryption"}))
        yield from self._clashes_of_tables()
        gaps = tuple(region for gap in self.known_gaps for region in gap.regions)
        if self.regions or self.exclude_regions or gaps or self.sts_region:
            yield from self._unknown_regions(gaps)

    def _clashes_of_tables(self) -> Iterator[Clash]:
        for table in self.organization:
            try:
                self._with_table(table)
            except InvalidSettingsError as error:
                own = {name for name, _ in table.settings}
                for each in error.problems:
                    # Others are those of the run's settings, which are told for themselves.
                    if isinstance(each, Clash) and each.keys & own:
                        message = f"{readers.shown(table.name)}: {each.key}: {each.message}"
                        yield Clash("organization", message, frozenset({"organization"}))

    def _unknown_regions(self, gaps: tuple[str, ...]) -> Iterator[Clash]:
        known = partitions.known_regions() | set(self.extra_regions)
        named = {"regions": self.regions, "exclude_regions": self.exclude_regions, "known_gaps": gaps}
        named["sts_region"] = () if self.sts_region is None else (self.sts_region,)
        for key, regions in named.items():
            keys = frozenset({key, "extra_regions"})
            for each in regions:
                if partitions.is_pattern(each):
                    chosen = any(partitions.matches(region, (each,)) for region in known)
                    if key != "exclude_regions" and not chosen:
                        yield Clash(key, f"{readers.shown(each)} matches no region", keys)
                elif each not in known:
                    yield Clash(
                        key,
                        f"{readers.shown(each)} is not a region.{sources.did_you_mean(each, known)}"
                        " A region that is newer than this version of poolcensus goes into `extra_regions`.",
                        keys,
                    )

    def by_organization(self) -> "Mapping[str | None, Settings]":
        """Return the settings of each Organization by its name, or these under None where no table names one.

        What a table sets takes the place of what is set for the run.
        """
        return {each.name: self._with_table(each) for each in self.organization} or {None: self}

    def _with_table(self, table: OrganizationTable) -> "Settings":
        own = dict(table.settings)
        # Two ways to set the same thing: the table's takes the place of the run's.
        others = {other: FIELDS[other].default for name in own for other in _IN_PLACE_OF.get(name, ())}
        return msgspec.structs.replace(self, organization=(), **{**others, **own})

    def request(self) -> JsonObject:
        """Return what was asked for (accounts, regions, pools), as the manifest keeps it. Holds no secret."""
        if self.organization:
            shared = msgspec.structs.replace(self, organization=()).request()
            each = {name: settings.request() for name, settings in self.by_organization().items()}
            return {**shared, "organizations": [{"name": name, **request} for name, request in each.items()]}
        filters: list[JsonValue] = [
            {"name": each.name, "operator": str(each.operator), "values": list(each.values)}
            for each in self.filters
        ]
        sources: list[JsonValue] = list(self.accounts_from)
        return {
            # One alone is text, as in every manifest of earlier versions.
            "accounts_from": sources if len(sources) > 1 else sources[0],
            "accounts_snapshot": str(self.accounts_snapshot) if self.accounts_snapshot is not None else None,
            "accounts": list(self.accounts),
            "exclude_accounts": list(self.exclude_accounts),
            "account_names": list(self.account_names),
            "exclude_account_names": list(self.exclude_account_names),
            "ous": list(self.ous),
            "exclude_ous": list(self.exclude_ous),
            "account_tags": [f"{key}={value}" for key, value in self.account_tags],
            "regions": list(self.regions),
            "exclude_regions": list(self.exclude_regions),
            "extra_regions": list(self.extra_regions),
            "pool_ids": list(self.pool_ids),
            "filters": filters,
        }


def _complaint(value: object, error: ValueError) -> str:
    return str(error) if isinstance(error, EntryError) else f"{readers.shown(value)} {error}"


def _fields() -> Iterator[Field]:
    for name, key, default in zip(
        Settings.__struct_fields__,
        Settings.__struct_encode_fields__,
        Settings.__struct_defaults__,
        strict=True,
    ):
        annotation = Settings.__annotations__[name]
        *checks, description = annotation.__metadata__
        read = next(filter(callable, checks), None)
        if read is None:
            # Of a type that may be None, the type.
            kind, *_ = get_args(annotation.__origin__) or (annotation,)
            read = partial(readers.plain, kind)
        yield Field(key, name, default, read, description)


# Every setting by its key, in the order of the entries above.
FIELDS: Mapping[str, Field] = {field.key: field for field in _fields()}


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
    ambient: bool = True,
) -> Settings:
    """Read the settings from every source, as `Settings.load` does.

    `option_names` says by which option an override came, for messages: `{"dest": "--dest"}`. Without
    `ambient`, neither a file nor the environment is looked at.
    """
    keys = {field.name: key for key, field in FIELDS.items()}
    given, problems = sources.read(keys, path, overrides or {}, option_names or {}, ambient=ambient)
    sources.outrank_tables(given, "organization")
    try:
        settings = Settings(**{FIELDS[key].name: each.value for key, each in given.items()})  # type: ignore[arg-type] # each was read by its field
    except InvalidSettingsError as error:
        # Defaults are right, also beside others: every key that is named was given.
        problems += (each.at(given[each.key].place) for each in error.problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
