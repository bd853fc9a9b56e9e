"""Which certificates are trusted."""

from __future__ import annotations

import ssl

import anyio
from anyio import to_thread

from poolcensus.errors import FatalError, SettingsError
from poolcensus.paths import is_folder

# A disk takes milliseconds, and a file system of the network that is gone takes for ever.
_LONGEST_READ = 60.0


async def load_trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return what `trusting` returns, from a thread.

    Raises a FatalError where the files can't be read, also where their disk does not answer.
    """
    with anyio.move_on_after(_LONGEST_READ):
        return await to_thread.run_sync(trusting, ca_bundle, abandon_on_cancel=True)
    what = "The system's CA certificates" if ca_bundle is None else f"The CA bundle {ca_bundle}"
    raise FatalError(f"{what} could not be read within {_LONGEST_READ:g} s.")


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file or folder, and checks names.

    Blocks for 20 to 40 ms.

    Raises SettingsError where they can't be read.
    """
    try:
        if ca_bundle is not None and is_folder(ca_bundle):
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"The CA bundle {ca_bundle} can't be read: {why}."
            " Correct AWS_CA_BUNDLE, ca_bundle in the profile, or REQUESTS_CA_BUNDLE."
        ) from None
