"""Who calls, in words: an ARN as it stands, or the role whose session it is, which has the policies."""

from __future__ import annotations


def caller_in_words(arn: str) -> str:
    """Return the caller as a person would look for it."""
    role = _role(arn)
    return f"the caller {arn}" if role is None else f"the caller's role {role}"


def principal_in_words(arn: str) -> str:
    """Return whoever a denial names, as a person would look for it."""
    role = _role(arn)
    return arn if role is None else f"role {role} of account {arn.split(':')[4]}"


def role_of_accounts(arn: str, account_id: str) -> str:
    """Return the name of an account's role, with its path, as it is called in every account.

    A template may put the account's ID into the name. What is said of the roles of all accounts has
    `{account_id}` there, as the template, so that it is the same for each of them.
    """
    return arn.partition(":role/")[2].replace(account_id, "{account_id}")


def _role(arn: str) -> str | None:
    """Return the name of the role whose session an ARN is of, None where it is no session's.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    """
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else None
