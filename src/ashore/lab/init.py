# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.init FOLDER``: pid 1 of a node: makes file system and network, becomes its supervisor.

It runs in namespaces of its own (net, mount, uts, pid), so nothing that it mounts is seen outside.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import msgspec

from ashore.lab import addresses, cgroups, kernel, links, netspace, spec, supervision

BOOT = pathlib.Path("/run/lab/boot.json")
LAYERED = ("/etc", "/opt", "/var/lib", "/var/log")
"""What a node sees of the machine and may change for itself alone."""
DISKS = ("/var/lib/kubelet", "/var/lib/containerd")
"""Bound from the machine's disk: containerd's own overlays can't lie on an overlay."""
_HELD = {"kernel/panic": 10, "kernel/panic_on_oops": 1, "vm/overcommit_memory": 1, "vm/panic_on_oom": 0}
"""Sysctls of the whole machine that kubelet would set, with the values that it finds right."""


class Boot(msgspec.Struct, frozen=True):
    """What a node's init is told."""

    node: spec.Node
    folder: str
    home: str
    cgroup: str
    tools: Mapping[str, str]
    schemas: Mapping[str, str]


def read() -> Boot:
    """The same, for the node's one-shot daemons."""
    return msgspec.json.decode(BOOT.read_bytes(), type=Boot)


def main(folder: pathlib.Path) -> None:
    """Doesn't return."""
    text = (folder / "boot.json").read_bytes()
    boot = msgspec.json.decode(text, type=Boot)
    subprocess.run(["hostname", boot.node.name], check=True)
    mount_all(boot)
    BOOT.write_bytes(text)
    cgroups.remove(boot.cgroup)
    if boot.node.has_kubelet:
        cgroups.make(boot.cgroup)
    bring_up(boot)
    make_databases(boot)
    configuration = str(folder / "supervisord.conf")
    os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", configuration])  # noqa: S606 (our own list)


def mount_all(boot: Boot) -> None:
    """The node's file system: the machine's, with layers of its own where nodes write."""
    kernel.mount("proc", "/proc", "proc")
    folder, home = pathlib.Path(boot.folder), pathlib.Path(boot.home)
    # A new sysfs shows this network namespace's devices, but hides the cgroups: hold them by a descriptor meanwhile.
    held = os.open("/sys/fs/cgroup", os.O_PATH)
    disk = os.open(folder, os.O_PATH)
    kernel.mount("sysfs", "/sys", "sysfs")
    kernel.bind(f"/proc/self/fd/{held}", "/sys/fs/cgroup", recursive=True)
    own = pathlib.Path(f"/proc/self/fd/{disk}")
    for path in LAYERED:
        layer, work = folder / "layers" / path[1:], folder / "work" / path[1:]
        for made in (layer, work):
            made.mkdir(parents=True, exist_ok=True)
    for path in LAYERED:
        options = f"lowerdir={path},upperdir={own}/layers{path},workdir={own}/work{path}"
        kernel.mount("overlay", path, "overlay", options=options)
    # Other nodes' files, and the authorities' keys, are none of this node's business.
    kernel.mount("tmpfs", home, "tmpfs", options="mode=755")
    folder.mkdir(parents=True)
    kernel.bind(own, folder)
    kernel.mount("tmpfs", "/run", "tmpfs", options="mode=755")
    for path in DISKS:
        for made in (folder / "disk" / path[1:], pathlib.Path(path)):
            made.mkdir(parents=True, exist_ok=True)
        kernel.bind(folder / "disk" / path[1:], path)
    for path in ("/run/netns", "/run/lock", "/run/lab/sys", "/run/openvswitch", "/run/ovn", "/opt/cni/bin"):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    kernel.bind(folder / "sys", "/run/lab/sys")
    _hold_sysctls()
    for descriptor in (held, disk):
        os.close(descriptor)
    # Pods' Bidirectional mounts need it; and only now, or the binds above would reach the machine.
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_SHARED)


def _hold_sysctls() -> None:
    for name, value in _HELD.items():
        file = pathlib.Path("/run/lab/held", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n", encoding="ascii")
        kernel.bind(file, pathlib.Path("/proc/sys", name))


def bring_up(boot: Boot) -> None:
    """The network as after a power cycle: what programs of the last boot made is gone, addresses are set."""
    _forget_last_boot(boot)
    for interface in addresses.interfaces(boot.node):
        address(interface)
    if boot.node.mode == "router":
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            netspace.set_sysctl(name, 1)


def _forget_last_boot(boot: Boot) -> None:
    known = {interface.name for interface in addresses.interfaces(boot.node)}
    lines = []
    for name, alias in links.observe("").items():
        slot_name = _name_of(alias) if boot.node.mode == "dpu-host" else name
        if name == "lo":
            continue
        if alias or name in known:
            lines += [f"link set {name} down", f"address flush dev {name}"]
            if slot_name != name:
                lines.append(f"link set {name} name {slot_name}")
        elif boot.node.has_init:
            lines.append(f"link delete {name}")
    links.ip_batch("", lines)
    if nft := boot.tools.get("nft"):
        subprocess.run([nft, "flush", "ruleset"], check=False)


def _name_of(slot: str) -> str:
    if slot == addresses.PF_SLOT:
        return addresses.PF
    return next((addresses.vf_name(vf) for vf in range(256) if addresses.vf_slot(vf) == slot), slot)


def address(interface: addresses.Interface) -> None:
    """Ups a netdev and gives it its addresses and default routes."""
    name = interface.name
    lines = []
    if interface.addresses:
        netspace.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 0)
    lines.append(f"link set {name} up")
    lines += [f"address replace {address} dev {name}{_nodad(address)}" for address in interface.addresses]
    lines += [f"route replace default via {gateway}" for gateway in interface.gateways]
    links.ip_batch("", lines)


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


def make_databases(boot: Boot) -> None:
    """Creates the OVSDB files that the node's servers want, if this is its first boot."""
    wanted: dict[str, str] = {}
    if boot.node.has_ovs:
        wanted["/var/lib/openvswitch/conf.db"] = "vswitch"
    if boot.node == spec.CP:
        wanted |= {"/var/lib/ovn/nb.db": "ovn-nb", "/var/lib/ovn/sb.db": "ovn-sb"}
    for file, schema in wanted.items():
        pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
        if not pathlib.Path(file).exists():
            subprocess.run([boot.tools["ovsdb-tool"], "create", file, boot.schemas[schema]], check=True)


def write_configuration(folder: pathlib.Path, programs: tuple[supervision.Program, ...]) -> None:
    """The supervisor's configuration, put beside ``boot.json`` before the node is switched on."""
    logs = folder / "log"
    logs.mkdir(parents=True, exist_ok=True)
    text = supervision.config(supervision.SOCKET, logs / "init.log", programs, pidfile="/run/supervisord.pid")
    (folder / "supervisord.conf").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
