"""The way from Docker's containers to the local AWS: open to them, and to nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import pytest

from local import relay
from local.engine import HOST, UserError

ADDRESS = "127.0.0.2"  # another address of this machine, as Docker's is; Linux has it without being asked


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in capitals."""
    while data := await reader.read(1000):
        writer.write(data.upper())
    writer.close()


async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in capitals when all is said, some time later; Python tidies up meanwhile."""
    data = await reader.read()
    await asyncio.sleep(0.1)
    gc.collect()
    await asyncio.sleep(0.1)
    writer.write(data.upper())
    writer.close()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def talk(subnet: str, conversation: Callable[[int], Awaitable[bytes]], answer: Answer = answer) -> bytes:
    """A conversation with a server, through a relay that lets in `subnet`."""
    async with await asyncio.start_server(answer, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        bridge = relay.Bridge(ADDRESS, ipaddress.IPv4Network(subnet))
        relaying = asyncio.create_task(relay.relay(bridge, [port]))
        try:
            return await asyncio.wait_for(conversation(port), 10)
        finally:
            relaying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await relaying


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the relay, as soon as it listens."""
    while True:
        try:
            return await asyncio.open_connection(ADDRESS, port)
        except OSError:
            await asyncio.sleep(0.02)


async def ask(port: int) -> bytes:
    """Send a word through the relay, and read until it hangs up."""
    reader, writer = await connect(port)
    writer.write(b"hello")
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def has_a_second_loopback_address() -> bool:
    """Whether one may listen on ADDRESS: on Linux yes, on macOS only when someone has set it up."""
    with socket.socket() as probe:
        try:
            probe.bind((ADDRESS, 0))
        except OSError:
            return False
    return True


needs_a_second_address = pytest.mark.skipif(not has_a_second_loopback_address(), reason=f"{ADDRESS} is not ours")


@needs_a_second_address
def test_hands_on_what_containers_say_and_what_they_are_answered() -> None:
    assert asyncio.run(talk("127.0.0.0/8", ask)) == b"HELLO"


@needs_a_second_address
def test_waits_for_the_answer_to_who_has_said_all() -> None:
    assert asyncio.run(talk("127.0.0.0/8", ask, answer_late)) == b"HELLO"


@needs_a_second_address
def test_ends_while_a_container_is_connected() -> None:
    connected: list[asyncio.StreamWriter] = []

    async def stay(port: int) -> bytes:
        _, writer = await connect(port)
        connected.append(writer)
        asyncio.get_running_loop().call_later(30, writer.close)  # so that a relay that waits for it ends, too late
        return b""

    async def stays_until_the_end() -> bool:
        await talk("127.0.0.0/8", stay)
        stays = not connected[0].is_closing()
        connected[0].close()
        while len(asyncio.all_tasks()) > 1:  # the server hears of it
            await asyncio.sleep(0.01)
        return stays

    assert asyncio.run(stays_until_the_end())


@needs_a_second_address
def test_hangs_up_on_who_does_not_come_from_a_container() -> None:
    assert asyncio.run(talk("172.17.0.0/16", ask)) == b""


def test_says_what_to_do_when_the_address_is_not_this_machines() -> None:
    bridge = relay.Bridge("192.0.2.1", ipaddress.IPv4Network("192.0.2.0/24"))
    with pytest.raises(UserError, match="Docker Desktop"):
        asyncio.run(relay.relay(bridge, [47_001]))


def test_says_what_to_do_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="There is no Docker"):
        relay.docker_bridge()
