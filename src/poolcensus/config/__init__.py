"""The settings of a census. Only this package reads settings from TOML and POOLCENSUS_* variables."""

from __future__ import annotations

from poolcensus.config.problems import InvalidSettingsError, SettingProblem
from poolcensus.config.settings import Settings, load_settings, load_with_places
from poolcensus.config.values import (
    FailureBudget,
    FilterOperator,
    LogFormat,
    LogLevel,
    PoolFilter,
    ProgressMode,
    RegionStatusSource,
    S3Encryption,
    Secret,
    TransportKind,
)

__all__ = [
    "FailureBudget",
    "FilterOperator",
    "InvalidSettingsError",
    "LogFormat",
    "LogLevel",
    "PoolFilter",
    "ProgressMode",
    "RegionStatusSource",
    "S3Encryption",
    "Secret",
    "SettingProblem",
    "Settings",
    "TransportKind",
    "load_settings",
    "load_with_places",
]
