# SPDX-License-Identifier: Apache-2.0
"""Stories of sandboxes on a host whose switch is a DPU."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ashore import netlink
from ashore.agent import node_host
from ashore.api import annotations, cni

Host = Any

NETNS = "/run/netns/pod"
pytestmark = pytest.mark.looptime


async def test_a_pod_gets_a_vf_with_its_addresses_and_the_result_says_so(host: Host) -> None:
    result = await host.do("ADD")
    seen = host.inside()
    assert seen.addresses == {"10.244.1.5/24", "fd00:10:244:1::5/64"}
    assert (seen.link.alias, seen.link.mac, seen.link.mtu) == ("0000:03:00.3", "0a:58:0a:f4:01:05", 1400)
    assert result["interfaces"] == [
        {"name": "eth0", "mac": "0a:58:0a:f4:01:05", "sandbox": NETNS, "mtu": 1400, "pciID": "0000:03:00.3"}
    ]
    assert [(ip["address"], ip["gateway"]) for ip in result["ips"]] == [
        ("10.244.1.5/24", "10.244.1.1"),
        ("fd00:10:244:1::5/64", "fd00:10:244:1::1"),
    ]
    details = annotations.decode_details(host.api.notes()[annotations.CONNECTION_DETAILS])["default"]
    assert (details.pf_id, details.vf_id, details.sandbox_id, details.vf_netdev_name) == ("0", "1", "s1", "ens1f0v1")


async def test_del_leaves_no_trace_and_may_come_twice(host: Host) -> None:
    await host.do("ADD")
    await host.do("DEL")
    assert host.is_clean()
    assert host.kernel.namespaces[""]["ens1f0v1"].link.mac == "02:00:00:00:00:01"
    await host.do("DEL")
    assert host.is_clean()


async def test_add_twice_is_one_vf(host: Host) -> None:
    assert await host.do("ADD") == await host.do("ADD")
    assert len(host.pool.store.by_device) == 1


async def test_a_late_del_of_an_old_sandbox_leaves_the_new_one_alone(host: Host) -> None:
    await host.do("ADD", "old")
    host.kernel.drop_netns(NETNS)
    await host.do("ADD", "new", netns=NETNS + "2")
    await host.do("DEL", "old")
    assert host.inside(NETNS + "2") is not None
    assert annotations.decode_details(host.api.notes()[annotations.CONNECTION_DETAILS])["default"].sandbox_id == "new"


async def test_an_answer_to_an_earlier_sandbox_is_not_taken(host: Host) -> None:
    old = annotations.encode_status({"default": annotations.ConnectionStatus("Ready", "", "old")})
    host.api.annotate("web", {annotations.CONNECTION_STATUS: old})
    host.dpu.status = ""
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD")
    assert info.value.error.code == cni.DEADLINE
    assert host.is_clean()


async def test_a_dpu_that_names_no_sandbox_is_understood(host: Host) -> None:
    host.dpu.names_sandbox = False
    await host.do("ADD")
    assert host.inside() is not None


async def test_the_dpu_s_reason_reaches_the_runtime_and_the_pod_at_once(host: Host) -> None:
    host.dpu.status, host.dpu.reason = annotations.ERROR, "representor pf0vf1 is missing"
    began = asyncio.get_running_loop().time()
    with pytest.raises(cni.Failure, match="representor pf0vf1 is missing") as info:
        await host.do("ADD")
    assert info.value.error.code == cni.DPU_REFUSED
    assert asyncio.get_running_loop().time() - began < 1
    assert [reason for reason, _ in host.events] == ["DPURefused"]
    assert host.is_clean()


async def test_a_dead_dpu_fails_an_add_at_once_and_takes_nothing(host: Host) -> None:
    host.dpu.is_alive = False
    with pytest.raises(cni.Failure, match="not renewed") as info:
        await host.do("ADD")
    assert info.value.error.code == cni.DPU_DOWN
    assert (host.api.patches, host.is_clean()) == ([], True)


async def test_exhausted_vfs_are_an_error_and_one_given_back_is_used_again(host: Host) -> None:
    for index in range(3):
        host.api.put(f"p{index}", f"p{index}", **{annotations.POD_NETWORKS: host.api.notes()[annotations.POD_NETWORKS]})
        host.kernel.namespaces[f"{NETNS}-{index}"] = {}
        await host.do("ADD", f"x{index}", name=f"p{index}", uid=f"p{index}", netns=f"{NETNS}-{index}")
    with pytest.raises(cni.Failure, match="all 4 VFs of ens1f0 are in use") as info:
        await host.do("ADD")
    assert (info.value.error.code, host.pool.free()) == (cni.NO_FREE_VF, 0)
    await host.do("DEL", "x1", name="p1", uid="p1")
    await host.do("ADD")
    assert host.inside().link.alias == "0000:03:00.4"


async def test_a_pod_of_another_uid_is_refused(host: Host) -> None:
    with pytest.raises(cni.Failure, match="the API shows UID u1") as info:
        await host.do("ADD", uid="u2")
    assert info.value.error.code == cni.POD_NOT_FOUND


async def test_a_static_pod_is_known_by_its_mirror(host: Host) -> None:
    networks = host.api.notes()[annotations.POD_NETWORKS]
    host.api.put(
        "apiproxy", "u7", **{annotations.POD_NETWORKS: networks, "kubernetes.io/config.mirror": "3f2a9c"}
    )  # fmt: skip
    await host.do("ADD", name="apiproxy", uid="3f2a9c")
    assert host.inside() is not None


async def test_an_answer_of_a_dpu_that_names_no_sandbox_is_not_taken_for_the_next_sandbox(host: Host) -> None:
    host.dpu.names_sandbox = False
    await host.do("ADD")
    await host.do("DEL")
    host.dpu.status = ""  # it is slow: what it said of s1 stands for another moment
    host.api.annotate("web", {annotations.CONNECTION_STATUS: '{"default":{"Status":"Ready"}}'})
    asyncio.get_running_loop().call_later(1, host.api.annotate, "web", {annotations.CONNECTION_STATUS: "{}"})
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD", "s2")
    assert (info.value.error.code, host.is_clean()) == (cni.DEADLINE, True)


async def test_a_pod_that_the_api_shows_a_moment_later_is_served(host: Host) -> None:
    networks = host.api.notes()[annotations.POD_NETWORKS]
    asyncio.get_running_loop().call_later(1, lambda: host.api.put("late", "u9", **{annotations.POD_NETWORKS: networks}))
    await host.do("ADD", name="late", uid="u9")
    assert host.inside() is not None


async def test_a_wrong_netns_takes_nothing(host: Host) -> None:
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD", netns="/etc/passwd")
    assert (info.value.error.code, host.is_clean()) == (cni.BAD_NETNS, True)


async def test_without_an_address_the_vf_goes_back(host: Host) -> None:
    host.api.annotate("web", {annotations.POD_NETWORKS: None})
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD")
    assert (info.value.error.code, host.is_clean()) == (cni.NO_ADDRESS, True)


@pytest.mark.parametrize("method", ["move_in", "set_alias"])
async def test_a_kernel_that_refuses_leaves_no_trace(host: Host, method: str) -> None:
    host.kernel.refusals[method] = netlink.KernelRefused("no", 16)
    with pytest.raises(cni.Failure) as info:
        await host.do("ADD")
    assert (info.value.error.code, host.is_clean()) == (cni.IO_FAILURE, True)


async def test_a_cancelled_add_leaves_no_trace(host: Host) -> None:
    host.dpu.status = ""
    adding = asyncio.ensure_future(host.do("ADD"))
    key = next(iter(host.api.store))
    await host.api.wait_for(key, lambda pod: annotations.CONNECTION_DETAILS in pod.metadata.annotations, timeout_s=1)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    assert host.is_clean()


async def test_a_restarted_agent_knows_its_sandboxes(host: Host) -> None:
    await host.do("ADD")
    host.start()
    assert host.pool.free() == 2
    await host.do("CHECK")
    await host.do("DEL")
    assert host.is_clean()


async def test_a_namespace_that_died_without_a_del_gives_its_vf_back(host: Host) -> None:
    await host.do("ADD")
    host.kernel.drop_netns(NETNS)
    await node_host.sweep(host.around, host.attach)
    assert host.is_clean()


async def test_an_unreadable_record_is_skipped(host: Host, tmp_path: Path) -> None:
    await host.do("ADD")
    (tmp_path / "vfs" / "0000:03:00.9.json").write_text("{")
    host.start()
    assert set(host.pool.store.by_device) == {"0000:03:00.3"}


async def test_a_del_that_can_t_tell_the_dpu_is_tried_again_until_it_can(host: Host) -> None:
    await host.do("ADD")
    host.api.down = True
    with pytest.raises(cni.Failure) as info:
        await host.do("DEL")
    assert info.value.error.code == cni.TRY_AGAIN
    host.api.down = False
    await host.do("DEL")
    assert host.is_clean()


async def test_a_del_of_a_deleted_pod_gives_the_vf_back(host: Host) -> None:
    await host.do("ADD")
    host.api.store.clear()
    await host.do("DEL")
    assert host.is_clean()


async def test_older_versions_get_results_in_their_form(host: Host) -> None:
    result = await host.do("ADD", cniVersion="0.4.0")
    assert result["cniVersion"] == "0.4.0"
    assert [ip["version"] for ip in result["ips"]] == ["4", "6"]
    assert "mtu" not in result["interfaces"][0]
