"""Runs a profile's `credential_process`, and explains its failures.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
"""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, cast

import dateutil.parser
from botocore.compat import compat_shell_split
from botocore.credentials import ProcessProvider

from poolcensus.errors import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Seconds. Less than the time limit of the whole chain, so that a program that hangs is ended. If the run ends
# before that, the program continues.
_LONGEST_PROCESS = 100.0
# How many characters of a program's error message are shown.
_LONGEST_COMPLAINT = 200


class ChainFailure(Exception):  # noqa: N818 - a part of a sentence, and not the sentence
    """The reason why there are no credentials, as a clause without secrets."""


class ProcessWithReasons(ProcessProvider):  # type: ignore[misc] # botocore has no types
    """The SDK's provider for `credential_process`, which raises ChainFailure for each failure."""

    @classmethod
    def of(cls, provider: ProcessProvider) -> Self:
        """Return a copy of the SDK's provider as an instance of this class."""
        made = cls.__new__(cls)
        made.__dict__.update(provider.__dict__)
        return made

    def _retrieve_credentials_using(self, credential_process: str) -> dict[str, object]:
        words = _split_command(credential_process)
        # Only the program's name, since arguments may be secrets.
        name = f"credential_process '{words[0]}'"
        given = _parsed_output(name, _run(name, words))
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given.get("SessionToken"),
            "expiry_time": given.get("Expiration"),
            "account_id": given.get("AccountId"),
        }


def _split_command(command: object) -> Sequence[str]:
    if not isinstance(command, str):
        raise ChainFailure("credential_process is a section and not a command")
    try:
        words: list[str] = compat_shell_split(command)
    except ValueError:
        raise ChainFailure("credential_process has a quotation mark that is not closed") from None
    if not words:
        raise ChainFailure("credential_process is empty")
    return words


def _run(name: str, words: Sequence[str]) -> bytes:
    try:
        ended = subprocess.run(  # noqa: S603 - the user's command
            words, capture_output=True, check=False, timeout=_LONGEST_PROCESS
        )
    except subprocess.TimeoutExpired:
        raise ChainFailure(f"{name} did not end within {_LONGEST_PROCESS:g} s") from None
    except OSError as error:
        raise ChainFailure(f"{name} could not be started: {reason_of(error)}") from None
    except ValueError:
        raise ChainFailure("credential_process holds a null character") from None
    if ended.returncode != 0:
        raise ChainFailure(f"{name} {_end(ended.returncode)}{_complaint(ended.stderr)}")
    return ended.stdout


def _parsed_output(name: str, output: bytes) -> Mapping[str, object]:
    try:
        given = json.loads(output)
    except (ValueError, RecursionError):
        raise ChainFailure(f"{name} did not print JSON") from None
    if not isinstance(given, dict):
        raise ChainFailure(f"{name} did not print a JSON object")
    if given.get("Version") != 1:
        raise ChainFailure(f"{name} printed JSON whose Version is not 1")
    for key in ("AccessKeyId", "SecretAccessKey"):
        if not isinstance(given.get(key), str):
            raise ChainFailure(f"{name} printed no {key}")
    if not isinstance(given.get("SessionToken"), str | None):
        raise ChainFailure(f"{name} printed a SessionToken that is not text")
    expiration = given.get("Expiration")
    if expiration is not None and _expiration_of(name, expiration) <= datetime.now(UTC):
        raise ChainFailure(f"{name} gave credentials that have expired. Sign in again where it gets them")
    return given


def _expiration_of(name: str, expiration: object) -> datetime:
    try:
        moment = cast("datetime", dateutil.parser.parse(expiration))
    except (ValueError, TypeError, OverflowError):
        raise ChainFailure(f"{name} printed an Expiration that is not a time") from None
    if moment.tzinfo is None:
        raise ChainFailure(f"{name} printed an Expiration without a time zone")
    return moment


def _end(status: int) -> str:
    if status > 0:
        return f"exited with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _complaint(stderr: bytes) -> str:
    # AWS tells authors of such programs not to write secrets to standard error.
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return f" ({lines[-1][:_LONGEST_COMPLAINT]})" if lines else ""
