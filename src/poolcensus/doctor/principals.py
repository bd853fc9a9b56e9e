"""Names principals in words. For a role session that is the role, since the policies belong to the role."""

from __future__ import annotations


def caller_in_words(arn: str) -> str:
    """Return the caller in words: by its role if it is a role session, else by its ARN."""
    role = _role(arn)
    return f"the caller {arn}" if role is None else f"the caller's role {role}"


def principal_in_words(arn: str) -> str:
    """Return the principal that a denial names, in words."""
    role = _role(arn)
    return arn if role is None else f"role {role} of account {arn.split(':')[4]}"


def role_of_accounts(arn: str, account_id: str) -> str:
    """Return the name of an account's role, with its path, in a form that is the same for all accounts.

    The template of the role's ARN may put the account ID into the name. It is replaced by `{account_id}`.
    """
    return arn.partition(":role/")[2].replace(account_id, "{account_id}")


def _role(arn: str) -> str | None:
    """Return the name of the role if the ARN is that of a role session, else None.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    """
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else None
