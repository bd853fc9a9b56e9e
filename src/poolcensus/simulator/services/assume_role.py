"""The validation of AssumeRole requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from poolcensus.simulator.access import SessionOptions
from poolcensus.simulator.policies import Document, PolicyError, read_document
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.world_config import ROLE_ARN

if TYPE_CHECKING:
    from poolcensus.simulator.http import Identity

# Patterns and ranges: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
MAX_POLICY = 2048
_MAX_TAGS = 50
_MIN_DURATION = 900
_MAX_DURATION = 43_200
_CHAINED_DURATION = 3600


class _Constraint(NamedTuple):
    """The length and the pattern that AWS requires of a text. `shown` is the pattern in AWS's notation."""

    least: int
    most: int
    pattern: re.Pattern[str]
    shown: str


_NAME = _Constraint(2, 64, re.compile(r"[\w+=,.@-]*", re.ASCII), r"[\w+=,.@-]*")
_EXTERNAL_ID = _Constraint(2, 1224, re.compile(r"[\w+=,.@:/-]*", re.ASCII), r"[\w+=,.@:\/-]*")
_TOKEN_CODE = _Constraint(6, 6, re.compile("[0-9]*"), r"[\d]*")
_TAG_KEY = _Constraint(1, 128, re.compile(r"[\w .:/=+@-]*"), r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+")
_TAG_VALUE = _Constraint(0, 256, re.compile(r"[\w .:/=+@-]*"), r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*")


class AssumeRole(NamedTuple):
    """A valid AssumeRole request. `policy` is the session policy, and `policy_text` its JSON."""

    arn: str
    asked: SessionOptions
    seconds: int
    policy_text: str | None
    policy: Document | None

    @property
    def packed_size(self) -> int | None:
        """The size of policy and tags in percent of the limit, or None if the request has neither."""
        text = (self.policy_text or "") + "".join(key + value for key, value in self.asked.tags)
        return max(1, len(text) * 100 // MAX_POLICY) if text else None


def read_assume_role(form: dict[str, str], caller: Identity) -> AssumeRole:
    """Return the request of a caller.

    Raises RefusalError if the request is not valid.
    """
    arn = form.get("RoleArn", "")
    if ROLE_ARN.fullmatch(arn) is None:
        raise RefusalError(400, "ValidationError", f"{arn} is invalid")
    name = form.get("RoleSessionName", "")
    _check(name, "roleSessionName", _NAME)
    external_id = form.get("ExternalId")
    if external_id is not None:
        _check(external_id, "externalId", _EXTERNAL_ID)
    policy = form.get("Policy")
    if policy is not None:
        _check_length(policy, "policy", 1, MAX_POLICY)
    try:
        narrowed = read_document(policy, of_identity=True) if policy is not None else None
    except PolicyError as error:
        # The message says what is wrong, since AWS may accept a policy that the simulator does not.
        raise RefusalError(400, "MalformedPolicyDocument", f"Syntax errors in policy: {error}.") from None
    if any(name.startswith("PolicyArns.") for name in form):
        # A session without these policies would allow too much.
        raise RefusalError(400, "ValidationError", "The simulator has no managed policies (PolicyArns).")
    code = form.get("TokenCode")
    if code is not None:
        _check(code, "tokenCode", _TOKEN_CODE)
    seconds = _duration(form, chained=caller.session_name is not None)
    source = form.get("SourceIdentity")
    if source is not None:
        _check(source, "sourceIdentity", _NAME)
        if source.lower().startswith("aws:"):
            raise _pattern_error(source, "sourceIdentity", _NAME.shown)
    tags, transitive = _tags(form, caller)
    asked = SessionOptions(external_id, name, source, tags, transitive)
    return AssumeRole(arn, asked, seconds, policy, narrowed)


def _duration(form: dict[str, str], *, chained: bool) -> int:
    text = form.get("DurationSeconds", "3600")
    # Nine digits are enough for a number that is too large. int() raises ValueError for more than 4,300.
    seconds = int(text.lstrip("0")[:9] or 0) if text.isascii() and text.isdecimal() else 0
    if seconds < _MIN_DURATION:
        raise _constraint_error(
            text, "durationSeconds", f"Member must have value greater than or equal to {_MIN_DURATION}"
        )
    if seconds > _MAX_DURATION:
        raise _constraint_error(
            text, "durationSeconds", f"Member must have value less than or equal to {_MAX_DURATION}"
        )
    if chained and seconds > _CHAINED_DURATION:
        raise RefusalError(
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
            "role chaining",
        )
    return seconds


def _tags(form: dict[str, str], caller: Identity) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    tags: list[tuple[str, str]] = []
    while (key := form.get(f"Tags.member.{len(tags) + 1}.Key")) is not None:
        value = form.get(f"Tags.member.{len(tags) + 1}.Value", "")
        field = f"tags.{len(tags) + 1}.member"
        _check(key, f"{field}.key", _TAG_KEY)
        _check(value, f"{field}.value", _TAG_VALUE)
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html#id_tags_rules
        if key.lower().startswith("aws:"):
            raise _invalid("Tag keys that begin with aws: are reserved for use by AWS.")
        tags.append((key, value))
    if len(tags) > _MAX_TAGS:
        keys = ", ".join(key for key, _ in tags)
        raise _constraint_error(
            f"[{keys}]", "tags", f"Member must have length less than or equal to {_MAX_TAGS}"
        )
    lowered = {key.lower() for key, _ in tags}
    if len(lowered) < len(tags):
        raise _invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    transitive: list[str] = []
    while (key := form.get(f"TransitiveTagKeys.member.{len(transitive) + 1}")) is not None:
        transitive.append(key)
    if any(key.lower() not in lowered for key in transitive):
        raise _invalid("The specified transitive tag key must be included in the requested tags.")
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
    if lowered & caller.transitive:
        raise _invalid(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive "
            "tag key from the calling session."
        )
    return tuple(tags), tuple(transitive)


def _invalid(message: str) -> RefusalError:
    return RefusalError(400, "InvalidParameterValue", message)


def _check(value: str, field: str, constraint: _Constraint) -> None:
    """Raise RefusalError if a text violates the constraint. The length is checked before the pattern."""
    _check_length(value, field, constraint.least, constraint.most)
    if constraint.pattern.fullmatch(value) is None:
        raise _pattern_error(value, field, constraint.shown)


def _check_length(value: str, field: str, least: int, most: int) -> None:
    if len(value) < least:
        raise _constraint_error(value, field, f"Member must have length greater than or equal to {least}")
    if len(value) > most:
        raise _constraint_error(value, field, f"Member must have length less than or equal to {most}")


def _pattern_error(value: str, field: str, pattern: str) -> RefusalError:
    return _constraint_error(value, field, f"Member must satisfy regular expression pattern: {pattern}")


def _constraint_error(value: str, field: str, message: str) -> RefusalError:
    return RefusalError(
        400,
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {message}",
    )
