# SPDX-License-Identifier: Apache-2.0
"""What a lab looks like now: nodes, daemons, memory, and what is wrong."""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import msgspec

from ashore.lab import clusters, errors, processes, spec, supervision, world


class DaemonStatus(msgspec.Struct, frozen=True):
    """One daemon of a node."""

    name: str
    pid: int
    """As the machine sees it; 0 where it doesn't run."""
    running: bool
    rss_mb: float
    pss_mb: float
    state: str


class NodeStatus(msgspec.Struct, frozen=True):
    """One place."""

    name: str
    cluster: str | None
    mode: str
    pair: int | None
    netns: str
    pid: int
    """Of its pid 1, as the machine sees it; 0 where it is switched off."""
    ready: bool
    pss_mb: float
    """Of everything that runs in it, containers included."""
    daemons: tuple[DaemonStatus, ...]


class Problem(msgspec.Struct, frozen=True):
    """Something that isn't as it should be."""

    object: str
    what: str
    remedy: str


class Status(msgspec.Struct, frozen=True):
    """A lab; field names are a contract."""

    name: str
    kubeconfigs: Mapping[str, str]
    nodes: tuple[NodeStatus, ...]
    pss_mb: Mapping[str, float]
    """By place (mode), with ``lab`` for the lab's own programs outside nodes and ``total``."""
    problems: tuple[Problem, ...]


def look(name: str) -> Status:
    """The lab's status.

    Raises:
        NoSuchLab: there is none of that name.
    """
    folders, lab = world.find(name)
    everyone = processes.of_lab(lab.uuid)
    try:
        inits = {state.name: state for state in world.supervisor(folders).states()}
        problems = []
    except supervision.NotAnswering:
        inits = {}
        problems = [Problem(f"lab {name}", "its supervisor is gone", "run `ashore lab up` again")]
    ready = clusters.ready_nodes(folders, lab)
    nodes = []
    for node in spec.nodes(lab.shape):
        if node.has_init:
            found = _node(lab, node, _inside(inits.get(node.name), everyone), ready=ready.get(node.name, False))
            nodes.append(found)
            problems += _problems(lab, found)
    kubeconfigs = {cluster: str(folders.kubeconfig(cluster)) for cluster in ("host", "nic")}
    return Status(name, kubeconfigs, tuple(nodes), _memory(everyone, nodes), tuple(problems))


def init_pid(name: str, node: str) -> int:
    """The pid, as the machine sees it, of a node's pid 1.

    Raises:
        NoSuchLab, NoSuchNode: there is none.
        LabError: it is switched off.
    """
    folders, lab = world.find(name)
    known = [place.name for place in spec.nodes(lab.shape) if place.has_init]
    if node not in known:
        raise errors.NoSuchNode(f"lab {name} has no node {node!r}; it has {', '.join(known)}")
    with contextlib.suppress(supervision.NotAnswering):
        inits = {state.name: state for state in world.supervisor(folders).states()}
        if first := next((p for p in _inside(inits[node], processes.of_lab(lab.uuid)) if p.inner_pid == 1), None):
            return first.pid
    raise errors.LabError(f"node {node} is switched off; `ashore lab up --name {name}` switches it on")


def supervisor_of(pid: int) -> supervision.Supervisor:
    """A node's own supervisor, by the pid of its pid 1."""
    return supervision.Supervisor(pathlib.Path(f"/proc/{pid}/root{supervision.SOCKET}"))


def _inside(init: supervision.State | None, everyone: Iterable[processes.Process]) -> tuple[processes.Process, ...]:
    if init is None or not init.pid:
        return ()
    try:
        namespace = str(pathlib.Path(f"/proc/{init.pid}/ns/pid_for_children").readlink())
        own = str(pathlib.Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ()
    return tuple(process for process in everyone if process.namespace == namespace != own)


def _node(lab: spec.LabSpec, node: spec.Node, inside: tuple[processes.Process, ...], *, ready: bool) -> NodeStatus:
    pids = {process.inner_pid: process.pid for process in inside}
    found = []
    with contextlib.suppress(supervision.NotAnswering):
        if 1 in pids:
            for state in supervisor_of(pids[1]).states():
                if state.state == "EXITED":
                    continue  # a one-shot that is through
                pid = pids.get(state.pid, 0) if state.is_running else 0
                rss, pss = processes.memory_mb(pid) if pid else (0.0, 0.0)
                found.append(DaemonStatus(state.name, pid, pid > 0, round(rss, 1), round(pss, 1), state.state))
    is_well = 1 in pids and all(entry.running for entry in found)
    return NodeStatus(
        name=node.name,
        cluster=node.cluster or None,
        mode=node.mode,
        pair=node.pair,
        netns=spec.netns(lab.name, node.name),
        pid=pids.get(1, 0),
        ready=ready if node.has_kubelet else is_well,
        pss_mb=round(sum(processes.memory_mb(process.pid)[1] for process in inside), 1),
        daemons=tuple(found),
    )


def _problems(lab: spec.LabSpec, node: NodeStatus) -> Iterable[Problem]:
    up = f"`ashore lab up --name {lab.name}`"
    if not node.pid:
        yield Problem(f"node {node.name}", "is switched off", f"{up} switches it on")
        return
    for entry in node.daemons:
        logs = f"`ashore lab logs {node.name} {entry.name}` tells why"
        if entry.state in ("BACKOFF", "FATAL"):
            yield Problem(f"{node.name} {entry.name}", "dies each time it is started (crash loop)", logs)
        elif not entry.running:
            yield Problem(f"{node.name} {entry.name}", f"doesn't run ({entry.state.lower()})", logs)
    if node.mode in ("dpu-host", "full") and not node.ready and lab.shape.agents:
        yield Problem(f"node {node.name}", "isn't Ready", f"`ashore lab logs {node.name} ashore-agent` may tell why")


def _memory(everyone: tuple[processes.Process, ...], nodes: Iterable[NodeStatus]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for node in nodes:
        sums[node.mode] = round(sums.get(node.mode, 0) + node.pss_mb, 1)
    own = str(pathlib.Path("/proc/self/ns/pid").readlink())
    outside = [p.pid for p in everyone if p.namespace == own and p.pid != os.getpid()]
    sums["lab"] = round(sum(processes.memory_mb(pid)[1] for pid in outside), 1)
    return sums | {"total": round(sum(sums.values()), 1)}
