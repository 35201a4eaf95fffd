# SPDX-License-Identifier: Apache-2.0
"""Making a whole lab and taking it down, both from whatever state there is."""

import contextlib
import functools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import msgspec

from ashore.lab import (
    cgroups,
    clusters,
    daemon,
    daemons,
    errors,
    init,
    kubernetes,
    links,
    machine,
    netspace,
    pki,
    processes,
    spec,
    supervision,
)

Say = Callable[[str], None]


def find(name: str) -> tuple[spec.Folders, spec.LabSpec]:
    """A lab by its name.

    Raises:
        NoSuchLab: with the names that there are.
    """
    folders = spec.Folders(machine.home(), name)
    try:
        return folders, spec.read(folders)
    except FileNotFoundError:
        others = ", ".join(names()) or "none"
        raise errors.NoSuchLab(f"no lab {name!r} (there is: {others}); make it with `ashore lab up`") from None


def names() -> tuple[str, ...]:
    """The labs of this machine."""
    return tuple(sorted(path.parent.name for path in machine.home().glob("*/lab.json")))


def up(name: str, shape: spec.Shape, tools: Callable[[], spec.Toolpaths], *, say: Say) -> spec.LabSpec:
    """Makes a lab, or brings back what an existing one lacks.

    Raises:
        LabError: it can't be made; what was made so far is taken down by ``down``.
    """
    machine.require_root()
    folders = spec.Folders(machine.home(), name)
    home = machine.home()
    with machine.alone(home, _named(name)):
        lab = _record(folders, shape, tools)
        with machine.counted(home):
            changed = machine.prepare(home, _shapes())
        for line in changed:
            say(line)
        try:
            _build(folders, lab, say)
        except (OSError, subprocess.CalledProcessError, netspace.LinkError, TimeoutError) as error:
            raise errors.LabError(f"lab {name}: {error}; `ashore lab down --name {name}` clears it away") from error
    return lab


def down(name: str, *, say: Say) -> None:
    """Removes every trace of a lab, however much of it there is."""
    machine.require_root()
    home = machine.home()
    folders = spec.Folders(home, name)
    if not folders.root.exists():
        raise errors.NoSuchLab(f"no lab {name!r}: nothing to take down")
    with machine.alone(home, name):
        with contextlib.suppress(FileNotFoundError):  # killed before the record was written: nothing else was made
            lab = spec.read(folders)
            _take_tools(lab)
            with step(say, "processes"):
                processes.kill_all(lab.uuid)
            with step(say, "namespaces and cgroups"):
                _remove_places(lab)
        with step(say, "files"):
            shutil.rmtree(folders.root)
        with machine.counted(home):
            machine.restore(home)


def supervisor(folders: spec.Folders) -> supervision.Supervisor:
    """The lab's own supervisor, whose programs are nodes' inits."""
    return supervision.Supervisor(folders.socket)


def _shapes() -> list[spec.Shape]:
    found = []
    for name in names():
        with contextlib.suppress(errors.NoSuchLab):  # taken down meanwhile
            found.append(find(name)[1].shape)
    return found


def _named(name: str) -> str:
    if not spec.NAME.fullmatch(name):
        raise errors.LabError(f"lab name {name!r}: use up to 16 of a-z, 0-9 and -, a letter first")
    return name


def _record(folders: spec.Folders, shape: spec.Shape, tools: Callable[[], spec.Toolpaths]) -> spec.LabSpec:
    name = folders.name
    if folders.spec.exists():
        lab = spec.read(folders)
        if lab.shape != shape:
            raise errors.LabError(
                f"lab {name} exists with {_words(lab.shape)}, not {_words(shape)}; "
                f"take it down first or choose another --name"
            )
        return lab
    wanted = {spec.netns(name, node.name) for node in spec.nodes(shape)}
    if taken := sorted(wanted & netspace.names()):
        raise errors.LabError(f"lab {name}: namespace {taken[0]} exists and isn't this lab's; choose another --name")
    first = _free_ports()
    lab = spec.LabSpec(name, str(uuid.uuid4()), shape, {"host": first[0], "nic": first[1]}, tools())
    spec.write(folders, lab)
    return lab


def _words(shape: spec.Shape) -> str:
    return f"{shape.pairs} pairs, {shape.full_nodes} full nodes, {shape.vfs} VFs, IPv{shape.families}" + (
        "" if shape.agents else ", no agents"
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for opened in (one, other):
            opened.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _take_tools(lab: spec.LabSpec) -> None:
    """Lets ``ip`` and the like be the tools' where the machine has none; what is started from here inherits it."""
    folders = os.environ.get("PATH", os.defpath).split(":")
    if lab.tools.bin_dir not in folders:
        os.environ["PATH"] = ":".join([*folders, lab.tools.bin_dir])


def _build(folders: spec.Folders, lab: spec.LabSpec, say: Say) -> None:
    _take_tools(lab)
    places = spec.nodes(lab.shape)
    with step(say, f"{len(places)} places and their cables"):
        _wire(lab)
    with step(say, "keys and files"):
        pki.make(folders, lab)
        for node in places:
            if node.has_init:
                _write_node(folders, lab, node)
    watch = _start_supervisor(folders, lab)
    early = [node.name for node in places if node.has_init and not node.has_kubelet]
    with step(say, "control planes, databases, DPUs"):
        for program in ("nic", "front", *early):
            watch.start(program)
        for cluster in ("host", "nic"):
            clusters.wait_ready(folders, lab, cluster)
        clusters.prepare_host_cluster(folders, lab)
    late = [node.name for node in places if node.has_kubelet]
    with step(say, f"{len(late)} Kubernetes nodes{' Ready' if lab.shape.agents else ''}"):
        for program in late:
            watch.start(program)
        clusters.wait_nodes(folders, lab)


def _wire(lab: spec.LabSpec) -> None:
    there = netspace.names()
    for node in spec.nodes(lab.shape):
        space = spec.netns(lab.name, node.name)
        if space not in there:
            netspace.make(space)
            if node.mode in ("dpu", "switch"):
                # A DPU's kernel must not take part in what passes its ports; what it owns is switched on by name.
                netspace.within(space, functools.partial(netspace.set_sysctl, "net/ipv6/conf/default/disable_ipv6", 1))
        if node.mode == "switch":
            links.make_switch(lab.name, node.name)
    found = {node.name: links.observe(spec.netns(lab.name, node.name)) for node in spec.nodes(lab.shape)}
    # The far end tells: the near end of a VF may be in a pod.
    links.make(lab.name, [link for link in links.plan(lab.shape) if link.far.name not in found[link.far.node]])


def _write_node(folders: spec.Folders, lab: spec.LabSpec, node: spec.Node) -> None:
    folder, etc, group = folders.node(node.name), folders.etc(node.name), spec.cgroup(lab.name, node.name)
    for made in (folder, folders.sys(node.name)):
        made.mkdir(parents=True, exist_ok=True)
    tools = lab.tools
    boot = init.Boot(node, str(folder), str(folders.home), group, tools.binaries, tools.schemas)
    (folder / "boot.json").write_bytes(msgspec.json.encode(boot))
    programs = tuple(supervision.of_daemon(wanted, folder / "log") for wanted in daemons.plan(lab, node))
    init.write_configuration(folder, programs)
    if node.has_kubelet:
        files = {
            etc / kubernetes.KUBELET_CONFIG.removeprefix("/etc/"): kubernetes.kubelet_config(group),
            etc / kubernetes.CONTAINERD_CONFIG.removeprefix("/etc/"): kubernetes.containerd_config(
                tools.binaries.get("runc", "runc")
            ),
        }
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _start_supervisor(folders: spec.Folders, lab: spec.LabSpec) -> supervision.Supervisor:
    watch = supervisor(folders)
    with contextlib.suppress(supervision.NotAnswering):
        watch.states()
        return watch
    # Whatever a dead supervisor left behind would run beside what the new one starts.
    processes.kill_all(lab.uuid)
    folders.logs.mkdir(parents=True, exist_ok=True)
    folders.socket.unlink(missing_ok=True)
    file = folders.root / "supervisord.conf"
    pidfile = str(folders.root / "supervisord.pid")
    own_log = folders.logs / "supervisord.log"
    file.write_text(
        supervision.config(str(folders.socket), own_log, _programs(folders, lab), pidfile=pidfile), encoding="utf-8"
    )
    environment = os.environ | {spec.MARK: lab.uuid}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)]
    subprocess.run(command, env=environment, cwd="/", check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return watch


def _programs(folders: spec.Folders, lab: spec.LabSpec) -> Iterator[supervision.Program]:
    for name in ("nic", "front"):
        command = daemon.module(f"ashore.lab.{name}", str(folders.root))
        yield supervision.Program(name, command, folders.logs / f"{name}.log", autostart=False)
    for node in spec.nodes(lab.shape):
        if node.has_init:
            yield supervision.Program(
                node.name,
                init_command(folders, lab, node),
                folders.logs / f"{node.name}.log",
                autostart=False,
                # Its pid 1 dies with it, and with that everything in the node: a pulled plug.
                stop_signal="KILL",
            )


def init_command(folders: spec.Folders, lab: spec.LabSpec, node: spec.Node) -> tuple[str, ...]:
    """Switches a node on."""
    enter = ("nsenter", f"--net={netspace.path(spec.netns(lab.name, node.name))}")
    unshare = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation", "private")
    return (*enter, *unshare, *daemon.module("ashore.lab.init", str(folders.node(node.name))))


def _remove_places(lab: spec.LabSpec) -> None:
    there = netspace.names()
    for node in spec.nodes(lab.shape):
        space = spec.netns(lab.name, node.name)
        if space in there:
            netspace.remove(space)
    cgroups.remove(str(pathlib.PurePath(spec.cgroup(lab.name, "x")).parent))


@contextlib.contextmanager
def step(say: Say, what: str) -> Iterator[None]:
    """Says what was done, with its seconds, when it is done."""
    """Says what was done, with its seconds, when it is done."""
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")
