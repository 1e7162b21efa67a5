"""minio-py: `sts` asks stint's STS door, which it has to be told of in code; `container` is what its environment says."""

import io
import os
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials import IamAwsProvider

from loop import BUCKET, ENDPOINT, same, until_told

custom = {"custom_endpoint": os.environ["AWS_ENDPOINT_URL_STS"]} if sys.argv[1] == "sts" else {}
s3 = Minio(
    endpoint=urlsplit(ENDPOINT).netloc, secure=False, region="us-east-1", credentials=IamAwsProvider(**custom)
)


def step(number):
    name, body = f"minio-py/{number % 8}", str(number).encode()
    s3.put_object(bucket_name=BUCKET, object_name=name, data=io.BytesIO(body), length=len(body))
    answer = s3.get_object(bucket_name=BUCKET, object_name=name)
    try:
        same(answer.read(), body)
    finally:
        answer.close()
        answer.release_conn()


until_told(version("minio"), step)
