# SPDX-License-Identifier: Apache-2.0
"""OpenFlow of a bridge, by ovs-ofctl: one call a change, all of it or nothing.

Source: ovs-ofctl(8), ``replace-flows`` and ``dump-aggregate``.
"""

import asyncio
import re
from pathlib import Path

LIMIT_S = 10.0
_OPTIONS = ("-O", "OpenFlow15")
_COUNT = re.compile(r"\bflow_count=(\d+)")


class OpenflowError(Exception):
    """A bridge didn't take or tell its flows; the text names the bridge and what ovs-ofctl said."""


class Bridge:
    """A bridge of the vswitchd that keeps its sockets in ``run_dir``."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.name = name
        self._target = f"unix:{run_dir / f'{name}.mgmt'}"

    async def replace(self, flows: str) -> None:
        """Makes the bridge's flows exactly these, a line each, in one bundle. Raises OpenflowError."""
        await self._run("--bundle", "replace-flows", self._target, "-", given=flows)

    async def count(self, cookie: int | None = None) -> int:
        """How many flows the bridge has, or has with this cookie. Raises OpenflowError."""
        match = () if cookie is None else (f"cookie={cookie:#x}/-1",)
        text = await self._run("dump-aggregate", self._target, *match)
        found = _COUNT.search(text)
        if found is None:
            raise OpenflowError(f"bridge {self.name}: ovs-ofctl dump-aggregate says no flow_count: {text.strip()!r}")
        return int(found[1])

    async def _run(self, *arguments: str, given: str = "") -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                "ovs-ofctl", *_OPTIONS, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise OpenflowError(
                f"bridge {self.name}: ovs-ofctl doesn't start: {error.strerror}; is it on PATH?"
            ) from error
        try:
            async with asyncio.timeout(LIMIT_S):
                out, complaint = await process.communicate(given.encode())
        except TimeoutError as error:
            raise OpenflowError(
                f"bridge {self.name}: no answer within {LIMIT_S:.0f} s; is ovs-vswitchd alive?"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise OpenflowError(f"bridge {self.name}: ovs-ofctl {arguments[0]}: {complaint.decode().strip()}")
        return out.decode()
