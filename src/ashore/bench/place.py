# SPDX-License-Identifier: Apache-2.0
"""A node of the lab as the bench sees it: ``onnode`` running in its namespaces, asked over pipes."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ashore.bench import figures
from ashore.lab import errors

LIMIT_S = 60.0


class Place:
    """One node. Every question raises LabError when it can't be answered."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, do: str, *, within_s: float = LIMIT_S, **details: Any) -> Any:
        """What ``onnode`` answers to one request."""
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None  # noqa: S101 (it was started with pipes)
        assert writer is not None  # noqa: S101 (likewise)
        async with self._one_at_a_time, asyncio.timeout(within_s):
            writer.write(json.dumps({"do": do, **details}).encode() + b"\n")
            line = await reader.readline()
        answer = json.loads(line) if line else {"failed": "its process in the node ended"}
        if "failed" in answer:
            raise errors.LabError(f"bench on {self.name}: {do}: {answer['failed']}")
        return answer["ok"]

    async def spent(self) -> figures.Spent:
        """What the node's agent has observed so far."""
        return figures.read_spent(await self.ask("metrics"))


@contextlib.asynccontextmanager
async def entered(name: str, enter: Sequence[str]) -> AsyncIterator[Place]:
    """The node while the context lasts; ``enter`` is the command that runs its arguments inside."""
    process = await asyncio.create_subprocess_exec(
        *enter, sys.executable, "-m", "ashore.bench.onnode",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22,
    )  # fmt: skip
    try:
        yield Place(name, process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
