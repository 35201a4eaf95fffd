# SPDX-License-Identifier: Apache-2.0
"""ovn-kubernetes' dpu-host as a script: what it writes, in which order, what it waits for and how it asks."""

import asyncio
import datetime as dt
from typing import Any

from ashore import kube

from . import go_api, go_form

POLL_S = 0.2
ADD_LIMIT_S = 120.0
SUBNET_LIMIT_S = 300.0


class Exits(Exception):  # noqa: N818 (what the program does)
    """The Go program ends with this error; whoever runs it starts it again."""


class CniError(Exception):
    """What the runtime gets."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class GoDpuHost:
    """One run of the program on a node. ``monitor`` is to be run beside it."""

    def __init__(self, api: go_api.GoApi, node: str, clock: go_api.Clock) -> None:
        self._api = api
        self._node = node
        self._clock = clock
        self.lease = go_api.GoLease(api, node, clock)
        self.not_ready = ""
        self.polls = 0

    async def start(self, *, function: tuple[int, int] = (0, 0), legacy: bool = False) -> None:
        """Lease, then node-subnets, then its annotations one after another. Needs nothing of the DPU."""
        await self.lease.renew()
        await self._subnets()
        pf, func = function
        port = f'{{"PfId":{pf},"FuncId":{func}}}'
        if not legacy:
            port = f'{{"default":{{"DeviceId":"0000:03:00.2",{port[1:]}}}'
        for notes in (
            {go_form.MANAGEMENT: port},
            {go_form.HOST_ADDRESS: '{"ipv4":"172.30.1.1/16"}', go_form.HOST_CIDRS: '["172.30.1.1/16"]'},
            {go_form.MASQUERADE: '{"ipv4":"169.254.0.0/17"}'},
        ):
            await self._api.annotate(kube.NODES, self._node, "", dict(notes))

    async def _subnets(self) -> None:
        try:
            async with asyncio.timeout(SUBNET_LIMIT_S):
                while go_form.SUBNETS not in (await self._notes()):  # noqa: ASYNC110 (Go polls)
                    await asyncio.sleep(0.5)
        except TimeoutError as error:
            raise Exits("timed out waiting for node-subnets") from error

    async def _notes(self) -> dict[str, str]:
        found: dict[str, str] = (await self._api.get(kube.NODES, self._node))["metadata"].get("annotations", {})
        return found

    async def monitor(self) -> None:
        """Looks at the lease every 10 s."""
        while True:
            await self.look()
            await asyncio.sleep(self.lease.renew_s)

    async def look(self) -> None:
        """One look at the lease: its time by the DPU's clock against ours."""
        try:
            expiry = await self.lease.expiry()
        except (go_api.Refused, KeyError) as error:
            self.not_ready = f"DPU node lease not found: {error}"
            return
        self.not_ready = "" if self._clock() <= expiry else f"DPU node lease expired at {expiry}"

    def status(self) -> None:
        """CNI STATUS; fails the whole node."""
        if self.not_ready:
            raise CniError(50, f"DPU Not Ready: {self.not_ready}")

    async def add(  # noqa: PLR0913 (each is one thing that the runtime or an older version does)
        self, pod: str, sandbox: str, vf: int, *, networks: tuple[str, ...] = ("default",), form: str = "map",
        limit_s: float = ADD_LIMIT_S,
    ) -> dict[str, Any]:  # fmt: skip
        """CNI ADD: details, then a look every 200 ms at pod-networks and then at the status. Gives the addresses."""
        if self.not_ready:
            raise CniError(999, f"DPU Not Ready: {self.not_ready}")
        details = {"pfId": "0", "vfId": str(vf), "sandboxId": sandbox, "vfNetdevName": f"ens1f0v{vf}"}
        if form == "vfio":
            del details["vfNetdevName"]
        if form == "newer":
            details["netnsPath"] = f"/var/run/netns/{sandbox}"
        for network in networks:
            await self._tell(pod, network, details, form)
        try:
            async with asyncio.timeout(limit_s):
                return {network: await self._answer(pod, network) for network in networks}["default"]
        except TimeoutError as error:
            raise CniError(999, "failed to get pod annotation: timed out waiting for annotations") from error

    async def delete(self, pod: str, sandbox: str, *, netns: str = "/run/netns/pod") -> None:
        """CNI DEL: takes the whole annotation away if it is this sandbox's; waits for nothing."""
        if not netns:
            return

        def take_away(notes: dict[str, str]) -> dict[str, str | None]:
            found = go_form.read_map(notes, go_form.DETAILS).get("default", {})
            return {go_form.DETAILS: None} if found.get("sandboxId") == sandbox else {}

        try:
            await self._api.update(kube.PODS, pod, "ns", take_away, status="/status")
        except go_api.Refused as refused:
            if refused.code != 404:
                raise

    async def _tell(self, pod: str, network: str, details: dict[str, str], form: str) -> None:
        def tell(notes: dict[str, str]) -> dict[str, str | None]:
            text = go_form.with_entry(notes, go_form.DETAILS, network, details)
            if text and form == "legacy":
                text = text.removeprefix('{"default":').removesuffix("}")
            return {go_form.DETAILS: text} if text else {}

        await self._api.update(kube.PODS, pod, "ns", tell, status="/status")

    async def _answer(self, pod: str, network: str) -> dict[str, Any]:
        while True:
            self.polls += 1
            notes = (await self._api.get(kube.PODS, pod, "ns"))["metadata"].get("annotations", {})
            try:
                addresses = go_form.network(notes, network)
                status = go_form.entry(notes, go_form.STATUS, network)
            except go_form.NotSetError:
                await asyncio.sleep(POLL_S)
                continue
            if status["Status"] != "Ready":
                raise CniError(999, f"DPU plumb failed: connection status is {status['Status']}")
            return addresses


def clock_of(loop: asyncio.AbstractEventLoop, skew_s: float = 0) -> go_api.Clock:
    """A machine's clock that goes with the loop's time."""
    began = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) - dt.timedelta(seconds=loop.time())
    return lambda: began + dt.timedelta(seconds=loop.time() + skew_s)
