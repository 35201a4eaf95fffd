# SPDX-License-Identifier: Apache-2.0
"""Things die at the wrong moment; running pods stay connected and nothing is lost or leaked."""

import json
import sys
from typing import Any

import pytest

from ashore.api import annotations

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("pods")]

KILLS = [
    ("host-1", "ashore-agent"),
    ("dpu-1", "ashore-agent"),
    ("full-1", "ashore-agent"),
    ("dpu-1", "ovn-controller"),
    ("cp", "ashore-controller-a"),
    ("cp", "ashore-controller-b"),
    ("cp", "ovn-northd"),
    ("cp", "ovn-nb"),
    ("cp", "ovn-sb"),
    ("cp", "kube-apiserver"),
]


def snapshot(lab: Any) -> dict[str, Any]:
    """Everything that a pod could leave behind."""
    return {
        "logical ports": sorted(lab.nb("--bare", "--columns=name", "list", "Logical_Switch_Port").split()),
        **{f"ovs of {node}": lab.ovs_ports(node) for node in ("dpu-1", "dpu-2", "full-1")},
        **{
            f"records of {node}": lab.inside(node, "sh", "-c", "find /run/ashore -type f | sort")
            for node in ("host-1", "host-2", "full-1")
        },
        **{
            f"links of {node}": sorted(
                link["ifname"] for link in json.loads(lab.inside(node, "ip", "-j", "link", "show"))
            )
            for node in ("host-1", "host-2", "full-1", "dpu-1")
        },
        "free VFs": {
            node: lab.get("node", node)["metadata"]["annotations"].get(annotations.FREE_VFS)
            for node in ("host-1", "host-2")
        },
    }


def test_running_pods_stay_connected_whatever_is_killed(lab: Any, eventually: Any, capsys: Any) -> None:
    lab.make_pod("near", "host-1")
    lab.make_pod("far", "host-2")
    lab.make_pod("flat", "full-1")
    assert all(lab.answers("near", "far").values())
    assert all(lab.answers("near", "flat").values())
    for node, daemon in KILLS:
        with lab.flow("near", "far") as remote, lab.flow("flat", "near") as mixed:
            lab.fault("kill-daemon", node, daemon=daemon)
            eventually(lambda node=node, daemon=daemon: lab.runs(node, daemon), f"{daemon} on {node} runs again")
            eventually(lambda: "near" in lab.kubectl("get", "pods"), "the API server answers")
        holes = {
            f"{name} {kind}": report["longest_hole_ms"]
            for name, flow in (("near→far", remote), ("flat→near", mixed))
            for kind, report in flow.reports.items()
        }
        with capsys.disabled():
            sys.stdout.write(f"\n  killed {daemon} on {node}: longest hole (ms) {holes}\n")
        for flow in (remote, mixed):
            assert set(flow.reports) == {"tcp", "udp"}
            assert not any(report.get("error") for report in flow.reports.values()), flow.reports
    # After all that, new pods still get a network.
    lab.make_pod("late", "host-1")
    assert all(lab.answers("late", "far").values())


def test_ovs_comes_back_by_itself(lab: Any, eventually: Any) -> None:
    lab.make_pod("near", "host-1")
    lab.make_pod("far", "host-2")
    for daemon in ("ovs-vswitchd", "ovsdb-server"):
        lab.fault("kill-daemon", "dpu-1", daemon=daemon)
        eventually(lambda: all(lab.answers("near", "far").values()), f"pods answer after {daemon}'s end")


def test_pods_that_come_and_go_leave_nothing(lab: Any, eventually: Any) -> None:
    before = snapshot(lab)
    for turn in range(3):
        names = {f"brief-{turn}-{node}": node for node in ("host-1", "host-2", "full-1")}
        for name, node in names.items():
            lab.make_pod(name, node, wait=False)
        lab.wait_ready(*names)
        lab.delete_pods(*names)
    eventually(lambda: snapshot(lab) == before, "everything is as it was")


def test_the_function_pool_exhausted_is_told_and_recovers(lab: Any, eventually: Any) -> None:
    names = [f"many-{index}" for index in range(6)]  # five functions for pods: six less the management port's
    for name in names[:5]:
        lab.make_pod(name, "host-1", wait=False)
    lab.wait_ready(*names[:5], timeout_s=90)
    eventually(lambda: "vfs-exhausted" in json.dumps(lab.get("node", "host-1")["spec"]), "the node is tainted")
    lab.make_pod(names[5], "host-1", wait=False)
    lab.delete_pods(names[0])
    lab.wait_ready(names[5], timeout_s=90)
    lab.delete_pods(*names[1:])
    eventually(lambda: "vfs-exhausted" not in json.dumps(lab.get("node", "host-1")["spec"]), "the taint is gone")


def test_a_dpu_agent_down_during_add_is_named_and_the_pod_comes_when_it_is_back(lab: Any, eventually: Any) -> None:
    lab.fault("stop-daemon", "dpu-1", daemon="ashore-agent")
    try:
        eventually(lambda: not lab.runs("dpu-1", "ashore-agent"), "the agent is down")
        lab.make_pod("waiting", "host-1", wait=False)
        eventually(
            lambda: (
                "FailedCreatePodSandBox" in lab.kubectl("get", "events", "--field-selector=involvedObject.name=waiting")
            ),
            "the pod's events say why",
        )
    finally:
        lab.fault("stop-daemon", "dpu-1", daemon="ashore-agent", heal=True)
    lab.wait_ready("waiting", timeout_s=120)


def test_a_dpu_agent_that_was_down_during_del_unplugs_when_it_is_back(lab: Any, eventually: Any) -> None:
    lab.make_pod("going", "host-1")
    assert "default_going" in lab.ovs_ports("dpu-1")
    lab.fault("stop-daemon", "dpu-1", daemon="ashore-agent")
    try:
        lab.delete_pods("going")
        assert "default_going" in lab.ovs_ports("dpu-1")
    finally:
        lab.fault("stop-daemon", "dpu-1", daemon="ashore-agent", heal=True)
    eventually(lambda: "default_going" not in lab.ovs_ports("dpu-1"), "the port is unplugged")


def test_both_sides_restarted_at_once_lose_nothing(lab: Any, eventually: Any) -> None:
    lab.make_pod("near", "host-1")
    lab.make_pod("far", "host-2")
    before = snapshot(lab)
    for node in ("host-1", "dpu-1"):
        lab.fault("kill-daemon", node, daemon="ashore-agent")
    eventually(lambda: lab.runs("host-1", "ashore-agent") and lab.runs("dpu-1", "ashore-agent"), "both run")
    assert all(lab.answers("near", "far").values())
    lab.make_pod("next", "host-1")
    assert all(lab.answers("next", "far").values())
    lab.delete_pods("next")
    eventually(lambda: snapshot(lab) == before, "everything is as it was")


def test_the_same_name_with_a_new_uid_is_another_pod(lab: Any, eventually: Any) -> None:
    lab.make_pod("peer", "full-1")
    for _ in range(3):
        lab.make_pod("again", "host-1")
        uid = lab.get("pod", "again")["metadata"]["uid"]
        assert all(lab.answers("again", "peer").values())
        iface = lab.ovs_ports("dpu-1")["default_again"]
        assert uid in lab.inside("dpu-1", "ovs-vsctl", "get", "Interface", iface, "external_ids:iface-id-ver")
        lab.delete_pods("again")


def test_a_sandbox_made_again_gets_its_network_back(lab: Any, eventually: Any) -> None:
    lab.make_pod("peer", "host-2")
    lab.make_pod("phoenix", "host-1")
    ips = lab.ips("phoenix")
    ctr = ("ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io")
    sandboxes = lab.inside("host-1", *ctr, "containers", "list", "labels.io.kubernetes.pod.name==phoenix")
    pause = next(line.split()[0] for line in sandboxes.splitlines() if "pause" in line)
    lab.inside("host-1", *ctr, "tasks", "kill", "-s", "SIGKILL", "-a", pause)
    eventually(
        lambda: lab.get("pod", "phoenix")["status"]["containerStatuses"][0]["restartCount"] > 0, "it was restarted"
    )
    lab.wait_ready("phoenix", timeout_s=90)
    assert lab.ips("phoenix") == ips
    assert all(lab.answers("phoenix", "peer").values())


def test_a_node_removed_and_added_at_run_time_works_again(lab: Any, eventually: Any) -> None:
    lab.make_pod("peer", "host-1")
    lab.fault("pull-plug", "host-2")
    lab.kubectl("delete", "node", "host-2")
    eventually(lambda: "host-2" not in lab.nb("--bare", "--columns=name", "list", "Logical_Switch"), "its rows go")
    lab.fault("pull-plug", "host-2", heal=True)
    lab.kubectl("wait", "--for=create", "node/host-2", "--timeout=90s")
    lab.kubectl("wait", "--for=condition=Ready", "node/host-2", "--timeout=90s")
    lab.make_pod("back", "host-2")
    assert all(lab.answers("back", "peer").values())
