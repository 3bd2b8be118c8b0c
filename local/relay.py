"""A way from Docker's containers to the local AWS, which listens on 127.0.0.1 only.

It listens on this machine's address in Docker's default network, and lets in only who comes from that network. The
local AWS runs code for whoever reaches it, so it must never be reached from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import json
import shutil
import subprocess
from dataclasses import dataclass

from local.engine import HOST, UserError

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Bridge:
    """Docker's default network: this machine's address in it, and the addresses that belong to it."""

    address: str
    subnet: ipaddress.IPv4Network


def docker_bridge() -> Bridge:
    """Ask Docker for its default network. Raises UserError when there is no Docker, or no such network."""
    docker = shutil.which("docker")
    if docker is None:
        raise UserError("There is no Docker: install it, or use `make run`, which needs none.")
    command = [docker, "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    if result.returncode:
        raise UserError(f"Docker does not answer: start it. It said: {result.stderr.strip()}")
    for network in json.loads(result.stdout) or []:
        subnet = ipaddress.ip_network(network["Subnet"])
        if isinstance(subnet, ipaddress.IPv4Network):
            return Bridge(network.get("Gateway") or str(subnet[1]), subnet)
    raise UserError("Docker's default network has no IPv4 address: look at `docker network inspect bridge`.")


async def relay(bridge: Bridge, ports: list[int]) -> None:
    """Hand on connections to the same ports of 127.0.0.1 until cancelled. Raises UserError when it cannot listen."""
    # Nothing else holds a task that waits for the answer to who has said all: Python would tidy it away.
    connections: set[asyncio.Task[None]] = set()

    def accept(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_hand_on(bridge, port, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    async with contextlib.AsyncExitStack() as servers:
        for port in ports:
            try:
                server = await asyncio.start_server(functools.partial(accept, port), bridge.address, port)
            except OSError as error:
                raise UserError(
                    f"Cannot listen on {bridge.address}:{port} ({error.strerror}): is this command running twice? "
                    "With Docker Desktop, whose containers have a machine of their own, it cannot work."
                ) from None
            await servers.enter_async_context(server)
        try:
            await asyncio.Event().wait()
        finally:  # a server waits for its connections, and containers may stay
            for task in connections:
                task.cancel()


async def _hand_on(bridge: Bridge, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        peer = writer.get_extra_info("peername")[0]
        if ipaddress.ip_address(peer) not in bridge.subnet:
            return
        engine_reader, engine_writer = await asyncio.open_connection(HOST, port)
        try:
            async with asyncio.TaskGroup() as directions:  # an error of one ends both
                directions.create_task(_copy(reader, engine_writer))
                directions.create_task(_copy(engine_reader, writer))
        finally:
            engine_writer.close()
    except* OSError:  # the local AWS is down, or one of the two hung up
        pass
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the sender is done, and say so; the other direction may still be used."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
