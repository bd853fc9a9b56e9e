from __future__ import annotations

import re
from pathlib import Path

from poolcensus.config import Settings
from poolcensus.config.entries import SETTINGS

EXAMPLE = Path(__file__).parents[2] / "config" / "poolcensus.example.toml"
KEY = re.compile(r"^#(\w+) = ", re.MULTILINE)


def test_the_example_changes_nothing_as_it_is() -> None:
    assert Settings.load(EXAMPLE) == Settings()


def test_every_key_is_in_the_example_once_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert KEY.findall(text) == list(SETTINGS)
    uncommented = tmp_path / "all.toml"
    whole = KEY.sub(r"\1 = ", text)
    # Others exclude these, or they need another engine: they are read apart.
    apart = {
        key: re.findall(rf"(?m)^{key} = .*\n", whole)[0]
        for key in ("accounts_snapshot", "role_arn", "external_id_file", "scheduler", "workers")
    }
    for line in apart.values():
        whole = whole.replace(line, "")
    uncommented.write_text(whole, encoding="utf-8")
    loaded = Settings.load(uncommented)
    defaults = Settings()
    for key in SETTINGS:
        name = "json_output" if key == "json" else key
        if key == "external_id":
            continue
        if key in apart:
            uncommented.write_text(f'engine = "dask"\n{apart[key]}', encoding="utf-8")
            assert getattr(Settings.load(uncommented), name) is not None
        elif (default := getattr(defaults, name)) is None:
            assert getattr(loaded, name) is not None
        else:
            assert getattr(loaded, name) == default


def test_a_default_is_told_or_there_is_none() -> None:
    paragraphs = " ".join(EXAMPLE.read_text(encoding="utf-8").replace("\n# ", " ").split(" ")).splitlines()
    assert not [each for each in paragraphs if "Default:" in each and "No default." in each]


def test_the_comment_above_each_key_says_what_its_help_says() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    wrong = {}
    for key, entry in SETTINGS.items():
        before, _, _ = text.partition(f"\n#{key} = ")
        comment = " ".join(line.removeprefix("# ") for line in before.rpartition("\n\n")[2].splitlines())
        if not entry.description or not comment.startswith(entry.description):
            wrong[key] = comment
    assert not wrong
