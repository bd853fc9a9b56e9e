"""The JSON of pools, made from templates and kept in a cache of bounded size.

The ID of a pool is a permutation of its place in the world. So IDs are unique, and an ID leads back to its
pool without an index.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PER_TARGET = 1 << 20
MAX_REGIONS = 64
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SPACE = 36**9
_CHUNK = 36**3
_FACTOR = 77_777_777_777_761
_BLOCK = 25
_VARIANTS = 64
_FIRST_CREATED = 1_719_792_000_000
_LAST_CREATED = 1_789_000_000_000
_KNOWN_NAMES = 1000
_PLACE = "@@@"
_HEAD = b'{"PoolId":"wspool-%b","PoolArn":"%b/wspool-%b","PoolName":"%b","DirectoryId":"wsd-%b",'
_NAMES = (
    "analysts", "call-center", "contractors", "design-lab", "developers", "finance", "kiosk", "legal",
    "marketing", "nurses", "offshore.support", "research_2", "sales-emea", "service-desk",
    "training", "warehouse",
)  # fmt: skip
# As WorkSpaces accepts them: ASCII letters, digits and `_./() -`.
_DESCRIPTIONS = (
    "", "Shared desktops", "Windows Server 2022/ Office LTSC", "Training rooms south", "Support team 24",
    "Shared desktops of the sales department", "Contractors (reviewed in March)",
    "Pilot. May be deleted at any time",
)  # fmt: skip
# Used in their place. Each has the same size in JSON: nothing else in a world depends on the choice.
_ODD_DESCRIPTIONS = (
    "", "Shared desktops", "Windows Server 2022, Office LTSC", "Schulungsräume Süd", "Équipe support",
    "営業部門の共有デスクトップ", "Contractors: reviewed quarterly", "Say \"hello\" \\ & <b>goodbye</b>",
)  # fmt: skip
_STATES = ("RUNNING",) * 14 + ("STOPPED",) * 4 + ("STARTING", "STOPPING", "UPDATING", "CREATING", "DELETING")
_ERRORS = (
    ("SUBNET_HAS_INSUFFICIENT_IP_ADDRESSES", "The subnet has no free IP addresses."),
    ("DOMAIN_JOIN_ERROR_ACCESS_DENIED", "Access is denied."),
    ("WORKSPACES_POOL_INSTANCE_PROVISIONING_FAILURE", "An instance could not be provisioned."),
    ("NETWORK_INTERFACE_LIMIT_EXCEEDED", "The account's limit of network interfaces is reached."),
)


class PoolPress:
    """Makes the JSON of the pools of any account and region."""

    def __init__(
        self,
        *,
        seed: int,
        partition: str,
        regions: Sequence[str],
        extra_fields: bool,
        odd_texts: bool,
        cache_bytes: int,
    ) -> None:
        self._seed = seed
        self._partition = partition.encode()
        self._extra_fields = extra_fields
        self._descriptions = _ODD_DESCRIPTIONS if odd_texts else _DESCRIPTIONS
        self._salt = f"{seed}".encode()
        self._regions = tuple(regions)
        self._region_numbers = {region: number for number, region in enumerate(self._regions)}
        self._shift = random.Random(f"ids {seed}").randrange(_SPACE)
        self._inverse = pow(_FACTOR, -1, _SPACE)
        self._variants: dict[int, list[bytes]] = {}
        self._cache: OrderedDict[tuple[int, int, int, int], bytes] = OrderedDict()
        self._cached = 0
        self._limit = cache_bytes

    def slice(self, index: int, region: str, start: int, count: int) -> bytes:
        """Return `count` pools of an account in a region, from number `start`, joined with commas."""
        number = self._region_numbers[region]
        key = (index, number, start, count)
        page = self._cache.get(key)
        if page is not None:
            self._cache.move_to_end(key)
            return page
        page = self._print(index, number, start, count)
        if len(page) <= self._limit >> 4:
            self._cache[key] = page
            self._cached += len(page)
            while self._cached > self._limit:
                self._cached -= len(self._cache.popitem(last=False)[1])
        return page

    def one(self, index: int, region: str, position: int) -> bytes:
        """Return one pool of an account in a region."""
        return self._print(index, self._region_numbers[region], position, 1)

    def locate(self, pool_id: str) -> tuple[int, str, int] | None:
        """Return the account number, the region and the pool number that an ID stands for.

        Return None if the ID is of no region. The account may have fewer pools: the caller checks that.
        """
        place = (int(pool_id[7:], 36) - self._shift) * self._inverse % _SPACE
        rest, position = divmod(place, MAX_PER_TARGET)
        index, number = divmod(rest, MAX_REGIONS)
        if number >= len(self._regions):
            return None
        return index, self._regions[number], position

    def _print(self, index: int, number: int, start: int, count: int) -> bytes:
        region = self._regions[number].encode()
        account = b"%012d" % (index + 1)
        triples, names = _triples(), _names()
        first = (index * MAX_REGIONS + number) * MAX_PER_TARGET
        place = ((first + start) * _FACTOR + self._shift) % _SPACE
        arn = b"arn:%b:workspaces:%b:%b:workspacespool" % (self._partition, region, account)
        directory = b"%b%bz7k" % (triples[index % _CHUNK], triples[number])
        bucket = b"%b-%b-%b" % (region, account, triples[(index * MAX_REGIONS + number) % _CHUNK])
        templates: list[bytes] = []
        values: list[bytes] = []
        block = -1
        variant: list[bytes] = []
        for position in range(start, start + count):
            # A variant is for a whole block of positions, so that a pool does not depend on where its page
            # begins.
            if position // _BLOCK != block:
                block = position // _BLOCK
                variant = self._variant(index, number, block)
            high, low = divmod(place, _CHUNK)
            pool_id = triples[high // _CHUNK] + triples[high % _CHUNK] + triples[low]
            place += _FACTOR
            if place >= _SPACE:
                place -= _SPACE
            name = names[position] if position < _KNOWN_NAMES else pool_name(position).encode()
            templates.append(variant[position % _BLOCK])
            values += (pool_id, arn, pool_id, name, directory, bucket)
        return b",".join(templates) % tuple(values)

    def _variant(self, index: int, number: int, block: int) -> list[bytes]:
        draw = blake2b(b"%d/%d/%d" % (index, number, block), digest_size=2, key=self._salt).digest()
        chosen = int.from_bytes(draw, "little") % _VARIANTS
        variant = self._variants.get(chosen)
        if variant is None:
            chance = random.Random(f"pools {self._seed} {chosen}")
            variant = [
                _template(chance, self._descriptions, extra_fields=self._extra_fields) for _ in range(_BLOCK)
            ]
            self._variants[chosen] = variant
        return variant


@cache
def _triples() -> list[bytes]:
    return [(first + second + third).encode() for first in _DIGITS for second in _DIGITS for third in _DIGITS]


@cache
def _names() -> list[bytes]:
    return [pool_name(position).encode() for position in range(_KNOWN_NAMES)]


def pool_name(position: int) -> str:
    """Return the name of the pool with this number, which is the same in every account and region."""
    return f"{_NAMES[position * 7 % 16]}-{position + 1}"


def _template(chance: random.Random, descriptions: Sequence[str], *, extra_fields: bool) -> bytes:
    """Return a pool as a template with places for its ID, ARN, ID, name, directory and bucket."""
    state = chance.choice(_STATES)
    desired = min(2000, max(1, round(chance.lognormvariate(2.3, 1.1))))
    actual = {
        "RUNNING": desired,
        "UPDATING": desired,
        "STARTING": desired // 2,
        "STOPPING": desired // 3,
    }.get(state, 0)
    active = round(actual * chance.random())
    pool: dict[str, object] = {
        "CreatedAt": chance.randrange(_FIRST_CREATED, _LAST_CREATED) / 1000,
        "BundleId": "wsb-" + "".join(chance.choices(_DIGITS, k=9)),
        "CapacityStatus": {
            "AvailableUserSessions": actual - active,
            "DesiredUserSessions": desired,
            "ActualUserSessions": actual,
            "ActiveUserSessions": active,
        },
        "State": state,
        "RunningMode": chance.choice(("AUTO_STOP", "AUTO_STOP", "AUTO_STOP", "ALWAYS_ON")),
        "TimeoutSettings": {
            "DisconnectTimeoutInSeconds": chance.choice((60, 300, 900, 3600)),
            "IdleDisconnectTimeoutInSeconds": chance.choice((0, 300, 900, 1800)),
            "MaxUserDurationInSeconds": chance.choice((600, 28800, 57600, 432000)),
        },
    }
    description = chance.choice(descriptions)
    if description:
        pool["Description"] = description
    if chance.random() < 0.06:
        code, message = chance.choice(_ERRORS)
        pool["Errors"] = [{"ErrorCode": code, "ErrorMessage": message}]
    if extra_fields:
        pool["SessionAffinity"] = {"Mode": "STICKY", "Weights": [1, 2.5, None]}
        pool["CostAllocation"] = "cc-" + str(chance.randrange(1000))
        if chance.random() < 0.2:
            pool["State"] = "HIBERNATING"
        if chance.random() < 0.2:
            pool["RunningMode"] = "SCHEDULED"
    settings: dict[str, object] = {"Status": "DISABLED"}
    enabled = chance.random() < 0.4
    if enabled:
        settings = {
            "Status": "ENABLED",
            "SettingsGroup": "group-" + str(chance.randrange(20)),
            "S3BucketName": f"wspool-app-settings-{_PLACE}",
        }
    pool["ApplicationSettings"] = settings
    rest = orjson.dumps(pool)[1:].replace(b"%", b"%%").replace(_PLACE.encode(), b"%b")
    # `%.0b` takes a value and prints nothing, so that every template takes the same values.
    return _HEAD + rest + (b"" if enabled else b"%.0b")
