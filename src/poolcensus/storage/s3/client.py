"""Opens a bucket with the SDK's asynchronous client, which is imported only then."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from botocore.exceptions import BotoCoreError, ProfileNotFound

from poolcensus.aws.sdk.chain_failures import without_passwords
from poolcensus.aws.sdk.endpoints import endpoint_problem
from poolcensus.aws.sdk.limits import reading_in_time
from poolcensus.aws.sdk.proxies import Proxies
from poolcensus.aws.sdk.session import profile_not_found
from poolcensus.aws.transport.protocol import LONGEST_CLOSE
from poolcensus.config import S3Encryption
from poolcensus.errors import CensusError, SettingsError
from poolcensus.loops import in_thread
from poolcensus.storage.s3.bucket import S3Bucket
from poolcensus.storage.s3.calls import BucketCalls
from poolcensus.storage.s3.credentials import S3Credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from poolcensus.aws.sdk.access import Sdk
    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.storage.s3.http import Client
    from poolcensus.storage.s3.objects import Bucket


@asynccontextmanager
async def open_bucket(settings: Settings, session: CallerSession, name: str) -> AsyncIterator[Bucket]:
    """Open a client for the bucket `name`, with the caller's credentials. Makes no call.

    On leaving, all connections are closed. Raises SettingsError if the SDK's configuration can't be used.
    """
    credentials = S3Credentials(session.credentials)
    tls = await session.trust.context()
    with reading_in_time():
        client = await in_thread(_open_client, settings, session.sdk, credentials, tls)
    try:
        yield S3Bucket(BucketCalls(client, name, credentials, _constants(settings)), _encryption(settings))
    finally:
        with anyio.move_on_after(LONGEST_CLOSE, shield=True):
            await client.close()
            # Connections finish closing in the next turn of the loop.
            await asyncio.sleep(0)


def _open_client(settings: Settings, sdk: Sdk, credentials: S3Credentials, tls: ssl.SSLContext) -> Client:
    # Creating a client reads files and takes about 100 ms, which the SDK spends inside a coroutine. So it
    # runs in a loop of this thread. The client has no connections yet, and is not bound to that loop.
    from poolcensus.storage.s3.http import new_client  # noqa: PLC0415 - loads the asynchronous SDK

    async def _enter_in_thread() -> Client:
        opening = new_client(
            profile=settings.profile,
            endpoint_url=settings.endpoint_url,
            region=sdk.region,
            credentials=credentials.current,
            tls=tls,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.attempt_timeout,
        )
        client = await opening.__aenter__()
        if (problem := endpoint_problem(client.meta.endpoint_url)) is not None:
            raise SettingsError(f"no client for S3 can be made: its endpoint URL {problem}")
        Proxies().of(client.meta.endpoint_url)
        return client

    try:
        return asyncio.run(_enter_in_thread())
    except ProfileNotFound as error:
        raise SettingsError(profile_not_found(error.kwargs["profile"])) from None
    except BotoCoreError as error:
        raise SettingsError(f"no client for S3 can be made: {without_passwords(str(error))}") from None
    except CensusError:
        raise
    # On malformed sections and models, the SDK raises AttributeError, KeyError and others.
    except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
        raise SettingsError(
            "no client for S3 can be made: the endpoint URL, or the profile's section in your AWS config, is"
            f" malformed ({type(error).__name__})"
        ) from None


def _constants(settings: Settings) -> Mapping[str, str]:
    owner = settings.s3_bucket_owner
    return {} if owner is None else {"ExpectedBucketOwner": owner}


def _encryption(settings: Settings) -> Mapping[str, str]:
    key = settings.s3_kms_key
    if key is not None:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    if settings.s3_encryption is S3Encryption.NONE:
        return {}
    return {"ServerSideEncryption": settings.s3_encryption.value}
