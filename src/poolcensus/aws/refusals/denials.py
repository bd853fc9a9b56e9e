"""Parses the messages of IAM's denials: the user, the action, the resource, and the policy that denies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html has their grammar. IAM names
the policy only within an account or an Organization. Otherwise the message ends after the resource.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# EC2 puts a sentence in front of it, and S3 puts the resource in quotes.
_SUBJECT = re.compile(
    r"User: (?P<user>\S+) is not authorized to perform: (?P<action>[^\s,]+)"
    r'(?: on resource: (?P<resource>"[^"]*"|\S+))?'
)
# Greedy, because the reason comes last, and names of resources and roles may contain anything.
_REASON = re.compile(
    r"(?s:.*)(?P<how>because no|with an explicit deny in (?:an?|the)) "
    r"(?P<policy>(?:identity-based|resource-based|sessions?|service control|resource control|VPC endpoint"
    r"|role trust) policy|permissions boundary)\b(?:: (?P<arn>arn:\S+))?"
)


class PolicyDenial(NamedTuple):
    """The parts of a denial's message. A part that the message omits is None.

    `policy` is IAM's name of the kind of policy, such as "identity-based policy". `policy_arn` is the policy
    that denied, which IAM names within an Organization. A denial without a `policy` is not `explicit`. For
    grouping failures there is `model.Denial`, which has only `policy` and `explicit`.
    """

    user: str
    action: str
    resource: str | None = None
    policy: str | None = None
    explicit: bool = False
    policy_arn: str | None = None


def read_denial(message: str) -> PolicyDenial | None:
    """Return the denial in a message, or None if it is not a message of IAM."""
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
