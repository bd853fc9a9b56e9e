from __future__ import annotations

import json
import pickle
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.cli.options import OPTIONS, SettingOption, read_settings
from poolcensus.config import (
    FailureBudget,
    FilterOperator,
    InvalidSettingsError,
    LogLevel,
    PoolFilter,
    S3Encryption,
    Secret,
    SettingProblem,
    Settings,
)
from poolcensus.config.entries import SETTINGS
from poolcensus.errors import SettingsError
from poolcensus.model import Compression, Shard

ONE, TWO = "000000000001", "000000000002"
POOL, OTHER = "wspool-0123456aa", "wspool-0123456bb"


# A value that is not the default for every key, as a person may write it.
OTHERS: dict[str, object] = {
    "dest": "~/snapshots",
    "accounts": ONE,
    "exclude_accounts": TWO,
    "ous": "r-ab12",
    "exclude_ous": "r-cd34",
    "account_tags": "team=a=b",
    "accounts_from": "accounts.csv",
    "account_names": "prod-*",
    "exclude_account_names": "*-old",
    "include_ou_path": "yes",
    "include_account_tags": "yes",
    "regions": "eu-*",
    "exclude_regions": "eu-west-1",
    "extra_regions": "xx-south-1",
    "region_status": "management",
    "region_status_max_age": "12h",
    "profile": "census",
    "role_name": "Reader",
    "role_chain": [f"arn:aws:iam::{ONE}:role/Hub", {"role_arn": f"arn:{{partition}}:iam::{TWO}:role/a/Hub"}],
    "external_id": "a-secret",
    "session_name": "census",
    "session_duration": "900",
    "source_identity": "census",
    "session_tags": ["team=a b", "stage="],
    "session_policy": "no",
    "sts_region": "eu-west-1",
    "endpoint_url": "http://127.0.0.1:4566",
    "transport": "sdk",
    "pool_ids": POOL,
    "filters": "PoolName:EQUALS:a",
    "page_size": "5",
    "concurrency": "7",
    "per_account": "8",
    "per_region": "9",
    "compress": "zstd",
    "strict": "yes",
    "max_failed": "2.5%",
    "known_gaps": f"{ONE}:eu-*:scp_denied",
    "resume": "on",
    "deadline": "1.5",
    "shard": "2/3",
    "engine": "dask",
    "scheduler": "tcp://10.0.0.7:8786",
    "allow_plaintext_scheduler": "yes",
    "max_attempts": "3",
    "attempt_timeout": "2",
    "connect_timeout": "3",
    "target_timeout": "4",
    "give_up_region_after": "1",
    "progress": "never",
    "log_format": "json",
    "log_level": "DEBUG",
    "metrics_file": "~/metrics",
    "notify_command": "mail -s census root",
    "json": "true",
    "file_mode": "0640",
    "folder_mode": "0750",
    "s3_encryption": "aws:kms",
    "s3_kms_key": "alias/census",
    "s3_bucket_owner": ONE,
    "organization": [{"name": "gov", "profile": "gov"}],
}
# Those that exclude one of the others.
INSTEAD: dict[str, object] = {
    "role_arn": "arn:{partition}:iam::{account_id}:role/Reader",
    "external_id_file": "~/external-id",
    "accounts_snapshot": "accounts.json",
    "workers": "3",
}


TEXTS = {
    key: value if isinstance(value, str) else str(value[0])
    for key, value in (OTHERS | INSTEAD).items()
    if isinstance(value, str | list)
}


def complaint(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(None, **overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "given_as", "expected"),
    [
        ("accounts", f"{ONE}, {TWO},{ONE},", (ONE, TWO)),
        ("accounts", [f"{ONE},{TWO}", TWO], (ONE, TWO)),
        ("ous", "ou-ab12-34cd56ef,r-ab12", ("ou-ab12-34cd56ef", "r-ab12")),
        ("account_tags", ["team=a=b", "stage="], (("team", "a=b"), ("stage", ""))),
        ("account_tags", {"team": "x"}, (("team", "x"),)),
        ("pool_ids", [POOL, f"{OTHER},{POOL}"], (POOL, OTHER)),
        ("extra_regions", "xx-south-1,eusc-de-east-1", ("xx-south-1", "eusc-de-east-1")),
        ("compress", "zstd", Compression.ZSTD),
        ("shard", "2/3", Shard(2, 3)),
        ("max_failed", "25", FailureBudget(Decimal(25))),
        ("max_failed", 25, FailureBudget(Decimal(25))),
        ("max_failed", "0.5%", FailureBudget(Decimal("0.5"), percent=True)),
        ("file_mode", "0640", 0o640),
        ("folder_mode", "0o750", 0o750),
        ("role_name", "team/Reader", "team/Reader"),
        ("endpoint_url", "http://[::1]:4566/", "http://[::1]:4566/"),
        ("dest", "-", "-"),
        ("dest", "./s3:bucket", "./s3:bucket"),
        ("dest", "backup:today", "backup:today"),
        ("dest", "s3/bucket", "s3/bucket"),
        ("dest", "/srv//census (old)/\u00e9", "/srv//census (old)/\u00e9"),
        ("dest", "s3://my-bucket/a/b", "s3://my-bucket/a/b"),
        ("dest", "s3://my-bucket/a b/", "s3://my-bucket/a b"),
        ("dest", "s3://my-bucket/", "s3://my-bucket"),
        ("s3_encryption", "aws:kms", S3Encryption.KMS),
        ("s3_kms_key", "alias/census", "alias/census"),
        ("s3_bucket_owner", ONE, ONE),
        ("session_duration", "900", 900),
        ("region_status_max_age", "12h", 43_200.0),
        ("region_status_max_age", "0", 0.0),
        ("log_level", "DEBUG", "debug"),
        ("log_level", "Warning", "warning"),
        ("log_format", "JSON", "json"),
        ("progress", "Always", "always"),
        ("compress", "ZSTD", "zstd"),
        ("engine", "Dask", "dask"),
        ("transport", "SDK", "sdk"),
        ("region_status", "OFF", "off"),
        ("s3_encryption", "aes256", "AES256"),
    ],
)
def test_values_are_read(key: str, given_as: object, expected: object) -> None:
    assert getattr(Settings.load(None, **{key: given_as}), key) == expected


WRONG: list[tuple[str, object, str]] = [
    ("accounts", "12345678901", "12 digits"),
    ("accounts", "\u0660" * 12, "12 digits"),
    ("accounts", [123456789012], "in quotes"),
    ("ous", "ou-1", "an OU ID"),
    ("account_tags", "team", "KEY=VALUE"),
    ("pool_ids", "wspool-0123456A", "wspool-"),
    ("extra_regions", "eu-*", "is not a region"),
    ("regions", "eu west", "region or a pattern"),
    ("filters", "Name:EQUALS:a", "PoolName"),
    ("filters", "PoolName:LIKE:a", "NOTCONTAINS"),
    ("filters", "foo", "OPERATOR is one of EQUALS, NOTEQUALS, CONTAINS, NOTCONTAINS"),
    ("filters", "PoolName:EQUALS:", "1 to 128"),
    ("filters", "PoolName:EQUALS:" + "x" * 129, "1 to 128"),
    ("filters", "PoolName:EQUALS:" + ",".join(map(str, range(26))), "1 to 25"),
    ("filters", [f"PoolName:EQUALS:{each}" for each in range(26)], "at most 25"),
    ("filters", [{"name": "PoolName", "operator": "EQUALS"}], "name, operator"),
    (
        "filters",
        [{"name": "PoolName", "operator": "EQUALS", "value": ["a"]}],
        'unknown key "value". Did you mean values?',
    ),
    (
        "filters",
        {"name": "PoolName", "operators": "EQUALS", "values": ["a"]},
        'unknown key "operators". Did you mean operator?',
    ),
    (
        "filters",
        [{"key": "PoolName"}],
        'unknown key "key". A table of it has name, operator, values.',
    ),
    ("filters", [{"name": "PoolName", "operator": "EQUALS", "values": [1]}], "1 to 128"),
    ("compress", "lzma", "none, gzip, zstd"),
    ("shard", "0/3", "1 to N"),
    ("shard", "1/10001", "too many shards"),
    ("max_failed", "-1", "such as 25 or 2%"),
    ("max_failed", "101%", "such as 25 or 2%"),
    ("file_mode", "0400", "0600"),
    ("file_mode", 600, "octal text"),
    ("folder_mode", "0600", "0700"),
    ("folder_mode", "01777", "0777"),
    ("role_name", "arn:aws:iam::1:role/x", 'takes a role name, not an ARN: use "x"'),
    ("role_name", "arn:aws-cn:iam::1:role/team/x", 'use "team/x"'),
    ("role_name", "arn:aws:iam::1:user/x", "1 to 64"),
    ("role_name", "audit/", "1 to 64"),
    ("role_name", "R" * 65, "1 to 64"),
    ("external_id", "x", "2 to 1224"),
    ("session_name", "a b", "2 to 64"),
    ("session_duration", 899, "900 to 43200"),
    ("endpoint_url", "ftp://x", "https://"),
    ("endpoint_url", "http://", "https://"),
    ("endpoint_url", "http://host:port", "https://"),
    ("dest", "gs://bucket", "s3://"),
    ("dest", "s3://B", "s3://"),
    ("dest", "s3://", "s3://BUCKET/PREFIX"),
    ("dest", "s3://bucket//a", "no empty step"),
    ("dest", "s3://bucket/a/../b", "without . and .."),
    ("dest", "s3://bucket/a\x1bb", "can't be seen"),
    ("dest", "s3://bucket/" + "x" * 901, "at most 900 bytes"),
    ("s3_encryption", "kms", "none, AES256, aws:kms"),
    ("s3_kms_key", "a key", "alias of a KMS key"),
    ("s3_bucket_owner", "1234", "12 digits"),
    ("s3_bucket_owner", 123456789012, "in quotes"),
    ("dest", "", "directory"),
    ("dest", "s3:bucket/prefix", "neither the name of a directory nor a URL"),
    ("dest", "s3:/bucket/prefix", "neither the name"),
    ("dest", "S3://bucket/prefix", "s3://BUCKET/PREFIX"),
    ("dest", "s3a:bucket", "neither the name"),
    ("dest", '"s3://bucket/x"', "neither the name"),
    ("dest", "'s3://bucket/x'", "neither the name"),
    ("dest", "arn:aws:s3:::bucket/x", "neither the name"),
    ("dest", "snapshots\r", "a path can't hold a line break"),
    ("dest", " s3://bucket/x", "neither the name"),
    ("dest", "http:bucket", "neither the name"),
    ("dest", "\u201cs3://bucket/x\u201d", "neither the name"),
    ("dest", "<s3://bucket/x>", "neither the name"),
    ("dest", "`s3://bucket/x`", "neither the name"),
    ("dest", "s3://bucket/x ", "neither the name"),
    ("dest", "POOLCENSUS_DEST=s3://bucket/x", "neither the name"),
    ("dest", "s3;//bucket/x", "neither the name"),
    ("dest", "s3 ://bucket/x", "neither the name"),
    ("dest", "s3\uff1a//bucket/x", "neither the name"),
    ("dest", "bucket.s3.eu-west-1.amazonaws.com/x", "neither the name"),
    ("dest", "sn\xe4p\nshots", '"sn\xe4p\\nshots": a path can\'t hold a line break'),
    ("concurrency", 4097, "1 to 4096"),
    ("concurrency", True, "a number"),
    ("max_attempts", 0, "1 to 100"),
    ("workers", 0, "1 to 256"),
    ("workers", 257, "1 to 256"),
    ("workers", "two", "1 to 256"),
    ("deadline", 0, "more than 0"),
    ("deadline", "nan", "more than 0"),
    ("attempt_timeout", "soon", "more than 0"),
    ("strict", "perhaps", "true or false"),
    ("profile", "", "not empty"),
    ("metrics_file", "", "a path"),
]


PASSWORDS = ("s3://user:", "S3://user:", "https://user:", "s3:/user:", " s3://user:", "a\nhttps://user:")


def test_a_wrong_value_says_which_key_and_what_is_allowed() -> None:
    said = [(key, value, allowed, complaint(**{key: value})) for key, value, allowed in WRONG]
    assert not [
        each for each in said if not (each[0] in each[3] and each[2] in each[3] and "\n" not in each[3])
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("dest", f"{before}secret{after}bucket/p")
            for before in PASSWORDS
            for after in ("@", "/x@", "#@", "?")
        ),
        ("dest", "s3://bucket?token=secret"),
        *(("endpoint_url", f"http://h{each}=secret") for each in ("?token", "/?token", ":x?token", "#token")),
        *(("endpoint_url", f"{each}user:secret@h") for each in ("", "ftp://", "http:/", "https://")),
    ],
)
def test_a_url_that_may_hold_a_password_is_not_shown(key: str, value: str) -> None:
    said = complaint(**{key: value})
    assert key in said
    assert "must" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("concurrency = true", "concurrency: true must be a number"),
        ("role_name = 2026-11-23", "role_name: 2026-11-23 must be text"),
        (
            "deadline = 2026-11-23T02:00:00Z",
            "deadline: 2026-11-23T02:00:00+00:00 must be a number of seconds",
        ),
        ("deadline = 02:00:00", "deadline: 02:00:00 must be a number of seconds"),
        ('dest = { to = ["\xe4", false] }', 'dest: {to = ["\xe4", false]} must be text'),
        ('accounts = ["a\\u001b[2J"]', 'accounts: "a\\x1b[2J" is not an account ID'),
    ],
)
def test_a_wrong_value_is_shown_as_toml_has_it(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "poolcensus.toml"
    file.write_text(line, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.load(file)
    assert str(caught.value).startswith(f"{file}: {said}")


def test_what_is_no_value_at_all_is_refused_by_every_setting() -> None:
    for key, entry in SETTINGS.items():
        with pytest.raises(ValueError, match=r"\w"):
            pytest.fail(f"{key} is {entry.read(object())!r}")


@pytest.mark.parametrize(
    ("key", "given_as", "expected"),
    [
        *(
            ("concurrency", each, 12)
            for each in ("12", " 12\n", "+12", "1_2", "012", "12.0", 12.0, Fraction(12))
        ),
        *(("deadline", each, 12.5) for each in ("12.5", " 12.5", "1_2.5", "1.25e1", 12.5, Decimal("12.5"))),
        *(("deadline", each, 604_800.0) for each in (604_800, "604800", "6048e2")),
        *(("strict", each, True) for each in (True, 1, 1.0, "1", "true", "TRUE", "t", "yes", "Y", "on")),
        *(("resume", each, False) for each in (False, 0, "0", "false", "F", "no", "n", "OFF")),
        ("dest", Path("a"), "a"),
        ("accounts_from", Path("a,b"), ("a,b",)),
        ("accounts_from", "a, self,a", ("a", "self")),
        ("accounts_from", ["organization", "a,b", Path("c")], ("organization", "a", "b", "c")),
        ("accounts_from", (), ("organization",)),
        ("metrics_file", "a", Path("a")),
        ("metrics_file", Path("~/a"), Path("~/a")),
    ],
)
def test_a_value_of_another_type_is_read_where_it_means_one_thing(
    key: str, given_as: object, expected: object
) -> None:
    found = getattr(Settings.load(None, **{key: given_as}), key)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "value", ["12.5", "1e1", "0x10", "1__2", "_12", "", "\u0661\u0662", "-1", 12.5, b"12", [12]]
)
def test_what_is_no_plain_number_does_not_count(value: object) -> None:
    assert "must be a whole number from 1 to 4096" in complaint(concurrency=value)


@pytest.mark.parametrize(
    "value",
    ["inf", float("inf"), float("nan"), 10**400, "1e400", "\u0661\u0662", -1, 604_801, b"1", []],
)
def test_a_time_is_a_number_of_seconds_within_a_week(value: object) -> None:
    assert "must be a number of seconds, more than 0 and at most 604800" in complaint(deadline=value)


@pytest.mark.parametrize("key", ["deadline", "attempt_timeout", "connect_timeout", "target_timeout"])
@pytest.mark.parametrize(
    ("written", "expected"),
    [("90s", 90.0), ("1h", 3600.0), ("1h30m", 5400.0), ("0.1m", 6.0), ("7d", 604_800.0), (" 1m1.5s ", 61.5)],
)
def test_a_time_may_be_a_duration(key: str, written: str, expected: float) -> None:
    assert getattr(Settings.load(None, **{key: written}), key) == expected


def test_a_program_may_give_a_timedelta() -> None:
    settings = Settings.load(
        None, deadline=timedelta(hours=1, milliseconds=500), session_duration=timedelta(minutes=30)
    )
    assert (settings.deadline, settings.session_duration) == (3600.5, 1800)
    for wrong in (timedelta(0), timedelta(days=8), timedelta(seconds=-1)):
        assert "more than 0 and at most 604800" in complaint(deadline=wrong)


@given(st.integers(0, 6), st.integers(0, 99), st.integers(0, 999), st.integers(1, 9999))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    written = f"{days}d{hours}h{minutes}m{seconds}s"
    if total <= 604_800:
        assert Settings.load(None, deadline=written).deadline == total
    else:
        assert "at most 604800" in complaint(deadline=written)


@pytest.mark.parametrize(
    "value", ["h", "1x", "1m1h", "1h 30m", "1h30", "-1h", "1H", "0s", "8d", "1e1s", "\u0661s", "1hs", "500ms"]
)
def test_what_is_no_duration_says_how_one_is_written(value: str) -> None:
    assert "or a duration such as 90s or 1h30m" in complaint(deadline=value)


@pytest.mark.parametrize(
    ("written", "expected"), [("15m", 900), ("1h", 3600), ("12h", 43_200), ("3600", 3600), (3600, 3600)]
)
def test_a_session_s_duration_is_one_too(written: object, expected: int) -> None:
    found = Settings.load(None, session_duration=written).session_duration
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("value", ["14m", "13h", "15m0.5s", "1e3", "900.5", True])
def test_a_session_has_whole_seconds_within_what_aws_allows(value: object) -> None:
    assert "session_duration" in complaint(session_duration=value)


@pytest.mark.parametrize(
    "key", ["dest", "role_name", "profile", "external_id", "metrics_file", "endpoint_url"]
)
@pytest.mark.parametrize("value", [12, b"abc", ["abc"], True])
def test_text_is_text(key: str, value: object) -> None:
    assert "must be text, in quotes" in complaint(**{key: value})


def test_the_text_of_an_enums_member_is_a_plain_string() -> None:
    assert type(Settings.load(profile=LogLevel.DEBUG).profile) is str


def test_a_key_of_kms_excludes_the_encryption_aes256() -> None:
    assert "exclude each other" in complaint(s3_kms_key="alias/census", s3_encryption="AES256")
    assert Settings.load(s3_kms_key="alias/census", s3_encryption="aws:kms").s3_kms_key == "alias/census"


def test_a_filter_is_the_same_from_text_and_from_a_table() -> None:
    expected = (PoolFilter("PoolName", FilterOperator.EQUALS, ("a", "b")),)
    assert Settings.load(filters=["PoolName:EQUALS:a, b"]).filters == expected
    table = {"name": "PoolName", "operator": "EQUALS", "values": ["a", "b"]}
    assert Settings.load(filters=[table]).filters == expected
    assert Settings.load(filters=[str(expected[0])]).filters == expected
    two = Settings.load(filters="PoolName:EQUALS:a;PoolName:CONTAINS:b").filters
    assert [each.operator for each in two] == ["EQUALS", "CONTAINS"]


def test_more_than_25_pool_ids_are_welcome() -> None:
    ids = [f"wspool-{each:09d}" for each in range(100)]
    assert len(Settings.load(pool_ids=ids).pool_ids) == 100


def test_pool_ids_and_filters_may_be_together() -> None:
    assert Settings.load(pool_ids=POOL, filters="PoolName:EQUALS:a").pool_ids == (POOL,)


def test_a_pattern_that_matches_nothing_is_an_error_only_where_it_selects() -> None:
    assert "matches no region" in complaint(regions="xx-*")
    assert Settings.load(exclude_regions="xx-*").exclude_regions == ("xx-*",)


def test_a_region_that_is_none_is_an_error_where_it_is_left_out_too() -> None:
    assert "Did you mean eu-west-1?" in complaint(exclude_regions="eu-wset-1")


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan"), "2", " true", "", []])
def test_what_is_no_truth_is_neither(value: object) -> None:
    assert "must be true or false" in complaint(strict=value)


def test_an_extra_region_may_be_named_and_matched() -> None:
    loaded = Settings.load(regions="xx-south-1,xx-*", extra_regions="xx-south-1")
    assert loaded.regions == ("xx-south-1", "xx-*")


def test_a_wrong_extra_region_is_not_reported_twice() -> None:
    assert complaint(regions="xx-south-1", extra_regions=["xx-south-1", "nonsense"]).count("\n") == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"accounts": ONE, "exclude_accounts": (TWO, ONE)},
        {"ous": "r-ab12", "exclude_ous": "r-ab12"},
    ],
)
def test_the_same_id_in_and_out_is_an_error(keys: dict[str, object]) -> None:
    assert "is both in" in complaint(**keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"regions": "us-east-1", "exclude_regions": "us-east-1"}, "leaves out all of `regions`"),
        ({"regions": "eu-*", "exclude_regions": "us-*,eu-*"}, "leaves out all of `regions`"),
        ({"exclude_regions": "*"}, "leaves out every region"),
        ({"regions": "mars-*", "exclude_regions": "mars-*"}, "matches no region"),
    ],
)
def test_where_no_region_of_any_partition_is_left_that_is_said_before_any_call(
    keys: dict[str, str], said: str
) -> None:
    assert said in complaint(**keys)
    assert Settings.load(regions="eu-*", exclude_regions="eu-west-*").regions == ("eu-*",)
    # Of which the caller's may be one or another.
    assert Settings.load(regions="us-gov-*,us-east-1", exclude_regions="us-east-1").exclude_regions
    assert Settings.load(regions="xx-south-1", exclude_regions="us-*", extra_regions="xx-south-1").regions


def test_units_of_the_callers_account_alone_are_an_error() -> None:
    assert "organizational units" in complaint(accounts_from="self", ous="ou-ab12-34cd56ef")


def test_settings_made_without_load_are_checked_too() -> None:
    with pytest.raises(ValueError, match="Did you mean eu-west-1?"):
        Settings(regions=("eu-wset-1",))


def test_settings_made_without_load_are_refused_with_every_problem() -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        Settings(
            concurrency=0,
            json_output="perhaps",  # type: ignore[arg-type]
            external_id="a secret",  # type: ignore[arg-type]
            endpoint_url="http://user:secret@host",
            s3_kms_key="alias/census",
            s3_encryption=S3Encryption.AES256,
        )
    assert {SettingsError, ValueError} < set(InvalidSettingsError.__mro__)
    assert caught.value.problems[:4] == (
        SettingProblem("external_id", "must be 2 to 1224 letters, digits and +=,.@_:/-"),
        SettingProblem("endpoint_url", "must hold no user name or password"),
        SettingProblem("concurrency", "0 must be a whole number from 1 to 4096"),
        SettingProblem("json", '"perhaps" must be true or false'),
    )
    lines = str(caught.value).splitlines()
    assert lines[2:] == [
        "concurrency: 0 must be a whole number from 1 to 4096",
        'json: "perhaps" must be true or false',
        "s3_kms_key: a key of KMS and AES256 as `s3_encryption` exclude each other",
    ]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["concurrency", "strict", "dest", "accounts", "file_mode", "log_level"])
def test_none_is_no_value_where_settings_are_made_without_load(key: str) -> None:
    nothing = None
    with pytest.raises(InvalidSettingsError, match=f"^{key}: None must be "):
        Settings(**{key: nothing})  # type: ignore[arg-type]


def test_a_key_that_is_none_is_refused_where_settings_are_made_without_load() -> None:
    with pytest.raises(TypeError, match="concurency"):
        Settings(concurency=1)  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    loaded = Settings.load()
    with pytest.raises(AttributeError):
        loaded.concurrency = 3  # type: ignore[misc]
    hash(loaded)


def test_settings_are_made_of_settings() -> None:
    assert OTHERS.keys() | INSTEAD.keys() == SETTINGS.keys()
    loaded = Settings.load(None, **OTHERS)
    instead = Settings.load(None, engine="dask", **INSTEAD)
    assert Settings(**msgspec.structs.asdict(instead)) == instead == pickle.loads(pickle.dumps(instead))
    for key, setting in SETTINGS.items():
        assert getattr(instead if key in INSTEAD else loaded, setting.name) != setting.default, key
    again = Settings(**msgspec.structs.asdict(loaded))
    assert again == loaded == pickle.loads(pickle.dumps(loaded))
    assert hash(again) == hash(loaded)
    for name in Settings.__struct_fields__:
        assert type(getattr(again, name)) is type(getattr(loaded, name))
    changed = msgspec.structs.replace(loaded, concurrency=1)
    assert (changed.concurrency, changed.file_mode, changed.external_id) == (1, 0o640, Secret("a-secret"))
    assert msgspec.structs.replace(changed, concurrency=7) == loaded
    with pytest.raises(InvalidSettingsError, match="octal text"):
        msgspec.structs.replace(loaded, file_mode=0o640)


def test_a_secret_equals_the_same_secret_alone() -> None:
    assert Secret("a-secret") == Secret("a-secret")
    assert len({Secret("a-secret"), Secret("a-secret"), Secret("another")}) == 2
    assert Secret("a-secret") not in (Secret("another"), "a-secret", None)
    assert f"{Secret('a-secret')} {Secret('a-secret')!r}" == "********** Secret('**********')"


def test_the_request_is_json_and_holds_what_was_asked_for() -> None:
    loaded = Settings.load(
        accounts=ONE, regions="eu-*", filters="PoolName:EQUALS:a", pool_ids=POOL, account_tags="k=v"
    )
    request = json.loads(json.dumps(loaded.request()))
    assert request["accounts"] == [ONE]
    assert request["regions"] == ["eu-*"]
    assert request["pool_ids"] == [POOL]
    assert request["account_tags"] == ["k=v"]
    assert request["filters"] == [{"name": "PoolName", "operator": "EQUALS", "values": ["a"]}]


@given(limit=st.integers(0, 100), uncovered=st.integers(0, 300), more=st.integers(0, 300))
def test_a_budget_counts_or_takes_the_share_exactly(limit: int, uncovered: int, more: int) -> None:
    targets = uncovered + more
    assert FailureBudget(Decimal(limit)).allows(uncovered, targets) == (uncovered <= limit)
    share = FailureBudget(Decimal(limit), percent=True)
    assert share.allows(uncovered, targets) == (uncovered * 100 <= limit * targets)
    assert Settings.load(max_failed=str(share)).max_failed == share


@pytest.mark.parametrize(
    ("address", "open_to_others"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://10.0.0.7:8786", False),
        ("tcp://10.0.0.7:8786", True),
        ("tcp://localhost.example.com:8786", True),
        ("tcp://0.0.0.0:8786", True),
    ],
)
def test_a_scheduler_in_plain_text_is_on_this_machine_or_asked_for(
    address: str, open_to_others: bool
) -> None:
    if open_to_others:
        assert "can run code on its workers" in complaint(engine="dask", scheduler=address)
    Settings.load(None, engine="dask", scheduler=address, allow_plaintext_scheduler=open_to_others)


@pytest.mark.parametrize(
    "value",
    ["", "8786", "127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://a:b@127.0.0.1:1",
     "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tls://x:1/path", "tls://x:1?y", "tls:// x:1", 7],
)  # fmt: skip
def test_what_is_no_address_of_a_scheduler_is_refused(value: object) -> None:
    assert "scheduler" in complaint(engine="dask", scheduler=value)


def test_secrets_that_the_workers_of_a_cluster_can_have_from_nowhere_are_refused() -> None:
    hub = {"role_arn": "arn:aws:iam::000000000009:role/Hub", "external_id": "canary-hub"}
    tables = [{"name": name, "external_id": f"canary-{name}"} for name in ("one", "two")]
    cluster = {"engine": "dask", "scheduler": "tls://x:1"}
    for wrong, said in (
        ({"role_chain": [hub]}, "role_chain"),
        ({"organization": tables}, "external_id_file"),
    ):
        text = complaint(**cluster, **wrong)
        assert said in text
        assert "canary" not in text
        Settings.load(None, engine="dask", **wrong)
    assert "external_id_file" in complaint(
        **cluster, external_id="canary-all", organization=[tables[0], {"name": "two"}]
    )
    Settings.load(None, **cluster, external_id="canary", role_chain=[hub["role_arn"]])
    Settings.load(None, **cluster, organization=[{**each, "external_id": "canary"} for each in tables])


def test_workers_are_those_of_a_cluster_or_started_and_need_their_engine(tmp_path: Path) -> None:
    assert "needs `engine` to be dask" in complaint(workers=2)
    assert "needs `engine` to be dask" in complaint(scheduler="tls://x:1")
    assert "leave out" in complaint(engine="dask", workers=2, scheduler="tls://x:1")
    file = tmp_path / "settings.toml"
    file.write_text('engine = "dask"\nscheduler = "tls://x:1"\n', encoding="utf-8")
    # What the command line says undoes what a file says.
    assert Settings.load(file, engine="local").scheduler is None
    assert (Settings.load(file, workers=2).workers, Settings.load(file, workers=2).scheduler) == (2, None)


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.metavar is not None])
def test_an_option_with_an_empty_value_takes_its_setting_back_to_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: SettingOption
) -> None:
    file = tmp_path / "poolcensus.toml"
    file.write_text(f"{option.key} = {json.dumps(TEXTS[option.key])}\n", encoding="utf-8")
    monkeypatch.setenv(f"POOLCENSUS_{option.key.upper()}", TEXTS[option.key])
    empty = ("",) if option.repeats else ""
    if option.key == "dest":
        # A variable that is not set must not move a census, or what prune removes.
        with pytest.raises(SettingsError, match=r'^--dest: "" must be a directory'):
            read_settings(file, {option.key: empty})
        return
    assert read_settings(file, {option.key: empty}) == Settings()


def test_what_is_taken_back_chooses_nothing_in_the_place_of_another(tmp_path: Path) -> None:
    template = "arn:aws:iam::{account_id}:role/Foo"
    file = tmp_path / "poolcensus.toml"
    file.write_text(f'role_arn = "{template}"\nexternal_id_file = "id"\n', encoding="utf-8")
    found = read_settings(file, {"role_name": "", "external_id": ""})
    assert (found.role_arn, str(found.external_id_file)) == (template, "id")
    # Beside it, the other way is no contradiction.
    assert read_settings(file, {"role_arn": "", "role_name": "Other"}).role_name == "Other"


def test_what_is_taken_back_is_so_for_each_organization(tmp_path: Path) -> None:
    file = tmp_path / "poolcensus.toml"
    file.write_text('[[organization]]\nname = "a"\nprofile = "audit"\nrole_name = "Foo"\n', encoding="utf-8")
    (own,) = read_settings(file, {"profile": ""}).by_organization().values()
    assert (own.profile, own.role_name) == (None, "Foo")
