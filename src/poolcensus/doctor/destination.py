"""Checks that a snapshot could be written to the destination."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.denials import read_denial
from poolcensus.doctor.denied import Attempt, explain_denial
from poolcensus.doctor.findings import Cause, Check, CheckStatus, Diagnosis, Finding
from poolcensus.doctor.principals import caller_in_words
from poolcensus.doctor.statements import allow
from poolcensus.errors import DestinationError, DestinationLockedError, DestinationRefusedError
from poolcensus.storage.destination import open_store
from poolcensus.storage.naming import SCHEME, is_in_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.errors import FatalError
    from poolcensus.model import Caller

_PERMISSION: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# Actions whose resource is the bucket itself. That of the others is an object:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
_ON_BUCKET: Final = frozenset({"s3:ListBucket", "s3:ListBucketMultipartUploads"})


async def check_destination(
    settings: Settings, session: CallerSession | None, caller: Caller | None
) -> Finding:
    """Try whether a run could write to the destination. Nothing is left there.

    A bucket can't be tried without a session. `caller` is the caller of the session, if known.
    """
    place = settings.dest
    if is_in_s3(place) and session is None:
        return Finding(
            check=Check.DESTINATION,
            status=CheckStatus.SKIPPED,
            message=f"{place} was not tried: the caller is not known.",
        )
    try:
        await open_store(place, settings, session).rehearse()
    except (DestinationError, DestinationLockedError) as error:
        found = _diagnosis(error, settings, caller)
        return Finding(
            check=Check.DESTINATION,
            status=found.status,
            account_id=caller.account_id if is_in_s3(place) and caller is not None else None,
            action=found.action,
            code=next(
                (each.code for each in _chain(error) if isinstance(each, DestinationRefusedError)), None
            ),
            cause=found.cause,
            # Leave out the advice at the end of the message if it is the remedy.
            message=_sentence(error.problem)
            if error.advice and found.remedy == _advice(error)
            else str(error),
            remedy=found.remedy,
            policy=found.policy,
        )
    return Finding(
        check=Check.DESTINATION, status=CheckStatus.OK, message=f"A snapshot can be written to {place}."
    )


def destination_unreachable(error: FatalError) -> Finding:
    """Return the finding for a bucket for which there are no credentials."""
    return Finding(
        check=Check.DESTINATION,
        status=CheckStatus.FAILED,
        cause=Cause.CREDENTIALS,
        message=str(error),
        remedy=(
            # Not "--profile": an option would override the tables.
            "A bucket is written with the credentials of the settings outside of any table: set profile above"
            " the tables of the file, or AWS_PROFILE."
        ),
    )


def _diagnosis(
    error: DestinationError | DestinationLockedError, settings: Settings, caller: Caller | None
) -> Diagnosis:
    remedy = _advice(error)
    if isinstance(error, DestinationLockedError):
        return Diagnosis(CheckStatus.FAILED, Cause.DESTINATION_LOCK, remedy)
    for each in _chain(error):
        if isinstance(each, DestinationRefusedError):
            return _refused(each, settings, caller)
        number = each.errno if isinstance(each, OSError) else None
        if number in _PERMISSION:
            return Diagnosis(CheckStatus.FAILED, Cause.DESTINATION_PERMISSION, remedy)
        if number in _DISK:
            return Diagnosis(CheckStatus.FAILED, Cause.DISK, remedy)
    return Diagnosis(CheckStatus.FAILED, Cause.DESTINATION, remedy)


def _advice(error: FatalError) -> str:
    """Return the advice of an error as a sentence, or its message if it has no advice."""
    advice = error.advice or error.problem
    return _sentence(f"{advice[:1].upper()}{advice[1:]}")


def _sentence(words: str) -> str:
    return f"{words.rstrip('.')}."


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__


def _refused(error: DestinationRefusedError, settings: Settings, caller: Caller | None) -> Diagnosis:
    denial = read_denial(error.reason)
    # The action that S3's message names counts before those that the call may need.
    actions = (denial.action,) if denial is not None else error.iam_actions
    arn = caller.arn if caller is not None else denial.user if denial is not None else ""
    partition = arn.split(":")[1] if arn.startswith("arn:") else "aws"
    # Each once, in their order.
    resources = tuple(dict.fromkeys(_resource(each, settings, partition) for each in actions))
    who = caller_in_words(arn) if arn else "the caller"
    found = explain_denial(error.reason, Attempt(actions[0], who, "the caller's account", resources[0]))
    if found.cause is not Cause.UNEXPLAINED:
        return found
    lacks, has = (
        ("this statement", "it") if len(actions) == 1 else ("an action of this statement", "them all")
    )
    whose = "key" if actions[0].startswith("kms:") else "bucket"
    remedy = (
        f"S3 does not say which policy refused. Most likely {who} lacks {lacks}; if it has {has}, look at the"
        f" policy of the {whose}."
    )
    return Diagnosis(
        CheckStatus.FAILED,
        Cause.DESTINATION_PERMISSION,
        remedy,
        allow(actions, resources),
        # The first action is the call itself. The others are what it needs in addition.
        actions[0],
    )


def _resource(action: str, settings: Settings, partition: str) -> str:
    if action.startswith("kms:"):
        key = settings.s3_kms_key or ""
        return key if key.startswith("arn:") else "*"
    bucket, _, prefix = settings.dest.removeprefix(SCHEME).partition("/")
    if action in _ON_BUCKET:
        return f"arn:{partition}:s3:::{bucket}"
    return f"arn:{partition}:s3:::{'/'.join(each for each in (bucket, prefix.strip('/')) if each)}/*"
