# SPDX-License-Identifier: Apache-2.0
"""Pods of a real Kubernetes get their network from their node's DPU."""

import json
import socket
import subprocess
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("pods")]


def test_every_pod_reaches_every_other_and_silence_follows_a_closed_port(lab: Any) -> None:
    report = json.loads(lab.ashore("lab", "demo", "--name", lab.name, "-o", "json"))
    assert report["passed"]
    assert len(report["cases"]) == 120
    assert all(case["ok"] and case["refuted"] for case in report["cases"])
    placements = {case["placement"] for case in report["cases"]}
    assert {"same node", "host-1 → host-2", "host-1 → full-1", "full-1 → host-2"} <= placements
    assert [proof["problems"] for proof in report["hosts"]] == [[], []]
    lab.kubectl("delete", "namespace", "ashore-demo", "--wait=true", "--timeout=60s")


@pytest.mark.parametrize("node", ["host-1", "full-1"])
def test_logs_exec_and_port_forward_work(lab: Any, node: str) -> None:
    pod = f"tools-{node}"
    lab.make_pod(pod, node)
    assert "echoing" in lab.kubectl("logs", pod)
    assert lab.kubectl("exec", pod, "--", "cat", "/etc/hostname").strip() == pod
    command = [lab.tools / "kubectl", "--kubeconfig", lab.kubeconfig, "port-forward", f"pod/{pod}", ":7000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split(":")[1].split()[0])
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(b"hello")
                assert connection.recv(5) == b"hello"
        finally:
            forward.terminate()


def test_a_pods_addresses_and_mtu_are_what_its_annotation_says(lab: Any) -> None:
    lab.make_pod("plain", "host-1")
    pod = lab.get("pod", "plain")
    network = json.loads(pod["metadata"]["annotations"]["k8s.ovn.org/pod-networks"])["default"]
    assert [cidr.partition("/")[0] for cidr in network["ip_addresses"]] == lab.ips("plain")
    link = lab.kubectl("exec", "plain", "--", "ip", "link", "show", "eth0")
    assert "mtu 1400" in link
    assert network["mac_address"] in link


def test_kubelet_really_ran_our_plugin(lab: Any) -> None:
    moved = "/etc/cni/net.d/10-ashore.conflist"
    lab.inside("host-2", "mv", moved, moved + ".away")
    try:
        lab.make_pod("unplugged", "host-2", wait=False)
        lab.kubectl("wait", "--for=condition=PodScheduled", "--timeout=20s", "pod", "unplugged")
        time.sleep(3)  # nothing may happen: there is no event to wait for
        assert lab.get("pod", "unplugged")["status"].get("podIPs") is None
    finally:
        lab.inside("host-2", "mv", moved + ".away", moved)
    lab.wait_ready("unplugged", timeout_s=90)


def test_a_spoofing_pod_is_not_heard(lab: Any) -> None:
    lab.make_pod("honest", "host-1")
    lab.make_pod("server", "host-2")
    assert all(lab.answers("honest", "server").values())
    stolen = "10.244.250.250"
    lab.inside("cp", "true")
    pid_of_probe = "for p in /proc/[0-9]*; do grep -qs honest $p/root/etc/hostname && echo ${p#/proc/}; done | head -1"
    pid = lab.inside("host-1", "sh", "-c", pid_of_probe).strip()
    enter = ("nsenter", "-t", pid, "-n")
    original = lab.ips("honest")[0]
    lab.inside("host-1", *enter, "ip", "address", "add", f"{stolen}/32", "dev", "eth0")
    route = f"{lab.ips('server')[0]}/32"
    lab.inside("host-1", *enter, "ip", "route", "add", route, "dev", "eth0", "via", gateway_of(original), "src", stolen)
    verdicts = lab.answers_at("honest", lab.ips("server")[:1], tries=1)
    assert not any(verdicts.values()), verdicts


def gateway_of(ip: str) -> str:
    return ip.rpartition(".")[0] + ".1"
