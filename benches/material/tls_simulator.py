"""`poolcensus simulate` over TLS, with a certificate of an authority that is made for it.

It takes the file for the certificate of the authority, and then the arguments of `simulate`. Python's own TLS
encrypts in the simulator's event loop, so that the CPU time of the simulator includes the encryption.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from functools import partialmethod

import trustme

from poolcensus.cli import main
from poolcensus.simulator import Simulator


def serve_tls(authority_file: str) -> None:
    """Make every server of this process use TLS, and the simulator's URL say so."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authority_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    loops = asyncio.BaseEventLoop
    encrypted = partialmethod(loops.create_server, ssl=context)
    loops.create_server = encrypted  # type: ignore[method-assign, assignment]
    plain: property = vars(Simulator)["endpoint_url"]
    url = property(lambda self: plain.__get__(self).replace("http:", "https:"))
    Simulator.endpoint_url = url  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    serve_tls(sys.argv[1])
    sys.exit(main(["simulate", *sys.argv[2:]]))
