"""Fixtures of the tests that compare with the SDK. Its models stay loaded."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

import census_lab  # noqa: F401 - before a test has a loop that importing would block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    """A session of boto3 with models that are loaded once for all tests."""
    session = boto3.Session()
    for service in ("sts", "organizations", "ec2", "workspaces"):
        session.client(service, "us-east-1", aws_access_key_id="none", aws_secret_access_key="none").close()
    gc.collect()
    gc.freeze()
    return session


@pytest.fixture
def connect(boto_session: boto3.Session) -> Iterator[Callable[..., Any]]:
    """Make clients of boto3, which are closed after the test: `connect("sts", url, key, secret, token)`."""
    clients: list[Any] = []

    def make(
        service: str, url: str, key: str, secret: str, token: str | None = None, *, region: str = "us-east-1"
    ) -> Any:
        client = boto_session.client(
            service,
            region_name=region,
            endpoint_url=url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def plain() -> Callable[[object], object]:
    """Convert a result of the SDK to JSON values, to compare it."""
    return lambda value: json.loads(json.dumps(value, default=str))
