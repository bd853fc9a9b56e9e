"""The grammar of IAM's denials: who was refused which action on what, and which policy refused.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html has the forms. A policy is
named within an account or an Organization only; everywhere else a denial ends after its resource.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# EC2 puts a sentence of its own before it, and S3 puts the resource in quotes.
_SUBJECT = re.compile(
    r"User: (?P<user>\S+) is not authorized to perform: (?P<action>[^\s,]+)"
    r'(?: on resource: (?P<resource>"[^"]*"|\S+))?'
)
# Greedy: resources and roles have names of anybody's choice, and the reason is what comes last.
_REASON = re.compile(
    r"(?s:.*)(?P<how>because no|with an explicit deny in (?:an?|the)) "
    r"(?P<policy>(?:identity-based|resource-based|sessions?|service control|resource control|VPC endpoint"
    r"|role trust) policy|permissions boundary)\b(?:: (?P<arn>arn:\S+))?"
)


class PolicyDenial(NamedTuple):
    """What the message of a denial tells: who was refused what, and by which policy. What it omits is None.

    `policy` is what IAM calls the kind of policy, such as "identity-based policy"; `policy_arn` is the one
    that refused, which IAM names in an Organization. A denial without a `policy` is not `explicit`.
    `model.Denial`, by which failures are grouped, holds the kind of policy and `explicit` alone.
    """

    user: str
    action: str
    resource: str | None = None
    policy: str | None = None
    explicit: bool = False
    policy_arn: str | None = None


def read_denial(message: str) -> PolicyDenial | None:
    """Return the denial that a message tells of, or None where it is not one of IAM's."""
    subject = _SUBJECT.search(message)
    if subject is None:
        return None
    resource = subject["resource"]
    denial = PolicyDenial(
        subject["user"], subject["action"], resource.strip('"') if resource is not None else None
    )
    reason = _REASON.match(message, subject.end())
    if reason is None:
        return denial
    arn = reason["arn"]
    return denial._replace(
        # IAM's own page has "a sessions policy".
        policy=reason["policy"].replace("sessions ", "session "),
        explicit=reason["how"] != "because no",
        policy_arn=arn.rstrip(".,;") if arn is not None else None,
    )
