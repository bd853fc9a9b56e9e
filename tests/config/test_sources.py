from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolcensus.config import Secret, Settings, load_settings
from poolcensus.errors import SettingsError

# Per key: values as TOML text, as environment text, and what they become.
SAMPLES: dict[str, list[tuple[str, str, object]]] = {
    "concurrency": [("7", "7", 7), ("4096", "4096", 4096)],
    "dest": [('"a"', "a", "a"), ('"s3://bucket/x"', "s3://bucket/x", "s3://bucket/x")],
    "strict": [("true", "true", True), ("false", "no", False)],
    "regions": [('["eu-*", "us-east-1"]', "eu-*, us-east-1", ("eu-*", "us-east-1")), ("[]", ",", ())],
    "deadline": [("1.5", "1.5", 1.5), ('"1h"', "1h", 3600.0)],
    "json": [("true", "1", True), ("false", "off", False)],
}


def fails(path: str | Path | None = None, **overrides: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(path, **overrides)
    return str(caught.value).splitlines()


sources = st.lists(st.sampled_from(["file", "environment", "override"]), unique=True)
choices = st.fixed_dictionaries(
    {key: st.tuples(sources, st.permutations(samples)) for key, samples in SAMPLES.items()}
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices)
def test_the_strongest_source_wins_for_every_key_by_itself(
    tmp_path: Path, chosen: dict[str, tuple[list[str], list[tuple[str, str, object]]]]
) -> None:
    lines: list[str] = []
    environment: dict[str, str] = {}
    overrides: dict[str, object] = {}
    expected: dict[str, object] = {}
    for key, (where, samples) in chosen.items():
        # Each source gives another value than the one above it, as far as there are two.
        strength = sorted(where, key=["override", "environment", "file"].index)
        for position, name in enumerate(strength):
            toml, text, value = samples[position % 2]
            if name == "file":
                lines.append(f"{key} = {toml}")
            elif name == "environment":
                environment[f"POOLCENSUS_{key.upper()}"] = text
            else:
                overrides[key] = value
            if position == 0:
                expected[key] = value
    file = tmp_path / "some.toml"
    file.write_text("\n".join(lines))
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        loaded = Settings.load(file, **overrides)
    defaults = Settings()
    for key in SAMPLES:
        name = "json_output" if key == "json" else key
        assert getattr(loaded, name) == expected.get(key, getattr(defaults, name))


def test_an_override_of_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLCENSUS_CONCURRENCY", "9")
    assert Settings.load(concurrency=None).concurrency == 9


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLCENSUS_PROFILE", "")
    assert Settings.load().profile is None
    monkeypatch.setenv("POOLCENSUS_REGIONS", "")
    Path("poolcensus.toml").write_text('profile = "audit"\nregions = ["eu-west-1"]\n', encoding="utf-8")
    found = Settings.load()
    assert (found.profile, found.regions) == ("audit", ("eu-west-1",))


def test_json_may_be_given_by_either_name() -> None:
    assert Settings.load(json=True).json_output
    assert Settings.load(json_output=True).json_output


def test_the_first_file_of_the_usual_places_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> int:
        return Settings.load().concurrency

    home = tmp_path / "home" / ".config" / "poolcensus"
    home.mkdir(parents=True)
    (home / "config.toml").write_text("concurrency = 1")
    assert load() == 1
    other = tmp_path / "xdg" / "poolcensus"
    other.mkdir(parents=True)
    (other / "config.toml").write_text("concurrency = 2")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert load() == 2
    Path("poolcensus.toml").write_text("concurrency = 3")
    assert load() == 3
    named = tmp_path / "named.toml"
    named.write_text("concurrency = 4")
    monkeypatch.setenv("POOLCENSUS_CONFIG", str(named))
    assert load() == 4
    explicit = tmp_path / "explicit.toml"
    explicit.write_text("page_size = 5")
    found = Settings.load(explicit)
    assert (found.concurrency, found.page_size) == (256, 5)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing.toml"
    assert fails(missing) == [f"{missing}: there is no such configuration file"]
    monkeypatch.setenv("POOLCENSUS_CONFIG", str(missing))
    assert fails() == [f"{missing}: there is no such configuration file"]


def unreachable(monkeypatch: pytest.MonkeyPatch, name: str, place: Path) -> None:
    """Let `Path.lstat` or `Path.read_bytes` fail as in the home folder of another user."""
    real = getattr(Path, name)

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path.absolute().is_relative_to(place):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, name, refuse)


@pytest.fixture
def users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of the user's configuration folder."""
    file = tmp_path / "home" / ".config" / "poolcensus" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("concurrency = 1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    assert Settings.load().concurrency == 1
    return file


def test_a_folder_of_the_user_that_cannot_be_looked_into_is_passed_over(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch, "lstat", users_file.parent.parent)
    assert Settings.load().concurrency == 256
    Path("poolcensus.toml").write_text("concurrency = 3")
    assert Settings.load().concurrency == 3


def test_a_file_that_is_there_and_cannot_be_read_is_an_error_although_nobody_named_it(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path("poolcensus.toml")
    own.write_text("concurrency = 3")
    readable = own.absolute().with_name("other.toml")
    readable.write_text("concurrency = 4")
    for file, place in ((own, own.absolute()), (users_file, users_file)):
        with monkeypatch.context() as patch:
            unreachable(patch, "read_bytes", place)
            unread = f"{file}: the configuration file can't be read: Permission denied"
            advice = "Give this user the right to read it, or name another file with `path`."
            assert fails() == [f"{unread}. {advice}"]
            assert Settings.load(readable).concurrency == 4
            assert fails(file) == [unread]
            patch.setenv("POOLCENSUS_CONFIG", str(file))
            assert fails() == [unread]
        own.unlink(missing_ok=True)


def test_a_working_folder_that_cannot_be_looked_into_is_passed_over(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch, "lstat", Path("poolcensus.toml").absolute())
    assert Settings.load().concurrency == 1
    assert Settings.load(users_file).concurrency == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing.toml", "No such file or directory"),
        ("poolcensus.toml", "Too many levels of symbolic links"),
        (".", "Is a directory"),
    ],
)
def test_a_link_that_leads_to_no_settings_file_is_an_error(
    users_file: Path, target: str, reason: str
) -> None:
    Path("poolcensus.toml").symlink_to(target)
    unread = f"poolcensus.toml: the configuration file can't be read: {reason}."
    assert fails() == [f"{unread} Mend or remove the link, or name another file with `path`."]


@pytest.mark.parametrize("name", ["x" * 300, "a-file/below"])
def test_a_home_of_no_use_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / name))
    assert Settings.load().concurrency == 256


def test_without_a_home_folder_there_is_no_file_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert Settings.load().concurrency == 256
    assert fails("~/some.toml") == [
        "~/some.toml: the configuration file is in a home folder that doesn't exist"
    ]
    monkeypatch.setenv("POOLCENSUS_CONFIG", "~nobody-of-that-name/some.toml")
    assert fails() == [
        "~nobody-of-that-name/some.toml: the configuration file is in a home folder that doesn't exist"
    ]


def test_a_folder_for_a_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    assert fails(tmp_path) == [f"{tmp_path}: the configuration file can't be read: Is a directory"]


def test_unknown_keys_say_where_they_stood_and_what_is_close_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text('concurency = 1\nrole-name = "x"\n[poolcensus]\nx = 1')
    monkeypatch.setenv("POOLCENSUS_REGION", "eu-west-1")
    lines = fails(file, account=["1"])
    assert lines == [
        f'Unknown setting "concurency" in {file}. Did you mean concurrency?',
        f'Unknown setting "role-name" in {file}. Did you mean role_name?',
        f'Unknown table "poolcensus" in {file}. Settings stand at the top of the file, in no table.',
        "Unknown environment variable POOLCENSUS_REGION. Did you mean POOLCENSUS_REGIONS?",
        'Unknown setting "account". Did you mean accounts?',
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("destination", "dest"),
        ("deadlin", "deadline"),
        ("concurrent", "concurrency"),
        ("exclude_account", "exclude_accounts"),
        ("Compress", "compress"),
        ("verbose", None),
        ("x", None),
        ("s", None),
        ("sh", None),
        ("sha", "shard"),
        ("ou", "ous"),
        ("", None),
    ],
)
def test_a_name_is_suggested_only_where_it_is_close(word: str, meant: str | None) -> None:
    hint = f" Did you mean {meant}?" if meant else ""
    assert fails(None, **{word: "1"}) == [f'Unknown setting "{word}".{hint}']


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("concurrency = \n", "line 1, column 15"),
        ("a = 1\nb = [1,\n", "line 3, column 1"),
        ('dest = "a"\ndest = "b"\n', "line 2, column 11"),
        ("strict = yes", "line 1, column 10"),
    ],
)
def test_malformed_toml_is_one_sentence_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    (line,) = fails(file)
    assert line.startswith(f"{file}: not valid TOML at {where}: ")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a = 1\nb = '\xff'", " at line 2, column 6: a byte that is not UTF-8"),
        (b"a = " + b"[" * 5000, ": nested too deeply"),
        (b"known_gaps = " + b"[" * 250 + b"]" * 250, ": nested too deeply"),
        (b"a = " + b"1" * 5000, ": a number has too many digits"),
        (b"concurrency = 0x" + b"f" * 5000, ": a number has too many digits"),
        (b"known_gaps = [{accounts = [0x" + b"f" * 5000 + b"]}]", ": a number has too many digits"),
    ],
)
def test_hostile_toml_is_one_sentence_about_the_file(tmp_path: Path, raw: bytes, reason: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(raw)
    (line,) = fails(file)
    assert line == f"{file}: not valid TOML{reason}"


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbfconcurrency = 3\r\n")
    assert Settings.load(file).concurrency == 3


def test_every_problem_of_every_source_is_in_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text('concurrency = "many"\nshard = "3/2"')
    monkeypatch.setenv("POOLCENSUS_PAGE_SIZE", "26")
    lines = fails(file, regions="eu-wst-1", log_level="loud")
    assert lines[:4] == [
        'POOLCENSUS_PAGE_SIZE: "26" must be a whole number from 1 to 25',
        f'{file}: concurrency: "many" must be a whole number from 1 to 4096',
        f'{file}: shard: "3/2" must be I/N with I from 1 to N, such as 1/4',
        'log_level: "loud" must be one of debug, info, warning, error',
    ]
    assert lines[4].startswith(
        'regions: "eu-wst-1" is not a region. Did you mean eu-west-1? A region that is newer'
    )
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("us-est-1", "us-east-1"),
        ("us-esat-1", "us-east-1"),
        ("us-west", "us-west-2"),
        # Nearer than any that has WorkSpaces.
        ("eu-nroth-1", "eu-north-1"),
    ],
)
def test_of_regions_that_are_equally_near_one_with_workspaces_is_suggested(word: str, meant: str) -> None:
    for key in ("regions", "exclude_regions"):
        (line,) = fails(**{key: word})
        assert f"Did you mean {meant}?" in line


def test_an_option_is_named_as_it_was_typed() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"page_size": "0"}, option_names={"page_size": "--page-size"})
    assert str(caught.value) == '--page-size: "0" must be a whole number from 1 to 25'


def test_a_value_that_a_stronger_source_replaces_is_not_complained_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOLCENSUS_CONCURRENCY", "many")
    assert Settings.load(concurrency=3).concurrency == 3


def test_a_secret_is_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID", "se cret")
    monkeypatch.setenv("POOLCENSUS_ENDPOINT_URL", "https://user:se-cret@example.com")
    text = "\n".join(fails())
    assert "POOLCENSUS_EXTERNAL_ID" in text
    assert "POOLCENSUS_ENDPOINT_URL" in text
    assert "cret" not in text
    loaded = Settings.load(external_id="a-secret", endpoint_url="http://127.0.0.1:1")
    assert "a-secret" not in f"{loaded!r} {loaded} {loaded.request()} {msgspec.structs.asdict(loaded)}"
    assert loaded.external_id is not None
    assert loaded.external_id.get_secret_value() == "a-secret"


def test_control_characters_of_a_wrong_value_reach_no_terminal() -> None:
    (line,) = fails(accounts="\x1b]0;owned\x07")
    assert line.isprintable()


@pytest.mark.parametrize(
    "variable",
    [
        "PORT",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTPS",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "PORT_80_TCP_PORT",
        "PORT_80_TCP_PROTO",
        "PORT_53_UDP",
        "WEB_SERVICE_HOST",
        "WEB_PORT_8080_TCP_PROTO",
        "NAME",
        "ENV_PATH",
    ],
)
def test_what_a_container_platform_sets_for_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(f"POOLCENSUS_{variable}", "tcp://10.0.0.1:80")
    assert load_settings() == Settings()


@pytest.mark.parametrize("variable", ["POOLCENSUS_CONFIGG", "POOLCENSUS_Config", "POOLCENSUS_CONFIG_FILE"])
def test_the_variable_that_names_the_file_is_known_too(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "x")
    assert fails() == [f"Unknown environment variable {variable}. Did you mean POOLCENSUS_CONFIG?"]


@pytest.mark.parametrize(
    "variable", ["PORTS", "SERVICE", "PORT_80", "SERVICE_HOSTS", "EXPORT", "NAMES", "ENVIRONMENT"]
)
def test_what_only_looks_like_it_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(f"POOLCENSUS_{variable}", "x")
    with pytest.raises(SettingsError, match=f"Unknown environment variable POOLCENSUS_{variable}"):
        load_settings()


def test_what_ranks_higher_takes_the_place_of_the_other_way_to_set_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "arn:{partition}:iam::{account_id}:role/OfTheFile"
    file = tmp_path / "poolcensus.toml"
    file.write_text(f'role_arn = "{template}"\nexternal_id_file = "/etc/id"\n', encoding="utf-8")
    assert Settings.load(file).role_arn == template
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID", "of-the-environment")
    found = Settings.load(file, role_name="OfTheOption")
    assert (found.role_name, found.role_arn, found.external_id_file) == ("OfTheOption", None, None)
    assert found.external_id == Secret("of-the-environment")
    # In one source, nobody can tell which is meant.
    with pytest.raises(SettingsError, match="excludes `role_name`"):
        Settings.load(file, role_name="OfTheOption", role_arn=template)


ONE = "000000000001"
TEMPLATE = "arn:aws:iam::{account_id}:role/Foo"


@pytest.mark.parametrize(
    ("lower", "higher", "gone"),
    [
        ({"role_arn": TEMPLATE}, {"role_name": "PoolCensusReader"}, "role_arn"),
        ({"role_arn": TEMPLATE}, {"role_name": "Other"}, "role_arn"),
        ({"role_name": "Foo"}, {"role_arn": TEMPLATE}, "role_name"),
        ({"external_id_file": "f"}, {"external_id": "abcd"}, "external_id_file"),
        ({"external_id": "abcd"}, {"external_id_file": "f"}, "external_id"),
        ({"engine": "dask", "scheduler": "tls://x:1"}, {"engine": "local"}, "scheduler"),
        ({"engine": "dask", "workers": "2"}, {"engine": "local"}, "workers"),
        ({"engine": "dask", "workers": "2"}, {"scheduler": "tls://x:1"}, "workers"),
        ({"s3_encryption": "AES256"}, {"s3_kms_key": "alias/census"}, "s3_encryption"),
        ({"s3_kms_key": "alias/census"}, {"s3_encryption": "AES256"}, "s3_kms_key"),
    ],
)
def test_each_source_outranks_the_other_ways_of_all_below_it(
    tmp_path: Path, lower: dict[str, str], higher: dict[str, str], gone: str
) -> None:
    file, empty = tmp_path / "poolcensus.toml", tmp_path / "empty.toml"
    file.write_text("".join(f"{key} = {value!r}\n" for key, value in lower.items()), encoding="utf-8")
    empty.touch()
    environment = [
        {f"POOLCENSUS_{key.upper()}": value for key, value in each.items()} for each in (lower, higher)
    ]
    expected = Settings(**{key: value for key, value in (lower | higher).items() if key != gone})  # type: ignore[arg-type]
    assert Settings.load(file, **higher) == expected
    with mock.patch.dict(os.environ, environment[1]):
        assert Settings.load(file) == expected
    with mock.patch.dict(os.environ, environment[0]):
        assert Settings.load(empty, **higher) == expected


def test_what_excludes_another_in_one_source_does_so_whatever_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"role_arn": "--role-arn", "role_name": "--role-name"}
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"role_arn": TEMPLATE, "role_name": "PoolCensusReader"}, option_names=flags)
    assert str(caught.value) == "--role-arn excludes --role-name: set only one of them"
    file = tmp_path / "poolcensus.toml"
    file.write_text(f'role_arn = "{TEMPLATE}"\nrole_name = "PoolCensusReader"\n', encoding="utf-8")
    assert fails(file) == [f"{file}: role_arn excludes role_name in {file}: set only one of them"]
    assert Settings.load(file, role_name="Other").role_arn is None
    file.write_text(
        f'[[organization]]\nname = "a"\nrole_arn = "{TEMPLATE}"\nrole_name = "PoolCensusReader"\n',
        encoding="utf-8",
    )
    assert fails(file) == [f'{file}: organization: "a": role_arn excludes role_name: set only one of them']
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID", "hush-hush")
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID_FILE", "f")
    file.write_text("", encoding="utf-8")
    assert fails(file) == [
        "POOLCENSUS_EXTERNAL_ID_FILE excludes POOLCENSUS_EXTERNAL_ID: set only one of them"
    ]


def test_settings_that_clash_are_named_by_the_places_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "poolcensus.toml"
    file.write_text(f'exclude_accounts = ["{ONE}"]\n', encoding="utf-8")
    monkeypatch.setenv("POOLCENSUS_WORKERS", "2")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {"accounts": ONE}, option_names={"accounts": "--accounts"})
    assert str(caught.value).splitlines() == [
        f"{file}: exclude_accounts: account {ONE} is both in --accounts and in exclude_accounts in {file}",
        "POOLCENSUS_WORKERS: needs `engine` to be dask",
    ]
    monkeypatch.setenv("POOLCENSUS_ENGINE", "local")
    monkeypatch.setenv("POOLCENSUS_EXCLUDE_ACCOUNTS", "000000000002")
    assert fails(file) == ["POOLCENSUS_WORKERS: needs POOLCENSUS_ENGINE to be dask"]


def test_where_accounts_come_from_is_said_once_by_each_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path | None = None, **given: str | tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
        flags = {key: f"--{key.replace('_', '-')}" for key in given}
        found = load_settings(path, given, option_names=flags)
        listed = found.accounts_snapshot
        return found.accounts_from, None if listed is None else str(listed)

    for sources in (("self",), ("self", "own.csv"), "own.csv , self"):
        with pytest.raises(SettingsError) as caught:
            load(accounts_snapshot="acc.json", accounts_from=sources)
        assert str(caught.value) == "--accounts-snapshot excludes --accounts-from: set only one of them"
    # Files say how the accounts of the list are called, and the default says nothing.
    for others in (("organization",), ("own.csv",), ("organization", "own.csv")):
        assert load(accounts_snapshot="acc.json", accounts_from=others) == (others, "acc.json")
    assert load(accounts_snapshot="acc.json", accounts_from=()) == (("organization",), "acc.json")
    file = tmp_path / "poolcensus.toml"
    file.write_text('accounts_snapshot = "acc.json"\n', encoding="utf-8")
    for source in ("self", "organization", "one.txt"):
        assert load(file, accounts_from=(source,)) == ((source,), None)
    # An empty list undoes a list, and a list of accounts is none of those.
    assert load(file, accounts_from=()) == (("organization",), "acc.json")
    # What the file names beside the caller says how accounts are called, in a list as well.
    file.write_text('accounts_from = ["self", "own.csv"]\n', encoding="utf-8")
    assert load(file, accounts_snapshot="acc.json") == (("own.csv",), "acc.json")
    monkeypatch.setenv("POOLCENSUS_ACCOUNTS_SNAPSHOT", "acc.json")
    assert load(file) == (("own.csv",), "acc.json")
    assert load(file, accounts_from=("self",)) == (("self",), None)
    monkeypatch.setenv("POOLCENSUS_ACCOUNTS_FROM", "self")
    with pytest.raises(
        SettingsError, match="^POOLCENSUS_ACCOUNTS_SNAPSHOT excludes POOLCENSUS_ACCOUNTS_FROM"
    ):
        load()
    assert load(accounts_snapshot="other.json") == (("organization",), "other.json")
