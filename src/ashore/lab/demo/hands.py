# SPDX-License-Identifier: Apache-2.0
"""The two things that a demonstration does to a lab: kubectl, and commands inside nodes."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ashore.lab import spec, status, world


class CommandFailed(RuntimeError):  # noqa: N818 (says what happened)
    """A command of the demonstration failed; the text has the command and what it said."""


class Hands(msgspec.Struct, frozen=True):
    """How to reach one lab: the kubectl binary, the host cluster's kubeconfig, and the prefix of ``exec`` by node."""

    kubectl_path: Path
    kubeconfig: Path
    enter: dict[str, tuple[str, ...]]
    """Per node, the command that runs its arguments inside the node's namespaces."""

    async def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> str:
        """Output of kubectl on the host cluster. Raises CommandFailed."""
        command = (str(self.kubectl_path), "--kubeconfig", str(self.kubeconfig), *arguments)
        return await run(command, stdin=stdin, timeout_s=timeout_s)

    async def inside(self, node: str, *arguments: str, timeout_s: float = 30) -> str:
        """Output of a command inside a node. Raises CommandFailed."""
        return await run((*self.enter[node], *arguments), timeout_s=timeout_s)


def of_lab(name: str) -> Hands:
    """The hands of a running lab.

    Raises:
        LabError: there is none of that name, or one of its nodes is switched off.
    """
    folders, record = world.find(name)
    enter: dict[str, tuple[str, ...]] = {
        node.name: (
            "env",
            f"{spec.MARK}={record.uuid}",
            f"PATH={record.tools.bin_dir}:/usr/sbin:/usr/bin:/sbin:/bin",
            "nsenter",
            f"--target={status.init_pid(name, node.name)}",
            *("--net", "--mount", "--uts", "--pid", "--wd=/"),
        )
        for node in spec.nodes(record.shape)
        if node.has_init
    }
    return Hands(Path(record.tools.bin_dir) / "kubectl", folders.kubeconfig("host"), enter)


async def run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 60) -> str:
    """A command's standard output. Raises CommandFailed for a non-zero exit or no end in time."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{' '.join(command)}: no end within {timeout_s:.0f} s") from None
    if process.returncode:
        raise CommandFailed(f"{' '.join(command)}: exit {process.returncode}: {(err or out).decode().strip()[-600:]}")
    return out.decode()
