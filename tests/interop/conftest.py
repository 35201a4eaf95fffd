# SPDX-License-Identifier: Apache-2.0
"""Each of our halves with a scripted counterpart that does what the Go half is seen and read to do."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ashore import kube
from ashore.ovs import daemons
from ashore.schema import vswitch
from ashore.testing import kube as fake_kube
from ashore.testing import ovsdb as fake_ovsdb

from . import cluster, go_api, go_dpu, go_dpu_host, our_dpu, our_host


class Pair:
    """The cluster, and both halves of one pair as a test begins them."""

    def __init__(self, world: cluster.Cluster, api: kube.Client, clock: go_api.Clock) -> None:
        self.cluster = world
        self.api = api
        self.clock = clock
        self.tasks = cluster.Tasks()


class WithGoHost(Pair):
    """Our DPU half, and a Go dpu-host."""

    ours: our_dpu.OurDpu
    go: go_dpu_host.GoDpuHost

    def host(self, *, by_patch: bool = False) -> go_dpu_host.GoDpuHost:
        """Another run of the Go program."""
        self.go = go_dpu_host.GoDpuHost(go_api.GoApi(self.api, by_patch=by_patch), cluster.NODE, self.clock)
        return self.go

    async def up(self) -> None:
        """Both halves are there and know each other."""
        await self.cluster.subnets()
        await self.host().start()
        await self.ours.begin(self.api)
        await cluster.until(lambda: "pf0vf0" in self.ours.ports(), "the management port is plugged")


class WithGoDpu(Pair):
    """Our host half, and a Go dpu with its zone."""

    ours: our_host.OurHost
    go: go_dpu.GoDpu

    def dpu(self) -> go_dpu.GoDpu:
        """Another run of the Go program."""
        ports = self.go.ports if hasattr(self, "go") else {}
        self.go = go_dpu.GoDpu(go_api.GoApi(self.api), cluster.NODE, self.clock)
        self.go.ports = ports
        return self.go

    async def up(self) -> None:
        """Both halves are there and know each other."""
        await self.cluster.subnets()
        await self.ours.begin(self.api)
        await cluster.until(lambda: not self.ours.half.gate(), "our host can serve")
        await self.dpu().start()
        self.tasks.begin(self.go.run())
        await cluster.until(lambda: not self.ours.watch.problem(), "the lease is seen")


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a unix socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gi-") as folder:
        yield Path(folder)


@pytest.fixture
async def fake() -> AsyncIterator[fake_kube.FakeKube]:
    async with fake_kube.FakeKube(bookmark_s=30) as server:
        server.put(kube.NETWORK_CONFIGS, cluster.CONFIG)
        yield server


@pytest.fixture
async def world(fake: fake_kube.FakeKube) -> AsyncIterator[cluster.Cluster]:
    async with fake.client() as admin:
        made = cluster.Cluster(admin)
        following = asyncio.create_task(made.follow())
        await made.node()
        yield made
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
async def ours_and_go_host(
    fake: fake_kube.FakeKube, world: cluster.Cluster, run_dir: Path
) -> AsyncIterator[WithGoHost]:
    async with AsyncExitStack() as undo:
        api = await undo.enter_async_context(fake.client())
        ovs = await undo.enter_async_context(fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "db.sock"))
        for daemon in (daemons.VSWITCHD, daemons.CONTROLLER):
            server = await asyncio.start_unix_server(our_dpu.answer_control, str(run_dir / f"{daemon}.ctl"))
            undo.callback(server.close)
        pair = WithGoHost(world, api, go_dpu_host.clock_of(asyncio.get_running_loop()))
        pair.ours = our_dpu.OurDpu(ovs, run_dir, pair.clock)
        pair.host()
        pair.tasks.begin(pair.ours.ovn())
        yield pair
        await pair.ours.end()
        await pair.tasks.end()


@pytest.fixture
async def ours_and_go_dpu(fake: fake_kube.FakeKube, world: cluster.Cluster, tmp_path: Path) -> AsyncIterator[WithGoDpu]:
    async with fake.client() as api:
        pair = WithGoDpu(world, api, go_dpu_host.clock_of(asyncio.get_running_loop()))
        pair.ours = our_host.OurHost(tmp_path)
        yield pair
        await pair.ours.end()
        await pair.tasks.end()
