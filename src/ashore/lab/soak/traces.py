# SPDX-License-Identifier: Apache-2.0
"""Everything that a pod could leave behind in a lab, and how much its daemons hold. Taken from outside."""

import asyncio
import json
import pathlib
from collections.abc import Iterable, Mapping

import msgspec

from ashore.lab import spec, status
from ashore.lab.demo import hands

NAMESPACE = "ashore-soak"
_TABLES = {
    "nb": ("OVN_Northbound", ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port",
                              "Logical_Router_Static_Route", "Logical_Router_Policy", "NAT", "Address_Set",
                              "Load_Balancer", "Load_Balancer_Group", "ACL", "Port_Group")),
    "sb": ("OVN_Southbound", ("Port_Binding", "Datapath_Binding", "MAC_Binding", "FDB", "Chassis", "Encap")),
}  # fmt: skip
_OURS = ("ashore-agent", "ashore-controller-a", "ashore-controller-b", "ovs-vswitchd", "ovsdb-server",
         "ovn-controller", "ovn-nb", "ovn-sb", "ovn-northd")  # fmt: skip
GROWTH_MB, GROWTH_SHARE, MORE_FILES = 6.0, 0.15, 4
"""How much more a daemon may hold afterwards: allocators don't give everything back, connections come and go."""


class Held(msgspec.Struct, frozen=True):
    """What one daemon holds."""

    files: int
    rss_mb: float


class Traces(msgspec.Struct, frozen=True):
    """``things`` by kind, ``held`` by "node daemon"."""

    things: Mapping[str, tuple[str, ...]]
    held: Mapping[str, Held]


class Leak(msgspec.Struct, frozen=True):
    """What is more, or less, than before."""

    what: str
    found: str


async def look(lab: hands.Hands, name: str, places: Iterable[spec.Node]) -> Traces:
    """The traces now. Raises hands.CommandFailed."""
    nodes = tuple(places)
    things: dict[str, tuple[str, ...]] = {}
    for found in await asyncio.gather(_databases(lab), _nodes(lab), *(_place(lab, node) for node in nodes)):
        things |= found
    return Traces(things, _held(name))


async def _databases(lab: hands.Hands) -> dict[str, tuple[str, ...]]:
    found = {}
    for short, (database, tables) in _TABLES.items():
        for table in tables:
            query = json.dumps([database, {"op": "select", "table": table, "where": [], "columns": ["_uuid"]}])
            socket = f"unix:/run/ovn/ovn{short}_db.sock"
            reply = json.loads(await lab.inside("cp", "ovsdb-client", "query", socket, query))
            found[f"{short} {table}"] = tuple(sorted(row["_uuid"][1] for row in reply[0]["rows"]))
    return found


async def _nodes(lab: hands.Hands) -> dict[str, tuple[str, ...]]:
    listing = json.loads(await lab.kubectl("get", "nodes", "-o", "json"))
    pods = json.loads(await lab.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))
    notes = {
        f"annotations of {item['metadata']['name']}": tuple(
            f"{key}={value}" for key, value in sorted(item["metadata"].get("annotations", {}).items())
        )
        for item in listing["items"]
    }
    return {**notes, "pods": tuple(sorted(item["metadata"]["name"] for item in pods["items"]))}


async def _place(lab: hands.Hands, node: spec.Node) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if not (node.has_ovs or node.has_kubelet):
        return found

    async def lines(kind: str, *command: str) -> None:
        found[f"{kind} of {node.name}"] = tuple(sorted((await lab.inside(node.name, *command)).splitlines()))

    links = json.loads(await lab.inside(node.name, "ip", "-j", "link", "show"))
    found[f"links of {node.name}"] = tuple(sorted(link["ifname"] for link in links))
    await lines("files", "sh", "-c", "find /run/ashore -type f 2>/dev/null; true")
    if node.has_kubelet:
        await lines("namespaces", "sh", "-c", "ls /run/netns /var/lib/cni 2>/dev/null; true")
    if node.has_ovs:
        await lines("switch ports", "ovs-vsctl", "--bare", "--columns=name", "list", "Interface")
        await lines("QoS rows", "ovs-vsctl", "--bare", "--columns=_uuid", "list", "QoS")
        found[f"tracked connections of {node.name}"] = await _tracked(lab, node.name)
    return found


async def _tracked(lab: hands.Hands, node: str) -> tuple[str, ...]:
    """Pods' addresses in the connection table; it forgets by itself, so only who is in it counts."""
    socket = "/run/openvswitch/ovs-vswitchd.ctl"
    text = await lab.inside(node, "ovs-appctl", "-t", socket, "dpctl/dump-conntrack")
    words = {word.partition("=")[2] for line in text.splitlines() for word in line.replace("(", ",").split(",")
             if word.startswith(("src=10.244.", "dst=10.244.", "src=fd00:10:244", "dst=fd00:10:244"))}  # fmt: skip
    return tuple(sorted(words))


def _held(name: str) -> dict[str, Held]:
    found = {}
    for node in status.look(name).nodes:
        for daemon in node.daemons:
            if daemon.pid:
                folder = pathlib.Path(f"/proc/{daemon.pid}/fd")
                try:
                    files = sum(1 for _ in folder.iterdir())
                except OSError:
                    continue  # it ended between the two looks
                found[f"{node.name} {daemon.name}"] = Held(files, daemon.rss_mb)
    return found


def compare(before: Traces, after: Traces) -> tuple[Leak, ...]:
    """What isn't as it was."""
    leaks = []
    for kind in sorted(before.things.keys() | after.things.keys()):
        old, new = set(before.things.get(kind, ())), set(after.things.get(kind, ()))
        if more := sorted(new - old):
            leaks.append(Leak(kind, f"{len(more)} more: {', '.join(more[:3])}"))
        if less := sorted(old - new):
            leaks.append(Leak(kind, f"{len(less)} less: {', '.join(less[:3])}"))
    for who, new_held in sorted(after.held.items()):
        old_held = before.held.get(who)
        if old_held is None or who.partition(" ")[2] not in _OURS:
            continue
        if new_held.files > old_held.files + MORE_FILES:
            leaks.append(Leak(who, f"{new_held.files} open files, {old_held.files} before"))
        if new_held.rss_mb > old_held.rss_mb * (1 + GROWTH_SHARE) + GROWTH_MB:
            leaks.append(Leak(who, f"{new_held.rss_mb:.0f} MB resident, {old_held.rss_mb:.0f} before"))
    return tuple(leaks)
