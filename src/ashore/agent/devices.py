# SPDX-License-Identifier: Apache-2.0
"""Where pods' interfaces come from: a PF's VFs, or veth pairs where the switch is on the same node."""
# ruff: noqa: D102 (what the pools do is told by the protocol)

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import Protocol

import msgspec
import structlog

from ashore import hardware, netlink
from ashore.agent import records
from ashore.api import cni

log = structlog.get_logger(__name__)
_NO_MAC = "00:00:00:00:00:00"


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

    async def bring(self, record: records.Record, settings: netlink.LinkSettings) -> None:
        """Into the sandbox, as it should be there. Idempotent. Raises netlink.NetlinkError."""

    async def give_back(self, record: records.Record) -> None:
        """Out of the sandbox and free again. Idempotent. Raises netlink.NetlinkError."""

    def damage(self, record: records.Record) -> str:
        """What is wrong with a device in use, whatever its link shows; "" for nothing."""

    def problem(self) -> str:
        """Why no device can be given at all, "" when devices are there (all may be in use)."""

    def free(self) -> int | None:
        """How many are left for pods that name none (a device plugin's, where it has all); None: no limit."""


class VfPool:
    """The PF's VFs but the management port's. ``find`` reads them anew: (PF, the management VF's PCI address).

    VFs whose numbers are in one of ``others`` are a device plugin's to hand out: they go to pods that name them alone.
    """

    def __init__(
        self,
        find: Callable[[], tuple[hardware.Pf, str]],
        kernel: netlink.Kernel,
        store: records.Records,
        changed: Callable[[], None] = lambda: None,
        *,
        others: Sequence[Container[int]] = (),
    ) -> None:
        self._find = find
        self._kernel = kernel
        self._changed = changed
        self._others = others
        self.store = store

    async def take(self, claim: Claim) -> records.Record:
        if record := self.store.of(claim.sandbox, claim.ifname):
            if claim.device_id not in ("", record.pci):
                text = f"device {claim.device_id} is asked for, but this sandbox has {record.pci}; recreate the pod"
                raise _failure(claim, cni.WRONG_DEVICE, text)
            if record.mac or not record.has_netdev:
                return record
            # We died before we knew its MAC, so before anything was changed.
            self.store.drop(record.pci)
        missing: set[str] = set()
        while True:
            pf, vf = self._choose(claim, missing)
            record = records.Record(
                pci=vf.pci, pod_uid=claim.pod_uid, sandbox=claim.sandbox, netns=claim.netns, ifname=claim.ifname,
                netdev=vf.netdev, pf_id=pf.number, vf_id=vf.index, namespace=claim.namespace, name=claim.name,
            )  # fmt: skip
            # Recorded before anything is awaited: two sandboxes never see the same VF free.
            self.store.put(record)
            try:
                if record.has_netdev:
                    link = await self._kernel.set_alias(vf.netdev, vf.pci)
                    record = msgspec.structs.replace(record, mac=link.mac)
                    self.store.put(record)
            except netlink.LinkMissing:
                # The NIC shows a netdev that has left this namespace a moment ago.
                self.store.drop(vf.pci)
                missing.add(vf.pci)
                continue
            self._changed()
            return record

    async def bring(self, record: records.Record, settings: netlink.LinkSettings) -> None:
        if record.has_netdev:
            await self._kernel.move_in(record.pci, record.netns, settings, likely=record.netdev)
        elif not await self._set_mac(record, settings.mac):
            # OVN drops what has another source, so whoever drives the VF has to use the pod's MAC by itself.
            log.warning("vf-mac-not-set", device=record.pci, pod=f"{record.namespace}/{record.name}", mac=settings.mac)

    async def give_back(self, record: records.Record) -> None:
        if not self._holds(record):
            # It was given back meanwhile (a DEL and a sweep at once), and may be another sandbox's by now.
            return
        if record.has_netdev:
            settings = netlink.LinkSettings(name=record.netdev, mac=record.mac)
            await self._kernel.move_back(record.pci, record.netns, settings, likely=record.ifname)
        else:
            await self._set_mac(record, _NO_MAC)
        if self._holds(record):
            self.store.drop(record.pci)
            self._changed()

    def damage(self, record: records.Record) -> str:
        try:
            pf, _ = self._find()
        except hardware.HardwareError as error:
            return str(error)
        vf = pf.vf(record.pci)
        if vf is None:
            return f"VF {record.pci} isn't there any more; was sriov_numvfs changed? recreate the pod"
        if not record.has_netdev and not vf.is_vfio:
            return f"VF {record.pci} has driver {vf.driver or 'none'}, not vfio-pci; bind it again or recreate the pod"
        return ""

    def problem(self) -> str:
        try:
            self._find()
        except hardware.HardwareError as error:
            return str(error)
        return ""

    def free(self) -> int | None:
        try:
            pf, management = self._find()
        except hardware.HardwareError:
            return 0
        if self._own(pf, management):
            return len(self._usable(pf, management))
        taken = {management, *self.store.by_device}
        return len([vf for vf in pf.vfs if vf.pci not in taken and (vf.netdev or vf.is_vfio)])

    def _own(self, pf: hardware.Pf, management: str) -> list[hardware.Vf]:
        """What pods get that name no device, in use or not."""
        return [vf for vf in pf.vfs if vf.pci != management and not any(vf.index in each for each in self._others)]

    def _usable(self, pf: hardware.Pf, management: str) -> list[hardware.Vf]:
        taken = self.store.by_device
        return [vf for vf in self._own(pf, management) if vf.netdev and vf.pci not in taken]

    def _holds(self, record: records.Record) -> bool:
        held = self.store.by_device.get(record.pci)
        return held is not None and (held.sandbox, held.ifname) == (record.sandbox, record.ifname)

    def _choose(self, claim: Claim, missing: Container[str]) -> tuple[hardware.Pf, hardware.Vf]:
        try:
            pf, management = self._find()
        except hardware.HardwareError as error:
            raise cni.Failure(cni.NO_FREE_VF, f"ashore: {error}") from error
        if claim.device_id:
            return pf, self._named(claim, pf, management, missing)
        found = next((vf for vf in self._usable(pf, management) if vf.pci not in missing), None)
        if found is None:
            raise _failure(claim, cni.NO_FREE_VF, _exhausted(pf, self._own(pf, management)))
        return pf, found

    async def _set_mac(self, record: records.Record, mac: str) -> bool:
        try:
            pf, _ = self._find()
        except hardware.HardwareError as error:
            raise netlink.LinkMissing(f"VF {record.pci}: {error}") from error
        return await self._kernel.set_vf_mac(pf.netdev, record.vf_id, mac)

    def _named(self, claim: Claim, pf: hardware.Pf, management: str, missing: Container[str]) -> hardware.Vf:
        device, owner = claim.device_id, self.store.by_device.get(claim.device_id)
        vf = pf.vf(device)
        if vf is None:
            text = f"device {device} isn't a VF of {pf.netdev or 'PF'} ({pf.pci}); the resource must hold its VFs only"
            raise _failure(claim, cni.WRONG_DEVICE, text)
        if device == management:
            text = f"device {device} is this node's management port; take it out of the device plugin's resource"
            raise _failure(claim, cni.WRONG_DEVICE, text)
        if owner is not None:
            text = (
                f"device {device} is in use by pod {owner.namespace}/{owner.name}; name the VFs that a device plugin "
                "hands out in --device-plugin-vfs"
            )
            raise _failure(claim, cni.NO_FREE_VF, text)
        if not (vf.netdev or vf.is_vfio) or device in missing:
            text = (
                f"device {device} has no netdev on this host (driver: {vf.driver or 'none'}): it is in another "
                "namespace, or neither its network driver nor vfio-pci is bound"
            )
            raise _failure(claim, cni.WRONG_DEVICE, text)
        return vf


def _exhausted(pf: hardware.Pf, own: Sequence[hardware.Vf]) -> str:
    name = pf.netdev or pf.pci
    if not own:
        return f"all VFs of {name} are a device plugin's (--device-plugin-vfs); request its resource in the pod"
    return f"all {len(pf.vfs)} VFs of {name} are in use; remove pods from this node or raise sriov_numvfs"


def _failure(claim: Claim, code: int, text: str) -> cni.Failure:
    return cni.Failure(code, f"ashore: pod {claim.namespace}/{claim.name}: {text}")


class VethPool:
    """A veth pair for each sandbox: the pod's end moves, the other end is the representor."""

    def __init__(self, kernel: netlink.Kernel, store: records.Records) -> None:
        self._kernel = kernel
        self.store = store

    async def take(self, claim: Claim) -> records.Record:
        if claim.device_id:
            text = f"device {claim.device_id} is asked for, and this node gives veths; keep the resource off such nodes"
            raise _failure(claim, cni.WRONG_DEVICE, text)
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

    async def bring(self, record: records.Record, settings: netlink.LinkSettings) -> None:
        await self._kernel.move_in(record.pci, record.netns, settings, likely=record.netdev)

    async def give_back(self, record: records.Record) -> None:
        await self._kernel.delete(record.representor)
        self.store.drop(record.pci)

    def damage(self, record: records.Record) -> str:
        del record
        return ""

    def problem(self) -> str:
        return ""

    def free(self) -> int | None:
        return None
