"""The sources of the SDK's credential chain that are no profile: what they are called, and what to check."""

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
    """A source that is no profile: its name, and what to do where it fails, or refuses a role."""

    name: str
    check: str
    check_role: str


_CHECK_ROLE: Final = " Check AWS_ROLE_ARN and the role's trust policy."
_ENVIRONMENT: Final = Source(
    "the environment", " Set AWS_ACCESS_KEY_ID and the variables that belong to it anew.", _CHECK_ROLE
)
_INSTANCE: Final = Source("the instance metadata service", " Check the role of the instance.", _CHECK_ROLE)
# The variables that name one, by the provider that reads them: it takes the first that is set.
_VARIABLES: Final[Mapping[object, tuple[str, ...]]] = {
    ContainerProvider.METHOD: (ContainerProvider.ENV_VAR, ContainerProvider.ENV_VAR_FULL),
    AssumeRoleWithWebIdentityProvider.METHOD: ("AWS_WEB_IDENTITY_TOKEN_FILE",),
}


def source_of(
    error: Exception, method: str | None, sections: Iterable[Mapping[str, object]], *, names_profile: bool
) -> Source | None:
    """Return the source that has failed; None for a profile.

    `method` is that of the credentials, if some were found. `sections` are the profile and those that its
    role is assumed from, and `names_profile` says that its name was given other than by AWS_PROFILE.
    """
    provider = getattr(error, "kwargs", {}).get("provider") or method
    if provider == EnvProvider.METHOD:
        return _ENVIRONMENT
    if any("credential_source" in each for each in sections):
        return None
    if provider == InstanceMetadataProvider.METHOD:
        return _INSTANCE
    if provider == AssumeRoleWithWebIdentityProvider.METHOD and names_profile:
        # The SDK passes over the variable.
        return None
    token_file = os.environ.get(ContainerProvider.ENV_VAR_AUTH_TOKEN_FILE)
    if isinstance(error, OSError) and token_file is not None and error.filename == token_file:
        provider = ContainerProvider.METHOD
    for name in _VARIABLES.get(provider, ()):
        if name in os.environ:
            return Source(name, f" Check {name} and the variables that belong to it.", _CHECK_ROLE)
    return None
