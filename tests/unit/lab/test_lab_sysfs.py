# SPDX-License-Identifier: Apache-2.0
import pathlib

from ashore.lab import addresses, sysfs

VFS = 3
PF = sysfs.Netdev(addresses.PF, addresses.PF_SLOT, addresses.mac("pf", 1))


def vf(index: int, name: str = "") -> sysfs.Netdev:
    return sysfs.Netdev(name or addresses.vf_name(index), addresses.vf_slot(index), addresses.mac("vf", 1, index))


HOST = (PF, vf(0), vf(1), vf(2))


def files(root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_host_finds_its_virtual_functions_from_its_physical_one(tmp_path: pathlib.Path) -> None:
    sysfs.apply(tmp_path, old={}, new=sysfs.plan_host(HOST, VFS))
    pf = tmp_path / "class/net/ens1f0/device"
    assert (pf / "sriov_numvfs").read_text() == "3\n"
    names = [next((pf / f"virtfn{index}" / "net").iterdir()).name for index in range(VFS)]
    assert names == ["ens1f0v0", "ens1f0v1", "ens1f0v2"]
    assert (pf / "virtfn1/physfn").resolve() == pf.resolve()
    assert (tmp_path / "class/net/ens1f0v1/device").resolve().name == "0000:03:00.3"


def test_a_function_whose_netdev_is_elsewhere_has_an_empty_net(tmp_path: pathlib.Path) -> None:
    before = sysfs.plan_host(HOST, VFS)
    sysfs.apply(tmp_path, old={}, new=before)
    after = sysfs.plan_host((PF, vf(0), vf(2)), VFS)
    sysfs.apply(tmp_path, old=before, new=after)
    assert list((tmp_path / "bus/pci/devices/0000:03:00.3/net").iterdir()) == []
    assert not (tmp_path / "class/net/ens1f0v1").is_symlink()
    fresh = tmp_path / "fresh"
    sysfs.apply(fresh, old={}, new=after)
    assert {name for name in files(tmp_path) if not name.startswith("fresh")} == files(fresh)


def test_a_renamed_function_is_found_by_its_slot(tmp_path: pathlib.Path) -> None:
    before = sysfs.plan_host(HOST, VFS)
    sysfs.apply(tmp_path, old={}, new=before)
    sysfs.apply(tmp_path, old=before, new=sysfs.plan_host((PF, vf(0), vf(1, "ovn-k8s-mp0"), vf(2)), VFS))
    assert [path.name for path in (tmp_path / "bus/pci/devices/0000:03:00.3/net").iterdir()] == ["ovn-k8s-mp0"]


def test_all_ports_of_a_dpu_are_of_one_switch(tmp_path: pathlib.Path) -> None:
    netdevs = (
        sysfs.Netdev("p0", "p0", "02:a5:03:00:00:01"),
        sysfs.Netdev("pf0hpf", "pf0", "02:00:00:00:00:01"),
        sysfs.Netdev("pf0vf2", "pf0vf2", "02:00:00:00:00:02"),
        sysfs.Netdev("oob0", "oob0", "02:00:00:00:00:03"),
    )
    sysfs.apply(tmp_path, old={}, new=sysfs.plan_dpu(netdevs, 1))
    net = tmp_path / "class/net"
    assert {path.name: (path / "phys_port_name").read_text().strip() for path in net.iterdir()} == {
        "p0": "p0",
        "pf0hpf": "pf0",
        "pf0vf2": "pf0vf2",
    }
    assert len({(path / "phys_switch_id").read_text() for path in net.iterdir()}) == 1
    assert f"MAC        : {addresses.mac('pf', 1)}" in (net / "p0/smart_nic/pf/config").read_text()


def test_a_plain_nic_has_no_switch(tmp_path: pathlib.Path) -> None:
    sysfs.apply(tmp_path, old={}, new=sysfs.plan_full((sysfs.Netdev("p0", "p0", "02:a5:03:00:01:01"),), 1, 0))
    assert list(tmp_path.rglob("phys_switch_id")) == []


def test_clearing_keeps_the_root_itself(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "sys"
    sysfs.apply(root, old={}, new=sysfs.plan_host(HOST, VFS))
    inode = root.stat().st_ino
    sysfs.clear(root)
    assert (root.stat().st_ino, list(root.iterdir())) == (inode, [])
