# SPDX-License-Identifier: Apache-2.0
"""A running lab of one pair, as the command line shows it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ashore.lab import addresses, clusters, machine, spec, world


class Shell(Protocol):
    small: spec.Shape

    def ashore(self, *words: str) -> "subprocess.CompletedProcess[str]": ...
    def as_json(self, *words: str) -> Any: ...
    def inside(self, lab: str, node: str, command: Sequence[str]) -> int: ...
    def reaches_api(self, lab: str, host: str) -> bool: ...


def eventually(claim: Callable[[], bool], within_s: float = 30) -> bool:
    limit = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def pids(shell: Shell, lab: str) -> dict[str, int]:
    # Exit status 1 is fine here: a daemon that just died is a problem that status names.
    nodes = json.loads(shell.ashore("lab", "status", "--name", lab, "-o", "json").stdout)["nodes"]
    return {f"{node['name']} {daemon['name']}": daemon["pid"] for node in nodes for daemon in node["daemons"]}


def pid_of(shell: Shell, lab: str, daemon: str) -> int:
    return pids(shell, lab)[daemon]


def test_a_host_registers_with_both_addresses(lab: str, shell: Shell) -> None:
    reply = shell.ashore("lab", "kubeconfig", "host", "--name", lab)
    folders, record = world.find(lab)
    assert str(folders.kubeconfig("host")) == reply.stdout.strip()
    node = json.loads(clusters.kubectl(folders, record, ["get", "node", "host-1", "-o", "json"]))
    ips = [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
    assert ips == ["172.30.1.1", "fd00:30::1:1"]


def test_a_host_reaches_its_api_server_through_its_dpu_alone(lab: str, shell: Shell) -> None:
    fault = ("lab", "fault", "stop-daemon", "--name", lab, "--pair", "1", "--daemon", "ovs-vswitchd")
    assert shell.reaches_api(lab, "host-1")
    try:
        assert shell.ashore(*fault).returncode == 0
        assert not shell.reaches_api(lab, "host-1")
    finally:
        assert shell.ashore(*fault, "--heal").returncode == 0
    assert eventually(lambda: shell.reaches_api(lab, "host-1"))


def test_a_host_has_no_link_but_its_nics_functions(lab: str, shell: Shell) -> None:
    found = shell.ashore("lab", "exec", "--name", lab, "host-1", "--", "ip", "-j", "link").stdout
    expected = {"lo", addresses.PF, *(addresses.vf_name(vf) for vf in range(shell.small.vfs))}
    assert {link["ifname"] for link in json.loads(found)} == expected


def test_a_second_up_leaves_every_process_alone(lab: str, shell: Shell) -> None:
    before = pids(shell, lab)
    shape = ("--pairs", "1", "--full-nodes", "0", "--vfs", "4", "--no-agents")
    assert shell.ashore("lab", "up", "--name", lab, *shape).returncode == 0
    assert pids(shell, lab) == before


def test_another_shape_under_a_taken_name_is_refused(lab: str, shell: Shell) -> None:
    reply = shell.ashore("lab", "up", "--name", lab, "--pairs", "3")
    assert reply.returncode == 2
    assert reply.stderr.startswith(f"error: lab {lab} exists with 1 pairs")


def test_a_function_comes_back_when_its_namespace_vanishes(lab: str, shell: Shell) -> None:
    net = f"/run/lab/sys/bus/pci/devices/{addresses.vf_slot(2)}/net/{addresses.vf_name(2)}"
    assert shell.inside(lab, "host-1", ["ip", "netns", "add", "pod"]) == 0
    assert shell.inside(lab, "host-1", ["ip", "link", "set", addresses.vf_name(2), "netns", "pod"]) == 0
    assert eventually(lambda: shell.inside(lab, "host-1", ["test", "-e", net]) == 1)
    assert shell.inside(lab, "host-1", ["ip", "netns", "delete", "pod"]) == 0
    assert eventually(lambda: shell.inside(lab, "host-1", ["test", "-e", net]) == 0)
    assert shell.inside(lab, "dpu-1", ["ip", "link", "show", addresses.vf_representor(2)]) == 0


def test_a_killed_daemon_is_started_again(lab: str, shell: Shell) -> None:
    before = pid_of(shell, lab, "dpu-1 ovn-controller")
    done = shell.as_json("lab", "fault", "kill-daemon", "--name", lab, "--node", "dpu-1", "--daemon", "ovn-controller")
    assert done["object"] == "ovn-controller"
    assert eventually(lambda: pid_of(shell, lab, "dpu-1 ovn-controller") not in (0, before))


def test_a_node_whose_plug_was_pulled_is_dark_and_comes_back(lab: str, shell: Shell) -> None:
    fault = ("lab", "fault", "pull-plug", "--name", lab, "--node", "dpu-1")
    try:
        assert shell.ashore(*fault).returncode == 0
        assert not shell.reaches_api(lab, "host-1")
        assert shell.ashore("lab", "status", "--name", lab).returncode == 1
    finally:
        assert shell.ashore(*fault, "--heal").returncode == 0
    assert eventually(lambda: shell.reaches_api(lab, "host-1"))


def test_a_cut_uplink_darkens_the_host_until_it_is_mended(lab: str, shell: Shell) -> None:
    fault = ("lab", "fault", "cut-link", "--name", lab, "--pair", "1")
    try:
        assert shell.ashore(*fault).returncode == 0
        assert not shell.reaches_api(lab, "host-1")
    finally:
        assert shell.ashore(*fault, "--heal").returncode == 0
    assert eventually(lambda: shell.reaches_api(lab, "host-1"))


def test_the_databases_turn_away_who_has_no_certificate(lab: str, shell: Shell) -> None:
    code = (
        "import socket, ssl, sys\n"
        "context = ssl._create_unverified_context()\n"
        "plain = socket.create_connection(('172.30.0.2', int(sys.argv[1])), 5)\n"
        "secure = context.wrap_socket(plain)\n"
        'secure.sendall(b\'{"id":1,"method":"list_dbs","params":[]}\')\n'
        "sys.exit(0 if secure.recv(100) else 1)\n"
    )
    for port in ("6641", "6642"):
        assert shell.inside(lab, "cp", [sys.executable, "-c", code, port]) == 1


def test_a_node_sees_no_other_nodes_files(lab: str, shell: Shell) -> None:
    assert shell.inside(lab, "host-1", ["test", "-e", "/etc/ashore/credentials/kubeconfig"]) == 0
    assert shell.inside(lab, "host-1", ["test", "-e", "/etc/ashore/credentials/sb"]) == 1
    assert shell.inside(lab, "host-1", ["test", "-e", str(machine.home() / lab / "pki")]) == 1


def test_an_unknown_node_or_lab_is_named_with_what_there_is(lab: str, shell: Shell) -> None:
    reply = shell.ashore("lab", "exec", "--name", lab, "host-9", "--", "true")
    assert (reply.returncode, "host-1" in reply.stderr) == (2, True)
    reply = shell.ashore("lab", "status", "--name", "nosuchlab")
    assert (reply.returncode, lab in reply.stderr) == (2, True)
