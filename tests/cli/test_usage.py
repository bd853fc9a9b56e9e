from __future__ import annotations

import pytest

from poolcensus.cli import COMMANDS, main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("collect --nope", 'Unknown option "--nope".'),
        ("diff --nope", 'Unknown option "--nope".'),
        ("simulate --policy x", 'Unknown option "--policy".'),
        ("simulate --until-eo", 'Unknown option "--until-eo".'),
        ("collect -x", 'Unknown option "-x".'),
        ("collect --\x1b[2J", r'Unknown option "--\x1b[2J".'),
        ("doctor --hel", 'Unknown option "--hel". Did you mean --help?'),
        ("collect --destt x", 'Unknown option "--destt". Did you mean --dest?'),
        (
            "plan --exclude_acounts=1",
            'Unknown option "--exclude_acounts". Did you mean --exclude-accounts?',
        ),
        ("collect --no-stric", 'Unknown option "--no-stric". Did you mean --no-strict?'),
        ("show --jso", 'Unknown option "--jso". Did you mean --json?'),
        ("--versoin", 'Unknown option "--versoin". Did you mean --version?'),
    ],
)
def test_an_unknown_option_names_one_that_is_close(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"poolcensus: {said}"
    assert second.startswith("poolcensus: see 'poolcensus")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_like_no_option_has_no_suggestion(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--xyzzy"]) == 2
    assert capsys.readouterr().err.startswith('poolcensus: Unknown option "--xyzzy".\n')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("prune --keep-last x", '--keep-last: "x" must be a whole number from 1'),
        ("prune --keep-daily 0", '--keep-daily: "0" must be a whole number from 1'),
        ("prune --keep-monthly --dry-run", '--keep-monthly: "--dry-run" must be a whole number from 1'),
        ("completion csh", "SHELL: 'csh' is not one of 'bash', 'zsh', 'fish'."),
        ("query --format xml x", "--format: 'xml' is not one of 'table', 'json', 'csv', 'parquet'."),
        ("simulate --port 8.5", '--port: "8.5" must be a whole number'),
        ("simulate --clock-offset x", '--clock-offset: "x" must be a number'),
        ("simulate --slow-factor x\x1b[2J", r'--slow-factor: "x\x1b[2J" must be a number'),
    ],
)
def test_a_wrong_value_is_named_with_its_option_and_what_it_must_be(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"poolcensus: {said}"
