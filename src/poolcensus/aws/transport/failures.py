"""Turns the system's errors of connections into the project's, for all transports."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import sys

from poolcensus.errors import (
    CallError,
    LocalLimit,
    LocalLimitError,
    NoReply,
    NoRouteError,
    NoSuchNameError,
    UnreachableError,
)

_MOST_FILES = "kern.maxfiles" if sys.platform == "darwin" else "fs.file-max"
LIMITS = {
    errno.EMFILE: (LocalLimit.FILES, "this process has no file descriptor left (ulimit -n raises the limit)"),
    errno.ENFILE: (
        LocalLimit.FILES,
        f"this machine has no file descriptor left (sysctl {_MOST_FILES} raises it)",
    ),
    errno.ENOBUFS: (
        LocalLimit.OTHER,
        "this machine has no buffer left for it (a lower `concurrency` needs fewer)",
    ),
    errno.ENOMEM: (
        LocalLimit.OTHER,
        "this machine has no memory left for it (a lower `concurrency` needs less)",
    ),
    # Raised if no thread can be started to look up a name, and by connect().
    errno.EAGAIN: (
        LocalLimit.OTHER,
        "this machine has no thread or port left for it (a lower `concurrency` needs fewer)",
    ),
}
_NO_PORT = (LocalLimit.OTHER, "this machine has no port left for it (a lower `concurrency` needs fewer)")
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})


def failure_of(host: str, error: OSError) -> CallError:
    """Return the error for a failed connection.

    If the addresses of a host failed with different errors, one that is due to this machine takes precedence.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"no answer from {host}: its certificate is not trusted ({error.verify_message};"
            " AWS_CA_BUNDLE names the authorities that are)",
            code=NoReply.CERTIFICATE,
        )
    if isinstance(error, socket.gaierror):
        return _failure_of_name(host, error)
    # The errno of an SSLError is OpenSSL's, not the system's.
    numbers = set() if isinstance(error, ssl.SSLError) else _numbers(error)
    for number, (code, lack) in LIMITS.items():
        if number in numbers:
            return LocalLimitError(f"no connection to {host}: {lack}", code=code)
    if numbers == {errno.EADDRNOTAVAIL}:
        code, lack = _NO_PORT
        return LocalLimitError(f"no connection to {host}: {lack}", code=code)
    why = ", ".join(os.strerror(number) for number in sorted(numbers))
    # If IPv6 is disabled, its addresses fail with EADDRNOTAVAIL. The other addresses decide then.
    if numbers and numbers <= _NO_ROUTE | {errno.EADDRNOTAVAIL}:
        return NoRouteError(f"no answer from {host}: {why}", code=NoReply.NO_ROUTE)
    why = why or error.strerror or str(error) or type(error).__name__
    # If the connection ends during the handshake, that is not an error of TLS.
    is_tls = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
    return UnreachableError(f"no answer from {host}: {why}", code=NoReply.TLS if is_tls else NoReply.CONNECT)


def _failure_of_name(host: str, error: socket.gaierror) -> CallError:
    lack = OSError(errno.ENOMEM, "") if error.errno == socket.EAI_MEMORY else _lack()
    if lack is not None:
        return failure_of(host, lack)
    # The SDK's rules form such names for every service and region, but AWS does not offer all of them.
    # WorkSpaces has few:
    # https://docs.aws.amazon.com/general/latest/gr/wsp.html
    hint = (
        "; AWS may have no FIPS endpoint there, and no other is called while AWS_USE_FIPS_ENDPOINT is set, or"
        " with a region such as fips-us-east-1"
        if "-fips." in host
        else "; AWS may have no dual-stack endpoint there, which AWS_USE_DUALSTACK_ENDPOINT asks for"
        if host.endswith((".api.aws", ".api.amazonwebservices.com.cn"))
        else ""
    )
    # On macOS the code is the same if no name server can be reached.
    is_known = error.errno == socket.EAI_NONAME and sys.platform != "darwin"
    kind = NoSuchNameError if is_known else UnreachableError
    return kind(f"no answer from {host}: the name does not resolve{hint}", code=NoReply.NAME)


def _lack() -> OSError | None:
    """Return the error of making a socket, or None. A lookup without a socket may report an unknown name."""
    try:
        with socket.socket():
            return None
    except OSError as error:
        return error


def _numbers(error: OSError) -> set[int]:
    if error.errno is not None:
        return {error.errno}
    # asyncio joins the errors of several addresses in the text of an error without errno.
    return {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
