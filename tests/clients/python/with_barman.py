"""barman-cloud-wal-archive as PostgreSQL calls it: a process for each segment, and the same segment again after a failure."""

import os
import subprocess
import sysconfig
from importlib.metadata import version

from loop import BUCKET, ENDPOINT, until_told

ARCHIVE = os.path.join(sysconfig.get_path("scripts"), "barman-cloud-wal-archive")
archived = 0


def step(_):
    global archived
    segment = f"0000000100000000{archived:08X}"
    with open(segment, "wb") as file:
        file.write(os.urandom(4096))
    where = ["--endpoint-url", ENDPOINT, f"s3://{BUCKET}/barman", "studio", segment]
    subprocess.run([ARCHIVE, *where], check=True, timeout=60)
    os.remove(segment)
    archived += 1


until_told(version("barman"), step)
