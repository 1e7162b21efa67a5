"""aws-cli: as `pg_dump | aws s3 cp - s3://...` runs it, one process for the whole dump, which is written to it piece by piece; with
`each`, a process for each of many files."""

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import version

from loop import BUCKET, ENDPOINT, until_told

PIECE = 2 * 1024 * 1024
AWS = [os.path.join(sysconfig.get_path("scripts"), "aws"), "--endpoint-url", ENDPOINT, "s3", "cp", "-"]


def each(number):
    where = f"s3://{BUCKET}/configuration-{number}"
    subprocess.run([*AWS, where], input=os.urandom(1024), check=True, stdout=subprocess.DEVNULL, timeout=60)


if sys.argv[1:] == ["each"]:
    until_told(version("awscli"), each)
else:
    whole = subprocess.Popen([*AWS, f"s3://{BUCKET}/dump.sql"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until_told(version("awscli"), lambda _: whole.stdin.write(os.urandom(PIECE)))
    whole.stdin.close()
    raise SystemExit(whole.wait())
