# SPDX-License-Identifier: Apache-2.0
"""A small lab without agents, shared by the tests of this folder, and the means to see what a lab leaves behind."""

import json
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pytest

from ashore.lab import addresses, machine, netspace, processes, spec, toolbox, world

SMALL = spec.Shape(pairs=1, full_nodes=0, vfs=4, agents=False)


class AskForTool(Protocol):
    def path(self, name: str) -> pathlib.Path: ...


def quiet(_line: str) -> None:
    pass


@pytest.fixture(scope="session")
def lab_tools(tools: AskForTool) -> Callable[[], spec.Toolpaths]:
    for name in ("kube-apiserver", "containerd", "runc", "ovs-vswitchd", "ovn-northd"):
        tools.path(name)
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    found = toolbox.resolve()
    return lambda: found


@pytest.fixture
def name() -> str:
    """A lab's name that no other test or user has."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def lab(lab_tools: Callable[[], spec.Toolpaths]) -> Iterator[str]:
    """The name of a running small lab."""
    made = f"t{uuid.uuid4().hex[:8]}"
    try:
        world.up(made, SMALL, lab_tools, say=quiet)
        yield made
    finally:
        world.down(made, say=quiet)


class Shell:
    """What a person has: the command line, and eyes for what is left on the machine."""

    small = SMALL

    def ashore(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """The command line, as people run it."""
        program = pathlib.Path(sys.executable).parent / "ashore"
        return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=90)

    def as_json(self, *words: str) -> Any:
        """What a command says to programs."""
        reply = self.ashore(*words, "-o", "json")
        assert reply.returncode == 0, reply.stderr
        return json.loads(reply.stdout)

    def inside(self, lab: str, node: str, command: Sequence[str]) -> int:
        """The exit status of a command in a node."""
        return self.ashore("lab", "exec", "--name", lab, node, "--", *command).returncode

    def reaches_api(self, lab: str, host: str) -> bool:
        """Whether a host's kubelet could talk to its API server now."""
        address = (addresses.api_ips("host")[0], addresses.API_PORT)
        code = f"import socket; socket.create_connection({address}, 2)"
        return self.inside(lab, host, [sys.executable, "-c", code]) == 0

    def traces(self, name: str, mark: str) -> list[str]:
        """Everything on the machine that has the lab's name or mark."""
        found = [f"process {process.pid}" for process in processes.of_lab(mark)]
        found += [f"netns {space}" for space in netspace.names() if space.startswith(f"{name}-")]
        found += [f"cgroup {path}" for path in pathlib.Path("/sys/fs/cgroup").glob(f"**/ashore-{name}*")]
        mounts = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        found += [f"mount {line.split()[4]}" for line in mounts if name in line]
        links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout)
        found += [f"link {link['ifname']}" for link in links if name in link["ifname"]]
        folder = machine.home() / name
        return found + ([f"folder {folder}"] if folder.exists() else [])


@pytest.fixture
def shell() -> Shell:
    return Shell()
