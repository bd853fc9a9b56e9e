"""The settings of a census. They are read from every source, first each on its own, then checked together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import msgspec

from poolcensus.config import readers, sources
from poolcensus.config.clashes import ALTERNATIVES, EXCLUSIVE, clashes
from poolcensus.config.cluster import EngineKind
from poolcensus.config.entries import SETTINGS, Entries
from poolcensus.config.narrowing import NARROWING, REGIONS
from poolcensus.config.problems import Clash, InvalidSettingsError, SettingProblem
from poolcensus.config.readers import EntryError
from poolcensus.config.request import request_of
from poolcensus.config.values import S3Encryption
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from poolcensus.config.organizations import OrganizationTable
    from poolcensus.model import JsonObject

_IN_PLACE_OF: Mapping[str, tuple[str, ...]] = {
    key: (other,) for one, two in ALTERNATIVES for key, other in ((one, two), (two, one))
}
_SETTING = re.compile(r"`([a-z0-9_]+)`")


class Settings(Entries, frozen=True, kw_only=True):
    """The settings of a census. Immutable. Use `load` to read them from all sources.

    A value may also be given as text, in the form that it has in a file or a variable. `file_mode` and
    `folder_mode` have to be. Type checkers accept text only in `load`. Raises `InvalidSettingsError` with
    every problem, and TypeError for an unknown name.
    """

    _no_clash: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **overrides: object) -> Settings:
        """Read the settings from all sources: the TOML file, then POOLCENSUS_* variables, then `overrides`.

        A later source takes precedence. Without `path`, the file is the first that exists of
        $POOLCENSUS_CONFIG, ./poolcensus.toml and poolcensus/config.toml in the user's configuration folder.
        An override of None means "not given". Raises `SettingsError` with a line for each problem.
        """
        return load_settings(path, overrides)

    def __post_init__(self) -> None:
        problems: list[SettingProblem] = []
        for setting in SETTINGS.values():
            value = getattr(self, setting.name)
            if value is setting.default:
                continue
            try:
                read = setting.read(value)
            except ValueError as error:
                problems.append(SettingProblem(setting.key, _complaint(value, error)))
                # Go on with the default, so that clashes between valid values are reported as well.
                read = setting.default
            msgspec.structs.force_setattr(self, setting.name, read)
        bad = {each.key for each in problems}
        defaults = {setting.key: setting.default for setting in SETTINGS.values()}
        found = (*clashes(self, defaults), *self._clashes_of_tables())
        problems += (clash for clash in found if not clash.keys & bad and clash.keys != self._no_clash)
        if problems:
            raise InvalidSettingsError(tuple(problems))

    def by_organization(self) -> Mapping[str | None, Settings]:
        """Return the settings of each Organization by name. Without tables, return these under None."""
        return {each.name: self.with_table(each) for each in self.organization} or {None: self}

    def with_table(self, table: OrganizationTable) -> Settings:
        """Return the settings of one Organization, in which its table overrides the settings of the run."""
        own = dict(table.settings)
        others = {other: SETTINGS[other].default for name in own for other in _IN_PLACE_OF.get(name, ())}
        changes = {"organization": (), **others, **own}
        if "exclude_accounts" in own and "accounts" not in own:
            before = {name: getattr(self, name) for name in self.__struct_fields__}
            return _SettingsOfTable(**{**before, **changes})
        return msgspec.structs.replace(self, **changes)

    def narrowing_all(self, organization: str | None) -> frozenset[str]:
        """Return the settings outside the Organization's table that narrow its accounts and regions.

        They apply to the whole run, so the accounts that they name may be in another Organization. Empty if
        there are no tables.
        """
        own = {each.name: dict(each.settings) for each in self.organization}.get(str(organization))
        names = (*NARROWING, *REGIONS) if own is not None else ()
        return frozenset(each for each in names if each not in (own or ()) and getattr(self, each))

    @property
    def concurrent_runs(self) -> int:
        """The number of runs that share the caller: the shards of the census."""
        return 1 if self.shard is None else self.shard.count

    def request(self) -> JsonObject:
        """Return the choice of accounts, regions and pools, as the manifest keeps it. Contains no secret."""
        request = request_of(self)
        if self.organization:
            own = self.by_organization().items()
            request["organizations"] = [{"name": name, **request_of(each)} for name, each in own]
        return request

    def _clashes_of_tables(self) -> Iterator[Clash]:
        for table in self.organization:
            own = {name for name, _ in table.settings}
            both = [pair for pair in EXCLUSIVE if own.issuperset(pair)]
            for one, other in both:
                message = f"{readers.shown(table.name)}: {one} excludes {other}: set only one of them"
                yield Clash("organization", message, frozenset({"organization"}))
            try:
                self.with_table(table)
            except InvalidSettingsError as error:
                for each in error.problems:
                    # Problems that don't involve the table are reported for the run's settings.
                    if isinstance(each, Clash) and each.keys & own and each.keys not in map(frozenset, both):
                        # Settings of the table keep their names in the message: they are not options.
                        said = _in_words_of_table(each.message, own)
                        message = f"{readers.shown(table.name)}: {each.key}: {said}"
                        yield Clash("organization", message, frozenset({"organization", *each.keys - own}))


class _SettingsOfTable(Settings, frozen=True, kw_only=True):
    """Settings of an Organization whose table excludes accounts, while `accounts` is set for the run.

    An account may be in both: it belongs to another Organization.
    """

    _no_clash: ClassVar[frozenset[str]] = frozenset({"accounts", "exclude_accounts"})


def _in_words_of_table(message: str, own: AbstractSet[str]) -> str:
    """Return a message in which the settings of the table are not marked, and so not replaced by options."""
    return _SETTING.sub(lambda found: found[1] if found[1] in own else found[0], message)


def _complaint(value: object, error: ValueError) -> str:
    return str(error) if isinstance(error, EntryError) else f"{readers.shown(value)} {error}"


def _in_place_of_values(given: Mapping[str, sources.Given]) -> Mapping[str, tuple[str, ...]]:
    """Return settings that override others because of their value. A local engine overrides `scheduler`."""
    found: dict[str, tuple[str, ...]] = {}
    if (engine := given.get("engine")) and engine.value == EngineKind.LOCAL:
        found["engine"] = ("scheduler", "workers")
    # An empty list only resets `accounts_from`, and does not override another setting.
    if (sources_of_accounts := given.get("accounts_from")) and sources_of_accounts.value not in ((), [], ""):
        found["accounts_from"] = ("accounts_snapshot",)
    if (encryption := given.get("s3_encryption")) and encryption.value == S3Encryption.AES256:
        found |= {"s3_encryption": ("s3_kms_key",), "s3_kms_key": ("s3_encryption",)}
    return found


def _exclusive(given: dict[str, sources.Given]) -> Iterator[str]:
    """Yield a problem for two exclusive settings that come from the same source, and remove one of them.

    Their values don't matter: a default that is given was meant as well.
    """
    for one, other in EXCLUSIVE:
        if one not in given or other not in given or given[one].rank != given[other].rank:
            continue
        if one != "accounts_snapshot" or _names_the_caller(given[other].value):
            yield f"{given.pop(one).place} excludes {given[other].mention}: set only one of them"


def _names_the_caller(accounts_from: object) -> bool:
    """Return whether `accounts_from` has `self`. Files are no conflict: they say how accounts are called."""
    words = accounts_from.split(",") if isinstance(accounts_from, str) else accounts_from
    return isinstance(words, list | tuple) and "self" in {str(each).strip() for each in words}


def _placed(problem: SettingProblem, given: Mapping[str, sources.Given]) -> str:
    """Return the message of a problem, with the place of each setting that it mentions."""
    if isinstance(problem, Clash):
        named = {key: given[key].mention for key in problem.keys if key in given}
        message = _SETTING.sub(lambda found: named.get(found[1], found[0]), problem.message)
        problem = SettingProblem(problem.key, message)
    # The key was given by a source: defaults are valid, also in combination.
    return problem.at(given[problem.key].place)


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
    ambient: bool = True,
    undone: AbstractSet[str] = frozenset(),
) -> Settings:
    """Read the settings from all sources, as `Settings.load` does.

    `option_names` has the option of each override, for messages: `{"dest": "--dest"}`. Without `ambient`,
    neither a file nor the environment is read. The settings in `undone`, given by key, have their defaults,
    whatever the file and the environment say.
    """
    settings, _ = load_with_places(path, overrides, option_names=option_names, ambient=ambient, undone=undone)
    return settings


def load_with_places(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    option_names: Mapping[str, str] | None = None,
    ambient: bool = True,
    undone: AbstractSet[str] = frozenset(),
) -> tuple[Settings, Mapping[tuple[str | None, str], str]]:
    """Return the settings as `load_settings` does, and the place where each was given, for messages.

    The keys of the places are pairs: the name of the Organization whose table has the setting, or None, and
    the key of the setting.
    """
    keys = {setting.name: key for key, setting in SETTINGS.items()}
    given, problems = sources.read(
        keys, path, overrides or {}, option_names or {}, ambient=ambient, undone=undone
    )
    sources.outrank(given, "organization", {**_IN_PLACE_OF, **_in_place_of_values(given)}, undone)
    problems += _exclusive(given)
    try:
        settings = Settings(**{SETTINGS[key].name: each.value for key, each in given.items()})  # type: ignore[arg-type] # each was read by its setting
    except InvalidSettingsError as error:
        problems += (_placed(each, given) for each in error.problems)
    if problems:
        raise SettingsError(*problems)
    if settings.accounts_snapshot is not None and "self" in settings.accounts_from:
        # The list comes from a source with higher precedence. The manifest must not name the caller as a
        # source.
        others = tuple(each for each in settings.accounts_from if each != "self")
        settings = msgspec.structs.replace(settings, accounts_from=others)
    return settings, dict(_places(given, settings))


def _places(
    given: Mapping[str, sources.Given], settings: Settings
) -> Iterator[tuple[tuple[str | None, str], str]]:
    for key, each in given.items():
        yield (None, key), each.place
    for table in settings.organization:
        where = f"{given['organization'].place}: {readers.shown(table.name)}"
        yield from (((table.name, key), f"{where}: {key}") for key, _ in table.settings)
