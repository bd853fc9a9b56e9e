"""The sources of credentials in the SDK's chain other than profiles: their names and advice on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from botocore.credentials import (
    AssumeRoleWithWebIdentityProvider,
    ContainerProvider,
    EnvProvider,
    InstanceMetadataProvider,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Source(NamedTuple):
    """A source other than a profile: its name, and the advice if it fails, or if a role is refused."""

    name: str
    check: str
    check_role: str


_CHECK_ROLE: Final = " Check AWS_ROLE_ARN and the role's trust policy."
_ENVIRONMENT: Final = Source(
    "the environment", " Set AWS_ACCESS_KEY_ID and the variables that belong to it anew.", _CHECK_ROLE
)
_INSTANCE: Final = Source("the instance metadata service", " Check the role of the instance.", _CHECK_ROLE)
# The variables that name a source, by the provider that reads them. It uses the first one that is set.
_VARIABLES: Final[Mapping[object, tuple[str, ...]]] = {
    ContainerProvider.METHOD: (ContainerProvider.ENV_VAR, ContainerProvider.ENV_VAR_FULL),
    AssumeRoleWithWebIdentityProvider.METHOD: ("AWS_WEB_IDENTITY_TOKEN_FILE",),
}


def source_of(
    error: Exception, method: str | None, sections: Iterable[Mapping[str, object]], *, names_profile: bool
) -> Source | None:
    """Return the source that has failed, or None for a profile.

    `method` is the SDK's name of the provider that found credentials, if any did. `sections` are those of the
    profile and its source profiles. `names_profile` is whether the profile was given other than by
    AWS_PROFILE.
    """
    provider = getattr(error, "kwargs", {}).get("provider") or method
    if provider == EnvProvider.METHOD:
        return _ENVIRONMENT
    if any("credential_source" in each for each in sections):
        return None
    if provider == InstanceMetadataProvider.METHOD:
        return _INSTANCE
    if provider == AssumeRoleWithWebIdentityProvider.METHOD and names_profile:
        # The SDK ignores the variable then.
        return None
    token_file = os.environ.get(ContainerProvider.ENV_VAR_AUTH_TOKEN_FILE)
    if isinstance(error, OSError) and token_file is not None and error.filename == token_file:
        provider = ContainerProvider.METHOD
    for name in _VARIABLES.get(provider, ()):
        if name in os.environ:
            return Source(name, f" Check {name} and the variables that belong to it.", _CHECK_ROLE)
    return None
