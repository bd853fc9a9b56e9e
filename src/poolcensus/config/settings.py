"""The settings of a census: read from every source, each by itself and then side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from poolcensus.config import readers, sources
from poolcensus.config.clashes import clashes
from poolcensus.config.cluster import EngineKind
from poolcensus.config.entries import SETTINGS, Entries
from poolcensus.config.problems import Clash, InvalidSettingsError, SettingProblem
from poolcensus.config.readers import EntryError
from poolcensus.config.request import request_of
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from poolcensus.config.organizations import OrganizationTable
    from poolcensus.model import JsonObject

# Two ways to set the same thing: one of higher rank takes the place of the other.
_IN_PLACE_OF: Mapping[str, tuple[str, ...]] = {
    "external_id": ("external_id_file",),
    "external_id_file": ("external_id",),
    "role_arn": ("role_name",),
    "role_name": ("role_arn",),
    "scheduler": ("workers",),
    "workers": ("scheduler",),
}


class Settings(Entries, frozen=True, kw_only=True):
    """What a census is asked to do, and how. Immutable; `load` reads it from every source.

    A value may be given as text too, in the form that it has in a file or a variable. Raises
    `InvalidSettingsError` with every problem.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **overrides: object) -> Settings:
        """Read the settings: `overrides` over POOLCENSUS_* variables over the TOML file over defaults.

        Without `path`, the file is the first of $POOLCENSUS_CONFIG, ./poolcensus.toml and
        poolcensus/config.toml in the user's configuration folder that exists. An override of None means
        "not given". Raises `SettingsError` with every problem, one a line.
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
                # The clashes between the values that are right are found in the same go.
                read = setting.default
            msgspec.structs.force_setattr(self, setting.name, read)
        bad = {each.key for each in problems}
        defaults = {setting.key: setting.default for setting in SETTINGS.values()}
        found = (*clashes(self, defaults), *self._clashes_of_tables())
        problems += (clash for clash in found if not clash.keys & bad)
        if problems:
            raise InvalidSettingsError(tuple(problems))

    def by_organization(self) -> Mapping[str | None, Settings]:
        """Return the settings of each Organization by name; these under None where there are no tables."""
        return {each.name: self.with_table(each) for each in self.organization} or {None: self}

    def with_table(self, table: OrganizationTable) -> Settings:
        """Return the settings of one Organization: its table takes the place of what is set for the run."""
        own = dict(table.settings)
        others = {other: SETTINGS[other].default for name in own for other in _IN_PLACE_OF.get(name, ())}
        return msgspec.structs.replace(self, organization=(), **{**others, **own})

    def request(self) -> JsonObject:
        """Return what was asked for (accounts, regions, pools), as the manifest keeps it. Holds no secret."""
        request = request_of(self)
        if self.organization:
            own = self.by_organization().items()
            request["organizations"] = [{"name": name, **request_of(each)} for name, each in own]
        return request

    def _clashes_of_tables(self) -> Iterator[Clash]:
        for table in self.organization:
            try:
                self.with_table(table)
            except InvalidSettingsError as error:
                own = {name for name, _ in table.settings}
                for each in error.problems:
                    # Others are those of the run's settings, which are told for themselves.
                    if isinstance(each, Clash) and each.keys & own:
                        message = f"{readers.shown(table.name)}: {each.key}: {each.message}"
                        yield Clash("organization", message, frozenset({"organization"}))


def _complaint(value: object, error: ValueError) -> str:
    return str(error) if isinstance(error, EntryError) else f"{readers.shown(value)} {error}"


def _in_place_of_cluster(given: Mapping[str, sources.Given]) -> Mapping[str, tuple[str, ...]]:
    """Return what has no meaning any more where the local engine is asked for."""
    engine = given.get("engine")
    return {"engine": ("scheduler", "workers")} if engine and engine.value == EngineKind.LOCAL else {}


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
    keys = {setting.name: key for key, setting in SETTINGS.items()}
    given, problems = sources.read(keys, path, overrides or {}, option_names or {}, ambient=ambient)
    sources.outrank_file(given, "organization", {**_IN_PLACE_OF, **_in_place_of_cluster(given)})
    try:
        settings = Settings(**{SETTINGS[key].name: each.value for key, each in given.items()})  # type: ignore[arg-type] # each was read by its setting
    except InvalidSettingsError as error:
        # Defaults are right, also beside others: every key that is named was given.
        problems += (each.at(given[each.key].place) for each in error.problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
