"""Handles a pseudo-region in the configuration, such as fips-us-east-1, which requests FIPS endpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.aws.sdk.chain import Session


def set_region(session: Session) -> None:
    """Set the region of a session to the configured one, if there is one.

    For a pseudo-region such as fips-us-east-1, set us-east-1 and turn on FIPS endpoints. The SDK's clients do
    this only for the region that they are created with.
    """
    # botocore does not read AWS_REGION, which takes precedence in the AWS CLI:
    # https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
    found = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not isinstance(found, str):
        return
    # https://github.com/boto/botocore/blob/1.40.61/botocore/client.py#L207
    region = found.replace("fips-", "").replace("-fips", "")
    if region not in {"", found}:
        session.set_config_variable("use_fips_endpoint", True)
    session.set_config_variable("region", region or found)
