"""The accounts of the caller's Organization, a page at a time.

https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html: it works from the
management account or a delegated administrator, and a page may be empty and still have a next one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.json_api import list_pages
from poolcensus.errors import AccessDeniedError, CallError, OrganizationError
from poolcensus.flow.concurrency import CallKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from poolcensus.aws.client import Channel, CredentialSource
    from poolcensus.aws.sdk import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.model import Caller, JsonObject, JsonValue

_SERVICE = "organizations"
_ACCOUNT_ID = re.compile(r"[0-9]{12}")


class ListedAccount(msgspec.Struct, frozen=True):
    """An account as Organizations describes it. `state` is `ACTIVE` or why it can't be asked."""

    id: str
    name: str | None
    state: str
    organization_id: str | None


class Organization:
    """The caller's Organization. Every method raises OrganizationError where it can't be read.

    `calls` counts the pages that were asked for, by IAM action.
    """

    def __init__(
        self, sdk: Sdk, channel: Channel, source: CredentialSource, caller: Caller, region: str
    ) -> None:
        self._sdk = sdk
        self._channel = channel
        self._source = source
        self._region = region
        self._key = CallKey(caller.account_id, region, _SERVICE)
        self.calls: Counter[str] = Counter()

    async def accounts(self) -> AsyncIterator[tuple[ListedAccount, ...]]:
        """Every account of the Organization, whatever its state, a page at a time."""
        async for page in self._list("list_accounts", {}, {}, "Accounts"):
            yield tuple(_listed(each) for each in page)

    async def accounts_under(self, unit: str) -> AsyncIterator[tuple[ListedAccount, ...]]:
        """Every account under a root or an organizational unit, at any depth."""
        parents = [unit]
        while parents:
            parent = {"ParentId": parents.pop()}
            async for page in self._list("list_accounts_for_parent", parent, parent, "Accounts"):
                yield tuple(_listed(each) for each in page)
            async for page in self._list(
                "list_organizational_units_for_parent", parent, parent, "OrganizationalUnits"
            ):
                parents.extend(_unit_id(each) for each in page)

    async def tags(self, account_id: str) -> frozenset[tuple[str, str]]:
        """Return the tags of an account."""
        request = {"ResourceId": account_id}
        return frozenset(
            [
                (str(each.get("Key")), str(each.get("Value")))
                async for page in self._list("list_tags_for_resource", request, request, "Tags")
                for each in page
            ]
        )

    async def _list(
        self,
        operation: str,
        sample: Mapping[str, object],
        request: Mapping[str, JsonValue],
        items: str,
    ) -> AsyncIterator[tuple[JsonObject, ...]]:
        template: RequestTemplate = await self._sdk.template(_SERVICE, self._region, operation, sample)
        try:
            async for page in list_pages(
                self._channel, template, self._source, self._key, request=request, items=items
            ):
                self.calls[_action(operation)] += 1
                yield page
        except CallError as error:
            raise _organization_error(error, operation) from error


def _unit_id(unit: JsonObject) -> str:
    unit_id = unit.get("Id")
    if not isinstance(unit_id, str) or not unit_id:
        raise OrganizationError("Organizations sent an organizational unit without an id")
    return unit_id


def _listed(account: JsonObject) -> ListedAccount:
    account_id = account.get("Id")
    if not isinstance(account_id, str) or _ACCOUNT_ID.fullmatch(account_id) is None:
        raise OrganizationError("Organizations sent an account without a 12-digit id")
    name = account.get("Name")
    # `Status` gives way to `State`:
    # https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html
    state = account.get("State") or account.get("Status") or "ACTIVE"
    arn = account.get("Arn")
    parts = arn.split("/") if isinstance(arn, str) else []
    return ListedAccount(
        id=account_id,
        name=name if isinstance(name, str) else None,
        state=str(state),
        organization_id=parts[1] if len(parts) == 3 else None,
    )


def _action(operation: str) -> str:
    return _SERVICE + ":" + "".join(word.capitalize() for word in operation.split("_"))


def _organization_error(error: CallError, operation: str) -> OrganizationError:
    action = _action(operation)
    if error.code == "AWSOrganizationsNotInUseException":
        return OrganizationError(
            "the caller's account is in no AWS Organization: take the census of it alone with"
            " `accounts_from` self, or name a file of accounts"
        )
    if isinstance(error, AccessDeniedError):
        return OrganizationError(
            f"{action} was refused: call from the management account or a delegated"
            f" administrator, with that permission ({error.message})"
        )
    return OrganizationError(f"{action} failed: {error.message} ({error.code})")
