"""DuckDB: a secret of the credential chain, `REFRESH auto`, and a file opened anew at each step."""

import os
from importlib.metadata import version
from importlib.resources import files
from urllib.parse import urlsplit

import duckdb

from loop import BUCKET, ENDPOINT, same, until_told

database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for extension in ("httpfs", "aws"):
    wheel = files(f"duckdb_extension_{extension}").joinpath(f"extensions/v{version('duckdb')}/{extension}.duckdb_extension")
    database.execute(f"LOAD '{wheel}'")
database.execute(
    f"""CREATE SECRET leased (TYPE s3, PROVIDER credential_chain, REFRESH auto,
    ENDPOINT '{urlsplit(ENDPOINT).netloc}', URL_STYLE 'path', USE_SSL false, REGION '{os.environ["AWS_REGION"]}')"""
)


def step(number):
    path = f"s3://{BUCKET}/duckdb/{number % 8}.csv"
    database.execute(f"COPY (SELECT {number} AS n) TO '{path}' (FORMAT csv)")
    same(database.execute(f"SELECT n::VARCHAR FROM read_csv('{path}')").fetchone()[0], str(number))


until_told(version("duckdb"), step)
