# SPDX-License-Identifier: Apache-2.0
"""CNI CHECK finds each kind of damage, and says what is damaged, how, and what to do."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ashore import netlink
from ashore.api import annotations, cni

Host = Any
NETNS = "/run/netns/pod"
pytestmark = pytest.mark.looptime


def link(host: Host, **changes: Any) -> None:
    seen = host.inside()
    host.kernel.namespaces[NETNS]["eth0"] = msgspec.structs.replace(
        seen, link=msgspec.structs.replace(seen.link, **changes)
    )


def seen(host: Host, **changes: Any) -> None:
    host.kernel.namespaces[NETNS]["eth0"] = msgspec.structs.replace(host.inside(), **changes)


def status(host: Host, **fields: str) -> None:
    text = annotations.encode_status({"default": annotations.ConnectionStatus(**fields)})
    host.api.annotate("web", {annotations.CONNECTION_STATUS: text})


def record(host: Host, **changes: Any) -> None:
    host.pool.store.put(msgspec.structs.replace(host.pool.store.of("s1"), **changes))


def previous(host: Host, change: Callable[[Any], Any]) -> None:
    change(host.results["s1"])


DAMAGE: dict[str, tuple[Callable[[Host], Any], int, str]] = {
    "no interface": (lambda h: h.kernel.namespaces[NETNS].clear(), 109, "the namespace has no eth0"),
    "another device": (lambda h: link(h, alias="0000:03:00.9"), 109, "eth0 isn't device 0000:03:00.3"),
    "down": (lambda h: link(h, is_up=False), 109, "it is down"),
    "wrong MAC": (lambda h: link(h, mac="02:00:00:00:00:99"), 109, "MAC is 02:00:00:00:00:99, not 0a:58:0a:f4:01:05"),
    "wrong MTU": (lambda h: link(h, mtu=9000), 109, "MTU is 9000, not 1400"),
    "missing address": (
        lambda h: seen(h, addresses=frozenset({"10.244.1.5/24"})), 109, "address fd00:10:244:1::5/64 is missing",
    ),
    "foreign address": (
        lambda h: seen(h, addresses=h.inside().addresses | {"10.9.9.9/32"}), 109, "address 10.9.9.9/32 isn't the pod's",
    ),
    "missing route": (
        lambda h: seen(h, routes=frozenset({netlink.Route("0.0.0.0/0", "10.244.1.1")})),
        109, "route to ::/0 by fd00:10:244:1::1 is missing",
    ),
    "route by another gateway": (
        lambda h: seen(h, routes=frozenset({netlink.Route("0.0.0.0/0", "10.244.1.9")})),
        109, "route to 0.0.0.0/0 by 10.244.1.1 is missing",
    ),
    "no namespace": (lambda h: h.kernel.drop_netns(NETNS), 107, NETNS),
    "no record": (lambda h: h.pool.store.drop("0000:03:00.3"), 3, "sandbox s1 has no eth0 here; recreate the pod"),
    "another pod's record": (
        lambda h: record(h, pod_uid="u7", name="db"), 109, "0000:03:00.3 is recorded for pod default/db (UID u7)",
    ),
    "VF gone": (lambda h: h.gone.add("0000:03:00.3"), 109, "VF 0000:03:00.3 isn't there any more"),
    "pod replaced": (lambda h: h.api.put("web", "u2"), 103, "the API shows UID u2"),
    "no address": (lambda h: h.api.annotate("web", {annotations.POD_NETWORKS: None}), 104, "has no address"),
    "details gone": (
        lambda h: h.api.annotate("web", {annotations.CONNECTION_DETAILS: None}), 109, "doesn't name its sandbox",
    ),
    "not plugged": (
        lambda h: h.api.annotate("web", {annotations.CONNECTION_STATUS: None}),
        109, "the DPU doesn't say that VF 1 is connected",
    ),
    "another sandbox plugged": (
        lambda h: status(h, status="Ready", sandbox_id="s0"), 109, "the DPU doesn't say that VF 1 is connected",
    ),
    "unplugged": (
        lambda h: status(h, status="Error", reason="representor is missing", sandbox_id="s1"),
        109, "the DPU has disconnected it: representor is missing",
    ),
    "DPU down": (lambda h: setattr(h.dpu, "is_alive", False), 109, "nothing is known of its representor: lease"),
    "no prevResult": (lambda h: h.results.clear(), 7, "CHECK without a prevResult"),
    "prevResult of another interface": (
        lambda h: previous(h, lambda r: r["interfaces"][0].update(name="net1")), 109, "names no interface eth0",
    ),
    "prevResult with another MAC": (
        lambda h: previous(h, lambda r: r["interfaces"][0].update(mac="02:00:00:00:00:98")),
        109, "prevResult has MAC 02:00:00:00:00:98, not 0a:58",
    ),
    "prevResult of another namespace": (
        lambda h: previous(h, lambda r: r["interfaces"][0].update(sandbox="/run/netns/x")),
        109, "prevResult is about namespace /run/netns/x",
    ),
    "prevResult with another address": (
        lambda h: previous(h, lambda r: r["ips"][0].update(address="10.244.1.77/24")),
        109, "prevResult lacks the pod's address 10.244.1.5/24 (it has 10.244.1.77/24",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
async def test_each_kind_of_damage_is_found(host: Host, kind: str) -> None:
    damage, code, says = DAMAGE[kind]
    await host.do("ADD")
    await host.do("CHECK")
    host.dpu.status = ""  # from here on it says what the test says
    damage(host)
    with pytest.raises(cni.Failure) as info:
        await host.do("CHECK")
    assert says in info.value.error.msg
    assert info.value.error.code == code
    if code == cni.CHECK_FAILED:
        assert info.value.error.msg.startswith("ashore: eth0 of pod default/web: ")


async def test_all_damage_is_told_at_once(host: Host) -> None:
    await host.do("ADD")
    link(host, mtu=9000, is_up=False)
    with pytest.raises(cni.Failure, match=r"it is down.*MTU is 9000"):
        await host.do("CHECK")


async def test_a_pods_own_routes_are_no_damage(host: Host) -> None:
    await host.do("ADD")
    seen(host, routes=host.inside().routes | {netlink.Route("192.0.2.0/24", "10.244.1.9")})
    await host.do("CHECK")


async def test_garbage_as_previous_result_is_damage_and_no_crash(host: Host) -> None:
    await host.do("ADD")
    for garbage in ({}, {"interfaces": 3, "ips": "x"}, {"interfaces": [None, 3], "ips": [[]]}):
        with pytest.raises(cni.Failure, match="prevResult names no interface eth0"):
            await host.do("CHECK", prevResult=garbage)


async def test_a_vf_that_lost_vfio_is_found(host: Host) -> None:
    host.kernel.add_device("ens1f0")
    host.vfio.add("0000:03:00.5")
    await host.do("ADD", deviceID="0000:03:00.5")
    await host.do("CHECK")
    host.vfio.clear()
    with pytest.raises(cni.Failure, match="has driver mlx5_core, not vfio-pci; bind it again"):
        await host.do("CHECK")
