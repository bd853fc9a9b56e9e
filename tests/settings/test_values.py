from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from poolcensus.errors import SettingsError
from poolcensus.model import Compression, Shard
from poolcensus.settings import FailureBudget, FilterOperator, PoolFilter, S3Encryption, Settings

ONE, TWO = "000000000001", "000000000002"
POOL, OTHER = "wspool-0123456aa", "wspool-0123456bb"


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
        ("dest", "s3://my-bucket/a/b", "s3://my-bucket/a/b"),
        ("dest", "s3://my-bucket/a b/", "s3://my-bucket/a b"),
        ("dest", "s3://my-bucket/", "s3://my-bucket"),
        ("s3_encryption", "aws:kms", S3Encryption.KMS),
        ("s3_kms_key", "alias/census", "alias/census"),
        ("s3_bucket_owner", ONE, ONE),
        ("session_duration", "900", 900),
        ("log_level", "DEBUG", "debug"),
    ],
)
def test_values_are_read(key: str, given_as: object, expected: object) -> None:
    assert getattr(Settings.load(None, **{key: given_as}), key) == expected


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("accounts", "12345678901", "12 digits"),
        ("accounts", "\u0660" * 12, "12 digits"),
        ("accounts", [123456789012], "in quotes"),
        ("ous", "ou-1", "organizational unit"),
        ("account_tags", "team", "KEY=VALUE"),
        ("pool_ids", "wspool-0123456A", "wspool-"),
        ("extra_regions", "eu-*", "name of a region"),
        ("regions", "eu west", "region or a pattern"),
        ("filters", "Name:EQUALS:a", "PoolName"),
        ("filters", "PoolName:LIKE:a", "NOTCONTAINS"),
        ("filters", "PoolName:EQUALS:", "1 to 128"),
        ("filters", "PoolName:EQUALS:" + "x" * 129, "1 to 128"),
        ("filters", "PoolName:EQUALS:" + ",".join(map(str, range(26))), "1 to 25"),
        ("filters", [f"PoolName:EQUALS:{each}" for each in range(26)], "at most 25"),
        ("filters", [{"name": "PoolName", "operator": "EQUALS"}], "name, operator"),
        ("filters", [{"name": "PoolName", "operator": "EQUALS", "values": [1]}], "1 to 128"),
        ("compress", "lzma", "none, gzip, zstd"),
        ("shard", "0/3", "1 to N"),
        ("max_failed", "-1", "such as 25 or 2%"),
        ("max_failed", "101%", "such as 25 or 2%"),
        ("file_mode", "0400", "0600"),
        ("file_mode", 600, "octal text"),
        ("folder_mode", "0600", "0700"),
        ("folder_mode", "01777", "0777"),
        ("role_name", "arn:aws:iam::1:role/x", "1 to 512"),
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
        ("concurrency", 4097, "1 to 4096"),
        ("concurrency", True, "a number"),
        ("max_attempts", 0, "1 to 100"),
        ("deadline", 0, "more than 0"),
        ("deadline", "nan", "more than 0"),
        ("attempt_timeout", "soon", "more than 0"),
        ("strict", "perhaps", "true or false"),
        ("profile", "", "not empty"),
        ("metrics_file", "", "a path"),
    ],
)
def test_a_wrong_value_says_which_key_and_what_is_allowed(key: str, value: object, allowed: str) -> None:
    text = complaint(**{key: value})
    assert key in text
    assert allowed in text
    assert "\n" not in text


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


def test_settings_made_without_load_are_checked_too() -> None:
    with pytest.raises(ValidationError, match="nearest known one is eu-west-1"):
        Settings(regions=("eu-wset-1",))


def test_settings_do_not_change() -> None:
    loaded = Settings.load()
    with pytest.raises(ValidationError):
        loaded.concurrency = 3
    hash(loaded)


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
