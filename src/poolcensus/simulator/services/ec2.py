"""EC2: DescribeRegions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from poolcensus.simulator import unauthorized
from poolcensus.simulator.http import Request, Response
from poolcensus.simulator.policies import Policy
from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.xml_text import xml_text

if TYPE_CHECKING:
    from poolcensus.simulator.world import World

_HEADERS = (("Content-Type", "text/xml;charset=UTF-8"),)
_FILTER_NAME = re.compile(r"Filter\.(\d+)\.Name")
_FILTER_VALUE = re.compile(r"Filter\.(\d+)\.Value\.\d+")
_TOKEN = re.compile(r"\\[*?\\]|.", re.DOTALL)
_STATUS = {"ENABLED_BY_DEFAULT": "opt-in-not-required", "ENABLED": "opted-in"}
_FILTERS = frozenset({"opt-in-status", "region-name", "endpoint"})


class Ec2:
    """Lists the regions of an account."""

    def __init__(self, world: World, *, refuse: bool) -> None:
        self._world = world
        self._refuse = refuse

    def handle(self, request: Request) -> Response:
        """Return the reply to a call.

        Raises RefusalError if the call is refused.
        """
        form = request.form
        action = form.get("Action", "")
        if action != "DescribeRegions":
            raise RefusalError(
                400, "InvalidAction", f"The action {action} is not valid for this web service."
            )
        index = self._world.index(request.identity.account_id)
        if self._refuse or index is None:
            raise unauthorized.denied(request, Policy.IDENTITY)
        if form.get("DryRun") == "true":
            raise RefusalError(
                412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."
            )
        items = "".join(
            f"<item><regionName>{region}</regionName><regionEndpoint>{endpoint}</regionEndpoint>"
            f"<optInStatus>{status}</optInStatus></item>"
            for region, endpoint, status in self._select(index, form)
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<requestId>{xml_text(request.request_id)}</requestId><regionInfo>{items}</regionInfo>"
            "</DescribeRegionsResponse>"
        )
        return Response(200, text.encode(), _HEADERS)

    def _select(self, index: int, form: dict[str, str]) -> list[tuple[str, str, str]]:
        world = self._world
        names = [value for key, value in form.items() if key.startswith("RegionName.")]
        for name in names:
            if name not in world.all_regions:
                raise RefusalError(400, "InvalidParameterValue", f"Invalid region name: {name}")
        filters = _read_filters(form)
        everything = form.get("AllRegions") == "true"
        domain = "amazonaws.com.cn" if world.partition.name == "aws-cn" else "amazonaws.com"
        chosen = []
        for region in world.all_regions:
            status = _STATUS.get(world.opt_status(index, region), "not-opted-in")
            facts = {
                "region-name": region,
                "opt-in-status": status,
                "endpoint": f"ec2.{region}.{domain}",
            }
            if names and region not in names:
                continue
            if status == "not-opted-in" and not (everything or names):
                continue
            if all(any(_like(each, facts[name]) for each in values) for name, values in filters):
                chosen.append((region, facts["endpoint"], status))
        return chosen


def _read_filters(form: dict[str, str]) -> list[tuple[str, frozenset[str]]]:
    filters = []
    for key, name in form.items():
        found = _FILTER_NAME.fullmatch(key)
        if found is None:
            continue
        if name not in _FILTERS:
            raise RefusalError(400, "InvalidParameterValue", f"The filter '{name}' is invalid")
        values = set()
        for other, value in form.items():
            match = _FILTER_VALUE.fullmatch(other)
            if match is not None and match[1] == found[1]:
                values.add(value)
        filters.append((name, frozenset(values)))
    return filters


def _like(pattern: str, text: str) -> bool:
    """Return whether the value of a filter matches. `*` stands for any text, `?` for one character or none.

    A backslash escapes `*`, `?` and itself:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html

    All positions that the pattern can reach are followed at the same time, so that no pattern takes long.
    """
    reached = {0}
    for token in _TOKEN.findall(pattern):
        if not reached:
            return False
        match token:
            case "*":
                reached = set(range(min(reached), len(text) + 1))
            case "?":
                reached |= {position + 1 for position in reached if position < len(text)}
            case _:
                reached = {position + 1 for position in reached if text[position : position + 1] == token[-1]}
    return len(text) in reached
