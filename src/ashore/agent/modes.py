# SPDX-License-Identifier: Apache-2.0
"""The modes of an agent: one frozen table, looked up once by ``process``; nobody else asks which mode it is."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ashore import kube, netlink
from ashore.agent import attach, devices, host_half, mixed_pool, node_host, peer, records, settings
from ashore.api import names, net
from ashore.kube import objects

Tasks = tuple[Coroutine[Any, Any, object], ...]
Compose = Callable[[settings.Settings, kube.Client, "Checks"], Awaitable[Tasks]]
Checks = Callable[[str, Callable[[], str]], None]
"""Takes a health check by name."""


class Mode(msgspec.Struct, frozen=True):
    """What a mode watches at the API, which doors it opens, and what it runs."""

    name: str
    watches: tuple[str, ...]
    doors: tuple[str, ...]
    compose: Compose


async def _dpu_host(given: settings.Settings, api: kube.Client, check: Checks) -> Tasks:
    sources = host_half.Sources.of(api, given.node)
    lease = f"metadata.name={names.dpu_lease(net.NodeName(given.node))}"
    leases: kube.Informer[objects.Lease] = kube.Informer(
        api, kube.LEASES, namespace=names.LEASE_NAMESPACE, field_selector=lease
    )
    watch = peer.LeaseWatch(leases, given.node)
    kernel = netlink.LinuxKernel()
    management = node_host.ManagementVf(given.sys_root, kernel, pf=given.pf)
    half: host_half.HostHalf
    store = records.Records(given.state_dir / "vfs")

    def count_changed() -> None:
        half.node.look_soon()

    pool = devices.VfPool(management.find, kernel, store, count_changed, others=given.device_plugin_vfs)
    remote = peer.RemotePeer(sources.pods, api, watch.problem)
    half = host_half.HostHalf(given, sources, kernel, host_half.Parts(management, pool, remote))
    check("host", half.gate)
    check("dpu", watch.problem)
    return (*_informers(sources), leases.run(), *half.tasks())


async def _dpu(given: settings.Settings, api: kube.Client, check: Checks) -> Tasks:
    # A host without a switch doesn't carry the switch's half in its memory.
    from ashore.agent import node_ovs, switch_half  # noqa: PLC0415 (see above)

    database = switch_half.open_database(given)
    following = database.run()

    async def serve() -> None:
        await database.synced()
        host = await node_ovs.host_node_name(database)
        sources = host_half.Sources.of(api, host)
        place = switch_half.Place(host, switch_half.Nic(given.sys_root), switch_half.behind_pf(given.sys_root))
        half = switch_half.SwitchHalf(given, sources, database, place)
        check("switch", half.local_problem)
        check("gateway", half.gateway.problem)
        check("lease", lambda: half.lease.last_problem)
        await _together((*_informers(sources), *half.tasks(), *half.dpu_tasks()))

    return (following, serve())


async def _full(given: settings.Settings, api: kube.Client, check: Checks) -> Tasks:
    from ashore.agent import dpu_pods, gateway, switch_half  # noqa: PLC0415 (as in _dpu)

    database = switch_half.open_database(given)
    sources = host_half.Sources.of(api, given.node)
    place = switch_half.Place(given.node, switch_half.Pairs(given.sys_root), gateway.ThisSystem(database))
    switch = switch_half.SwitchHalf(given, sources, database, place)
    kernel = netlink.LinuxKernel()
    store = records.Records(given.state_dir / "devices")
    nic = switch_half.Nic(given.sys_root)
    local = peer.LocalPeer(
        switch.plugger, lambda pod: attach.pod_network(sources.pods, pod), switch.local_problem, nic.representor
    )  # fmt: skip
    find = functools.partial(mixed_pool.switched_pf, given.sys_root, switch.uplink, pci=given.pf)
    half: host_half.HostHalf

    def count_changed() -> None:
        half.node.look_soon()

    vfs = devices.VfPool(find, kernel, store, count_changed, others=given.device_plugin_vfs)
    pool = mixed_pool.MixedPool(vfs, devices.VethPool(kernel, store))
    parts = host_half.Parts(node_host.ManagementVeth(kernel), pool, local)
    half = host_half.HostHalf(given, sources, kernel, parts)
    check("host", half.gate)
    check("switch", switch.local_problem)
    check("gateway", switch.gateway.problem)
    swept = dpu_pods.keep_swept(sources.pods, database, switch.plugger)
    return (database.run(), *_informers(sources), *switch.tasks(), swept, *half.tasks())


def _informers(sources: host_half.Sources) -> Tasks:
    return (sources.pods.run(), sources.nodes.run(), sources.configs.run())


async def _together(tasks: Tasks) -> None:
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)


_HOST_WATCHES = ("pods", "nodes", "networkconfigs")
TABLE: Mapping[str, Mode] = MappingProxyType(
    {
        mode.name: mode
        for mode in (
            Mode("dpu-host", (*_HOST_WATCHES, "leases"), ("kube", "netlink", "hardware"), _dpu_host),
            Mode("dpu", _HOST_WATCHES, ("kube", "netlink", "hardware", "ovsdb", "ovs"), _dpu),
            Mode("full", _HOST_WATCHES, ("kube", "netlink", "hardware", "ovsdb", "ovs"), _full),
        )
    }
)
