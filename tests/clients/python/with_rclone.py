"""rclone as one long process, told by its environment alone: `copy` has its remote control copy a directory with another file
at each step, `mount` has it mount the bucket, `serve` has it serve the bucket by WebDAV, for those who have no FUSE."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request

from loop import BUCKET, ENDPOINT, same, until_told

RCLONE = shutil.which("rclone", path=sysconfig.get_path("scripts"))
REMOTE = f":s3,env_auth=true,provider=Minio,endpoint='{ENDPOINT}',region=us-east-1:{BUCKET}/rclone"
PORT = os.environ["FREE_PORT"]
MOUNT = tempfile.mkdtemp(prefix="stint-mount-")
# One request, one answer: what a second attempt would hide is what is asked here.
PLAIN = ["--config=/dev/null", "--retries=1", "--low-level-retries=1"]
VERSION = re.search(r"v([\d.]+)", subprocess.check_output([RCLONE, "version"], text=True)).group(1)


def ask(method, path, body=None, kind="application/json"):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/{path}", data=body, method=method)
    request.add_header("Content-Type", kind)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def copy(number):
    shutil.rmtree("outbox", ignore_errors=True)
    os.mkdir("outbox")
    with open(f"outbox/{number % 8}", "w", encoding="ascii") as file:
        file.write(str(number))
    where = {"srcFs": os.path.abspath("outbox"), "dstFs": REMOTE, "_config": {"IgnoreTimes": True}}
    ask("POST", "sync/copy", json.dumps(where).encode())


def serve(number):
    path, body = f"served-{number % 8}", str(number).encode()
    ask("PUT", path, body, "application/octet-stream")
    same(ask("GET", path), body)


def mount(number):
    if not os.path.ismount(MOUNT):
        raise OSError("not mounted yet")
    path, body = os.path.join(MOUNT, f"mounted-{number % 8}"), str(number).encode()
    with open(path, "wb") as file:
        file.write(body)
    with open(path, "rb") as file:
        same(file.read(), body)


MODES = {
    "copy": (copy, ["rcd", f"--rc-addr=127.0.0.1:{PORT}", "--rc-no-auth"]),
    "serve": (serve, ["serve", "webdav", REMOTE, f"--addr=127.0.0.1:{PORT}", "--vfs-cache-mode=off"]),
    "mount": (mount, ["mount", REMOTE, MOUNT, "--vfs-cache-mode=off"]),
}
step, command = MODES[sys.argv[1]]
server = subprocess.Popen([RCLONE, *command, *PLAIN], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
try:
    until_told(VERSION, step)
finally:
    # It takes its mount away itself.
    server.terminate()
    server.wait()
    os.rmdir(MOUNT)
