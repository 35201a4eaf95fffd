# SPDX-License-Identifier: Apache-2.0
"""Which device was given to which sandbox: files that outlive the agent and end with the boot, as device moves do."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import structlog

log = structlog.get_logger(__name__)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A device in use.

    ``pci`` identifies it (a veth has a made-up identity); ``netdev`` and ``mac`` are what it gets back when it is given
    back. ``representor`` is empty where the other half knows it. A VF that the pod drives itself has no netdev.
    """

    pci: str
    pod_uid: str
    sandbox: str
    netns: str
    ifname: str
    netdev: str
    mac: str = ""
    pf_id: int = 0
    vf_id: int = 0
    representor: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def has_netdev(self) -> bool:
        """Whether there is a link to move; a VF with vfio-pci has none."""
        return bool(self.netdev)


class Records:
    """Records by device identity, in a folder, one file each, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._records: dict[str, Record] = {}
        for path in folder.glob("*.json"):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                # The kernel is asked first anyway; a record that can't be read is worth as much as none.
                log.warning("record-unreadable", path=str(path), why=str(error))
                continue
            self._records[record.pci] = record

    @property
    def by_device(self) -> Mapping[str, Record]:
        """All records, live and read-only."""
        return MappingProxyType(self._records)

    def of(self, sandbox: str, ifname: str = "") -> Record | None:
        """The record of a sandbox's interface (any, when not named)."""
        return next((r for r in self._records.values() if r.sandbox == sandbox and ifname in ("", r.ifname)), None)

    def put(self, record: Record) -> None:
        """Store a record."""
        path = self._path(record.pci)
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(record))
        os.replace(draft, path)  # noqa: PTH105 (one call that says what it does)
        self._records[record.pci] = record

    def drop(self, pci: str) -> None:
        """Forget a record; one that isn't there is fine."""
        self._path(pci).unlink(missing_ok=True)
        self._records.pop(pci, None)

    def _path(self, pci: str) -> Path:
        return self._folder / f"{pci}.json"
