"""The object_store crate as its Python binding, obstore, ships it."""

from importlib.metadata import version

import obstore
from obstore.store import S3Store

from loop import BUCKET, ENDPOINT, same, until_told

store = S3Store(BUCKET, endpoint=ENDPOINT, client_options={"allow_http": True})


def step(number):
    path, body = f"object_store/{number % 8}", str(number).encode()
    obstore.put(store, path, body)
    same(bytes(obstore.get(store, path).bytes()), body)


until_told(f"obstore {version('obstore')}", step)
