# SPDX-License-Identifier: Apache-2.0
"""What a lab is: on disk before anything is made, so that whoever takes it down knows all it may have."""

import pathlib
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

Mode = Literal["control-plane", "dpu-host", "dpu", "full", "router", "client", "switch"]
Cluster = Literal["host", "nic", ""]

NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")
"""Lab names stand in network namespaces', cgroups' and sockets' names; the length keeps the latter below 108 bytes."""

MARK = "ASHORE_LAB"
"""The environment variable that every process of a lab carries; its value is the lab's uuid."""


class Toolpaths(msgspec.Struct, frozen=True):
    """Where the lab's programs are, resolved once: a node's daemons never look for anything."""

    binaries: Mapping[str, str]
    bin_dir: str
    images: tuple[str, ...]
    schemas: Mapping[str, str]


class Shape(msgspec.Struct, frozen=True):
    """What the user asked for; a running lab's shape doesn't change."""

    pairs: int = 2
    full_nodes: int = 1
    vfs: int = 16
    """Virtual functions of each pair's NIC."""
    full_vfs: int = 0
    """Virtual functions of each full node's own NIC; 0: a NIC without an eSwitch."""
    families: tuple[int, ...] = (4, 6)
    """IP versions of pods and services, the primary one first. The fabric itself always has both."""
    agents: bool = True
    """Whether ashore's own processes run."""


class LabSpec(msgspec.Struct, frozen=True):
    """One lab."""

    name: str
    uuid: str
    shape: Shape
    ports: Mapping[str, int]
    """Where the API servers of ``host`` and ``nic`` can be reached on the machine's loopback."""
    tools: Toolpaths


class Node(msgspec.Struct, frozen=True):
    """One place of the lab: a network namespace and, but for switches, an init with daemons."""

    name: str
    mode: Mode
    cluster: Cluster = ""
    index: int = 0
    """Number among the nodes of its mode, from 1; 0 where there is one only."""

    @property
    def pair(self) -> int | None:
        """The pair that it belongs to."""
        return self.index if self.mode in ("dpu", "dpu-host") else None

    @property
    def has_init(self) -> bool:
        """Whether processes run there."""
        return self.mode != "switch"

    @property
    def has_kubelet(self) -> bool:
        """Whether it is a Kubernetes node."""
        return self.mode in ("dpu-host", "full")

    @property
    def has_ovs(self) -> bool:
        """Whether it switches pods' packets."""
        return self.mode in ("dpu", "full")


FABRIC = Node("fabric", "switch")
OOB = Node("oob", "switch")
ROUTER = Node("router", "router")
CLIENT = Node("client", "client")
CP = Node("cp", "control-plane", "host")
NIC_CP = Node("nic-cp", "control-plane", "nic")


def nodes(shape: Shape) -> tuple[Node, ...]:
    """Every place of a lab, in the order in which they are switched on."""
    places = [FABRIC, OOB, ROUTER, CLIENT, CP, NIC_CP]
    for index in range(1, shape.pairs + 1):
        places += [Node(f"dpu-{index}", "dpu", "nic", index), Node(f"host-{index}", "dpu-host", "host", index)]
    places += [Node(f"full-{index}", "full", "host", index) for index in range(1, shape.full_nodes + 1)]
    return tuple(places)


class Folders(msgspec.Struct, frozen=True):
    """Where a lab's files are."""

    home: pathlib.Path
    name: str

    @property
    def root(self) -> pathlib.Path:
        """Everything of this lab."""
        return self.home / self.name

    @property
    def spec(self) -> pathlib.Path:
        """The first file written and the last one removed."""
        return self.root / "lab.json"

    @property
    def socket(self) -> pathlib.Path:
        """Where the lab's supervisor listens."""
        return self.root / "supervisor.sock"

    @property
    def logs(self) -> pathlib.Path:
        """Logs of the programs outside nodes."""
        return self.root / "log"

    @property
    def pki(self) -> pathlib.Path:
        """The certificate authorities; no node sees this folder."""
        return self.root / "pki"

    def kubeconfig(self, cluster: str) -> pathlib.Path:
        """An administrator's kubeconfig."""
        return self.root / f"{cluster}.kubeconfig"

    def node(self, node: str) -> pathlib.Path:
        """A node's disk."""
        return self.root / "nodes" / node

    def etc(self, node: str) -> pathlib.Path:
        """What a node sees in /etc beside the machine's own files."""
        return self.node(node) / "layers" / "etc"

    def sys(self, node: str) -> pathlib.Path:
        """A node's hardware tree, its /run/lab/sys."""
        return self.node(node) / "sys"


def netns(lab: str, node: str) -> str:
    """The name under which ``ip netns`` shows a node."""
    return f"{lab}-{node}"


def cgroup(lab: str, node: str) -> str:
    """A node's cgroup, below each hierarchy's root."""
    return f"ashore-{lab}/{node}"


def read(folders: Folders) -> LabSpec:
    """The lab's record.

    Raises:
        FileNotFoundError: no such lab.
    """
    return msgspec.json.decode(folders.spec.read_bytes(), type=LabSpec)


def write(folders: Folders, spec: LabSpec) -> None:
    """Puts the record on disk in one step."""
    folders.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folders.spec.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=1))
    draft.replace(folders.spec)
