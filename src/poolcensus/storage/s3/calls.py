"""Calls the operations of S3 for one bucket, renews credentials, and explains errors."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import anyio
from botocore.exceptions import BotoCoreError, ClientError

from poolcensus.errors import CallError, DestinationError, DestinationRefusedError
from poolcensus.storage.s3.objects import ConflictError, ExistsError
from poolcensus.storage.s3.refusals import (
    BROKEN,
    CONFLICT,
    EXPIRED,
    NO_BUCKET,
    NOT_S3,
    code_of,
    denial_of,
    refusal_reason,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from typing import Any

    from poolcensus.storage.s3.credentials import S3Credentials
    from poolcensus.storage.s3.http import Client

# Seconds for all attempts of a call together. Otherwise, a reply that trickles in could take for ever.
LONGEST_CALL = 300.0


class BucketCalls:
    """Calls operations of the SDK's client for one bucket.

    `constants` is the parameters of every call, besides the name of the bucket.
    """

    def __init__(
        self, client: Client, name: str, credentials: S3Credentials, constants: Mapping[str, str]
    ) -> None:
        self._client = client
        self.name = name
        self._credentials = credentials
        self._constants = {"Bucket": name, **constants}

    async def call(
        self,
        doing: str,
        key: str,
        operation: str,
        none_for: frozenset[str] = frozenset(),
        /,
        **parameters: object,
    ) -> Mapping[str, Any] | None:
        """Call an operation. Return its reply, or None for an error whose code is in `none_for`.

        Raises `DestinationError`. Its message says that `doing` was not possible for the object `key`.
        """
        try:
            with anyio.fail_after(LONGEST_CALL):
                return await self.send(operation, **parameters)
        except ClientError as error:
            if code_of(error) in none_for:
                return None
            raise self.explained(doing, key, operation, error) from error
        except (BotoCoreError, TimeoutError, CallError) as error:
            raise self.explained(doing, key, operation, error) from error

    async def pages(
        self, operation: str, prefix: str, asked: Mapping[str, str], markers: Mapping[str, str]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the pages of a listing.

        `markers` maps parameters to the fields of a page that contain their values for the next page.
        """
        after: dict[str, str] = {}
        while True:
            page = await self.call("list", prefix, operation, **{"Prefix": prefix, **asked, **after})
            # Every page of S3 says whether it is the last. A reply that doesn't is not from S3.
            if page is None or "IsTruncated" not in page:
                raise self.not_s3("list", prefix)
            yield page
            if not page["IsTruncated"]:
                return
            before, after = after, {name: page.get(field, "") for name, field in markers.items()}
            if after == before:
                raise self.not_s3("list", prefix)

    async def send(self, operation: str, /, **parameters: object) -> Mapping[str, Any]:
        """Return the reply of an operation. If the credentials have expired, renew them and repeat the call.

        Raises the errors of the SDK, and sets no time limit.
        """
        try:
            return await self._send_once(operation, parameters)
        except ClientError as error:
            if code_of(error) not in EXPIRED:
                raise
        # Normally credentials are renewed before they expire, but the service may see them expire earlier.
        self._credentials.expired()
        body = parameters.get("Body")
        if isinstance(body, io.BytesIO):
            body.seek(0)
        return await self._send_once(operation, parameters)

    def required(self, reply: Mapping[str, Any] | None, name: str, doing: str, key: str) -> str:
        """Return a required field of a reply.

        Raises `DestinationError` without it: then it is not from S3.
        """
        if reply is None or reply.get(name) is None:
            raise self.not_s3(doing, key)
        return str(reply[name])

    def not_s3(self, doing: str, key: str) -> DestinationError:
        """Return the error for a reply that is not from S3."""
        return DestinationError(f"can't {doing} {self._url(key)}: {NOT_S3.why}", advice=NOT_S3.advice)

    def explained(self, doing: str, key: str, operation: str, error: Exception) -> DestinationError:
        """Turn an error of the SDK into a `DestinationError` that says what could not be done, and why."""
        owner = self._constants.get("ExpectedBucketOwner")
        reason = refusal_reason(error, operation, bucket=self.name, owner=owner)
        # If there is no bucket, don't mention the object.
        without = isinstance(error, ClientError) and code_of(error) in NO_BUCKET
        place = f"s3://{self.name}" if without else self._url(key)
        problem = f"can't {doing} {place}: {reason.why}"
        if isinstance(error, ClientError) and code_of(error) in CONFLICT:
            return ConflictError(problem, advice=reason.advice)
        if isinstance(error, ClientError) and code_of(error) in BROKEN:
            return ExistsError(problem, advice=reason.advice)
        denial = denial_of(error, operation)
        if denial is None:
            return DestinationError(problem, advice=reason.advice)
        return DestinationRefusedError(
            problem,
            advice=reason.advice,
            code=denial.code,
            reason=denial.message,
            iam_actions=denial.iam_actions,
        )

    def _url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    async def _send_once(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = await getattr(self._client, operation)(**self._constants, **parameters)
        return reply
