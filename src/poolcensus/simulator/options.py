"""The simulator's options, flat and in text: what a command line offers, and the configuration they make."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

from poolcensus.simulator.faults import Fault, FaultKind
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.limits import Limits
from poolcensus.simulator.server import SimulatorConfig
from poolcensus.simulator.world import WorldConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OptionValue: TypeAlias = "bool | int | float | str | tuple[str, ...] | None"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `--name` with dashes for underscores.

    `type` is bool for a flag. An option with `multiple` may be given again and again, and is a tuple.
    """

    name: str
    type: type[bool | int | float | str]
    default: OptionValue
    help: str
    multiple: bool = False


def _text(default: OptionValue, name: str, text: str, *, multiple: bool = False) -> Option:
    return Option(name, str, default, text, multiple)


def _number(owner: type, name: str, kind: type[int | float | str | bool]) -> Option:
    found: Field[OptionValue] = next(each for each in fields(owner) if each.name == name)
    if found.default is MISSING:
        raise ValueError(name)
    return Option(name, kind, found.default, found.metadata["help"])


OPTIONS: tuple[Option, ...] = (
    _number(WorldConfig, "accounts", int),
    _number(WorldConfig, "seed", int),
    _number(SimulatorConfig, "host", str),
    _number(SimulatorConfig, "port", int),
    _number(WorldConfig, "partition", str),
    _text("", "regions", "regions that have WorkSpaces, with commas; empty: those of the partition"),
    _text("", "unsupported_regions", "regions without the operation, with commas"),
    _text("", "neutral_regions", "regions where Pools was never launched, with commas"),
    _number(WorldConfig, "mean_pools", float),
    _number(WorldConfig, "max_pools", int),
    _number(WorldConfig, "empty", float),
    _number(WorldConfig, "pools_per_target", int),
    _text((), "pool_count", "ACCOUNT/REGION=N: the pools of one account in one region", multiple=True),
    _number(WorldConfig, "page_size", int),
    _number(WorldConfig, "extra_fields", bool),
    _number(WorldConfig, "suspended", float),
    _number(WorldConfig, "scp_denied", float),
    _number(WorldConfig, "no_role", float),
    _number(WorldConfig, "access_denied", float),
    _number(WorldConfig, "opt_in_disabled", float),
    _number(WorldConfig, "not_entitled", float),
    _number(WorldConfig, "role_name", str),
    _number(WorldConfig, "external_id", str),
    _number(WorldConfig, "role_max_session", int),
    _number(WorldConfig, "cache_bytes", int),
    _text("none", "latency", "time of a call in milliseconds: 50, exponential:50, uniform:20-200, none"),
    _number(Latency, "slow_fraction", float),
    _number(Latency, "slow_factor", float),
    _number(Limits, "rate", float),
    _number(Limits, "slow_account", str),
    _number(Limits, "region_rate", float),
    _number(Limits, "burst", float),
    _number(Limits, "sts_rate", float),
    _number(Limits, "organizations_rate", float),
    _number(Limits, "account_rate", float),
    _number(Limits, "organizations_concurrency", int),
    _text(
        (),
        "fault",
        f"KIND[:PROBABILITY][,NAME=VALUE…], with names {', '.join(each.name for each in fields(Fault)[2:])}; "
        f"kinds {', '.join(FaultKind)}",
        multiple=True,
    ),
    _number(SimulatorConfig, "clock_offset", float),
    _number(SimulatorConfig, "signature_window", float),
    _number(SimulatorConfig, "session_seconds", float),
    _number(SimulatorConfig, "no_organization", bool),
    _number(SimulatorConfig, "empty_list_pages", bool),
    _number(SimulatorConfig, "refuse_list_regions", bool),
    _number(SimulatorConfig, "refuse_describe_regions", bool),
)


def configure(values: Mapping[str, OptionValue]) -> SimulatorConfig:
    """Return the configuration that the options make; what is not given has its default.

    Raises ValueError: a value can't be, or there is no such option.
    """
    unknown = sorted(set(values) - {option.name for option in OPTIONS})
    if unknown:
        raise ValueError(f"the simulator has no option {unknown[0]!r}")
    given = _Given({option.name: values.get(option.name, option.default) for option in OPTIONS})
    return SimulatorConfig(
        world=WorldConfig(
            accounts=given.count("accounts"),
            seed=given.count("seed"),
            partition=given.text("partition"),
            regions=_names(given.text("regions")),
            unsupported_regions=_names(given.text("unsupported_regions")),
            neutral_regions=_names(given.text("neutral_regions")),
            mean_pools=given.number("mean_pools"),
            max_pools=given.count("max_pools"),
            empty=given.number("empty"),
            pools_per_target=given.optional_count("pools_per_target"),
            pool_counts=dict(_pool_count(text) for text in given.texts("pool_count")),
            page_size=given.count("page_size"),
            extra_fields=given.flag("extra_fields"),
            suspended=given.number("suspended"),
            scp_denied=given.number("scp_denied"),
            no_role=given.number("no_role"),
            access_denied=given.number("access_denied"),
            opt_in_disabled=given.number("opt_in_disabled"),
            not_entitled=given.number("not_entitled"),
            role_name=given.text("role_name"),
            external_id=given.text("external_id") or None,
            role_max_session=given.count("role_max_session"),
            cache_bytes=given.count("cache_bytes"),
        ),
        latency=Latency.parse(
            given.text("latency"),
            slow_fraction=given.number("slow_fraction"),
            slow_factor=given.number("slow_factor"),
        ),
        limits=Limits(
            rate=given.optional_number("rate"),
            slow_account=given.text("slow_account") or None,
            region_rate=given.optional_number("region_rate"),
            burst=given.number("burst"),
            sts_rate=given.optional_number("sts_rate"),
            organizations_rate=given.optional_number("organizations_rate"),
            account_rate=given.optional_number("account_rate"),
            organizations_concurrency=given.optional_count("organizations_concurrency"),
        ),
        faults=tuple(Fault.parse(text) for text in given.texts("fault")),
        host=given.text("host"),
        port=given.count("port"),
        clock_offset=given.number("clock_offset"),
        signature_window=given.number("signature_window"),
        session_seconds=given.optional_number("session_seconds"),
        no_organization=given.flag("no_organization"),
        empty_list_pages=given.flag("empty_list_pages"),
        refuse_list_regions=given.flag("refuse_list_regions"),
        refuse_describe_regions=given.flag("refuse_describe_regions"),
    )


class _Given:
    """The values by name, each as the type that its field has."""

    def __init__(self, values: Mapping[str, OptionValue]) -> None:
        self._values = values

    def flag(self, name: str) -> bool:
        return bool(self._values[name])

    def text(self, name: str) -> str:
        value = self._values[name]
        return "" if value is None else str(value)

    def texts(self, name: str) -> Iterable[str]:
        value = self._values[name]
        return value if isinstance(value, tuple) else (str(value),)

    def count(self, name: str) -> int:
        value = self.optional_count(name)
        if value is None:
            raise ValueError(f"{name} must be a whole number")
        return value

    def number(self, name: str) -> float:
        value = self.optional_number(name)
        if value is None:
            raise ValueError(f"{name} must be a number")
        return value

    def optional_count(self, name: str) -> int | None:
        value = self._values[name]
        return None if value is None or isinstance(value, tuple) else int(value)

    def optional_number(self, name: str) -> float | None:
        value = self._values[name]
        return None if value is None or isinstance(value, tuple) else float(value)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pool_count(text: str) -> tuple[tuple[str, str], int]:
    place, equals, count = text.partition("=")
    account, slash, region = place.partition("/")
    if not (equals and slash and count.isdecimal()):
        raise ValueError(f"{text!r} is not ACCOUNT/REGION=N")
    return (account, region), int(count)
