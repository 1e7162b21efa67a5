"""restic: a backup of what is written to it piece by piece, by one process, and a check of the repository afterwards."""

import os
import subprocess
import sys

from loop import BUCKET, ENDPOINT, until_told

RESTIC = sys.argv[1]
PIECE = 512 * 1024
os.environ.update(RESTIC_REPOSITORY=f"s3:{ENDPOINT}/{BUCKET}/restic", RESTIC_PASSWORD="of a repository of its own")
# What Debian's release has inside reads only the older variable.
with open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"], encoding="ascii") as file:
    os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = file.read()


def restic(*arguments):
    subprocess.run([RESTIC, "--quiet", "--no-cache", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=120)


restic("init")
# The smallest packs that it makes: each is a request of its own.
backup = subprocess.Popen(
    [RESTIC, "--quiet", "--no-cache", "--pack-size=4", "backup", "--stdin", "--stdin-filename=dump.sql"],
    stdin=subprocess.PIPE,
)


def step(_):
    backup.stdin.write(os.urandom(PIECE))


until_told(subprocess.check_output([RESTIC, "version"], text=True).split()[1], step)
backup.stdin.close()
if backup.wait() == 0:
    restic("check", "--read-data")
raise SystemExit(backup.returncode)
