"""Ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import os
import random
import socket

HOST = "127.0.0.1"  # not local.engine's: the image of compose.yaml's workflow-tests holds no local/

# Outside the range that the system gives to outgoing connections.
FIRST, LAST = 20_000, 32_000
# Test processes at once, at most; each takes ports of its own, since a port is free until its server is up.
PROCESSES = 16

_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
_unused = list(range(FIRST + _process, LAST, PROCESSES))
random.shuffle(_unused)


def free_port() -> int:
    """A TCP port nobody uses right now, and that neither this nor another test process of the run gets again."""
    while True:
        port = _unused.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
