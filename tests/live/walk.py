"""Does S3 calls in one unmodified boto3 session and prints, as a JSON list, what came of each.

Credentials come from wherever boto3 finds them: nothing here passes any.
"""

import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

session = boto3.Session()


def do(step):
    operation, _, where = step.partition(":")
    bucket, _, key = where.partition("/")
    # Asking for a client is what makes boto3 ask for credentials.
    s3 = session.client("s3")
    # What boto3 presigns by itself is version 2 of the signature, which Garage does not know.
    presigner = session.client("s3", config=Config(signature_version="s3v4"))
    if operation == "whoami":
        return session.client("sts").get_caller_identity()["Arn"]
    if operation == "key":
        return session.get_credentials().get_frozen_credentials().access_key
    if operation == "put":
        s3.put_object(Bucket=bucket, Key=key, Body=step.encode())
    elif operation == "get":
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert body == f"put:{where}".encode(), body
    elif operation == "list":
        s3.list_objects_v2(Bucket=bucket)
    elif operation == "url":
        url = presigner.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == f"put:{where}".encode()
    elif operation == "form":
        form = presigner.generate_presigned_post(bucket, key, ExpiresIn=60)
        fields = {**form["fields"], "file": step}
        parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
        request = urllib.request.Request(form["url"], data=("".join(parts) + "--x--\r\n").encode())
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
        urllib.request.urlopen(request).close()
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == step.encode()
    elif operation == "delete":
        s3.delete_object(Bucket=bucket, Key=key)
    else:
        raise SystemExit(f"no such operation: {operation}")
    return "ok"


def outcome(step):
    try:
        return do(step)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except BotoCoreError as error:
        return type(error).__name__


print(json.dumps([outcome(step) for step in sys.argv[1:]]))
