"""Every setting: its type, its default, what it means and what it allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from poolcensus import catalogue
from poolcensus.model import Compression, JsonObject, JsonValue, Shard
from poolcensus.settings import values
from poolcensus.settings.values import (
    FailureBudget,
    LogFormat,
    LogLevel,
    PoolFilter,
    ProgressMode,
    S3Encryption,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_Accounts = Annotated[tuple[str, ...], BeforeValidator(values.accounts)]
_Units = Annotated[tuple[str, ...], BeforeValidator(values.units)]
_Patterns = Annotated[tuple[str, ...], BeforeValidator(values.region_patterns)]
_Whole = Annotated[int, BeforeValidator(values.not_a_boolean)]
_Seconds = Annotated[
    float, BeforeValidator(values.not_a_boolean), Field(gt=0, le=604_800, allow_inf_nan=False)
]


@dataclass(frozen=True, slots=True)
class Clash:
    """A value that is right by itself and wrong beside others. `keys` are all that play a part."""

    key: str
    message: str
    keys: frozenset[str]


class ClashError(ValueError):
    """Carries every clash out of the model's own validation."""

    def __init__(self, clashes: tuple[Clash, ...]) -> None:
        super().__init__("; ".join(f"{each.key}: {each.message}" for each in clashes))
        self.clashes = clashes


class Settings(BaseModel):
    """What a census is asked to do, and how. Immutable; `load` reads it from every source.

    Each field's description is the help text of its command-line option and the comment in the example
    configuration.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        serialize_by_alias=True,
    )

    dest: Annotated[str, BeforeValidator(values.destination)] = Field(
        default="snapshots",
        description="Where snapshots go: a directory, s3://BUCKET/PREFIX, or - for standard output.",
    )

    accounts: _Accounts = Field(
        default=(),
        description="Take only these accounts, by their 12-digit ids. None given: every active account.",
    )
    exclude_accounts: _Accounts = Field(
        default=(),
        description="Leave these accounts out, by their 12-digit ids.",
    )
    ous: _Units = Field(
        default=(),
        description="Take only the accounts under these organizational units or roots, at any depth.",
    )
    exclude_ous: _Units = Field(
        default=(),
        description="Leave out the accounts under these organizational units, at any depth.",
    )
    account_tags: Annotated[tuple[tuple[str, str], ...], BeforeValidator(values.account_tags)] = Field(
        default=(),
        description="Take only accounts that carry this tag, KEY=VALUE; of several tags, all of them.",
    )
    accounts_from: Annotated[str, BeforeValidator(values.accounts_from)] = Field(
        default="organization",
        description=(
            "Where the list of accounts comes from: organization (the caller's), self (the caller's account"
            " alone), or the path of a file with an account a line."
        ),
    )

    regions: _Patterns = Field(
        default=(),
        description=(
            "Take only these regions, by name or pattern such as eu-*. None given: every region that has"
            " WorkSpaces."
        ),
    )
    exclude_regions: _Patterns = Field(
        default=(),
        description="Leave these regions out, by name or pattern.",
    )
    extra_regions: Annotated[tuple[str, ...], BeforeValidator(values.regions)] = Field(
        default=(),
        description="Regions that have WorkSpaces and that this version of poolcensus doesn't know yet.",
    )

    profile: str | None = Field(
        default=None,
        min_length=1,
        description="The profile of the AWS configuration to take the caller's credentials from.",
    )
    role_name: Annotated[str, BeforeValidator(values.role_name)] = Field(
        default="PoolCensusReader",
        description="The role to assume in every account but the caller's own, with its path if it has one.",
    )
    external_id: Annotated[SecretStr, BeforeValidator(values.external_id)] | None = Field(
        default=None,
        description=(
            "The external id that the role's trust policy asks for. Better in POOLCENSUS_EXTERNAL_ID or in a"
            " private file: other users of the machine can see a command line."
        ),
    )
    session_name: Annotated[str, BeforeValidator(values.session_name)] | None = Field(
        default=None,
        description="The name of the role sessions, as CloudTrail shows it. Default: one that names the run.",
    )
    session_duration: _Whole = Field(
        default=3600,
        ge=900,
        le=43_200,
        description="How long a role session lasts, in seconds.",
    )
    endpoint_url: Annotated[str, BeforeValidator(values.endpoint_url)] | None = Field(
        default=None,
        description="Send the calls of every AWS service to this URL.",
    )

    pool_ids: Annotated[tuple[str, ...], BeforeValidator(values.pool_ids)] = Field(
        default=(),
        description="Take only the pools with these ids.",
    )
    filters: Annotated[tuple[PoolFilter, ...], BeforeValidator(values.filters)] = Field(
        default=(),
        description=(
            "Take only the pools that pass this filter, NAME:OPERATOR:VALUE,VALUE. The name is PoolName, the"
            " operator EQUALS, NOTEQUALS, CONTAINS or NOTCONTAINS."
        ),
    )
    page_size: _Whole = Field(
        default=25,
        ge=1,
        le=25,
        description="How many pools to ask for in one call.",
    )

    concurrency: _Whole = Field(
        default=256,
        ge=1,
        le=4096,
        description="How many calls may be under way at the same time.",
    )
    per_account: _Whole = Field(
        default=32,
        ge=1,
        le=4096,
        description="How many calls may be under way in one account.",
    )
    per_region: _Whole = Field(
        default=64,
        ge=1,
        le=4096,
        description="How many calls may be under way in one region.",
    )

    compress: Compression = Field(
        default=Compression.NONE,
        description="How the data files of a snapshot are compressed.",
    )
    strict: bool = Field(
        default=False,
        description="Publish nothing unless every target is covered.",
    )
    max_failed: Annotated[FailureBudget, BeforeValidator(values.failure_budget)] | None = Field(
        default=None,
        description="Publish nothing if more targets than this, N or N%, are not covered.",
    )
    resume: bool = Field(
        default=False,
        description="Go on with a run that was interrupted here within the last day, if there is one.",
    )
    deadline: _Seconds | None = Field(
        default=None,
        description="End the run after this many seconds; targets still open are then cancelled.",
    )
    shard: Annotated[Shard, BeforeValidator(values.shard)] | None = Field(
        default=None,
        description="Take only part I of N of the targets, I/N, so that N runs share the work.",
    )

    max_attempts: _Whole = Field(
        default=12,
        ge=1,
        le=100,
        description="How many calls to make for one page at most.",
    )
    attempt_timeout: _Seconds = Field(
        default=30.0,
        description="How long one call may take, in seconds, its whole reply included.",
    )
    connect_timeout: _Seconds = Field(
        default=5.0,
        description="How long opening a connection may take, in seconds.",
    )
    target_timeout: _Seconds = Field(
        default=600.0,
        description="How long one account in one region may take, in seconds, retries included.",
    )
    give_up_region_after: _Whole = Field(
        default=3,
        ge=1,
        le=1000,
        description="Stop asking a region after it could not be reached for this many accounts.",
    )

    progress: ProgressMode = Field(
        default=ProgressMode.AUTO,
        description="When to show progress on standard error; auto: where that is a terminal.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.TEXT,
        description="How log lines are written to standard error.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(values.lower)] = Field(
        default=LogLevel.WARNING,
        description="The least serious log lines to write.",
    )
    metrics_file: Annotated[Path, BeforeValidator(values.path)] | None = Field(
        default=None,
        description="Write the run's metrics to this file, as text for Prometheus, after a failed run too.",
    )
    json_output: bool = Field(
        default=False,
        alias="json",
        description="Write the result to standard output as JSON.",
    )

    file_mode: Annotated[int, BeforeValidator(values.file_mode)] = Field(
        default=0o600,
        description='The permissions of a snapshot\'s files, as octal text such as "0600".',
    )
    folder_mode: Annotated[int, BeforeValidator(values.folder_mode)] = Field(
        default=0o700,
        description='The permissions of a snapshot\'s folders, as octal text such as "0700".',
    )

    s3_encryption: S3Encryption = Field(
        default=S3Encryption.NONE,
        description="The encryption to ask S3 for; none: what the bucket does by itself.",
    )
    s3_kms_key: Annotated[str, BeforeValidator(values.kms_key)] | None = Field(
        default=None,
        description="The KMS key to encrypt a snapshot on S3 with, by id, ARN or alias. Implies aws:kms.",
    )
    s3_bucket_owner: Annotated[str, BeforeValidator(values.account)] | None = Field(
        default=None,
        description="The account, by its 12-digit id, that has to own the bucket on S3.",
    )

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **overrides: object) -> Settings:
        """Reads the settings: `overrides` over POOLCENSUS_* variables over the TOML file over defaults.

        Without `path`, the file is the first of $POOLCENSUS_CONFIG, ./poolcensus.toml and
        poolcensus/config.toml in the user's configuration folder that exists. An override of None means
        "not given". Raises `SettingsError` with every problem, one a line.
        """
        from poolcensus.settings.sources import load_settings  # noqa: PLC0415 - it builds on this module

        return load_settings(path, overrides)

    @model_validator(mode="after")
    def _without_clashes(self) -> Self:
        if clashes := tuple(self._clashes()):
            raise ClashError(clashes)
        return self

    def _clashes(self) -> Iterator[Clash]:
        for kept, left_out, what in (
            ("accounts", "exclude_accounts", "account"),
            ("ous", "exclude_ous", "organizational unit"),
        ):
            excluded = set(getattr(self, left_out))
            for each in getattr(self, kept):
                if each in excluded:
                    message = f"{what} {each} is both in {kept} and in {left_out}"
                    yield Clash(left_out, message, frozenset({kept, left_out}))
        if self.s3_kms_key is not None and self.s3_encryption is S3Encryption.AES256:
            message = "a key of KMS and the encryption AES256 exclude each other"
            yield Clash("s3_kms_key", message, frozenset({"s3_kms_key", "s3_encryption"}))
        known = catalogue.known_regions() | set(self.extra_regions)
        for key in ("regions", "exclude_regions"):
            keys = frozenset({key, "extra_regions"})
            for each in getattr(self, key):
                if catalogue.is_pattern(each):
                    if key == "regions" and not any(catalogue.matches(region, (each,)) for region in known):
                        yield Clash(key, f"{values.shown(each)} matches no region", keys)
                elif each not in known:
                    nearest = nearest_of(each, known)
                    yield Clash(
                        key,
                        f"{values.shown(each)} is not a region: the nearest known one is {nearest}"
                        " (a region newer than this version of poolcensus goes into extra_regions)",
                        keys,
                    )

    def request(self) -> JsonObject:
        """What was asked for (accounts, regions, pools), as the manifest keeps it. Holds no secret."""
        filters: list[JsonValue] = [
            {"name": each.name, "operator": str(each.operator), "values": list(each.values)}
            for each in self.filters
        ]
        return {
            "accounts_from": self.accounts_from,
            "accounts": list(self.accounts),
            "exclude_accounts": list(self.exclude_accounts),
            "ous": list(self.ous),
            "exclude_ous": list(self.exclude_ous),
            "account_tags": [f"{key}={value}" for key, value in self.account_tags],
            "regions": list(self.regions),
            "exclude_regions": list(self.exclude_regions),
            "extra_regions": list(self.extra_regions),
            "pool_ids": list(self.pool_ids),
            "filters": filters,
        }


def nearest_of(word: str, known: frozenset[str] | set[str]) -> str:
    """The known word that is most like `word`."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    return difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.0)[0]
