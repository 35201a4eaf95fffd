# SPDX-License-Identifier: Apache-2.0
"""A tree that no kernel would lay out gives an answer or a HardwareError, and never keeps us waiting."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ashore import hardware

PF, VF = "0000:03:00.0", "0000:03:00.1"
NAMES = [
    f"bus/pci/devices/{PF}", f"bus/pci/devices/{PF}/sriov_totalvfs", f"bus/pci/devices/{PF}/physfn",
    f"bus/pci/devices/{PF}/net", f"bus/pci/devices/{PF}/net/ens1", f"bus/pci/devices/{PF}/net/a b\n",
    f"bus/pci/devices/{PF}/virtfn0", f"bus/pci/devices/{PF}/virtfn0\n", f"bus/pci/devices/{PF}/virtfn99999",
    f"bus/pci/devices/{PF}/virtfn1", f"bus/pci/devices/{VF}/net/v0", f"bus/pci/devices/{VF}\n/net/v0",
    "class/net/p0", "class/net/p0/phys_switch_id", "class/net/p0/phys_port_name", "class/net/p0/smart_nic/pf/config",
    "class/net/x/phys_switch_id", "class/net/x/phys_port_name", "class/net/\udcff/phys_port_name",
]  # fmt: skip
CONTENTS = [b"", b"\0\xff\n", b"16\n", b"p0\n", b"pf0\n", b"pf0vf3", b"c1pf0vf" + b"9" * 5000, b"02a5\n",
            b"x" * 200_000, b"MAC: 00:11:22:33:44:55\n", "MAC: ²²".encode()]  # fmt: skip
TARGETS = [".", "..", "loop", "/nowhere", f"../{VF}", f"../{VF}\n", f"../{PF}", "\udcff", "/dev/zero"]
NODES = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["folder", "pipe"]).map(lambda kind: (kind, b""))
    | st.sampled_from(CONTENTS).map(lambda content: ("file", content))
    | st.sampled_from(TARGETS).map(lambda target: ("link", os.fsencode(target))),
)
LOOKS: list[Callable[[Path], object]] = [
    hardware.list_pfs,
    lambda root: hardware.choose_pf(root, ("ens1",)),
    lambda root: hardware.read_pf(root, PF),
    lambda root: hardware.read_pf(root, PF + "\n"),
    hardware.list_ports,
    hardware.uplinks,
    hardware.host_mac,
    hardware.pf_representor,
    lambda root: hardware.vf_representor(root, 0, 3),
]


def lay(root: Path, name: str, kind: str, content: bytes) -> None:
    path = root / name
    with contextlib.suppress(OSError):  # two of a tree's parts may exclude each other
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(os.fsdecode(content))
        else:
            with path.open("xb") as file:  # never into a pipe or through a link that lies here already
                file.write(content)


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(NODES, max_size=14))
@example([("class/net/p0/phys_switch_id", ("pipe", b""))])
@example([(f"bus/pci/devices/{PF}", ("link", b"../devices/" + PF.encode()))])
def test_any_tree_is_read_or_refused(nodes: list[tuple[str, tuple[str, bytes]]]) -> None:
    with tempfile.TemporaryDirectory(prefix="gs-") as folder:
        root = Path(folder)
        for name, (kind, content) in nodes:
            lay(root, name, kind, content)
        for look in LOOKS:
            with contextlib.suppress(hardware.HardwareError):
                str(look(root)).encode()


def test_a_pci_address_with_a_line_break_is_none(tmp_path: Path) -> None:
    lay(tmp_path, f"bus/pci/devices/{PF}/virtfn0", "link", f"../{VF}\n".encode())
    with pytest.raises(hardware.Unreadable, match="doesn't lead to a PCI device"):
        hardware.read_pf(tmp_path, PF)
    with pytest.raises(hardware.NoPf, match="isn't a PCI address"):
        hardware.read_pf(tmp_path, PF + "\n")


def test_a_netdev_whose_name_isnt_text_is_left_out(tmp_path: Path) -> None:
    for name in ("\udcff", "p0"):
        lay(tmp_path, f"class/net/{name}/phys_switch_id", "file", b"02a5")
        lay(tmp_path, f"class/net/{name}/phys_port_name", "file", b"p0")
    assert [port.netdev for port in hardware.list_ports(tmp_path)] == ["p0"]


def test_thousands_of_vfs_are_read(tmp_path: Path) -> None:
    for index in range(4000):
        slot = f"0000:{4 + index // 256:02x}:{index // 8 % 32:02x}.{index % 8}"
        lay(tmp_path, f"bus/pci/devices/{PF}/virtfn{index}", "link", f"../{slot}".encode())
    assert len(hardware.read_pf(tmp_path, PF).vfs) == 4000
