# SPDX-License-Identifier: Apache-2.0
"""Stories of pods whose runtime names their device: Multus with a device plugin, virtual machines, DPDK."""

import asyncio
from typing import Any

import pytest

from ashore import hardware, netlink
from ashore.agent import devices, records, results
from ashore.api import annotations, cni
from ashore.testing import kernel as fake

Host = Any
VF1, VF2, VF3 = "0000:03:00.3", "0000:03:00.4", "0000:03:00.5"
MAC = "0a:58:0a:f4:01:05"
pytestmark = pytest.mark.looptime


def details(host: Host) -> str:
    text: str = host.api.notes()[annotations.CONNECTION_DETAILS]
    return text


@pytest.mark.parametrize("config", [{"deviceID": VF3}, {"runtimeConfig": {"deviceID": VF3.upper()}}])
async def test_a_named_device_is_taken_and_no_other(host: Host, config: dict[str, Any]) -> None:
    result = await host.do("ADD", **config)
    assert host.inside().link.alias == VF3
    assert result["interfaces"][0]["pciID"] == VF3
    await host.do("DEL")
    assert host.is_clean()


@pytest.mark.parametrize(
    ("config", "code", "says"),
    [
        ({"deviceID": "0000:03:00.2"}, cni.WRONG_DEVICE, "0000:03:00.2 is this node's management port"),
        ({"deviceID": "0000:03:00.0"}, cni.WRONG_DEVICE, "0000:03:00.0 isn't a VF of ens1f0"),
        ({"deviceID": "0000:81:00.7"}, cni.WRONG_DEVICE, "0000:81:00.7 isn't a VF of ens1f0"),
        ({"deviceID": "mlx5_core.sf.4"}, cni.INVALID_CONFIG, "'mlx5_core.sf.4' isn't a VF's PCI address"),
        ({"deviceID": "0000:03:00.3\n"}, cni.INVALID_CONFIG, "isn't a VF's PCI address"),
        ({"deviceID": 7}, cni.INVALID_CONFIG, "'7' isn't a VF's PCI address"),
        ({"deviceID": VF1, "runtimeConfig": {"deviceID": VF2}}, cni.INVALID_CONFIG, f"{VF1} in one place and {VF2}"),
    ],
)
async def test_a_device_that_can_not_be_meant_is_named(host: Host, config: Any, code: int, says: str) -> None:
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD", **config)
    assert info.value.error.code == code
    assert says in info.value.error.msg
    assert host.is_clean()


async def test_a_device_in_use_is_refused_with_its_pods_name(host: Host) -> None:
    await host.do("ADD")
    host.api.put("other", "u2", **{annotations.POD_NETWORKS: host.api.notes()[annotations.POD_NETWORKS]})
    with pytest.raises(cni.Failure, match=f"pod default/other: device {VF1} is in use by pod default/web") as info:
        await host.do("ADD", "s2", name="other", uid="u2", netns="/run/netns/pod2", deviceID=VF1)
    assert info.value.error.code == cni.NO_FREE_VF
    assert host.inside() is not None


async def test_a_device_without_any_netdev_is_refused(host: Host) -> None:
    del host.kernel.namespaces[""]["ens1f0v3"]
    with pytest.raises(cni.Failure, match=f"device {VF3} has no netdev on this host .driver: mlx5_core") as info:
        await host.do("ADD", deviceID=VF3)
    assert info.value.error.code == cni.WRONG_DEVICE


async def test_a_sandbox_keeps_its_device_when_another_is_named_later(host: Host) -> None:
    await host.do("ADD", deviceID=VF1)
    assert await host.do("ADD", deviceID=VF1) == host.results["s1"]
    with pytest.raises(cni.Failure, match=f"{VF2} is asked for, but this sandbox has {VF1}"):
        await host.do("ADD", deviceID=VF2)


async def test_a_device_plugins_vfs_go_only_to_pods_that_name_them(host: Host) -> None:
    host.others = (range(2, 4),)
    host.start()
    assert host.pool.free() == 1
    await host.do("ADD", deviceID=VF2)
    assert (host.inside().link.alias, host.pool.free()) == (VF2, 1)
    await host.do("DEL")
    assert host.pool.free() == 1, "a device plugin's VF doesn't become our pool's"
    await host.do("ADD")
    assert (host.inside().link.alias, host.pool.free()) == (VF1, 0)


async def test_where_a_device_plugin_has_all_vfs_others_are_told_to_request_one(host: Host) -> None:
    host.others = (range(65536),)
    host.start()
    host.vfio.add(VF1)
    assert host.pool.free() == 3
    with pytest.raises(cni.Failure, match="request its resource in the pod"):
        await host.do("ADD")
    await host.do("ADD", deviceID=VF3)
    assert host.pool.free() == 2, "at 0 the node is tainted: no pod at all gets a VF then"


async def test_a_vf_for_vfio_is_connected_and_nothing_is_moved(host: Host) -> None:
    host.kernel.add_device("ens1f0", mac="02:00:00:00:00:ff")
    host.kernel.vf_macs = {}
    host.vfio.add(VF3)
    del host.kernel.namespaces[""]["ens1f0v3"]
    result = await host.do("ADD", deviceID=VF3)
    assert host.inside() is None
    assert result["interfaces"] == [
        {"name": "eth0", "mac": MAC, "sandbox": "/run/netns/pod", "mtu": 1400, "pciID": VF3}
    ]
    assert [ip["address"] for ip in result["ips"]] == ["10.244.1.5/24", "fd00:10:244:1::5/64"]
    assert details(host) == '{"default":{"pfId":"0","sandboxId":"s1","vfId":"3"}}'
    assert host.kernel.vf_macs == {("ens1f0", 3): MAC}
    await host.do("CHECK")
    await host.do("DEL")
    assert host.kernel.vf_macs == {("ens1f0", 3): "00:00:00:00:00:00"}
    assert host.pool.store.by_device == {}
    assert annotations.CONNECTION_DETAILS not in host.api.notes()


async def test_a_nic_that_takes_no_vf_mac_still_connects_a_vf_for_vfio(host: Host) -> None:
    host.kernel.add_device("ens1f0", mac="02:00:00:00:00:ff")
    host.vfio.add(VF3)
    await host.do("ADD", deviceID=VF3)
    host.kernel.vf_macs = {}
    host.kernel.refusals["set_vf_mac"] = netlink.KernelRefused("no", 1)
    with pytest.raises(cni.Failure):
        await host.do("ADD", deviceID=VF3)


async def test_a_vf_for_vfio_is_never_given_to_a_pod_that_names_none(host: Host) -> None:
    host.vfio |= {VF1, VF3}
    await host.do("ADD")
    assert host.inside().link.alias == VF2


async def test_older_results_have_no_pci_address(host: Host) -> None:
    result = await host.do("ADD", cniVersion="1.0.0", deviceID=VF3)
    assert set(result["interfaces"][0]) == {"name", "mac", "sandbox"}


async def test_a_node_of_veths_refuses_a_named_device(tmp_path: Any) -> None:
    pool = devices.VethPool(fake.FakeKernel(), records.Records(tmp_path))
    claim = devices.Claim(
        namespace="ns", name="web", pod_uid="u", sandbox="s", netns="/n", ifname="eth0", mtu=1400, device_id=VF1
    )
    with pytest.raises(cni.Failure, match=f"pod ns/web: device {VF1} is asked for, and this node gives veths"):
        await pool.take(claim)
    assert not pool.store.by_device


async def test_a_device_given_back_twice_at_once_stays_with_its_next_sandbox(host: Host) -> None:
    await host.do("ADD", "old")
    old = host.pool.store.of("old")
    await host.do("DEL", "old")
    await host.do("ADD", "new")
    assert host.pool.store.of("new").pci == old.pci
    await host.pool.give_back(old)  # a sweep that had read the record before the DEL
    assert host.pool.store.of("new") is not None
    assert host.inside() is not None


@pytest.mark.parametrize("text", ["0000:03:00.3", "0001:ff:1f.7"])
def test_a_pci_address_is_one(text: str) -> None:
    assert hardware.is_address(text)
    assert results.read_device({"deviceID": text}) == text


async def test_two_sandboxes_that_name_one_device_at_once_are_one_success(host: Host) -> None:
    host.api.put("other", "u2", **{annotations.POD_NETWORKS: host.api.notes()[annotations.POD_NETWORKS]})
    both = await asyncio.gather(
        host.do("ADD", deviceID=VF2),
        host.do("ADD", "s2", name="other", uid="u2", netns="/run/netns/pod2", deviceID=VF2),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in both) == ["Failure", "dict"]
    assert len(host.pool.store.by_device) == 1
