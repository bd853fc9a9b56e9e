"""Which certificates are trusted."""

from __future__ import annotations

import ssl
from pathlib import Path

from poolcensus.errors import SettingsError


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file or folder, and checks names.

    Blocks for 20 to 40 ms.

    Raises SettingsError where they can't be read.
    """
    try:
        if ca_bundle is not None and Path(ca_bundle).is_dir():
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"The CA bundle {ca_bundle} can't be read: {why}."
            " Correct AWS_CA_BUNDLE, ca_bundle in the profile, or REQUESTS_CA_BUNDLE."
        ) from None
