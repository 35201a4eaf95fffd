# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ashore import hardware

PF = "0000:03:00.0"


class Tree:
    """Lays out a sysfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices = root / "bus/pci/devices"
        self.devices.mkdir(parents=True)
        (root / "class/net").mkdir(parents=True)

    def pf(self, pci: str = PF, netdev: str = "ens1f0", vfs: int = 0) -> None:
        here = self.devices / pci
        (here / "net" / netdev).mkdir(parents=True)
        (here / "sriov_totalvfs").write_text("16\n")
        for index in range(vfs):
            slot = f"{pci[:8]}{(index + 2) // 8:02x}.{(index + 2) % 8}"
            self.vf(slot, pci, index)

    def vf(self, slot: str, pf: str, index: int) -> None:
        (self.devices / slot / "net" / f"v{index}").mkdir(parents=True)
        (self.devices / slot / "physfn").symlink_to(f"../{pf}")
        (self.devices / pf / f"virtfn{index}").symlink_to(f"../{slot}")

    def port(self, netdev: str, name: str, switch: str = "02a5") -> Path:
        here = self.root / "class/net" / netdev
        here.mkdir()
        (here / "phys_switch_id").write_text(switch + "\n")
        (here / "phys_port_name").write_text(name + "\n")
        return here


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_vf_for_vfio_is_known_by_its_driver(tree: Tree) -> None:
    tree.pf(vfs=3)
    (tree.devices / "0000:03:00.4/net/v2").rmdir()
    (tree.devices / "0000:03:00.4/driver").symlink_to("../../../bus/pci/drivers/vfio-pci")
    (tree.devices / "0000:03:00.3/driver").symlink_to("../../../bus/pci/drivers/mlx5_core")
    pf = hardware.choose_pf(tree.root, ())
    assert [(vf.driver, vf.is_vfio) for vf in pf.vfs] == [("", False), ("mlx5_core", False), ("vfio-pci", True)]


def test_vfs_are_known_by_address_index_and_netdev(tree: Tree) -> None:
    tree.pf(vfs=12)
    (tree.devices / "0000:03:00.4/net/v2").rmdir()
    pf = hardware.choose_pf(tree.root, ())
    assert (pf.pci, pf.number, pf.netdev, len(pf.vfs)) == (PF, 0, "ens1f0", 12)
    assert pf.vfs[2] == hardware.Vf("0000:03:00.4", 2, "")
    assert pf.vfs[11] == hardware.Vf("0000:03:01.5", 11, "v11")


def test_the_pf_with_the_default_route_is_chosen(tree: Tree) -> None:
    tree.pf(vfs=1)
    tree.pf("0000:04:00.1", "ens2f1", vfs=1)
    assert hardware.choose_pf(tree.root, ("ens2f1",)).number == 1
    assert hardware.choose_pf(tree.root, ("wlan0",), pci=PF).pci == PF
    with pytest.raises(hardware.NoPf, match="name one with --pf"):
        hardware.choose_pf(tree.root, ("wlan0",))


def test_no_nic_is_named_with_a_remedy(tree: Tree) -> None:
    with pytest.raises(hardware.NoPf, match="--sys-root"):
        hardware.choose_pf(tree.root, ())
    with pytest.raises(hardware.NoPf, match="no such device"):
        hardware.choose_pf(tree.root, (), pci="0000:09:00.0")
    with pytest.raises(hardware.NoPf, match="isn't a PCI address"):
        hardware.choose_pf(tree.root, (), pci="../../etc")


def test_a_pf_without_vfs_is_named_with_a_remedy(tree: Tree) -> None:
    tree.pf()
    with pytest.raises(hardware.NoVfs, match="sriov_numvfs"):
        hardware.choose_pf(tree.root, ())


def test_a_vf_is_not_taken_for_a_pf(tree: Tree) -> None:
    tree.pf(vfs=1)
    with pytest.raises(hardware.NoPf, match=r"is a VF of 0000:03:00\.0"):
        hardware.read_pf(tree.root, "0000:03:00.2")


def test_links_that_lead_nowhere_or_in_circles_are_named(tree: Tree) -> None:
    tree.pf()
    (tree.devices / PF / "virtfn0").symlink_to("virtfn0")
    with pytest.raises(hardware.Unreadable, match="virtfn0"):
        hardware.choose_pf(tree.root, ())


def test_two_vfs_at_one_address_are_named(tree: Tree) -> None:
    tree.pf(vfs=1)
    (tree.devices / PF / "virtfn1").symlink_to("../0000:03:00.2")
    with pytest.raises(hardware.Unreadable, match="can't be told apart"):
        hardware.choose_pf(tree.root, ())


@pytest.mark.parametrize("prefix", ["", "c1"])
def test_representors_are_found_by_port_name(tree: Tree, prefix: str) -> None:
    tree.port("rep3", f"{prefix}pf0vf3")
    tree.port("hpf", f"{prefix}pf0")
    tree.port("other", f"{prefix}pf1vf3")
    (tree.root / "class/net/eth0").mkdir()
    assert hardware.vf_representor(tree.root, 0, 3).netdev == "rep3"
    assert hardware.pf_representor(tree.root).netdev == "hpf"
    with pytest.raises(hardware.NoRepresentor, match="pf0vf4"):
        hardware.vf_representor(tree.root, 0, 4)


def test_a_representor_of_the_host_comes_before_one_of_the_dpu_itself(tree: Tree) -> None:
    tree.port("own", "pf0vf3")
    tree.port("zhost", "c1pf0vf3")
    assert hardware.vf_representor(tree.root, 0, 3).netdev == "zhost"


def test_the_host_s_mac_is_read_from_the_uplink(tree: Tree) -> None:
    config = tree.port("p0", "p0") / "smart_nic/pf"
    config.mkdir(parents=True)
    (config / "config").write_text("MAC        : 0C:42:A1:00:00:01\nMaxTxRate  : 0\nState : Follow\n")
    assert hardware.host_mac(tree.root) == "0c:42:a1:00:00:01"
    (config / "config").write_text("MAC : 00:00:00:00:00:00\n")
    with pytest.raises(hardware.NoHostMac, match="smart_nic/pf/config"):
        hardware.host_mac(tree.root)


def test_binary_garbage_is_no_port(tree: Tree) -> None:
    here = tree.port("odd", "x")
    (here / "phys_port_name").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(hardware.NoRepresentor):
        hardware.pf_representor(tree.root)
