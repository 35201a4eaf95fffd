# SPDX-License-Identifier: Apache-2.0
import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ashore.ovs import daemons, unixctl


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gu-") as path:
        yield Path(path)


@pytest.fixture
async def serve(run_dir: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a daemon that answers each request with these pieces; gives the list of what it was asked."""
    async with AsyncExitStack() as undo:

        async def start(*pieces: bytes, name: str = "ovs-vswitchd.ctl") -> list[Any]:
            asked: list[Any] = []

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                ended = asyncio.Event()
                undo.push_async_callback(ended.wait)
                asked.append(json.loads(await reader.readuntil(b"}")))
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.close()
                ended.set()

            server = await asyncio.start_unix_server(answer, str(run_dir / name))
            undo.callback(server.close)
            return asked

        yield start


async def test_an_answer_may_come_in_pieces_and_hold_braces(run_dir: Path, serve: Any) -> None:
    text = 'a }{"x": 1}' * 1000
    whole = json.dumps({"id": 0, "result": text, "error": None}).encode()
    asked = await serve(whole[:7], whole[7:9000], whole[9000:])
    assert await unixctl.appctl(run_dir, "ovs-vswitchd", "dpif/show", "-m") == text
    assert asked == [{"id": 0, "method": "dpif/show", "params": ["-m"]}]


@pytest.mark.parametrize("piece", [b"", b'{"id": 0, "result": "cut', b"}}}", b"\xff\xfe}", b"[1, 2]"])
async def test_an_answer_that_is_none_is_unreachable(run_dir: Path, serve: Any, piece: bytes) -> None:
    await serve(piece)
    with pytest.raises(unixctl.Unreachable, match="version"):
        await unixctl.appctl(run_dir, "ovs-vswitchd", "version")


async def test_a_refusal_is_the_daemons_words(run_dir: Path, serve: Any) -> None:
    await serve(b'{"id": 0, "result": null, "error": "no such bridge\\n"}')
    with pytest.raises(unixctl.CommandFailed, match=r"no such bridge$"):
        await unixctl.appctl(run_dir, "ovs-vswitchd", "fdb/show", "nope")


async def test_a_daemon_that_hangs_is_given_up(run_dir: Path) -> None:
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_unix_server(hang, str(run_dir / "ovs-vswitchd.ctl"))
    with pytest.raises(unixctl.Unreachable, match="TimeoutError"):
        await unixctl.command(run_dir / "ovs-vswitchd.ctl", "version", limit_s=0.01)
    await ended.wait()
    server.close()
    await server.wait_closed()


async def test_a_pidfile_names_the_socket(run_dir: Path, serve: Any) -> None:
    (run_dir / "ovn-controller.pid").write_text("77\n")
    with pytest.raises(unixctl.Unreachable, match=r"ovn-controller\.77\.ctl, which is absent"):
        unixctl.control_socket(run_dir, "ovn-controller")
    await serve(b'{"id": 0, "result": "connected\\n", "error": null}', name="ovn-controller.77.ctl")
    assert await daemons.Daemons(run_dir).southbound_problem() == ""


async def test_no_daemon_and_no_connection_are_told_apart(run_dir: Path, serve: Any) -> None:
    assert "doesn't answer" in await daemons.Daemons(run_dir).southbound_problem()
    await serve(b'{"id": 0, "result": "not connected\\n", "error": null}', name="ovn-controller.ctl")
    assert "is 'not connected'" in await daemons.Daemons(run_dir).southbound_problem()


async def test_conntrack_is_flushed_both_ways_and_by_family(run_dir: Path, serve: Any) -> None:
    asked = await serve(b'{"id": 0, "result": "", "error": null}')
    await daemons.Daemons(run_dir).flush_conntrack(["10.0.0.1", "fd00::1"])
    assert [request["params"] for request in asked] == [
        ["ct_nw_src=10.0.0.1"], ["", "ct_nw_src=10.0.0.1"], ["ct_ipv6_src=fd00::1"], ["", "ct_ipv6_src=fd00::1"],
    ]  # fmt: skip
