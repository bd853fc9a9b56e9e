"""Region status from replies of EC2."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.region_status.calls import Statuses, opt_in_statuses, statuses_of
from poolcensus.aws.transport.protocol import Reply
from poolcensus.errors import BadResponseError

_NAMESPACE = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'


def body(statuses: dict[str, str], namespace: str = _NAMESPACE) -> bytes:
    items = "".join(
        f"<item><regionName>{escape(name)}</regionName><regionEndpoint>ec2.x</regionEndpoint>"
        f"<optInStatus>{status}</optInStatus></item>"
        for name, status in statuses.items()
    )
    return (
        f"<DescribeRegionsResponse {namespace}><requestId>r</requestId>"
        f"<regionInfo>{items}</regionInfo></DescribeRegionsResponse>"
    ).encode()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
        st.sampled_from(["opt-in-not-required", "opted-in", "not-opted-in"]),
        min_size=1,
    ),
    st.sampled_from(["", _NAMESPACE]),
)
def test_regions_and_their_statuses(statuses: dict[str, str], namespace: str) -> None:
    found = opt_in_statuses(Reply(200, {}, body(statuses, namespace)))
    assert found == statuses
    disabled, enabled = statuses_of(found)
    assert disabled == {name for name, status in statuses.items() if status == "not-opted-in"}
    assert enabled == statuses.keys() - disabled


@pytest.mark.parametrize("junk", [b"", b"{}", b"<html>", b"<a/>", body({}), body({"a": "b"})[:-5]])
def test_what_names_no_region_is_a_bad_response(junk: bytes) -> None:
    with pytest.raises(BadResponseError):
        opt_in_statuses(Reply(200, {}, junk))


def test_a_region_that_is_being_enabled_or_disabled_is_neither() -> None:
    said = {
        "a": "DISABLED",
        "b": "ENABLED",
        "c": "ENABLED_BY_DEFAULT",
        "d": "ENABLING",
        "e": "DISABLING",
        "f": "",
    }
    assert statuses_of(said) == Statuses(frozenset("a"), frozenset("bc"))
