"""The scope of a snapshot: what it was asked to cover, for comparison and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from poolcensus.format.codec import dumps
from poolcensus.model import Caller, JsonObject, JsonValue, Manifest, OrganizationInfo, Shard
from poolcensus.partitions import is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_ORGANIZATION: Final = "organization"
_SELF: Final = "self"
# The key with the requests of the Organizations, in a run of several.
_ORGANIZATIONS: Final = "organizations"

# Only these keys may contain patterns.
_REGIONS: Final = frozenset({"regions", "exclude_regions"})

# A few patterns are shown instead of counted, since they say more. A table column has no room for many.
_PATTERNS_SHOWN: Final = 3

# The keys of a request that name accounts, regions or pools, with the words for one and for several.
_ACCOUNTS: Final = (
    ("accounts", "{} account", "{} accounts"),
    ("ous", "{} OU", "{} OUs"),
    ("account_tags", "{} account tag", "{} account tags"),
    ("account_names", "{} account name", "{} account names"),
)
_OTHERS: Final = (
    ("exclude_accounts", "{} account excluded", "{} accounts excluded"),
    ("exclude_ous", "{} OU excluded", "{} OUs excluded"),
    ("exclude_account_names", "{} account name excluded", "{} account names excluded"),
    ("regions", "{} region", "{} regions"),
    ("exclude_regions", "{} region excluded", "{} regions excluded"),
    ("extra_regions", "{} extra region", "{} extra regions"),
    ("pool_ids", "{} pool", "{} pools"),
    ("filters", "{} pool filter", "{} pool filters"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a census was asked to cover. Scopes are equal if their requests are.

    `request` and `shard` are those of the manifest. `owner` is the ID of the Organization, or the account ID
    of a caller who asked for only that account. In a run of several Organizations, it lists the owner of
    each.
    """

    key: str
    request: JsonObject = field(compare=False, repr=False)
    shard: Shard | None = field(compare=False, default=None)
    owner: str | None = field(compare=False, default=None)

    @classmethod
    def of(cls, manifest: Manifest) -> Scope:
        """Return the scope of the snapshot that `manifest` describes."""
        return cls.asked(
            manifest.request,
            manifest.shard,
            manifest.caller,
            manifest.organization_id,
            manifest.organizations,
        )

    @classmethod
    def asked(
        cls,
        request: JsonObject,
        shard: Shard | None,
        caller: Caller,
        organization_id: str | None,
        organizations: Iterable[OrganizationInfo] = (),
    ) -> Scope:
        """Return the scope of a run with this request, by a caller in one Organization or in several."""
        owner = _owner(request, caller, organization_id)
        # The manifest may be another program's, with any JSON under this key.
        named = ((each.get("name"), each) for each in _objects(request.get(_ORGANIZATIONS)))
        requests = {name: each for name, each in named if isinstance(name, str)}
        # Sorted, so that the order of the tables does not matter.
        if each_owner := sorted(
            f"{each.name} {_owner(requests.get(each.name, {}), each.caller, each.id)}"
            for each in organizations
        ):
            owner = ", ".join(each_owner)
        asked = sorted(
            (name, each) for name, value in request.items() if (each := _comparable(name, value)) is not None
        )
        part = None if shard is None else f"{shard.index}/{shard.count}"
        return cls(dumps([owner, part, asked]).decode(), request, shard, owner)

    @property
    def summary(self) -> str:
        """The scope in a few words, such as `whole organization` or `3 accounts, 2 regions`."""
        return ", ".join(words for words, _ in self.parts())

    @property
    def in_a_sentence(self) -> str:
        """The summary for use in a sentence, such as `the whole organization` or `3 accounts`."""
        return f"the {self.summary}" if self.summary.startswith(("whole", "caller")) else self.summary

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the parts of the scope, each in words and with the names or IDs that the words count."""
        accounts = list(self._parts_of(_ACCOUNTS))
        others = list(self._parts_of(_OTHERS))
        source = self.request.get("accounts_from", _ORGANIZATION)
        snapshot = self.request.get("accounts_snapshot")
        if names := _names(self.request.get(_ORGANIZATIONS)):
            yield ("{} organization" if len(names) == 1 else "{} organizations").format(len(names)), names
        elif snapshot is not None:
            yield "accounts from a list", (str(snapshot),)
        elif source == _SELF:
            yield "caller's account", (self.owner,) if self.owner is not None else ()
        elif isinstance(source, list):
            yield f"accounts from {len(source)} sources", _values(source)
        elif source != _ORGANIZATION:
            yield "accounts from a file", (str(source),)
        elif not accounts and not others and self.shard is None:
            yield "whole organization", ()
        elif not accounts and others:
            yield "all accounts", ()
        yield from accounts
        yield from others
        if self.shard is not None:
            yield f"shard {self.shard.index}/{self.shard.count}", ()

    def difference(self, before: Scope) -> str | None:
        """Return a sentence about the difference from the scope of the snapshot before, or None."""
        if self == before:
            return None
        mine, other = self.in_a_sentence, before.in_a_sentence
        if mine != other:
            return f"This run covers {mine}; the snapshot before covers {other}."
        names = self.differing(before)
        if self.owner != before.owner:
            names.append("caller" if self.request.get("accounts_from") == _SELF else "organization")
        return (
            f"This run covers {mine}, and so does the snapshot before, but they differ in {', '.join(names)}."
        )

    def differing(self, before: Scope) -> list[str]:
        """Return the keys of the request in which the scopes differ, sorted."""
        return sorted(
            name
            for name in {*self.request, *before.request}
            if _comparable(name, self.request.get(name)) != _comparable(name, before.request.get(name))
        )

    def _parts_of(self, kinds: tuple[tuple[str, str, str], ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for name, one, several in kinds:
            values = _values(self.request.get(name))
            if not values:
                continue
            number = f"{len(values):,}"
            if name in _REGIONS and len(values) <= _PATTERNS_SHOWN and any(map(is_pattern, values)):
                # Show the patterns: how many regions they match depends on the version of the program.
                yield several.format("").strip().replace("regions", f"regions {' '.join(values)}"), ()
            else:
                yield (one if len(values) == 1 else several).format(number), values


def _owner(request: JsonObject, caller: Caller, organization_id: str | None) -> str | None:
    # With the same request, every caller asks for a different account, their own.
    return caller.account_id if request.get("accounts_from") == _SELF else organization_id


def _objects(value: JsonValue) -> list[JsonObject]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _names(value: JsonValue) -> tuple[str, ...]:
    """Return the names of the Organizations that a request lists."""
    return tuple(str(each.get("name")) for each in _objects(value))


def _values(value: JsonValue) -> tuple[str, ...]:
    """Return the values of a key of a request as texts."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(_text(each) for each in listed)


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(values := value.get("values"), list):
        return f"{value.get('name')}:{value.get('operator')}:{','.join(map(str, values))}"
    return dumps(value).decode()


def _comparable(name: str, value: JsonValue) -> str | None:
    """Return a text that is equal for equal requests, or None for the default.

    The order of a list does not matter. A missing key was unknown to the version that wrote the snapshot, and
    means the default.
    """
    if value is None or value == [] or (name == "accounts_from" and value == _ORGANIZATION):
        return None
    if isinstance(value, list):
        return dumps(sorted(_unordered(each) for each in value)).decode()
    return dumps(value).decode()


def _unordered(value: JsonValue) -> str:
    if isinstance(value, dict):
        return dumps(
            {
                name: sorted(map(str, each)) if isinstance(each, list) else each
                for name, each in sorted(value.items())
            }
        ).decode()
    return dumps(value).decode()
