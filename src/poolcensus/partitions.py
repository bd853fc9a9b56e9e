"""The catalogue of partitions and their regions: which have WorkSpaces, and which are opt-in regions."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Partition(msgspec.Struct, frozen=True):
    """A partition. `workspaces` are its regions with WorkSpaces, and `other` its regions without.

    `pools` are the regions in which WorkSpaces Pools is or may be offered. `account_api` is whether the
    partition has an endpoint of the Account API. `sts` is the region of STS if the caller names none.
    """

    name: str
    sts: str
    workspaces: tuple[str, ...]
    pools: frozenset[str]
    opt_in: frozenset[str]
    other: tuple[str, ...]
    account_api: bool

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region of the partition, sorted."""
        return tuple(sorted({*self.workspaces, *self.other}))


# The regions that poolcensus knows, by partition.
#
# workspaces: regions with a WorkSpaces endpoint. From the endpoint data of botocore 1.43.11 (endpoints.json,
#             service "workspaces"), which adds us-east-2 and ap-southeast-5 to those of botocore 1.40.61. A
#             census calls all of them, also those without Pools: a region too many costs a call, a region
#             too few loses pools.
# pools:      regions in which a refusal without a reason counts as a missing permission. In other regions it
#             means that WorkSpaces Pools is not offered. These are the regions in which Pools is offered, by
#             https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-regions.html, and those for
#             which that is not certain, so that no region is called unsupported on thin evidence:
#             sa-east-1, GovCloud, the isolated partitions. China has none:
#             https://docs.amazonaws.cn/en_us/workspaces/latest/adminguide/wsp-pools-regions.html.
# opt_in:     regions that an account has to enable: those launched after 20 March 2019
#             (https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html).
# other:      the other regions of the partition, which have no WorkSpaces. From partitions.json of the same
#             botocore.
# account_api: whether the Account API has an endpoint. By the same endpoints.json (service "account") only
#             aws and aws-cn have one. In the others, EC2 returns which regions an account has enabled.
# sts:        the region whose STS is called if the caller names no region.
_PARTITIONS: Final = (
    Partition(
        name="aws",
        sts="us-east-1",
        account_api=True,
        workspaces=(
            "af-south-1",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-south-1",
            "ap-southeast-1",
            "ap-southeast-2",
            "ap-southeast-5",
            "ca-central-1",
            "eu-central-1",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "il-central-1",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-2",
        ),
        pools=frozenset(
            (
                "ap-northeast-1",
                "ap-northeast-2",
                "ap-south-1",
                "ap-southeast-1",
                "ap-southeast-2",
                "ca-central-1",
                "eu-central-1",
                "eu-west-1",
                "eu-west-2",
                "eu-west-3",
                "sa-east-1",
                "us-east-1",
                "us-west-2",
            )
        ),
        opt_in=frozenset(
            (
                "af-south-1",
                "ap-east-1",
                "ap-east-2",
                "ap-south-2",
                "ap-southeast-3",
                "ap-southeast-4",
                "ap-southeast-5",
                "ap-southeast-6",
                "ap-southeast-7",
                "ca-west-1",
                "eu-central-2",
                "eu-south-1",
                "eu-south-2",
                "il-central-1",
                "me-central-1",
                "me-south-1",
                "mx-central-1",
            )
        ),
        other=(
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-3",
            "ap-south-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-6",
            "ap-southeast-7",
            "ca-west-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "me-central-1",
            "me-south-1",
            "mx-central-1",
            "us-west-1",
        ),
    ),
    Partition(
        name="aws-us-gov",
        sts="us-gov-west-1",
        account_api=False,
        workspaces=("us-gov-east-1", "us-gov-west-1"),
        pools=frozenset(("us-gov-east-1", "us-gov-west-1")),
        opt_in=frozenset(),
        other=(),
    ),
    Partition(
        name="aws-cn",
        sts="cn-northwest-1",
        account_api=True,
        workspaces=("cn-northwest-1",),
        pools=frozenset(),
        opt_in=frozenset(),
        other=("cn-north-1",),
    ),
    Partition(
        name="aws-iso",
        sts="us-iso-east-1",
        account_api=False,
        workspaces=("us-iso-east-1", "us-iso-west-1"),
        pools=frozenset(("us-iso-east-1", "us-iso-west-1")),
        opt_in=frozenset(),
        other=(),
    ),
    Partition(
        name="aws-iso-b",
        sts="us-isob-east-1",
        account_api=False,
        workspaces=("us-isob-east-1",),
        pools=frozenset(("us-isob-east-1",)),
        opt_in=frozenset(),
        other=("us-isob-west-1",),
    ),
    Partition(
        name="aws-iso-e",
        sts="eu-isoe-west-1",
        account_api=False,
        workspaces=(),
        pools=frozenset(),
        opt_in=frozenset(),
        other=("eu-isoe-west-1",),
    ),
    Partition(
        name="aws-iso-f",
        sts="us-isof-south-1",
        account_api=False,
        workspaces=(),
        pools=frozenset(),
        opt_in=frozenset(),
        other=("us-isof-east-1", "us-isof-south-1"),
    ),
    Partition(
        name="aws-eusc",
        sts="eusc-de-east-1",
        account_api=False,
        workspaces=(),
        pools=frozenset(),
        opt_in=frozenset(),
        other=("eusc-de-east-1",),
    ),
)
_BY_NAME: Final = {each.name: each for each in _PARTITIONS}


def partitions() -> Mapping[str, Partition]:
    """Return the catalogue of partitions, by name."""
    return _BY_NAME


def known_regions() -> frozenset[str]:
    """Return all regions of all partitions."""
    return frozenset(region for each in partitions().values() for region in each.regions)


def always_on_regions() -> frozenset[str]:
    """Return all regions of all partitions that are not opt-in regions."""
    return known_regions() - {region for each in partitions().values() for region in each.opt_in}


def usual_regions() -> tuple[str, ...]:
    """Return the regions with WorkSpaces of all partitions, those of the partition aws first."""
    return tuple(region for each in partitions().values() for region in each.workspaces)


def is_pattern(text: str) -> bool:
    """Return whether `text` is a pattern for regions (`eu-*`), and not the name of one."""
    return any(character in text for character in "*?[")


def matches(region: str, patterns: Iterable[str]) -> bool:
    """Return whether the region matches any of the patterns."""
    return any(fnmatchcase(region, pattern) for pattern in patterns)
