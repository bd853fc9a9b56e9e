"""Lists the accounts of the caller's Organization, page by page.

https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html says who may call it: the
management account and delegated administrators. A page may be empty and still have a next one.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.aws.call import Call, CallWatch, api_name_of
from poolcensus.aws.json_api import bad_response, json_object, list_pages
from poolcensus.aws.organization_failures import (
    failed_listing,
    is_missing_parent,
)
from poolcensus.errors import AccessDeniedError, CallError, OrganizationError, ScopeError
from poolcensus.flow.adaptive import AdaptiveLimit
from poolcensus.flow.concurrency import CallKey
from poolcensus.format.ids import is_account_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from poolcensus.aws.call import CredentialSource
    from poolcensus.aws.client import Client
    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.model import Caller, JsonObject, JsonValue

_SERVICE = "organizations"
# https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html (Paths), and
# https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed-view-data-orgs.html (entity
# paths): the IDs of the Organization, the root and the OUs, down to the account.
_PATH = re.compile(
    r"(?P<place>(?P<organization>o-[a-z0-9]{10,32})/r-[0-9a-z]{4,32}/(?:ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}/)*)"
    r"(?:(?P<account>[0-9]{12})/?)?"
)
TAGS_AT_ONCE: Final = 8
"""How many accounts' tags are read at the same time, at most. A page has 20 accounts.

Organizations has a limit, which is not documented: https://github.com/aws/aws-sdk-js/issues/2135
"""


class ListedAccount(msgspec.Struct, frozen=True):
    """An account as Organizations describes it. `state` is `ACTIVE`, `SUSPENDED` and so on.

    `path` is its path in the Organization, `o-…/r-…/ou-…/ACCOUNT/`, or None if the reply does not have it.
    """

    id: str
    name: str | None
    state: str
    organization_id: str | None
    path: str | None = None


class Organization:
    """The caller's Organization. Every method raises OrganizationError if it can't be read.

    `calls` counts the pages that were read, by IAM action. `concurrent_runs` is the number of runs that read
    it as the same caller at the same time.
    """

    def __init__(
        self,
        sdk: Sdk,
        client: Client,
        source: CredentialSource,
        caller: Caller,
        region: str,
        *,
        concurrent_runs: int,
    ) -> None:
        self._sdk = sdk
        self._client = client
        self._source = source
        self._region = region
        self._caller = caller
        self._key = CallKey(caller.account_id, region, _SERVICE)
        self._limit = AdaptiveLimit(max(TAGS_AT_ONCE // concurrent_runs, 1))
        self.calls: Counter[str] = Counter()

    def accounts(self) -> AsyncGenerator[tuple[ListedAccount, ...]]:
        """Yield every account of the Organization, whatever its state, a page at a time."""
        return self._accounts("list_accounts", {})

    async def accounts_under(self, unit: str) -> AsyncGenerator[tuple[ListedAccount, ...]]:
        """Yield every account under a root or an organizational unit, at any depth."""
        parents, seen = [unit], {unit}
        while parents:
            parent = parents.pop()
            async with aclosing(self._accounts_of(parent)) as pages:
                async for page in pages:
                    yield page
            parents += await self._units_of(parent, seen)

    async def paths(self) -> dict[str, str]:
        """Return the path of every account, by ID. Walks the whole tree: at least two calls for each OU."""
        paths: dict[str, str] = {}
        seen: set[str] = set()
        async with aclosing(self._list("list_roots", {}, "Roots")) as pages:
            above = [(_organization_of(each) or "", _id_of(each)) async for page in pages for each in page]
        while above:
            path, parent = above.pop()
            path = f"{path}/{parent}"
            async with aclosing(self._accounts_of(parent)) as listed:
                paths.update({each.id: f"{path}/{each.id}/" async for page in listed for each in page})
            above += [(path, each) for each in await self._units_of(parent, seen)]
        return paths

    async def check_units(self, units: Iterable[str]) -> None:
        """Raise ScopeError for the first ID that is not a root or an OU of the Organization."""
        for unit in units:
            if (refusal := await self._missing(unit)) is not None:
                raise ScopeError(
                    f"There is no root or organizational unit {unit} in the caller's Organization. Check"
                    " `ous` and `exclude_ous`."
                ) from refusal

    async def missing_units(self, units: Iterable[str]) -> frozenset[str]:
        """Return the IDs that are not a root or an OU of the Organization."""
        return frozenset([each for each in units if await self._missing(each) is not None])

    async def _missing(self, unit: str) -> CallError | None:
        """Return the error of Organizations if it has no such root or OU, or None if it has."""
        request: JsonObject = {"ParentId": unit, "MaxResults": 1}
        try:
            async with aclosing(self._pages("list_accounts_for_parent", request, "Accounts")) as pages:
                await anext(pages, ())
        except CallError as error:
            if is_missing_parent(error):
                return error
            raise await self._failure(error, "list_accounts_for_parent") from error
        return None

    async def tags(self, account_id: str) -> frozenset[tuple[str, str]]:
        """Return the tags of an account. Waits while as many tags are being read as Organizations allows."""
        watch = CallWatch()
        request = {"ResourceId": account_id}
        async with self._limit.place():
            try:
                async with aclosing(self._list("list_tags_for_resource", request, "Tags", watch)) as pages:
                    return frozenset([_tag(each) async for page in pages for each in page])
            finally:
                self._limit.ended(throttled=watch.throttles > 0)

    def _accounts_of(self, parent: str) -> AsyncGenerator[tuple[ListedAccount, ...]]:
        return self._accounts("list_accounts_for_parent", {"ParentId": parent})

    async def _accounts(
        self, method: str, request: Mapping[str, JsonValue]
    ) -> AsyncGenerator[tuple[ListedAccount, ...]]:
        async with aclosing(self._list(method, request, "Accounts")) as pages:
            async for page in pages:
                yield tuple(_listed(each) for each in page)

    async def _units_of(self, parent: str, seen: set[str]) -> list[str]:
        """Return the OUs directly under a root or an OU, except those in `seen`, and add them to it.

        Without `seen`, a wrong reply with a cycle in the tree would be followed forever.
        """
        request = {"ParentId": parent}
        method, items = "list_organizational_units_for_parent", "OrganizationalUnits"
        async with aclosing(self._list(method, request, items)) as pages:
            units = dict.fromkeys([_id_of(each) async for page in pages for each in page])
        found = [unit for unit in units if unit not in seen]
        seen.update(found)
        return found

    async def _list(
        self,
        method: str,
        request: Mapping[str, JsonValue],
        items: str,
        watch: CallWatch | None = None,
    ) -> AsyncGenerator[tuple[JsonObject, ...]]:
        try:
            async with aclosing(self._pages(method, request, items, watch)) as pages:
                async for page in pages:
                    yield page
        except CallError as error:
            raise await self._failure(error, method) from error

    async def _pages(
        self,
        method: str,
        request: Mapping[str, JsonValue],
        items: str,
        watch: CallWatch | None = None,
    ) -> AsyncGenerator[tuple[JsonObject, ...]]:
        template: RequestTemplate = await self._sdk.template(_SERVICE, self._region, method, request)
        listing = list_pages(
            self._client, template, self._source, self._key, request=request, items=items, watch=watch
        )
        async with aclosing(listing) as pages:
            async for page in pages:
                self.calls[_iam_action(method)] += 1
                yield page

    async def _failure(self, error: CallError, method: str) -> OrganizationError:
        return failed_listing(error, _iam_action(method), self._caller, await self._management_account(error))

    async def _management_account(self, error: CallError) -> str | None:
        """Return the ID of the management account after a call was denied, or None if it can't be found out.

        Every member account may call DescribeOrganization.
        """
        if not isinstance(error, AccessDeniedError):
            return None
        template = await self._sdk.template(_SERVICE, self._region, "describe_organization", {})
        call = Call(template, b"{}", self._key, self._source, _management_account)
        try:
            return await self._client.call(call, watch=CallWatch())
        except CallError:
            return None


def _management_account(reply: Reply) -> str:
    found = json_object(reply).get("Organization")
    if not isinstance(found, dict):
        raise bad_response(reply, "the body describes no Organization")
    # The API still uses the former name of the management account.
    management = found.get("MasterAccountId")
    if not isinstance(management, str):
        raise bad_response(reply, "the body names no management account")
    return management


def _tag(tag: JsonObject) -> tuple[str, str]:
    # A value may be empty. Some services that imitate AWS leave it out then.
    key, value = tag.get("Key"), tag.get("Value") or ""
    if not isinstance(key, str) or not isinstance(value, str):
        raise OrganizationError("Organizations sent a tag whose key or value is no text")
    return key, value


def _id_of(unit: JsonObject) -> str:
    unit_id = unit.get("Id")
    if not isinstance(unit_id, str) or not unit_id:
        raise OrganizationError("Organizations sent an organizational unit without an id")
    return unit_id


def _listed(account: JsonObject) -> ListedAccount:
    account_id = account.get("Id")
    if not is_account_id(account_id):
        raise OrganizationError("Organizations sent an account without a 12-digit id")
    name = account.get("Name")
    # `State` replaces `Status`:
    # https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html
    state = account.get("State") or account.get("Status") or "ACTIVE"
    organization_id = _organization_of(account)
    return ListedAccount(
        id=account_id,
        name=name if isinstance(name, str) else None,
        state=str(state),
        organization_id=organization_id,
        path=_path(account.get("Paths"), account_id, organization_id),
    )


def _organization_of(described: JsonObject) -> str | None:
    """Return the Organization's ID in the ARN of an account or a root, or None."""
    arn = described.get("Arn")
    parts = arn.split("/") if isinstance(arn, str) else []
    return parts[1] if len(parts) == 3 else None


def _path(paths: JsonValue, account_id: str, organization_id: str | None) -> str | None:
    """Return the path that all of `paths` agree on, or None if there is none or they differ."""
    found: set[str] = set()
    for path in paths if isinstance(paths, list) else ():
        parts = _PATH.fullmatch(path) if isinstance(path, str) else None
        if (
            parts is None
            or parts["account"] not in {None, account_id}
            or organization_id not in {None, parts["organization"]}
        ):
            return None
        found.add(f"{parts['place']}{account_id}/")
    return found.pop() if len(found) == 1 else None


def _iam_action(method: str) -> str:
    return f"{_SERVICE}:{api_name_of(method)}"
