"""What every client here does until its standard input closes: write an object, read it back, again and again.

A step that fails is told on standard error and the next one is tried: an outage is part of what is asked. The last line on
standard output says how many steps there were.
"""

import json
import os
import sys
import threading

BUCKET = os.environ["BUCKET"]
ENDPOINT = os.environ["AWS_ENDPOINT_URL_S3"]
PAUSE = 0.2

told = threading.Event()


def listen():
    sys.stdin.buffer.read()
    told.set()


def until_told(version, step):
    """Calls `step(n)` for 0, 1, 2 and so on."""
    threading.Thread(target=listen, daemon=True).start()
    done = failed = 0
    while not told.is_set():
        try:
            step(done + failed)
            done += 1
        except Exception as error:
            failed += 1
            print(f"{type(error).__name__}: {error}"[:300], file=sys.stderr, flush=True)
        told.wait(PAUSE)
    print(json.dumps({"version": version, "done": done, "failed": failed}), flush=True)


def same(found, expected):
    if found != expected:
        raise SystemExit(f"{found[:100]!r} instead of {expected[:100]!r}")
