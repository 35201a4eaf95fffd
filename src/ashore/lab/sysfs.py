# SPDX-License-Identifier: Apache-2.0
"""What a kernel would show of the lab's NICs below /sys: planned as data, written as files and links."""

import pathlib
import shutil
from collections.abc import Mapping

import msgspec

from ashore.lab import addresses

_VENDOR, _PF_DEVICE, _VF_DEVICE = "0x15b3", "0xa2d6", "0x101e"
"""A BlueField-2's, which is the NIC that the names here are taken from."""


class Text(msgspec.Struct, frozen=True):
    """A file; the line's end is added."""

    content: str


class Symlink(msgspec.Struct, frozen=True):
    """A symbolic link."""

    target: str


Tree = Mapping[str, Text | Symlink]


class Netdev(msgspec.Struct, frozen=True):
    """A netdev as its namespace's kernel lists it."""

    name: str
    alias: str
    mac: str


def plan_host(netdevs: tuple[Netdev, ...], vfs: int) -> Tree:
    """A host's PF and VFs; those whose netdev is elsewhere have an empty ``net``."""
    by_slot = {netdev.alias: netdev for netdev in netdevs if netdev.alias}
    return _functions(by_slot.get(addresses.PF_SLOT), by_slot, vfs)


def _functions(pf_netdev: Netdev | None, by_slot: Mapping[str, Netdev], vfs: int) -> dict[str, Text | Symlink]:
    tree: dict[str, Text | Symlink] = {}
    pf = f"bus/pci/devices/{addresses.PF_SLOT}"
    tree |= _function(pf, _PF_DEVICE, pf_netdev)
    tree[f"{pf}/sriov_numvfs"] = Text(str(vfs))
    tree[f"{pf}/sriov_totalvfs"] = Text(str(vfs))
    for vf in range(vfs):
        slot = addresses.vf_slot(vf)
        here = f"bus/pci/devices/{slot}"
        tree |= _function(here, _VF_DEVICE, by_slot.get(slot))
        tree[f"{here}/physfn"] = Symlink(f"../{addresses.PF_SLOT}")
        tree[f"{pf}/virtfn{vf}"] = Symlink(f"../{slot}")
    return tree


def plan_dpu(netdevs: tuple[Netdev, ...], pair: int) -> Tree:
    """A DPU's uplink and representors, and its view of the host's PF."""
    pf = f"bus/pci/devices/{addresses.PF_SLOT}"
    uplink = next((netdev for netdev in netdevs if netdev.name == addresses.UPLINK), None)
    tree = _function(pf, _PF_DEVICE, uplink) | _ports(netdevs, f"02a5{pair:04x}0000")
    if uplink is not None:
        mac = addresses.mac("pf", pair)
        config = f"MAC        : {mac}\nMaxTxRate  : 0\nState      : Follow"
        tree[f"{pf}/net/{uplink.name}/smart_nic/pf/config"] = Text(config)
    return tree


def _ports(netdevs: tuple[Netdev, ...], switch: str) -> dict[str, Text | Symlink]:
    """What makes netdevs the ports of an eSwitch: the uplink and the representors among them."""
    pf = f"bus/pci/devices/{addresses.PF_SLOT}"
    tree: dict[str, Text | Symlink] = {}
    for netdev in netdevs:
        if netdev.name == addresses.UPLINK:
            port, here = "p0", f"{pf}/net/{netdev.name}"
        elif netdev.alias.startswith("pf0"):
            port, here = netdev.alias, f"class/net/{netdev.name}"
            tree[f"{here}/address"] = Text(netdev.mac)
        else:
            continue
        tree[f"{here}/phys_switch_id"] = Text(switch)
        tree[f"{here}/phys_port_name"] = Text(port)
    return tree


def plan_full(netdevs: tuple[Netdev, ...], index: int, vfs: int) -> Tree:
    """A full node's own NIC: plain, or with VFs and an eSwitch in switchdev mode."""
    uplink = next((netdev for netdev in netdevs if netdev.name == addresses.UPLINK), None)
    if not vfs:
        return _function(f"bus/pci/devices/{addresses.PF_SLOT}", _PF_DEVICE, uplink)
    by_slot = {netdev.alias: netdev for netdev in netdevs if netdev.alias}
    return _functions(uplink, by_slot, vfs) | _ports(netdevs, f"02a51{index:03x}0000")


def _function(here: str, device: str, netdev: Netdev | None) -> dict[str, Text | Symlink]:
    slot = here.rsplit("/", 1)[1]
    tree: dict[str, Text | Symlink] = {
        f"{here}/vendor": Text(_VENDOR),
        f"{here}/device": Text(device),
        f"{here}/class": Text("0x020000"),
        f"{here}/net/": Text(""),
    }
    if netdev is not None:
        tree[f"{here}/net/{netdev.name}/address"] = Text(netdev.mac)
        tree[f"{here}/net/{netdev.name}/device"] = Symlink(f"../../../{slot}")
        tree[f"class/net/{netdev.name}"] = Symlink(f"../../{here}/net/{netdev.name}")
    return tree


def clear(root: pathlib.Path) -> None:
    """Empties a tree; the root itself stays, since nodes have it mounted."""
    root.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def apply(root: pathlib.Path, *, old: Tree, new: Tree) -> None:
    """Turns the files of one tree into another's. A name ending in a slash is a folder that may be empty."""
    for name in sorted(old.keys() - new.keys(), reverse=True):
        _remove(root, name, new)
    for name in sorted(name for name in new if old.get(name) != new[name]):
        _put(root / name, new[name], is_folder=name.endswith("/"))


def _put(path: pathlib.Path, entry: Text | Symlink, *, is_folder: bool) -> None:
    if is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    if isinstance(entry, Symlink):
        draft.symlink_to(entry.target)
    else:
        draft.write_text(f"{entry.content}\n", encoding="utf-8")
    draft.replace(path)


def _remove(root: pathlib.Path, name: str, new: Tree) -> None:
    path = root / name
    if not name.endswith("/"):
        path.unlink()
    # Folders are there for what is in them; the listed ones stay though they're empty.
    parent = path.parent
    while parent != root and f"{parent.relative_to(root)}/" not in new and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent
