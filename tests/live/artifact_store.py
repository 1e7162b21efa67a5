"""What artifact-store does to its bucket, with unmodified aioboto3 and its own kind of configuration.

Endpoint, bucket, prefix and references to the three parts of a credential are given, `env:NAME` or `file:PATH`; a `file:`
reference is resolved anew for each client. Halfway a line `renew` is printed and a line on standard input awaited: by then
the files hold another lease. Prints one line for each thing that held, and ends at the first that did not.
"""

import asyncio
import hashlib
import os
import sys
from contextlib import asynccontextmanager
from io import BytesIO

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError


def setting(name):
    return os.environ[f"ARTIFACTSTORE_S3_{name}"]


def secret(name):
    scheme, _, place = setting(f"{name}_REF").partition(":")
    if scheme == "env":
        return os.environ[place]
    with open(place, encoding="ascii") as file:
        return file.read()


BUCKET, PREFIX, FOREIGN = setting("BUCKET"), setting("KEY_PREFIX"), setting("FOREIGN_BUCKET")
THRESHOLD, CHUNK = int(setting("MULTIPART_THRESHOLD_BYTES")), int(setting("MULTIPART_CHUNK_BYTES"))
TRANSFER = TransferConfig(multipart_threshold=THRESHOLD, multipart_chunksize=CHUNK)
# One request, one answer: what a second attempt would hide is what is asked here.
CLIENT = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})


@asynccontextmanager
async def store():
    """A client of its own for each operation, as artifact-store has."""
    session = aioboto3.Session(
        aws_access_key_id=secret("ACCESS_KEY"),
        aws_secret_access_key=secret("SECRET_KEY"),
        aws_session_token=secret("SESSION_TOKEN") or None,
        region_name=setting("REGION"),
    )
    async with session.client("s3", endpoint_url=setting("ENDPOINT_URL"), config=CLIENT) as s3:
        yield s3


def artifact(seed, length):
    """Bytes that no two places have in common, the same in each run."""
    return hashlib.shake_256(seed.encode()).digest(length)


SMALL, LARGE = artifact("small", 100 * 1024), artifact("large", 2 * CHUNK + 4 * 1024 * 1024 + 7)
RESUMED = [artifact("first", CHUNK), artifact("second", 1000)]
METADATA = {"sha256": hashlib.sha256(LARGE).hexdigest(), "media-type": "application/x-artifact"}


def key(name):
    return f"{PREFIX}{name}"


def held(what):
    print(what, flush=True)


def same(found, expected, what):
    # Not the values: an artifact has megabytes.
    if found != expected:
        raise SystemExit(f"{what}: {str(found)[:200]!r} instead of {str(expected)[:200]!r}")


async def refusal(call):
    try:
        await call
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "no refusal"


async def upload(name, content, metadata):
    async with store() as s3:
        await s3.upload_fileobj(BytesIO(content), BUCKET, key(name), ExtraArgs={"Metadata": metadata}, Config=TRANSFER)


async def ranged(name, span):
    async with store() as s3:
        answer = await s3.get_object(Bucket=BUCKET, Key=key(name), Range=f"bytes={span}")
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 206, f"range {span}")
        return await answer["Body"].read()


async def whole(name):
    """`storage verify`: read again, hash again."""
    async with store() as s3:
        kept = BytesIO()
        await s3.download_fileobj(BUCKET, key(name), kept, Config=TRANSFER)
        return hashlib.sha256(kept.getvalue()).hexdigest()


async def listed():
    async with store() as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=PREFIX, PaginationConfig={"PageSize": 2}
        )
        return [entry["Key"] async for page in pages for entry in page.get("Contents", [])]


async def presigned(name):
    async with store() as s3:
        return await s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key(name)}, ExpiresIn=300)


async def fetched(url):
    """As a browser would: no key, only the URL."""
    async with aiohttp.ClientSession() as stranger, stranger.get(url) as answer:
        return answer.status, await answer.read()


async def healthy():
    async with store() as s3:
        await s3.head_bucket(Bucket=BUCKET)
        same(await refusal(s3.head_bucket(Bucket=FOREIGN)), 403, "head_bucket of another's bucket")
    held("health")


async def keeps_what_it_is_given():
    await upload("small", SMALL, {})
    await upload("large", LARGE, METADATA)
    async with store() as s3:
        small, large = [await s3.head_object(Bucket=BUCKET, Key=key(name)) for name in ("small", "large")]
    same(small["ContentLength"], len(SMALL), "the length of the small artifact")
    same("-" in small["ETag"], False, f"one part: {small['ETag']}")
    same(large["ContentLength"], len(LARGE), "the length of the large artifact")
    same(large["ETag"].strip('"').rpartition("-")[2], "3", f"three parts: {large['ETag']}")
    same(large["Metadata"], METADATA, "the metadata")
    held("upload, multipart upload, metadata")


async def reads_parts_and_wholes():
    for span, expected in [
        ("0-9", LARGE[:10]),
        (f"{CHUNK - 5}-{CHUNK + 4}", LARGE[CHUNK - 5 : CHUNK + 5]),
        (f"{len(LARGE) - 3}-", LARGE[-3:]),
        ("-7", LARGE[-7:]),
    ]:
        same(await ranged("large", span), expected, f"range {span}")
    same(await refusal(ranged("large", f"{len(LARGE)}-")), 416, "a range behind the end")
    same(await whole("large"), METADATA["sha256"], "the hash")
    held("range reads, whole reads")


async def lists_what_is_below_its_prefix():
    same(await listed(), [key("large"), key("small")], "the listing")
    held("list with prefix")


async def begins_an_upload():
    async with store() as s3:
        upload_id = (await s3.create_multipart_upload(Bucket=BUCKET, Key=key("resumed")))["UploadId"]
        return upload_id, await part(s3, upload_id, 1)


async def ends_it(upload_id, first):
    async with store() as s3:
        parts = [first, await part(s3, upload_id, 2)]
        await s3.complete_multipart_upload(
            Bucket=BUCKET, Key=key("resumed"), UploadId=upload_id, MultipartUpload={"Parts": parts}
        )
    same(await whole("resumed"), hashlib.sha256(b"".join(RESUMED)).hexdigest(), "the resumed artifact")
    held("an upload begun under one lease and completed under the next")


async def part(s3, upload_id, number):
    answer = await s3.upload_part(
        Bucket=BUCKET, Key=key("resumed"), UploadId=upload_id, PartNumber=number, Body=RESUMED[number - 1]
    )
    checksums = {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksums}


async def gives_up_an_upload():
    async with store() as s3:
        upload_id = (await s3.create_multipart_upload(Bucket=BUCKET, Key=key("given-up")))["UploadId"]
        await s3.abort_multipart_upload(Bucket=BUCKET, Key=key("given-up"), UploadId=upload_id)
        left = await s3.list_multipart_uploads(Bucket=BUCKET, Prefix=PREFIX)
        same(left.get("Uploads", []), [], "uploads that are left")
    held("aborted upload")


async def deletes_everything():
    async with store() as s3:
        for name in ("small", "large", "resumed"):
            await s3.delete_object(Bucket=BUCKET, Key=key(name))
            same(await refusal(s3.head_object(Bucket=BUCKET, Key=key(name))), 404, f"{name} is gone")
    same(await listed(), [], "the listing at the end")
    held("delete")


async def main():
    await healthy()
    await keeps_what_it_is_given()
    await reads_parts_and_wholes()
    await lists_what_is_below_its_prefix()
    url = await presigned("small")
    same(await fetched(url), (200, SMALL), "the presigned URL")
    held("presigned URL")
    upload_id, first = await begins_an_upload()
    before = secret("ACCESS_KEY")

    held("renew")
    sys.stdin.readline()
    same(secret("ACCESS_KEY") != before, True, "another key")
    await healthy()
    same(await whole("large"), METADATA["sha256"], "the hash, under the next lease")
    await ends_it(upload_id, first)
    await gives_up_an_upload()
    await deletes_everything()


asyncio.run(main())
