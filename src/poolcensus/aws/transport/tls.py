"""The trusted certificates."""

from __future__ import annotations

import ssl

import anyio

from poolcensus.aws.key_log import wrong_key_log
from poolcensus.errors import FatalError, SettingsError
from poolcensus.flow.singleflight import SingleFlight
from poolcensus.loops import in_thread
from poolcensus.paths import is_folder

# Seconds. A disk takes milliseconds, and a network file system that is gone hangs.
_LONGEST_READ = 60.0


class Trust:
    """The certificates in a file or folder, or the system's. They are loaded once, when they are needed."""

    def __init__(self, ca_bundle: str | None) -> None:
        self._ca_bundle = ca_bundle
        self._context: ssl.SSLContext | None = None
        self._flights: SingleFlight[str, ssl.SSLContext] = SingleFlight()

    async def context(self) -> ssl.SSLContext:
        """Return the TLS context. Raises a FatalError if the files can't be read within a minute."""
        if self._context is None:
            self._context = await self._flights.run("context", self._load)
        return self._context

    async def _load(self) -> ssl.SSLContext:
        with anyio.move_on_after(_LONGEST_READ):
            return await in_thread(trusting, self._ca_bundle)
        bundle = self._ca_bundle
        what = "The system's CA certificates" if bundle is None else f"The CA bundle {bundle}"
        raise FatalError(f"{what} could not be read within {_LONGEST_READ:g} s.")


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates in a file or folder, and checks host names.

    Blocks for 20 to 40 ms. Raises SettingsError if the certificates can't be read, or the file of
    `SSLKEYLOGFILE` can't be written.
    """
    try:
        if ca_bundle is not None and is_folder(ca_bundle):
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ValueError) as error:
        if (wrong := wrong_key_log(error)) is not None:
            raise SettingsError(f"{wrong}.") from None
        why = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"The CA bundle {ca_bundle} can't be read: {why}."
            " Correct AWS_CA_BUNDLE, ca_bundle in the profile, or REQUESTS_CA_BUNDLE."
        ) from None
