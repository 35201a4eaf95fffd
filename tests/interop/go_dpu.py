# SPDX-License-Identifier: Apache-2.0
"""ovn-kubernetes' dpu as a script: what it needs at its start, what it writes, how it follows pods, and its zone."""

import asyncio
import contextlib
import json
from typing import Any

from ashore import kube
from ashore.kube import objects

from . import go_api, go_dpu_host, go_form


class GoDpu:
    """One run of the program; ``run`` follows pods and renews the lease. ``ports`` is its br-int, by representor."""

    def __init__(self, api: go_api.GoApi, node: str, clock: go_api.Clock, *, install_s: float = 0.2) -> None:
        self._api = api
        self._node = node
        self.lease = go_api.GoLease(api, node, clock)
        self.install_s = install_s
        self.present = {f"rep0-{index}" for index in range(16)}
        self.ports: dict[str, dict[str, str]] = {}
        self.errors: list[str] = []
        self.allocates_after_s: float | None = 0.1
        self._known: dict[str, dict[str, Any] | None] = {}
        self._events: asyncio.Queue[tuple[objects.Pod | None, objects.Pod | None]] = asyncio.Queue()

    async def start(self) -> None:
        """Ends where the host hasn't written its part; there is no wait for it."""
        notes = (await self._api.get(kube.NODES, self._node))["metadata"].get("annotations", {})
        port = self._need(notes, go_form.MANAGEMENT)
        function = f"rep{port['default']['PfId']}-{port['default']['FuncId']}"
        if function not in self.present:
            raise go_dpu_host.Exits(f"failed to find the management port's representor {function}")
        await self._tell_node({go_form.ENCAP_IPS: '["172.30.2.1"]'})
        address = self._need(notes, go_form.HOST_ADDRESS)["ipv4"]
        gateway = {"mode": "shared", "mac-address": "0c:42:a1:00:00:01", "ip-addresses": [address]}
        await self._tell_node(
            {
                go_form.PRIMARY_ADDRESS: json.dumps({"ipv4": address}),
                go_form.GATEWAY: json.dumps({"default": gateway}),
                go_form.CHASSIS: "d0d0-1",
            }
        )
        self.ports[function] = {"iface-id": f"k8s-{self._node}"}

    async def run(self) -> None:
        """The pod handler, serial; the lease's updater; the zone's address allocation."""
        pods: kube.Informer[objects.Pod] = kube.Informer(
            self._api.client, kube.PODS, field_selector=f"spec.nodeName={self._node}"
        )
        pods.subscribe(lambda old, new: self._events.put_nowait((old, new)))
        async with asyncio.TaskGroup() as group:
            group.create_task(pods.run())
            group.create_task(self._handle())
            group.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await self.lease.renew()
            await asyncio.sleep(self.lease.renew_s)

    async def _handle(self) -> None:
        async with asyncio.TaskGroup() as zone:
            while True:
                old, new = await self._events.get()
                if new is None:
                    await self._deleted(old)
                    continue
                if old is None and self.allocates_after_s is not None:
                    zone.create_task(self._allocate(new))
                await self._changed(new, is_new=old is None)

    async def _changed(self, pod: objects.Pod, *, is_new: bool) -> None:
        uid = pod.metadata.uid
        notes = dict(pod.metadata.annotations)
        before = None if is_new else self._known.get(uid)
        now = None
        with contextlib.suppress(go_form.NotSetError):
            now = go_form.entry(notes, go_form.DETAILS)
        if not is_new and _same(before, now):
            return
        if before is not None:
            await self._remove(pod, before, is_deleted=False)
        self._known[uid] = None
        if now is None:
            return
        try:
            await self._plug(pod, now)
        except (KeyError, LookupError, go_form.NotSetError, go_api.Refused) as error:
            # Only logged; nothing brings it back here but another event of the pod.
            self.errors.append(f"{pod.metadata.name}: {error!r}")
        else:
            self._known[uid] = now

    async def _plug(self, pod: objects.Pod, details: dict[str, Any]) -> None:
        addresses = go_form.network(dict(pod.metadata.annotations))
        representor = f"rep{details['pfId']}-{details['vfId']}"
        if representor not in self.present:
            raise LookupError(f"no representor {representor}")
        self.ports[representor] = {
            "iface-id": f"{pod.metadata.namespace}_{pod.metadata.name}", "iface-id-ver": pod.metadata.uid,
            "sandbox": details["sandboxId"], "attached_mac": addresses["mac"], "vf-netdev-name": representor,
            "ip_addresses": ",".join(addresses["addresses"]),
        }  # fmt: skip
        await asyncio.sleep(self.install_s)
        await self._say(pod, {"Status": "Ready"})

    async def _remove(self, pod: objects.Pod, details: dict[str, Any], *, is_deleted: bool) -> None:
        if not is_deleted:
            with contextlib.suppress(go_api.Refused):
                await self._say(pod, None)
        representor = f"rep{details['pfId']}-{details['vfId']}"
        if self.ports.get(representor, {}).get("sandbox") == details["sandboxId"]:
            del self.ports[representor]

    async def _deleted(self, pod: objects.Pod | None) -> None:
        if pod is not None and (details := self._known.pop(pod.metadata.uid, None)):
            await self._remove(pod, details, is_deleted=True)

    async def _say(self, pod: objects.Pod, status: dict[str, str] | None) -> None:
        def say(notes: dict[str, str]) -> dict[str, str | None]:
            text = go_form.with_entry(notes, go_form.STATUS, "default", status)
            return {go_form.STATUS: text} if text else {}

        await self._api.update(kube.PODS, pod.metadata.name, pod.metadata.namespace, say, status="/status")

    async def _allocate(self, pod: objects.Pod) -> None:
        """ovnkube-controller in the same process: addresses in the form that it writes."""
        await asyncio.sleep(self.allocates_after_s or 0)
        index = 3 + int(pod.metadata.resource_version) % 200
        given = {
            "ip_addresses": [f"10.244.0.{index}/24"], "mac_address": f"0a:58:0a:f4:00:{index:02x}",
            "gateway_ips": ["10.244.0.1"], "ip_address": f"10.244.0.{index}/24", "gateway_ip": "10.244.0.1",
            "routes": [{"dest": "10.244.0.0/16", "nextHop": "10.244.0.1"}], "tunnel_id": 7, "role": "primary",
        }  # fmt: skip

        def write(notes: dict[str, str]) -> dict[str, str | None]:
            text = go_form.with_entry(notes, go_form.NETWORKS, "default", given)
            return {go_form.NETWORKS: text} if go_form.NETWORKS not in notes else {}

        with contextlib.suppress(go_api.Refused):
            await self._api.update(kube.PODS, pod.metadata.name, pod.metadata.namespace, write, status="/status")

    async def _tell_node(self, notes: dict[str, str]) -> None:
        await self._api.annotate(kube.NODES, self._node, "", dict(notes))

    @staticmethod
    def _need(notes: dict[str, str], key: str) -> Any:
        if key not in notes:
            raise go_dpu_host.Exits(f"{key} annotation not found for node")
        return json.loads(notes[key])


def _same(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Go compares these three alone."""
    wanted = ("pfId", "vfId", "sandboxId")
    if one is None or other is None:
        return one is other
    return all(one.get(name) == other.get(name) for name in wanted)
