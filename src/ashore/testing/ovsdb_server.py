# SPDX-License-Identifier: Apache-2.0
"""Real ovsdb-servers and running clients for tests; FakeOvsdb and RealServer both are a ``Server``."""

import asyncio
import contextlib
import pathlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from ashore import ovsdb
from ashore.schema import nb

LIMIT_S = 20.0
TABLES = {
    "NB_Global": ["external_ids"],
    "Logical_Switch": ["name", "ports", "other_config", "external_ids", "load_balancer"],
    "Logical_Switch_Port": ["name", "addresses", "options", "external_ids", "up", "enabled", "tag", "type"],
    "Address_Set": ["name", "addresses", "external_ids"],
    "Load_Balancer": ["name", "vips", "protocol", "external_ids"],
}


class Tools(Protocol):
    """The fixture of tests/conftest.py."""

    def path(self, name: str) -> pathlib.Path:
        """A program."""

    def schema(self, name: str) -> pathlib.Path:
        """A schema file."""


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition that other tasks make true."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 (other processes' state makes no event here)
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise AssertionError(f"not within {LIMIT_S} s: {what}") from error


@contextlib.asynccontextmanager
async def following(client: ovsdb.Client, *, sync: bool = True) -> AsyncIterator[ovsdb.Client]:
    """The client, running."""
    task = asyncio.create_task(client.run())
    try:
        if sync:
            await client.synced(LIMIT_S)
        yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class RealServer:
    """An ovsdb-server process with its database in ``folder``, whose path must be short enough for a socket's."""

    def __init__(
        self, tools: Tools, folder: pathlib.Path, *, extra: Sequence[str] = (), remotes: Sequence[str] = ()
    ) -> None:
        """``extra`` are more arguments, ``remotes`` more places to listen at."""
        self.database = folder / "nb.db"
        self.extra = tuple(extra) + tuple(f"--remote={each}" for each in remotes)
        self._tools = tools
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def remote(self) -> str:
        """Where it listens."""
        return f"unix:{self._folder}/nb.sock"

    async def run(self, tool: str, *arguments: str) -> str:
        """A tool's output."""
        process = await asyncio.create_subprocess_exec(
            str(self._tools.path(tool)), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{tool} {' '.join(arguments)} ended with {process.returncode}: {output.decode()}")
        return output.decode()

    async def create(self) -> None:
        """Makes the database."""
        await self.run("ovsdb-tool", "create", str(self.database), str(self._tools.schema("ovn-nb")))

    async def start(self) -> None:
        """Starts the process, waits until it listens."""
        socket = self._folder / "nb.sock"
        self._process = await asyncio.create_subprocess_exec(
            str(self._tools.path("ovsdb-server")),
            f"--remote=punix:{socket}",
            f"--unixctl={self._folder}/ctl",
            f"--log-file={self._folder}/log",
            "-vconsole:off",
            *self.extra,
            str(self.database),
            env={"OVS_RUNDIR": str(self._folder), "PATH": "/usr/bin:/bin"},
        )
        await until(lambda: socket.exists() and (self._folder / "ctl").exists(), "ovsdb-server listens")

    async def stop(self) -> None:
        """Kills it, stopped or not."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()
        for name in ("nb.sock", "ctl"):
            (self._folder / name).unlink(missing_ok=True)

    async def restart(self) -> None:
        """Kills it and starts it again."""
        await self.stop()
        await self.start()

    def stall(self) -> None:
        """Stops it as it stands."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)

    async def appctl(self, *arguments: str) -> str:
        """An answer over its control socket."""
        return await self.run("ovs-appctl", "-t", f"{self._folder}/ctl", *arguments)


class Server(Protocol):
    """What both kinds can do."""

    @property
    def remote(self) -> str:
        """Where it listens."""

    async def restart(self) -> None:
        """Goes away and comes back."""

    def stall(self) -> None:
        """Stops as a stopped process does."""

    def resume(self) -> None:
        """Goes on."""


def follow(*remotes: str, sync: bool = True, **settings: Any) -> contextlib.AbstractAsyncContextManager[ovsdb.Client]:
    """A running client of the NB database, with Client's ``settings``."""
    defaults: dict[str, Any] = {"database": nb.DATABASE, "tables": TABLES, "probe_s": 0.3}
    return following(ovsdb.Client(remotes=remotes, **(defaults | settings)), sync=sync)
