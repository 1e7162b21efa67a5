"""django-storages: saves a file, signs a URL for it and fetches that as a browser would. Each URL is a line on standard output."""

import json
import urllib.request
from importlib.metadata import version

import django
from django.conf import settings

from loop import BUCKET, ENDPOINT, same, until_told

place = {"bucket_name": BUCKET, "endpoint_url": ENDPOINT, "addressing_style": "path", "signature_version": "s3v4"}
settings.configure(
    STORAGES={
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {**place, "querystring_expire": 3600, "file_overwrite": True},
        }
    }
)
django.setup()

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage


def step(number):
    name, body = f"django/{number % 8}", str(number).encode()
    default_storage.save(name, ContentFile(body))
    url = default_storage.url(name)
    with urllib.request.urlopen(url, timeout=30) as answer:
        same(answer.read(), body)
    print(json.dumps({"url": url}), flush=True)


until_told(version("django-storages"), step)
