"""The type of an operation: everything that a census knows of what it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from poolcensus.format import codec
from poolcensus.model import OperationInfo

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from datetime import date

    from poolcensus.errors import CallError
    from poolcensus.model import ColumnType, JsonObject, JsonValue
    from poolcensus.partitions import Partition


DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess", "NotAuthorized"}
)
"""The error codes of a denied call whose credentials the service recognizes."""


class Refusal(NamedTuple):
    """A row of a table of refusals: errors with one of `codes` are raised as `error`.

    If `says` is not None, the message has to match it as well. `source` has the URLs of the pages where the
    refusal is documented, or of a place where it was seen.
    """

    error: type[CallError]
    codes: frozenset[str]
    source: str
    says: re.Pattern[str] | None = None


class ItemColumn(NamedTuple):
    """A column of a table of items. `cell` returns the value of an item, of which every field may be missing.

    `sorted_by` returns the value to sort rows by, if it is not the cell's. On a narrow terminal, columns of
    the highest `rank` are left out first, and those of rank 0 never. If `least` is not None, cells may be cut
    to that many columns of the terminal.
    """

    title: str
    cell: Callable[[JsonObject], object]
    is_number: bool = False
    sorted_by: Callable[[JsonObject], object] | None = None
    rank: int = 0
    least: int | None = None

    @property
    def name(self) -> str:
        """The name of the column in `--sort`."""
        return self.title.lower().replace(" ", "-")


class Field(NamedTuple):
    """A field of an item as a column in queries: the column's name, and the keys that lead to the value.

    The column is NULL where the value does not have the type.
    """

    name: str
    type: ColumnType
    keys: tuple[str, ...]
    description: str


Keys: TypeAlias = tuple[str, ...]
"""The keys that lead to a nested value of an item, from the outside in. Empty if there is no such value."""


def value_at(item: JsonObject, keys: Keys) -> JsonValue:
    """Return the value that the keys lead to, or None if there is none."""
    found: JsonValue = item if keys else None
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


class EndOfSupport(NamedTuple):
    """The last day on which AWS supports a service, and the page that says so."""

    day: date
    source: str


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """What readers of snapshots know about items, and the keys of each value. An item may lack any value."""

    title: str = "Items"
    """The name of the items in a heading."""
    name: Keys = ()
    """The item's name, as its owner chose it."""
    state: Keys = ()
    """The item's state."""
    errors: Keys = ()
    """The list of the item's errors, each an object."""
    error_code: str = ""
    """The field of an error that has its kind."""
    in_use: Keys = ()
    """The number of sessions in use."""
    capacity: Keys = ()
    """The number of sessions in use or available."""
    volatile: tuple[str, ...] = ()
    """Fields that change whenever a user comes or goes. Comparisons leave them out by default."""
    details: tuple[ItemColumn, ...] = ()
    """Further columns that help to migrate the item."""
    end_of_support: EndOfSupport | None = None
    """When AWS ends support for the items."""


class Query(msgspec.Struct, frozen=True):
    """The query of a census: all items, or those with some IDs or filters, and the size of a page."""

    ids: tuple[str, ...] = ()
    filters: tuple[JsonObject, ...] = ()
    page_size: int = 25


class Listing(msgspec.Struct, frozen=True):
    """A listing of a target: the parameters of its calls, without the page token.

    `ids` are the IDs of the items that it requests, and empty if it requests all.
    """

    parameters: Mapping[str, JsonValue]
    ids: tuple[str, ...] = ()


def next_token(body: JsonObject) -> str | None:
    """Return the `NextToken` of a reply, or None if it is absent, null or empty: the page is the last one."""
    token = body.get("NextToken")
    if token is not None and not isinstance(token, str):
        raise ValueError("NextToken is not a string")
    return token or None


def _unchanged(item: JsonObject) -> None:
    """Leave an item as it is."""


def _no_other_ids(ids: tuple[str, ...], code: str, message: str) -> None:
    """Return None: the error ends the target."""


def _no_number(identity: str) -> None:
    """Return None: the ID has no numeric form."""


def _in_all_regions(region: str) -> bool:  # noqa: ARG001 - a default
    """Return True."""
    return True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that lists the items of an account in a region, page by page, over a JSON protocol of AWS.

    Its functions raise ValueError, with the reason, if a reply is not a result of the operation.
    """

    service: str
    """The name of the service in the SDK."""
    api_name: str
    """The name of the operation in the service's API: `DescribeWorkspacesPools`."""
    method: str
    """The name of the operation in the SDK's clients: `describe_workspaces_pools`."""
    item: str
    """The word for one item. It is the key of the item in a record."""
    items: str
    """The word for several items. It is the name of the file of records, and the key of their number."""
    collection: str
    """The field of a reply that holds the items of a page."""
    identity: str
    """The field that identifies an item in its target."""
    listings: Callable[[Query], tuple[Listing, ...]]
    """Return the listings that answer a query for a target. They are read one after the other."""
    regions: Callable[[Partition], tuple[str, ...]]
    """Return the default regions of a census in a partition."""
    token_parameter: str = "NextToken"  # noqa: S105 - a page's, and no secret
    """The request parameter for a page token."""
    next_token: Callable[[JsonObject], str | None] = next_token
    """Return the token of the next page in a reply, or None in the last page."""
    token_fields: tuple[str, ...] = ("NextToken",)
    """The fields of a reply that `next_token` reads. A reply that has one of them twice is refused."""
    normalize: Callable[[JsonObject], None] = _unchanged
    """Change an item in place to the form in which it is stored."""
    without_missing: Callable[[tuple[str, ...], str, str], list[tuple[str, ...]] | None] = _no_other_ids
    """Return the groups of IDs to request after the service refused these IDs with this code and message.

    Return None if the refusal is not about missing items.
    """
    number_of: Callable[[str], int | None] = _no_number
    """Return an ID of the usual form as a number below 2 to the 64th, which takes less memory, or None."""
    refusals: tuple[Refusal, ...] = ()
    """The refusals of this operation, which are tried before those that all services share."""
    unexplained: re.Pattern[str] | None = None
    """Matches the message of a refusal that gives no reason."""
    offered_in: Callable[[str], bool] = _in_all_regions
    """Return whether a region may offer the operation. If not, unexplained refusals there mean just that."""
    columns: tuple[ItemColumn, ...] = ()
    """The columns of a table of items."""
    fields: tuple[Field, ...] = ()
    """The fields of an item that are columns in queries."""
    facets: Facets = Facets()
    """What readers of snapshots know about the items."""

    @property
    def iam_action(self) -> str:
        """The IAM action that a call needs. It is also the name of the operation in snapshots."""
        return f"{self.service}:{self.api_name}"

    @property
    def info(self) -> OperationInfo:
        """The description of the operation in a snapshot."""
        return OperationInfo(self.iam_action, self.item, self.items, self.identity)

    def encode(self, listing: Listing, token: str | None) -> bytes:
        """Return the body of a call."""
        return codec.dumps(
            listing.parameters if token is None else {**listing.parameters, self.token_parameter: token}
        )

    def parse(self, body: JsonObject) -> tuple[list[JsonObject], str | None]:
        """Return the items of a reply, in the form in which they are stored, and the token of the next page.

        Raises ValueError if the reply is not a result of the operation.
        """
        found = body.get(self.collection)
        if not isinstance(found, list):
            raise ValueError(f"the body has no list {self.collection}")  # noqa: TRY004 - the value is the service's
        identity, normalize = self.identity, self.normalize
        items: list[JsonObject] = []
        for item in found:
            if not isinstance(item, dict):
                raise ValueError(f"a {self.item} is {codec.json_type_of(item)}, not an object")  # noqa: TRY004 - so is this
            name = item.get(identity)
            if not isinstance(name, str) or not name:
                raise ValueError(f"a {self.item} has no {identity}")
            normalize(item)
            items.append(item)
        return items, self.next_token(body)
