"""Requests without a signature that names the service are answered in their own protocol."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from simulator.conftest import Running

STS = "Action=GetCallerIdentity&Version=2011-06-15"
EC2 = "Action=DescribeRegions&Version=2016-11-15"
OTHER_EC2 = "Version=2016-11-15&Action=DescribeVpcs"
POOLS = {"X-Amz-Target": "WorkspacesService.DescribeWorkspacesPools"}
ACCOUNTS = {"X-Amz-Target": "AWSOrganizationsV20161128.ListAccounts"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
SCOPE = "AKIDEXAMPLE%2F20261129%2Fus-east-1%2Fsts%2Faws4_request"


@pytest.fixture(scope="module")
def running(open_simulator: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    with open_simulator() as running:
        yield running


def send(
    running: Running, method: str, target: str, headers: dict[str, str], body: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*running.address, timeout=5)
    try:
        connection.request(method, target, body.encode(), headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("request_line", "headers", "body", "missing", "malformed", "mark"),
    [
        (
            "POST /",
            {},
            STS,
            (403, "MissingAuthenticationToken"),
            (400, "IncompleteSignature"),
            b"<ErrorResponse",
        ),
        (
            "GET /?" + STS,
            {},
            "",
            (403, "MissingAuthenticationToken"),
            (400, "IncompleteSignature"),
            b"<Type>",
        ),
        ("POST /", {}, EC2, (403, "MissingAuthenticationToken"), (400, "IncompleteSignature"), b"<Response>"),
        (
            "POST /",
            {},
            OTHER_EC2,
            (403, "MissingAuthenticationToken"),
            (400, "IncompleteSignature"),
            b"<Errors>",
        ),
        (
            "POST /",
            POOLS,
            "{}",
            (400, "MissingAuthenticationTokenException"),
            (400, "IncompleteSignatureException"),
            b"com.amazon.coral.service#",
        ),
        (
            "POST /",
            ACCOUNTS,
            "{}",
            (400, "MissingAuthenticationTokenException"),
            (400, "IncompleteSignatureException"),
            b'{"__type":"',
        ),
        (
            "POST /",
            JSON,
            "{}",
            (400, "MissingAuthenticationTokenException"),
            (400, "IncompleteSignatureException"),
            b'{"__type":"',
        ),
        (
            "POST /listRegions",
            {"Content-Type": "application/json"},
            "{}",
            (403, "MissingAuthenticationTokenException"),
            (403, "IncompleteSignatureException"),
            b'{"message":"',
        ),
        (
            "GET /bucket/key",
            {},
            "",
            (403, "AccessDenied"),
            (400, "AuthorizationHeaderMalformed"),
            b"<HostId>",
        ),
        (
            "PUT /bucket/key",
            {},
            "x",
            (403, "AccessDenied"),
            (400, "AuthorizationHeaderMalformed"),
            b"<HostId>",
        ),
    ],
)
def test_without_a_signature_that_can_be_read(
    running: Running,
    *,
    request_line: str,
    headers: dict[str, str],
    body: str,
    missing: tuple[int, str],
    malformed: tuple[int, str],
    mark: bytes,
) -> None:
    method, _, target = request_line.partition(" ")
    for authorization, (status, code) in (
        ({}, missing),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=nonsense"}, malformed),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00"}, malformed),
    ):
        got, shown, reply = send(running, method, target, {**headers, **authorization}, body)
        assert got == status
        assert mark in reply
        said = shown.get("x-amzn-errortype", "").encode() or reply
        assert code.encode() in said
        assert b"Exception" not in said or code.endswith("Exception")
        assert ("x-amz-request-id" in shown) == (b"<HostId>" in reply)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("X-Amz-Signature=00", b"<Code>AuthorizationQueryParametersError</Code>"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00", b"AuthorizationQueryParametersError</Code>"),
        (f"{STS}&X-Amz-Signature=00", b"<Code>IncompleteSignature</Code>"),
        ("AWSAccessKeyId=AKIA&Signature=a%3D&Expires=1795000000", b"Please use AWS4-HMAC-SHA256."),
    ],
)
def test_a_query_that_is_not_signed_in_full(running: Running, query: str, code: bytes) -> None:
    status, _, reply = send(running, "GET", f"/?{query}", {}, "")
    assert (status, code in reply) == (400, True)


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("s3", b"<Code>AuthorizationQueryParametersError</Code>"),
        ("sts", b"<Code>IncompleteSignature</Code>"),
        ("workspaces", b"IncompleteSignatureException"),
    ],
)
def test_a_presigned_date_that_is_none(running: Running, service: str, code: bytes) -> None:
    scope = f"{running.simulator.access_key_id}/20261129/us-east-1/{service}/aws4_request"
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date=today"
        "&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
    )
    status, _, reply = send(running, "GET", f"/?{query}", {}, "")
    assert (status, code in reply) == (400, True)


def test_a_header_without_a_date(running: Running) -> None:
    for service, status, code in (
        ("s3", 403, b"<Code>AccessDenied</Code>"),
        ("sts", 400, b"<Code>IncompleteSignature</Code>"),
    ):
        scope = f"{running.simulator.access_key_id}/20261129/us-east-1/{service}/aws4_request"
        authorization = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"
        got, _, reply = send(running, "GET", "/", {"Authorization": authorization}, "")
        assert (got, code in reply) == (status, True)
