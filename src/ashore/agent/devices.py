# SPDX-License-Identifier: Apache-2.0
"""Where pods' interfaces come from: a PF's VFs, or veth pairs where the switch is on the same node."""
# ruff: noqa: D102 (what the pools do is told by the protocol)

import hashlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from ashore import hardware, netlink
from ashore.agent import records
from ashore.api import cni


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants a device; ``device_id`` is the PCI address that a runtime insists on, or empty."""

    namespace: str
    name: str
    pod_uid: str
    sandbox: str
    netns: str
    ifname: str
    mtu: int
    device_id: str = ""


class Devices(Protocol):
    """A pool of devices for pods. Truth is the kernel's first, then the record's."""

    store: records.Records

    async def take(self, claim: Claim) -> records.Record:
        """A device, recorded; the same one again for the same sandbox. Raises cni.Failure."""

    async def give_back(self, record: records.Record) -> None:
        """Out of the sandbox and free again. Idempotent. Raises netlink.NetlinkError."""

    def problem(self) -> str:
        """Why no device can be given at all, "" when devices are there (all may be in use)."""

    def free(self) -> int | None:
        """How many are left; None: no limit."""


class VfPool:
    """The PF's VFs but the management port's. ``find`` reads them anew: (PF, the management VF's PCI address)."""

    def __init__(
        self,
        find: Callable[[], tuple[hardware.Pf, str]],
        kernel: netlink.Kernel,
        store: records.Records,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._find = find
        self._kernel = kernel
        self._changed = changed
        self.store = store

    async def take(self, claim: Claim) -> records.Record:
        if record := self.store.of(claim.sandbox, claim.ifname):
            if record.mac:
                return record
            # We died before we knew its MAC, so before anything was changed.
            self.store.drop(record.pci)
        missing: set[str] = set()
        while True:
            try:
                pf, management = self._find()
            except hardware.HardwareError as error:
                raise cni.Failure(cni.NO_FREE_VF, f"ashore: {error}") from error
            vf = _choose(claim, pf, [vf for vf in self._usable(pf, management) if vf.pci not in missing])
            record = records.Record(
                pci=vf.pci, pod_uid=claim.pod_uid, sandbox=claim.sandbox, netns=claim.netns, ifname=claim.ifname,
                netdev=vf.netdev, pf_id=pf.number, vf_id=vf.index, namespace=claim.namespace, name=claim.name,
            )  # fmt: skip
            # Recorded before anything is awaited: two sandboxes never see the same VF free.
            self.store.put(record)
            try:
                link = await self._kernel.set_alias(vf.netdev, vf.pci)
            except netlink.LinkMissing:
                # The NIC shows a netdev that has left this namespace a moment ago.
                self.store.drop(vf.pci)
                missing.add(vf.pci)
                continue
            record = msgspec.structs.replace(record, mac=link.mac)
            self.store.put(record)
            self._changed()
            return record

    async def give_back(self, record: records.Record) -> None:
        settings = netlink.LinkSettings(name=record.netdev, mac=record.mac)
        await self._kernel.move_back(record.pci, record.netns, settings, likely=record.ifname)
        self.store.drop(record.pci)
        self._changed()

    def problem(self) -> str:
        try:
            self._find()
        except hardware.HardwareError as error:
            return str(error)
        return ""

    def free(self) -> int | None:
        try:
            return len(self._usable(*self._find()))
        except hardware.HardwareError:
            return 0

    def _usable(self, pf: hardware.Pf, management: str) -> list[hardware.Vf]:
        taken = self.store.by_device
        return [vf for vf in pf.vfs if vf.netdev and vf.pci != management and vf.pci not in taken]


def _choose(claim: Claim, pf: hardware.Pf, usable: list[hardware.Vf]) -> hardware.Vf:
    if claim.device_id:
        if found := next((vf for vf in usable if vf.pci == claim.device_id), None):
            return found
        known = "is in use" if pf.vf(claim.device_id) else f"isn't a VF of {pf.pci}"
        raise cni.Failure(
            cni.NO_FREE_VF, f"ashore: pod {claim.namespace}/{claim.name}: device {claim.device_id} {known}"
        )
    if not usable:
        raise cni.Failure(
            cni.NO_FREE_VF,
            f"ashore: pod {claim.namespace}/{claim.name}: all {len(pf.vfs)} VFs of {pf.netdev or pf.pci} are in use; "
            "remove pods from this node or raise sriov_numvfs",
        )
    return usable[0]


class VethPool:
    """A veth pair for each sandbox: the pod's end moves, the other end is the representor."""

    def __init__(self, kernel: netlink.Kernel, store: records.Records) -> None:
        self._kernel = kernel
        self.store = store

    async def take(self, claim: Claim) -> records.Record:
        if record := self.store.of(claim.sandbox, claim.ifname):
            # A crash may have come between record and pair.
            await self._kernel.add_veth(record.representor, record.netdev, alias=record.pci, mtu=claim.mtu)
            return record
        digest = hashlib.sha256(f"{claim.sandbox}/{claim.ifname}".encode()).hexdigest()[:11]
        record = records.Record(
            pci=f"veth-{digest}", pod_uid=claim.pod_uid, sandbox=claim.sandbox, netns=claim.netns,
            ifname=claim.ifname, netdev=f"pod{digest}", representor=f"rep{digest}",
            namespace=claim.namespace, name=claim.name,
        )  # fmt: skip
        self.store.put(record)
        await self._kernel.add_veth(record.representor, record.netdev, alias=record.pci, mtu=claim.mtu)
        return record

    async def give_back(self, record: records.Record) -> None:
        await self._kernel.delete(record.representor)
        self.store.drop(record.pci)

    def problem(self) -> str:
        return ""

    def free(self) -> int | None:
        return None
