# SPDX-License-Identifier: Apache-2.0
"""One DPU with a zone of its own: real NB, SB, northd, OVS and ovn-controller in one network namespace."""

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 20.0


async def eventually(claim: Callable[[], bool | Awaitable[bool]], what: str, limit_s: float = LIMIT_S) -> None:
    """Returns when the claim holds; fails the test with ``what`` when it doesn't within the limit."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while True:
        held = claim()
        if held if isinstance(held, bool) else await held:
            return
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"not within {limit_s} s: {what}")
        await asyncio.sleep(0.02)


class Zone:
    """The running zone and the node in it."""

    def __init__(self, tools: Any, run_dir: Path, undo: ExitStack) -> None:
        self.tools = tools
        self.run_dir = run_dir
        self.undo = undo
        self.tag = secrets.token_hex(2)
        self.netns = f"gt-{self.tag}"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def ip(self, *words: str) -> str:
        """Runs ip(8) in the node's namespace."""
        return self.run("ip", "-n", self.netns, *words)

    def run(self, *words: str) -> str:
        """Runs a tool, by path where the tools have it; returns what it prints."""
        tool = words[0] if words[0] == "ip" else str(self.tools.path(words[0]))
        done = subprocess.run([tool, *words[1:]], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def vsctl(self, *words: str) -> str:
        return self.run("ovs-vsctl", f"--db=unix:{self.run_dir}/db.sock", *words).strip()

    def nbctl(self, *words: str) -> str:
        return self.run("ovn-nbctl", f"--db=unix:{self.run_dir}/nb.sock", *words).strip()

    def start(self, daemon: str, *words: str) -> None:
        """Starts a daemon in the node's namespace; its end is its owner's, at the latest the test's."""
        environment = {**os.environ, "OVS_RUNDIR": str(self.run_dir), "OVN_RUNDIR": str(self.run_dir)}
        log = (self.run_dir / f"{daemon}.out").open("wb")
        name, _, _ = daemon.partition(":")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, str(self.tools.path(name)), "-vconsole:off", *words,
             f"--pidfile={self.run_dir}/{daemon}.pid", f"--log-file={self.run_dir}/{daemon}.log"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        self.daemons[daemon] = process
        self.undo.callback(self.stop, daemon)

    def stop(self, daemon: str) -> None:
        """Ends a daemon at once."""
        process = self.daemons.pop(daemon, None)
        if process is not None:
            process.kill()
            process.wait(10)

    def start_vswitchd(self) -> None:
        self.start("ovs-vswitchd", f"--unixctl={self.run_dir}/ovs-vswitchd.ctl", f"unix:{self.run_dir}/db.sock")

    def start_controller(self) -> None:
        self.start("ovn-controller", f"--unixctl={self.run_dir}/ovn-controller.ctl", f"unix:{self.run_dir}/db.sock")

    async def up(self) -> None:
        """Returns when vswitchd and ovn-controller have made br-int."""
        for database, schema in (("conf", "vswitch"), ("nb", "ovn-nb"), ("sb", "ovn-sb")):
            schema_file = self.tools.schema(schema)
            self.run("ovsdb-tool", "create", str(self.run_dir / f"{database}.db"), str(schema_file))
            sock = "db" if database == "conf" else database
            self.start(
                f"ovsdb-server:{database}", f"--remote=punix:{self.run_dir}/{sock}.sock",
                f"--unixctl={self.run_dir}/ovsdb-{database}.ctl", str(self.run_dir / f"{database}.db"),
            )  # fmt: skip
            await eventually((self.run_dir / f"{sock}.sock").exists, f"{sock}.sock exists")
        self.nbctl("init")
        self.run("ovn-sbctl", f"--db=unix:{self.run_dir}/sb.sock", "init")
        self.start("ovn-northd", f"--ovnnb-db=unix:{self.run_dir}/nb.sock", f"--ovnsb-db=unix:{self.run_dir}/sb.sock",
                   f"--unixctl={self.run_dir}/ovn-northd.ctl")  # fmt: skip
        self.vsctl("--no-wait", "init")
        self.vsctl(
            "--no-wait", "set", "Open_vSwitch", ".", "external_ids:system-id=chassis-1",
            "external_ids:host-k8s-nodename=host-1", "external_ids:ovn-encap-type=geneve",
            "external_ids:ovn-encap-ip=127.0.0.1", "external_ids:ovn-bridge-datapath-type=netdev",
            f"external_ids:ovn-remote=unix:{self.run_dir}/sb.sock",
        )  # fmt: skip
        self.start_vswitchd()
        self.start_controller()
        await eventually(lambda: "br-int" in self.vsctl("list-br"), "ovn-controller made br-int")

    def representor(self, name: str) -> str:
        """Makes a VF in a namespace of its own and its representor in the node's; returns the VF's namespace."""
        netns = f"{self.netns}-{name}"
        self.run("ip", "netns", "add", netns)
        self.undo.callback(subprocess.run, ["ip", "netns", "del", netns], check=False, capture_output=True)
        self.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", netns)
        for where, device in ((netns, "eth0"), (self.netns, name)):
            self.run("ip", "netns", "exec", where, str(self.tools.path("ethtool")), "-K", device, "tx", "off")
        return netns

    def address(self, netns: str, mac: str, *cidrs: str) -> None:
        """Does in a pod's namespace what the host half does."""
        self.run("ip", "-n", netns, "link", "set", "eth0", "address", mac, "mtu", "1400", "up")
        for cidr in cidrs:
            self.run("ip", "-n", netns, "addr", "add", cidr, "dev", "eth0", *(("nodad",) if ":" in cidr else ()))

    def pings(self, netns: str, address: str) -> bool:
        """Whether one of three probes is answered."""
        done = subprocess.run(
            ["ip", "netns", "exec", netns, str(self.tools.path("ping")), "-c", "3", "-i", "0.2", "-W", "1", address],
            capture_output=True, check=False, timeout=20,
        )  # fmt: skip
        return done.returncode == 0


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[None]]:
    """``eventually`` for tests, which can't import a conftest."""
    return eventually


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A short directory: a unix socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="gt-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def zone(tools: Any, sockets: Path) -> AsyncIterator[Zone]:
    """A zone that is up; nothing of it is left afterwards."""
    with ExitStack() as undo:
        made = Zone(tools, sockets, undo)
        made.run("ip", "netns", "add", made.netns)
        undo.callback(subprocess.run, ["ip", "netns", "del", made.netns], check=False, capture_output=True)
        made.ip("link", "set", "lo", "up")
        await made.up()
        yield made
