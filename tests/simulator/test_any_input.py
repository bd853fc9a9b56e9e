"""Whatever a client sends, it gets a complete reply that botocore can parse."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import botocore.parsers
import botocore.session
import orjson
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import example, given
from hypothesis import strategies as st

from poolcensus.simulator import SimulatorConfig, WorldConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from simulator.conftest import Running

WORLD = WorldConfig(accounts=4, pools_per_target=3)
ROLE = "arn:aws:iam::000000000002:role/PoolCensusReader"
JSON = {
    "workspaces": ("WorkspacesService.", ["DescribeWorkspacesPools"]),
    "organizations": (
        "AWSOrganizationsV20161128.",
        [
            "DescribeAccount", "DescribeOrganization", "DescribeOrganizationalUnit", "ListAccounts",
            "ListAccountsForParent", "ListChildren", "ListOrganizationalUnitsForParent", "ListParents",
            "ListRoots", "ListTagsForResource",
        ],
    ),
    "account": (None, ["ListRegions", "GetRegionOptStatus"]),
}  # fmt: skip
FIELDS = {
    "workspaces": ["PoolIds", "Filters", "Limit", "NextToken", "Name", "Operator", "Values"],
    "organizations": [
        "AccountId", "ChildId", "ChildType", "MaxResults", "NextToken", "OrganizationalUnitId", "ParentId",
        "ResourceId",
    ],
    "account": ["AccountId", "MaxResults", "NextToken", "RegionName", "RegionOptStatusContains"],
}  # fmt: skip
FORMS = {
    "sts": {
        "GetCallerIdentity": [],
        "AssumeRole": [
            "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId", "Policy",
            "PolicyArns.member.1.arn", "SerialNumber", "SourceIdentity", "Tags.member.1.Key",
            "Tags.member.1.Value", "TokenCode", "TransitiveTagKeys.member.1",
        ],
    },
    "ec2": {"DescribeRegions": ["AllRegions", "DryRun", "Filter.1.Name", "Filter.1.Value.1", "RegionName.1"]},
}  # fmt: skip
VERSIONS = {"sts": "2011-06-15", "ec2": "2016-11-15"}
TEXTS = st.text() | st.sampled_from(
    ["", "\0", "\x1b[2J", "￿", "9" * 5000, "0", "-1", "us-east-1", "000000000002", "r-ab12", ROLE, "PoolName"]
)
# Characters that a header can have. http.client encodes them as Latin-1.
HEADER_TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_categories=["Cc"]))
Signed = tuple[bytes, dict[str, str]]
SESSION = botocore.session.get_session()


def values(names: list[str]) -> st.SearchStrategy[Any]:
    """Return any JSON values. Their objects often have the given names."""
    keys = st.sampled_from(names) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXTS
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
    )


class Sender:
    """Sends signed requests over one connection, and checks that each reply can be parsed."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.connection = http.client.HTTPConnection(*running.address, timeout=10)
        # Before the first test, which must leave nothing open.
        self.connection.request("GET", "/_simulator/stats")
        self.connection.getresponse().read()

    def sign(
        self, service: str, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Signed:
        url = self.running.simulator.endpoint_url + target
        request = AWSRequest(method, url, data=body, headers=headers or {})
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        kind(self.running.caller, service, "us-east-1").add_auth(request)
        return body, dict(request.headers.items())

    def send(self, service: str, operation: str, method: str, target: str, signed: Signed) -> tuple[int, Any]:
        body, headers = signed
        self.connection.request(method, target, body, headers)
        reply = self.connection.getresponse()
        data = reply.read()
        assert reply.status < 500 or reply.status == 501
        model = SESSION.get_service_model(service)
        parser = botocore.parsers.create_parser(model.metadata["protocol"])
        shape = model.operation_model(operation).output_shape
        if reply.status < 300 and service == "s3":
            # As with AWS, names in a listing without encoding may have characters that XML does not allow.
            return reply.status, {}
        raw = {"status_code": reply.status, "headers": dict(reply.getheaders()), "body": data}
        parsed = parser.parse(raw, shape)
        if reply.status >= 300 and data:
            assert parsed["Error"]["Code"]
        return reply.status, parsed


@pytest.fixture(scope="module")
def sender(open_simulator: Callable[..., AbstractContextManager[Running]]) -> Iterator[Sender]:
    with open_simulator(SimulatorConfig(world=WORLD)) as running:
        sender = Sender(running)
        yield sender
        sender.connection.close()


def call_json(sender: Sender, service: str, operation: str, body: bytes) -> tuple[int, Any]:
    prefix = JSON[service][0]
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    target = "/" if prefix else f"/{operation[0].lower()}{operation[1:]}"
    if prefix:
        headers["X-Amz-Target"] = prefix + operation
    signed = sender.sign(service, "POST", target, body, headers)
    return sender.send(service, operation, "POST", target, signed)


@pytest.mark.parametrize(
    ("service", "operation"), [(service, each) for service, (_, names) in JSON.items() for each in names]
)
def test_any_json(sender: Sender, service: str, operation: str) -> None:
    names = FIELDS[service]

    @given(st.dictionaries(st.sampled_from(names), values(names), max_size=4) | values(names) | st.binary())
    @example({"Filters": [{"Name": "PoolName", "Operator": [], "Values": ["a"]}]})
    @example({"Filters": [{"Name": "PoolName", "Operator": {}, "Values": ["a"]}]})
    @example({"Filters": [{"Name": {}, "Operator": "EQUALS", "Values": ["a"]}]})
    @example(b'{"PoolIds":' + b"[" * 600 + b"]" * 600 + b"}")
    @example(
        b'{"Filters":[{"Name":"PoolName","Operator":"EQUALS","Values":["a"],"Other":'
        + b"[" * 600 + b"]" * 600 + b"}]}"
    )  # fmt: skip
    def check(query: Any) -> None:
        body = query if isinstance(query, bytes) else orjson.dumps(query)
        call_json(sender, service, operation, body)

    check()


@pytest.mark.parametrize("where", ["Name", "Operator"])
@pytest.mark.parametrize("value", [[], {}, 1])
def test_a_filter_s_field_of_another_type_can_t_be_read(sender: Sender, where: str, value: object) -> None:
    query = {"Name": "PoolName", "Operator": "EQUALS", "Values": ["a"], where: value}
    body = orjson.dumps({"Filters": [query]})
    status, parsed = call_json(sender, "workspaces", "DescribeWorkspacesPools", body)
    assert (status, parsed["Error"]["Code"]) == (400, "SerializationException")


def call_form(sender: Sender, service: str, operation: str, fields: dict[str, str]) -> tuple[int, Any]:
    body = urlencode({"Action": operation, "Version": VERSIONS[service], **fields}, errors="replace").encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    signed = sender.sign(service, "POST", "/", body, headers)
    return sender.send(service, operation, "POST", "/", signed)


@pytest.mark.parametrize(
    ("service", "operation"), [(service, each) for service, names in FORMS.items() for each in names]
)
def test_any_form(sender: Sender, service: str, operation: str) -> None:
    names = FORMS[service][operation]
    good = {"RoleArn": ROLE, "RoleSessionName": "census"} if operation == "AssumeRole" else {}

    @given(st.dictionaries(st.sampled_from([*names, "Action", "Other"]), TEXTS, max_size=6))
    @example({"DurationSeconds": "9" * 5000})
    @example({"DurationSeconds": "0" * 5000 + "900"})
    @example({"Filter.1.Name": "region-name", "Filter.1.Value.1": "?*" * 300 + "x"})
    def check(fields: dict[str, str]) -> None:
        call_form(sender, service, operation, {**good, **fields})

    check()


def test_any_policy(sender: Sender) -> None:
    names = ["Version", "Statement", "Effect", "Action", "Resource", "Principal", "Condition", "StringLike"]

    @given(values(names) | st.builds(lambda each: {"Statement": [each]}, values(names)))
    @example({"Statement": {"Effect": [], "Action": "*"}})
    @example({"Statement": {"Effect": "Allow", "Action": "*", "Condition": {"StringLike": {"s3:prefix": 1}}}})
    def check(policy: Any) -> None:
        fields = {"RoleArn": ROLE, "RoleSessionName": "census", "Policy": orjson.dumps(policy).decode()}
        call_form(sender, "sts", "AssumeRole", fields)

    check()


@pytest.mark.parametrize("seconds", ["9" * 5000, "43201"])
def test_a_session_of_any_length_is_too_long(sender: Sender, seconds: str) -> None:
    fields = {"RoleArn": ROLE, "RoleSessionName": "census", "DurationSeconds": seconds}
    status, parsed = call_form(sender, "sts", "AssumeRole", fields)
    assert (status, parsed["Error"]["Code"]) == (400, "ValidationError")
    assert parsed["Error"]["Message"].endswith("less than or equal to 43200")


@pytest.mark.parametrize(
    ("service", "operation", "fields"),
    [
        ("sts", "AssumeRole", {"RoleArn": "a\0b\x1b￾"}),
        ("ec2", "DescribeRegions", {"RegionName.1": "a\0b\x1b￾"}),
    ],
)
def test_control_characters_come_back_replaced(
    sender: Sender, service: str, operation: str, fields: dict[str, str]
) -> None:
    status, parsed = call_form(sender, service, operation, fields)
    assert status == 400
    assert "a�b��" in parsed["Error"]["Message"]


def test_control_characters_in_what_s3_refuses_are_replaced(sender: Sender) -> None:
    created = sender.send("s3", "CreateBucket", "PUT", "/fuzzed", sender.sign("s3", "PUT", "/fuzzed"))
    assert created[0] == 200
    target = "/fuzzed/a%00b%1B"
    status, parsed = sender.send("s3", "GetObject", "GET", target, sender.sign("s3", "GET", target))
    assert (status, parsed["Error"]["Key"]) == (404, "a�b�")


S3_PARAMS = [
    "list-type", "prefix", "delimiter", "marker", "max-keys", "start-after", "continuation-token", "uploads",
    "uploadId", "partNumber", "part-number-marker", "max-parts", "key-marker", "upload-id-marker", "location",
    "delete", "encoding-type", "fetch-owner", "versionId", "x-amz-checksum-mode", "max-uploads",
]  # fmt: skip
S3_HEADERS = [
    "Cache-Control", "Content-MD5", "Content-Type", "Expires", "If-Match", "If-Modified-Since",
    "If-None-Match", "If-Unmodified-Since", "Range", "x-amz-acl", "x-amz-checksum-crc32",
    "x-amz-checksum-sha256", "x-amz-copy-source", "x-amz-decoded-content-length", "x-amz-meta-a",
    "x-amz-metadata-directive", "x-amz-sdk-checksum-algorithm", "x-amz-storage-class", "x-amz-trailer",
]  # fmt: skip


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    key=st.none() | TEXTS,
    params=st.dictionaries(st.sampled_from(S3_PARAMS), TEXTS, max_size=3),
    headers=st.dictionaries(st.sampled_from(S3_HEADERS), HEADER_TEXTS, max_size=3),
    body=st.binary()
    | st.sampled_from(
        [
            b'<?xml version="1.0" encoding="big5"?><Delete/>',
            b'<?xml version="1.0" encoding="nonsense"?><CreateBucketConfiguration/>',
            b"<Delete><Object><Key>a</Key></Object></Delete>",
        ]
    ),
)
def test_any_request_of_s3(
    sender: Sender,
    *,
    method: str,
    key: str | None,
    params: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    path = "/fuzzed" if key is None else f"/fuzzed/{quote(key.encode(errors='replace'), safe='')}"
    query = urlencode(params, errors="replace")
    target = f"{path}?{query}" if query else path
    signed = sender.sign("s3", method, target, body, headers)
    # The request has any form: only errors are checked.
    sender.send("s3", "AbortMultipartUpload", method, target, signed)


@pytest.mark.parametrize("encoding", ["big5", "utf-7", "nonsense"])
def test_xml_in_an_encoding_that_is_not_read_is_malformed(sender: Sender, encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><CreateBucketConfiguration/>'.encode()
    signed = sender.sign("s3", "PUT", "/fuzzed", body)
    status, parsed = sender.send("s3", "CreateBucket", "PUT", "/fuzzed", signed)
    assert (status, parsed["Error"]["Code"]) == (400, "MalformedXML")


PRESIGNED = [
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
    "X-Amz-Signature", "X-Amz-Security-Token",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(PRESIGNED), TEXTS, max_size=7))
@example({"X-Amz-Signature": "é"})
@example({"X-Amz-Expires": "9" * 5000})
@example({"X-Amz-Date": "00010101T000000Z"})
@example({"X-Amz-Date": "99991231T235959Z"})
def test_any_presigned_query(sender: Sender, given_fields: dict[str, str]) -> None:
    scope = f"{sender.running.simulator.access_key_id}/20261129/us-east-1/s3/aws4_request"
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": scope,
        "X-Amz-Date": "20261129T120000Z",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "0" * 64,
        **given_fields,
    }
    target = f"/fuzzed?{urlencode(fields, errors='replace')}"
    sender.send("s3", "AbortMultipartUpload", "GET", target, (b"", {}))


@given(
    authorization=st.none() | HEADER_TEXTS | st.builds(lambda text: f"AWS4-HMAC-SHA256 {text}", HEADER_TEXTS),
    date=HEADER_TEXTS,
)
def test_any_authorization(sender: Sender, authorization: str | None, date: str) -> None:
    headers = {"X-Amz-Date": date}
    if authorization is not None:
        headers["Authorization"] = authorization
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    target = {"X-Amz-Target": "WorkspacesService.DescribeWorkspacesPools"}
    sender.send("s3", "AbortMultipartUpload", "GET", "/fuzzed", (b"", headers))
    sender.send("sts", "GetCallerIdentity", "POST", "/", (form, headers))
    sender.send("workspaces", "DescribeWorkspacesPools", "POST", "/", (b"{}", {**headers, **target}))
    sender.send("account", "ListRegions", "POST", "/listRegions", (b"{}", headers))
