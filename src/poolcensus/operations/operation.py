"""An operation as a value: all that a census knows of what it lists."""

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
"""The codes with which services refuse those whom they know."""


class Refusal(NamedTuple):
    """What an error means: a row of a table. Without `says`, the code alone decides.

    `source` has the pages where it is documented, or where it was seen.
    """

    error: type[CallError]
    codes: frozenset[str]
    source: str
    says: re.Pattern[str] | None = None


class ItemColumn(NamedTuple):
    """What a table for people shows of items. `cell` takes one, of which every field may be missing.

    `sorted_by` is what rows are sorted by, where that is not the cell. Where a terminal is narrow, columns of
    the highest `rank` are left out first, those of rank 0 never, and cells are cut to no less than `least`
    cells of the terminal, if that is not None.
    """

    title: str
    cell: Callable[[JsonObject], object]
    is_number: bool = False
    sorted_by: Callable[[JsonObject], object] | None = None
    rank: int = 0
    least: int | None = None

    @property
    def name(self) -> str:
        """What rows are sorted by it as."""
        return self.title.lower().replace(" ", "-")


class Field(NamedTuple):
    """A field of an item as a column of a query: its name there, and the keys that lead to it.

    What is not of the type of the field is NULL in the column.
    """

    name: str
    type: ColumnType
    keys: tuple[str, ...]
    description: str


Keys: TypeAlias = tuple[str, ...]
"""The keys that lead to a value in an item, one inside the other. Without any there is no such value."""


def value_at(item: JsonObject, keys: Keys) -> JsonValue:
    """Return the value that the keys lead to, None where there is none."""
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
    """What readers of snapshots know of items, and the keys that lead to it. An item may lack each value."""

    title: str = "Items"
    """What the items are called in a heading."""
    name: Keys = ()
    """A name that people gave the item."""
    state: Keys = ()
    """The item's state."""
    errors: Keys = ()
    """A list of objects, one for each error of the item."""
    error_code: str = ""
    """The field of such an object that says what kind of error it is."""
    in_use: Keys = ()
    """How many sessions are in use."""
    capacity: Keys = ()
    """How many sessions are in use or available."""
    volatile: tuple[str, ...] = ()
    """Fields that change whenever a user comes or goes, which a comparison leaves out unless it is told."""
    details: tuple[ItemColumn, ...] = ()
    """What else there is to know for whoever moves the item elsewhere."""
    end_of_support: EndOfSupport | None = None
    """When AWS ends support for the items."""


class Query(msgspec.Struct, frozen=True):
    """What every target is asked: all items, or those of some ids or filters, and how many in a page."""

    ids: tuple[str, ...] = ()
    filters: tuple[JsonObject, ...] = ()
    page_size: int = 25


class Listing(msgspec.Struct, frozen=True):
    """One listing of a target: the parameters of its calls, but for the page token.

    `ids` are those of the items that it asks for, empty where it asks for all.
    """

    parameters: Mapping[str, JsonValue]
    ids: tuple[str, ...] = ()


def next_token(body: JsonObject) -> str | None:
    """Return the `NextToken` of a reply. An absent, null or empty one means that this page is the last."""
    token = body.get("NextToken")
    if token is not None and not isinstance(token, str):
        raise ValueError("NextToken is not a string")
    return token or None


def _as_it_came(item: JsonObject) -> None:
    """Change nothing."""


def _nothing_less(ids: tuple[str, ...], code: str, message: str) -> None:
    """Return None: the error is the target's."""


def _no_number(identity: str) -> None:
    """Return None: there is no shorter form."""


def _everywhere(region: str) -> bool:  # noqa: ARG001 - a default
    """Return True."""
    return True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of AWS's JSON protocols that lists the items of an account in a region, a page at a time.

    What is a function here raises ValueError, with the reason, for what is not the operation's result.
    """

    service: str
    """The service, as the SDK names it."""
    api_name: str
    """The operation, as the service's API names it: `DescribeWorkspacesPools`."""
    method: str
    """The operation, as the SDK's clients name it: `describe_workspaces_pools`."""
    item: str
    """What one item is called: the key under which a record holds it."""
    items: str
    """What several are called: the name of their file, and the key of their number."""
    collection: str
    """The field of a reply that holds the items of a page."""
    identity: str
    """The field that tells an item from the others of its target."""
    listings: Callable[[Query], tuple[Listing, ...]]
    """What to ask each target for a query, one listing after the other."""
    regions: Callable[[Partition], tuple[str, ...]]
    """The regions of a partition that are asked where nobody names any."""
    token_parameter: str = "NextToken"  # noqa: S105 - a page's, and no secret
    """The parameter that takes the token of a page."""
    next_token: Callable[[JsonObject], str | None] = next_token
    """The token of the page after a reply, None after the last page."""
    token_fields: tuple[str, ...] = ("NextToken",)
    """The fields of a reply from which `next_token` takes it. A reply has each of them at most once."""
    normalize: Callable[[JsonObject], None] = _as_it_came
    """Change an item in place to the form in which it is kept."""
    without_missing: Callable[[tuple[str, ...], str, str], list[tuple[str, ...]] | None] = _nothing_less
    """What ids to ask for in place of those that the service refused with this code and message."""
    number_of: Callable[[str], int | None] = _no_number
    """The id of an item of the usual form as a number below 2 to the 64th, which takes less memory."""
    refusals: tuple[Refusal, ...] = ()
    """What errors mean that are this operation's own, tried before those that all services share."""
    unexplained: re.Pattern[str] | None = None
    """The message of a refusal that does not say why."""
    offered_in: Callable[[str], bool] = _everywhere
    """Whether the operation is, or may be, offered in a region: what an unexplained refusal means there."""
    columns: tuple[ItemColumn, ...] = ()
    """What a table for people shows of an item."""
    fields: tuple[Field, ...] = ()
    """The fields of an item that queries have as columns."""
    facets: Facets = Facets()
    """What readers of snapshots know of the items."""

    @property
    def iam_action(self) -> str:
        """The IAM action that a call needs, by which the operation is also named."""
        return f"{self.service}:{self.api_name}"

    @property
    def info(self) -> OperationInfo:
        """What a snapshot says of the operation."""
        return OperationInfo(self.iam_action, self.item, self.items, self.identity)

    def encode(self, listing: Listing, token: str | None) -> bytes:
        """Return the body of a call."""
        return codec.dumps(
            listing.parameters if token is None else {**listing.parameters, self.token_parameter: token}
        )

    def parse(self, body: JsonObject) -> tuple[list[JsonObject], str | None]:
        """Return the items of a reply, in the form in which they are kept, and the token of the next page.

        Raises ValueError for what is not the operation's result.
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
