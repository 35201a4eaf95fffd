# SPDX-License-Identifier: Apache-2.0
"""``ashore offload status``: what the NIC switches itself, by node and class of flows, and why not the rest."""

import asyncio
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping

import click
import msgspec

from ashore import hardware, ovsdb
from ashore.api import names
from ashore.cli import output as out
from ashore.lab import daemon, errors, spec, status, world
from ashore.ovs import daemons, unixctl
from ashore.wiring import offload, ovs_rows

CHANGED_UNDER = "ashore-offload-changed-under"
LIMIT_S = 10.0


class NodeReport(msgspec.Struct, frozen=True):
    """One node. ``problem``: why it couldn't be looked at."""

    node: str
    datapath_type: str = ""
    hw_offload: bool = False
    needs_restart: bool = False
    nic: str = ""
    has_eswitch: bool = False
    classes: Mapping[str, offload.ClassReport] = {}
    problem: str = ""

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether what is switched on works: every forwarding flow is in the NIC."""
        if self.problem or self.needs_restart:
            return False
        if not self.hw_offload:
            return True
        return all(
            found.offloaded == found.flows for kind, found in self.classes.items() if kind != offload.NO_FORWARDING
        )


@click.group("offload")
def group() -> None:
    """Hardware offload: whether packets are switched by the NIC."""


@group.command("status")
@click.option("--local", is_flag=True, help="This very system (a DPU or a full node), by its OVS and its /sys.")
@click.option("--lab", "lab_name", default="ashore", show_default=True, help="Every node with OVS of this lab.")
@click.option("--node", default="", help="Only this node of the lab.")
@click.option("--ovs-run-dir", default="/run/openvswitch", show_default=True, type=click.Path(path_type=pathlib.Path))
@click.option("--sys-root", default="/sys", show_default=True, type=click.Path(path_type=pathlib.Path))
@out.format_option
@out.guarded
def command(*, local: bool, lab_name: str, node: str, output: str, **where: pathlib.Path) -> None:
    """Say per node and class of flows what is offloaded, and why not.

    On a cluster that isn't a lab, run it with --local on the DPU or full node, or in its agent's pod. Exit 0: what is
    switched on works (or nothing is switched on). 1: it doesn't. 2: couldn't look.
    """
    found = [look(platform.node(), where["ovs_run_dir"], where["sys_root"])] if local else _of_lab(lab_name, node)
    if output == "json":
        out.as_json({"nodes": found})
    else:
        show(found)
    if any(each.problem for each in found):
        sys.exit(out.COULD_NOT_LOOK)
    if not all(each.is_as_it_should_be for each in found):
        sys.exit(out.FOUND_A_PROBLEM)


def look(node: str, run_dir: pathlib.Path, sys_root: pathlib.Path) -> NodeReport:
    """What this system's OVS and NIC say."""
    try:
        seen = asyncio.run(_look(run_dir, sys_root))
    except (TimeoutError, ovsdb.OvsdbError) as error:
        return NodeReport(node, problem=f"{run_dir / 'db.sock'}: no answer from ovsdb-server; is OVS here? {error}")
    except (unixctl.Unreachable, unixctl.CommandFailed) as error:
        return NodeReport(node, problem=str(error))
    return NodeReport(
        node=node, datapath_type=seen.datapath_type, hw_offload=seen.hw_offload, needs_restart=seen.needs_restart,
        nic=seen.nic.name, has_eswitch=seen.nic.has_eswitch, classes=offload.report(seen),
    )  # fmt: skip


async def _look(run_dir: pathlib.Path, sys_root: pathlib.Path) -> offload.Node:
    remote = f"unix:{run_dir / 'db.sock'}"
    client = ovsdb.Client(remotes=[remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False)
    following = asyncio.create_task(client.run())
    try:
        await client.synced(LIMIT_S)
        flows = offload.parse(await unixctl.appctl(run_dir, daemons.VSWITCHD, "dpctl/dump-flows", "-m"))
        view = client.replica
        top: Mapping[str, Mapping[str, str]] = next(
            iter(view["Open_vSwitch"].values()), {"other_config": {}, "external_ids": {}}
        )
        bridge = ovs_rows.bridge(view, names.EXTERNAL_BRIDGE)
        changed_under = top["external_ids"].get(CHANGED_UNDER)
        return offload.Node(
            datapath_type=view["Bridge"][bridge]["datapath_type"] if bridge else "",
            hw_offload=top["other_config"].get(offload.HW_OFFLOAD) == "true",
            needs_restart=changed_under == str(daemons.Daemons(run_dir).vswitchd_pid()),
            nic=_nic(sys_root, _ports(view, bridge)),
            flows=flows,
        )
    finally:
        following.cancel()


def _ports(view: ovs_rows.View, bridge: str | None) -> list[str]:
    found = view["Bridge"][bridge]["ports"] if bridge else ()  # type: ignore[index]
    return sorted(view["Port"][port]["name"] for port in found if port in view["Port"])


def _nic(sys_root: pathlib.Path, ports: list[str]) -> offload.Nic:
    """The NIC behind the external bridge's ports."""
    for port in ports:
        if vendor := hardware.vendor_of(sys_root, port):
            return offload.Nic(vendor.name, hardware.has_eswitch(sys_root, port), vendor.offloads)
    switched = any(hardware.has_eswitch(sys_root, port) for port in ports)
    return offload.Nic("a NIC without a profile", switched, {})


def _of_lab(name: str, only: str) -> list[NodeReport]:
    """Each node asked in its own namespaces, by this very command. Raises LabError."""
    _folders, record = world.find(name)
    places = [place for place in spec.nodes(record.shape) if place.has_ovs and only in ("", place.name)]
    if not places:
        raise errors.LabError(f"lab {name}: no node {only or 'with OVS'}; see `ashore lab status --name {name}`")
    words = [sys.executable, "-m", "ashore.cli.main", "offload", "status", "--local", "-o", "json"]
    words += ["--sys-root", daemon.SYS_ROOT, "--ovs-run-dir", daemon.OVS_RUN]
    found = []
    for place in places:
        enter = ["nsenter", f"--target={status.init_pid(name, place.name)}", "--net", "--mount", "--uts", "--wd=/"]
        environment = os.environ | {spec.MARK: record.uuid}
        reply = subprocess.run([*enter, *words], env=environment, capture_output=True, text=True, check=False)
        try:
            report = msgspec.json.decode(reply.stdout, type=dict[str, list[NodeReport]])["nodes"][0]
        except (msgspec.DecodeError, KeyError, IndexError):
            report = NodeReport(place.name, problem=reply.stderr.strip()[-300:] or f"exit {reply.returncode}")
        found.append(msgspec.structs.replace(report, node=place.name))
    return found


def show(found: list[NodeReport]) -> None:
    """A line per node and class, reasons beside it."""
    rows: list[tuple[str, ...]] = []
    for report in found:
        if report.problem:
            rows.append((report.node, "", "", "", report.problem))
            continue
        setting = "on" if report.hw_offload else "off"
        place = f"{report.node} ({report.datapath_type or 'system'} datapath, hw-offload {setting}, {report.nic})"
        for kind, each in report.classes.items():
            if each.flows:
                some = f" (+{each.partial} partly)" if each.partial else ""
                share = f"{each.offloaded} of {each.flows}{some}"
                rows.append((place, kind, share, str(each.packets), "; ".join(each.why_not)))
                place = ""
        if place:
            rows.append((place, "no flows", "", "", ""))
    out.as_table(("node", "flows for", "in the NIC", "packets", "why not"), rows)
