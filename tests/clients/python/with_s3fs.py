"""s3fs: one filesystem, without a cache of its own."""

import s3fs

from loop import BUCKET, same, until_told

files = s3fs.S3FileSystem(use_listings_cache=False)


def step(number):
    path, body = f"{BUCKET}/s3fs/{number % 8}", str(number).encode()
    files.pipe_file(path, body)
    same(files.cat_file(path), body)


until_told(s3fs.__version__, step)
