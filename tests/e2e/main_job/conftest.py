# SPDX-License-Identifier: Apache-2.0
"""A default lab with everything in it, shared by this folder's tests, and the hands of a person at its keyboard."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from ashore.lab import spec, status, toolbox, world

PORT = 7000
PROBE = "/bin/probe"


class AskForTool(Protocol):
    def path(self, name: str) -> Path: ...


class Lab:
    """One running lab."""

    def __init__(self, name: str) -> None:
        folders, record = world.find(name)
        self.name = name
        self.tools = Path(record.tools.bin_dir)
        self.kubeconfig = folders.kubeconfig("host")

    def ashore(self, *words: str, check: bool = True) -> str:
        """The command line, as people run it; its standard output."""
        program = Path(sys.executable).parent / "ashore"
        reply = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
        assert not check or reply.returncode == 0, f"ashore {' '.join(words)}: {reply.stderr}"
        return reply.stdout

    def inside(self, node: str, *command: str, check: bool = True) -> str:
        """A command in a node; its standard output."""
        return self.ashore("lab", "exec", "--name", self.name, node, "--", *command, check=check)

    def fault(self, fault: str, node: str, *, daemon: str = "", heal: bool = False) -> None:
        words = ["lab", "fault", "--name", self.name, fault, "--node", node]
        words += ["--daemon", daemon] if daemon else []
        self.ashore(*words, *(["--heal"] if heal else []))

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        command = [str(self.tools / "kubectl"), "--kubeconfig", str(self.kubeconfig), *words]
        reply = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=150)
        assert not check or reply.returncode == 0, f"kubectl {' '.join(words)}: {reply.stderr}"
        return reply.stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def make_pod(self, name: str, node: str, *, wait: bool = True) -> None:
        """A pod that echoes on port 7000, scheduled onto a node by its label."""
        container = {
            "name": "c",
            "image": "lab.local/demo:1",
            "imagePullPolicy": "Never",
            "command": [PROBE, "serve"],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node},
                "terminationGracePeriodSeconds": 0,
                "dnsPolicy": "Default",
                "containers": [container],
            },
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        if wait:
            self.wait_ready(name)

    def wait_ready(self, *names: str, timeout_s: int = 60) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={timeout_s}s", "pod", *names)

    def delete_pods(self, *names: str) -> None:
        self.kubectl("delete", "pod", "--ignore-not-found", "--wait=true", "--timeout=60s", *names)

    def ips(self, pod: str) -> list[str]:
        return [entry["ip"] for entry in self.get("pod", pod)["status"]["podIPs"]]

    def answers(self, client: str, server: str, *, tries: int = 3) -> dict[str, bool]:
        """Per target of ``server`` (both families, three protocols), whether it answers ``client``."""
        return self.answers_at(client, self.ips(server), tries=tries)

    def answers_at(self, client: str, ips: list[str], *, tries: int = 3) -> dict[str, bool]:
        hosts = [f"[{ip}]" if ":" in ip else ip for ip in ips]
        targets = [f"icmp://{h}" for h in hosts] + [f"{p}://{h}:{PORT}" for h in hosts for p in ("tcp", "udp")]
        out = self.kubectl("exec", client, "--", PROBE, "check", "-timeout", "700ms", "-tries", str(tries), *targets)
        verdicts = [json.loads(line) for line in out.splitlines()]
        return {verdict["target"]: verdict["ok"] for verdict in verdicts}

    def ovs_ports(self, node: str) -> dict[str, str]:
        """Interface name by iface-id, on a node with OVS."""
        out = self.inside(node, "ovs-vsctl", "--format=json", "--columns=name,external_ids", "list", "Interface")
        rows = [(name, dict(ids[1])) for name, ids in json.loads(out)["data"]]
        return {ids["iface-id"]: name for name, ids in rows if "iface-id" in ids}

    def nb(self, *words: str) -> str:
        return self.inside("cp", "ovn-nbctl", "--db=unix:/run/ovn/ovnnb_db.sock", *words)

    def runs(self, node: str, daemon: str) -> bool:
        """Whether a node's daemon runs now; not while its supervisor is too busy to say."""
        found = next(each for each in status.look(self.name).nodes if each.name == node)
        return any(each.running for each in found.daemons if each.name == daemon)

    def flow(self, client: str, server: str) -> "Flow":
        return Flow(self, client, server)


class Flow:
    """A TCP connection and a UDP conversation every 20 ms between two pods while the block lasts."""

    def __init__(self, lab: Lab, client: str, server: str) -> None:
        ip = lab.ips(server)[0]
        targets = [f"tcp://{ip}:{PORT}", f"udp://{ip}:{PORT}"]
        self.reports: dict[str, dict[str, Any]] = {}
        self._lab, self._client, self._targets = lab, client, targets

    def __enter__(self) -> Self:
        # Inside the pod's own node the probe outlives an API server that goes away; its report is read from a file.
        self._lab.kubectl("exec", self._client, "--", "sh", "-c", f"rm -f /tmp/flow; {self._command()}")
        wait_until(lambda: "started" in self._read(), "the flow has begun")
        return self

    def __exit__(self, *failure: object) -> None:
        def stopped() -> bool:
            self._lab.kubectl("exec", self._client, "--", "sh", "-c", "killall -q -TERM probe-flow; true")
            return len(self._read().splitlines()) > len(self._targets)

        wait_until(stopped, "the flow has reported")
        for line in self._read().splitlines()[1:]:
            report = json.loads(line)
            self.reports[report["target"].partition(":")[0]] = report

    def _command(self) -> str:
        flow = f"/tmp/probe-flow flow -every 20ms -for 10m {' '.join(self._targets)}"  # noqa: S108 (in the pod)
        return f"cp {PROBE} /tmp/probe-flow; {flow} >/tmp/flow 2>&1 </dev/null &"

    def _read(self) -> str:
        return self._lab.kubectl("exec", self._client, "--", "cat", "/tmp/flow", check=False)  # noqa: S108 (in the pod)


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    """Asks again until it holds; a test's only way to wait for the lab."""
    end = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except AssertionError:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def lab(tools: AskForTool) -> Iterator[Lab]:
    for name in ("kube-apiserver", "containerd", "runc", "ovs-vswitchd", "ovn-northd"):
        tools.path(name)
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    name = f"t{uuid.uuid4().hex[:8]}"
    try:
        world.up(name, spec.Shape(pairs=2, full_nodes=1, vfs=6), toolbox.resolve, say=lambda _line: None)
        yield Lab(name)
    finally:
        world.down(name, say=lambda _line: None)


@pytest.fixture
def pods(lab: Lab) -> Iterator[None]:
    """Pods of the test go with it."""
    yield
    lab.delete_pods("--all")


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Asks again until a condition holds, with a limit."""
    return wait_until
