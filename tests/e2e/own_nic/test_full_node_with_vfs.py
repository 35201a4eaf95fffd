# SPDX-License-Identifier: Apache-2.0
"""A node without a DPU whose own NIC has an eSwitch: its pods get VFs, and the offload settings are told honestly."""

import json
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from ashore.cli import demo
from ashore.lab import spec, toolbox, world


class AskForTool(Protocol):
    def path(self, name: str) -> pathlib.Path: ...


def ashore(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(pathlib.Path(sys.executable).parent / "ashore"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def lab(tools: AskForTool) -> Iterator[str]:
    for name in ("kube-apiserver", "containerd", "runc", "ovs-vswitchd", "ovn-northd"):
        tools.path(name)
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    name = f"t{uuid.uuid4().hex[:8]}"
    shape = spec.Shape(pairs=1, full_nodes=1, vfs=4, full_vfs=4)
    try:
        world.up(name, shape, toolbox.resolve, say=lambda _line: None)
        yield name
    finally:
        world.down(name, say=lambda _line: None)


def inside(lab: str, *words: str) -> str:
    reply = ashore("lab", "exec", "--name", lab, "full-1", "--", *words)
    assert reply.returncode == 0, reply.stderr
    return reply.stdout


@pytest.mark.timeout(400)
def test_its_pods_have_vfs_whose_representors_ovn_serves(lab: str) -> None:
    """The demonstration has its negative control: with a server's logical port off, nobody is answered."""
    report = demo.run(lab)
    assert report.passed, report.failed_cases
    answer = json.loads(inside(lab, "ovs-vsctl", "-f", "json", "--columns=name,external_ids", "list", "Interface"))
    plugged = {name: dict(ids[1]) for name, ids in answer["data"] if "iface-id-ver" in dict(ids[1])}
    assert {name: ids["vf-netdev-name"] for name, ids in plugged.items()} == {"pf0vf0": "p0v0", "pf0vf1": "p0v1"}
    here = {link["ifname"] for link in json.loads(inside(lab, "ip", "-j", "link"))}
    assert here >= {"p0v2", "p0v3", "pf0vf0", "pf0vf1"}
    assert not here & {"p0v0", "p0v1"}


@pytest.mark.timeout(120)
def test_what_is_not_offloaded_is_told_with_its_reason(lab: str) -> None:
    reply = ashore("offload", "status", "--lab", lab, "-o", "json")
    assert reply.returncode == 0, reply.stderr
    nodes: dict[str, dict[str, Any]] = {each["node"]: each for each in json.loads(reply.stdout)["nodes"]}
    assert set(nodes) == {"dpu-1", "full-1"}
    for node in nodes.values():
        assert (node["datapath_type"], node["hw_offload"], node["has_eswitch"]) == ("netdev", False, True)
        reasons = {why for found in node["classes"].values() for why in found["why_not"]}
        assert len(reasons) == 1
        assert "userspace datapath" in reasons.pop()
        assert sum(found["flows"] for found in node["classes"].values()) > 0


@pytest.mark.timeout(120)
def test_a_node_without_ovs_is_named(lab: str) -> None:
    reply = ashore("offload", "status", "--lab", lab, "--node", "host-1")
    assert reply.returncode == 2
    assert "host-1" in reply.stderr
