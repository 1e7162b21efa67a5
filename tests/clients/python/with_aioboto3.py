"""aioboto3: one session and one client for as long as it runs."""

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version

import aioboto3

from loop import BUCKET, same, until_told

loop = asyncio.new_event_loop()
session, kept = aioboto3.Session(), AsyncExitStack()
s3 = None


async def put_and_get(number):
    global s3
    if s3 is None:
        s3 = await kept.enter_async_context(session.client("s3"))
    key, body = f"aioboto3/{number % 8}", str(number).encode()
    await s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    answer = await s3.get_object(Bucket=BUCKET, Key=key)
    same(await answer["Body"].read(), body)


until_told(version("aioboto3"), lambda number: loop.run_until_complete(put_and_get(number)))
loop.run_until_complete(kept.aclose())
