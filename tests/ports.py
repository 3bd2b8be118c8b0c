"""Ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket

from local.engine import HOST


def free_port() -> int:
    """A TCP port nobody uses right now, outside the range that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
