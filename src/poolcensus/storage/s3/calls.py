"""Calls of the operations of S3 on one bucket, with credentials that are renewed and errors that explain."""

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

# All attempts of a call together: there is no end to what drips otherwise.
LONGEST_CALL = 300.0


class BucketCalls:
    """Calls an operation of the SDK's client for one bucket.

    `constants` are what every call says beside the bucket's name.
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
        """Return the reply of an operation; None where its error has a code in `none_for`."""
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

        `markers` maps parameters to the fields of a page that have their values for the next.
        """
        after: dict[str, str] = {}
        while True:
            page = await self.call("list", prefix, operation, **{"Prefix": prefix, **asked, **after})
            # Every page says whether it is the last: a reply that doesn't is somebody else's.
            if page is None or "IsTruncated" not in page:
                raise self.not_s3("list", prefix)
            yield page
            if not page["IsTruncated"]:
                return
            before, after = after, {name: page.get(field, "") for name, field in markers.items()}
            if after == before:
                raise self.not_s3("list", prefix)

    async def send(self, operation: str, /, **parameters: object) -> Mapping[str, Any]:
        """Return the reply of an operation, renewing credentials that have expired.

        Raises what the SDK raises, and bounds no time.
        """
        try:
            return await self._send_once(operation, parameters)
        except ClientError as error:
            if code_of(error) not in EXPIRED:
                raise
        # Renewed by their own expiry as a rule; a service may see it earlier.
        self._credentials.expired()
        body = parameters.get("Body")
        if isinstance(body, io.BytesIO):
            body.seek(0)
        return await self._send_once(operation, parameters)

    def required(self, reply: Mapping[str, Any] | None, name: str, doing: str, key: str) -> str:
        """Return a field of a reply. One that lacks it is none of S3's, whatever its status is."""
        if reply is None or reply.get(name) is None:
            raise self.not_s3(doing, key)
        return str(reply[name])

    def not_s3(self, doing: str, key: str) -> DestinationError:
        """Return the error for a reply that is none of S3's."""
        return DestinationError(f"can't {doing} {self._url(key)}: {NOT_S3.why}", advice=NOT_S3.advice)

    def explained(self, doing: str, key: str, operation: str, error: Exception) -> DestinationError:
        """Return the error of a destination for one of the SDK's: what could not be done, and why."""
        owner = self._constants.get("ExpectedBucketOwner")
        reason = refusal_reason(error, operation, bucket=self.name, owner=owner)
        # Which object was asked for first says nothing where there is none.
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
