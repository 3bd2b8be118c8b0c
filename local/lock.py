"""One command at a time in one folder: `make install`, `make run` and `make up` share files and processes.

Needs nothing but Python, because `make install` uses it before anything is installed:
`python3 local/lock.py LOCK NAME COMMAND...` runs a command while it holds the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def locked(lock_file: Path, name: str) -> Iterator[None]:
    """Wait until no other command holds this lock, and hold it until the block is left. The wait is said on stderr.

    Args:
        lock_file: the file that is locked; it is made, and stays.
        name: what a waiting command says about this one, such as `make run`.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read() or "Another command"
            print(f"{other} is at work in this folder: waiting until it has finished ...", file=sys.stderr, flush=True)
            _wait_for(lock)
        lock.truncate(0)
        lock.write(f"`{name}` (process {os.getpid()})")
        lock.flush()
        yield


def _wait_for(lock: TextIO) -> None:
    # Not one long call: a Ctrl-C that comes just before it begins would not end it.
    while True:
        time.sleep(0.1)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def main() -> int:
    """Run a command under the lock; returns its exit code."""
    lock_file, name, *command = sys.argv[1:]
    try:
        with locked(Path(lock_file), name):
            return subprocess.run(command, check=False).returncode  # noqa: S603 - what the Makefile says
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
