"""boto3: one client for as long as it runs."""

import boto3

from loop import BUCKET, same, until_told

s3 = boto3.client("s3")


def step(number):
    key, body = f"boto3/{number % 8}", str(number).encode()
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    same(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), body)


until_told(boto3.__version__, step)
