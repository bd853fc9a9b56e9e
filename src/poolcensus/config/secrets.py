"""Removes secrets from settings that are sent to workers, and adds them again there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.config.values import Secret
from poolcensus.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.config.settings import Settings

# Passes the secrets of each Organization to worker processes on this machine.
VARIABLE: Final = "_POOLCENSUS_SECRETS"
_EXTERNAL_ID: Final = "external_id"
_EXTERNAL_ID_VARIABLE: Final = "POOLCENSUS_EXTERNAL_ID"


def without_secrets(settings: Settings) -> tuple[Settings, Mapping[str, str]]:
    """Return the settings of one Organization without secrets, and the secrets by name."""
    secrets: dict[str, str] = {}
    if settings.external_id is not None:
        secrets[_EXTERNAL_ID] = settings.external_id.get_secret_value()
    for hub in settings.role_chain:
        if hub.external_id is not None:
            secrets[_of_hub(hub.role_arn)] = hub.external_id.get_secret_value()
    chain = tuple(msgspec.structs.replace(hub, external_id=None) for hub in settings.role_chain)
    return msgspec.structs.replace(settings, external_id=None, role_chain=chain), secrets


def environment_of(organizations: Mapping[str | None, Mapping[str, str]]) -> dict[str, str]:
    """Return environment variables with the secrets of each Organization, for processes on this machine."""
    return {VARIABLE: json.dumps({name or "": secrets for name, secrets in organizations.items()})}


def with_secrets(
    settings: Settings, names: tuple[str, ...], organization: str | None, environment: Mapping[str, str]
) -> Settings:
    """Return the settings with the named secrets added, which are taken from a worker's environment.

    Raises CredentialsError if one is missing there.
    """
    if not names:
        return settings
    found = _secrets_in(environment, organization)
    if missing := [name for name in names if name not in found]:
        raise CredentialsError(
            f"it lacks {', '.join(missing)}, and secrets are never sent to workers. Set"
            f" {_EXTERNAL_ID_VARIABLE} on each of them, or `external_id_file` to a file that they all have."
        )
    chain = tuple(
        msgspec.structs.replace(hub, external_id=Secret(found[name]))
        if (name := _of_hub(hub.role_arn)) in names
        else hub
        for hub in settings.role_chain
    )
    own = Secret(found[_EXTERNAL_ID]) if _EXTERNAL_ID in names else None
    return msgspec.structs.replace(settings, external_id=own, role_chain=chain)


def _secrets_in(environment: Mapping[str, str], organization: str | None) -> Mapping[str, str]:
    if (text := environment.get(VARIABLE)) is not None:
        secrets: dict[str, dict[str, str]] = json.loads(text)
        return secrets.get(organization or "", {})
    own = environment.get(_EXTERNAL_ID_VARIABLE)
    return {} if own is None else {_EXTERNAL_ID: own}


def _of_hub(role_arn: str) -> str:
    return f"role_chain ({role_arn})"
