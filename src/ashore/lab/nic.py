# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.nic``: stands in for the NICs' hardware.

It shows each node its functions and ports as a kernel would, and keeps the one promise that veth breaks: a VF whose
namespace vanished comes back to the host.
"""

import pathlib
import selectors
import socket
import struct
import sys
from collections.abc import Iterator

from ashore.lab import links, netspace, spec, sysfs

_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_DONE = 3
_HEADER = struct.Struct("IHHII")
_LINK = struct.Struct("BxHiII")
_ATTRIBUTE = struct.Struct("HH")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_ALIAS = 1, 3, 20
_BUFFER = 1 << 20


class Nic:
    """The hardware of one node."""

    def __init__(self, lab: spec.LabSpec, node: spec.Node, root: pathlib.Path) -> None:
        self._lab = lab
        self.node = node
        self._root = root
        self._tree: sysfs.Tree = {}
        space = spec.netns(lab.name, node.name)
        self.events = netspace.within(space, lambda: _socket(_RTMGRP_LINK))
        self._questions = netspace.within(space, lambda: _socket(0))
        sysfs.clear(root)

    def drain(self) -> None:
        """Forgets queued events: each says no more than "look again"."""
        self.events.setblocking(False)
        while True:
            try:
                self.events.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                continue  # the queue overflowed; looking again is the cure

    def netdevs(self) -> tuple[sysfs.Netdev, ...]:
        """What is in the node's namespace now."""
        return tuple(_dump(self._questions))

    def refresh(self) -> None:
        """Makes the tree true."""
        found = self.netdevs()
        if self.node.mode == "dpu-host":
            tree = sysfs.plan_host(found, self._lab.shape.vfs)
        elif self.node.mode == "dpu":
            tree = sysfs.plan_dpu(found, self.node.index)
        else:
            tree = sysfs.plan_full(found, self.node.index, self._lab.shape.full_vfs)
        sysfs.apply(self._root, old=self._tree, new=tree)
        self._tree = tree

    def lost(self) -> list[links.Link]:
        """The VF pairs that no longer exist, of a DPU or of a full node's own NIC."""
        there = {netdev.name for netdev in self.netdevs()}
        shape, index = self._lab.shape, self.node.index
        if self.node.mode == "dpu":
            wanted = [links.vf_link(index, vf) for vf in range(shape.vfs)]
        else:
            wanted = [links.own_vf_link(index, vf) for vf in range(shape.full_vfs)]
        return [link for link in wanted if link.far.name not in there]


def main(root: pathlib.Path) -> None:
    """Runs until it is killed."""
    folders = spec.Folders(root.parent, root.name)
    lab = spec.read(folders)
    selector = selectors.DefaultSelector()
    nics = {}
    for node in spec.nodes(lab.shape):
        if node.mode in ("dpu-host", "dpu", "full"):
            nic = nics[node.name] = Nic(lab, node, folders.sys(node.name))
            selector.register(nic.events, selectors.EVENT_READ, nic)
            nic.refresh()
    while True:
        for key, _mask in selector.select():
            nic = key.data
            nic.drain()
            if nic.node.has_ovs and (lost := nic.lost()):
                links.make(lab.name, lost)
                if nic.node.mode == "dpu":
                    nics[f"host-{nic.node.index}"].refresh()
            nic.refresh()


def _socket(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened


def _dump(questions: socket.socket) -> Iterator[sysfs.Netdev]:
    body = _LINK.pack(0, 0, 0, 0, 0)
    questions.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + body)
    while True:
        data, offset = questions.recv(_BUFFER), 0
        while offset < len(data):
            length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, offset)
            if kind == _NLMSG_DONE:
                return
            if kind == _RTM_NEWLINK:
                yield _netdev(data[offset + _HEADER.size + _LINK.size : offset + length])
            offset += (length + 3) & ~3


def _netdev(data: bytes) -> sysfs.Netdev:
    values, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        values[kind] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    text = {kind: values.get(kind, b"").rstrip(b"\0").decode() for kind in (_IFLA_IFNAME, _IFLA_ALIAS)}
    return sysfs.Netdev(text[_IFLA_IFNAME], text[_IFLA_ALIAS], values.get(_IFLA_ADDRESS, b"").hex(":"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
