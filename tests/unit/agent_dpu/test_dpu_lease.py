# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import AsyncIterator

import pytest

from ashore import kube
from ashore.agent import dpu_lease
from ashore.testing import kube as fake_kube


class Dpu:
    """A lease's keeper whose node and health the test sets."""

    def __init__(self, fake: fake_kube.FakeKube, api: kube.Client) -> None:
        self.fake = fake
        self.problem = ""
        self.lease = dpu_lease.DpuLease(api, lambda: fake.read(kube.NODES, "host-1"), self.look)

    async def look(self) -> str:
        return self.problem

    def renewed(self) -> str | None:
        return self.fake.read(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes").spec.renew_time


@pytest.fixture
async def dpu() -> AsyncIterator[Dpu]:
    async with fake_kube.FakeKube() as fake, fake.client() as api:
        fake.put(kube.NODES, {"metadata": {"name": "host-1"}})
        yield Dpu(fake, api)


async def test_a_healthy_dpu_makes_and_renews_its_lease(dpu: Dpu) -> None:
    assert await dpu.lease.renew()
    first = dpu.fake.read(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes").spec
    assert (first.holder_identity, first.lease_duration_seconds) == ("ovnkube-dpu-node", 40)
    assert await dpu.lease.renew()
    assert dpu.renewed() != first.renew_time


async def test_a_host_half_of_ours_is_promised_less_silence(dpu: Dpu) -> None:
    await dpu.lease.renew()
    dpu.fake.put(kube.NODES, {"metadata": {"name": "host-1", "annotations": {"dpu.ashore.dev/free-vfs": "3"}}})
    assert await dpu.lease.renew()
    assert dpu.fake.read(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes").spec.lease_duration_seconds == 12


async def test_an_unhealthy_dpu_lets_its_lease_age_and_says_why(dpu: Dpu) -> None:
    await dpu.lease.renew()
    before = dpu.renewed()
    dpu.problem = "ovn-controller doesn't answer"
    assert not await dpu.lease.renew()
    assert dpu.renewed() == before
    assert dpu.lease.last_problem == "ovn-controller doesn't answer"
    dpu.problem = ""
    assert await dpu.lease.renew()


async def test_a_refusing_api_server_is_a_problem_not_an_end(dpu: Dpu) -> None:
    dpu.fake.faults.deny = lambda _attempt: "not your lease"
    assert not await dpu.lease.renew()
    assert "not your lease" in dpu.lease.last_problem


async def test_an_unknown_node_has_no_lease() -> None:
    async def well() -> str:
        return ""

    async with fake_kube.FakeKube() as fake, fake.client() as api:
        lease = dpu_lease.DpuLease(api, lambda: None, well)
        assert not await lease.renew()
        assert fake.requests == []
        await asyncio.sleep(0)
