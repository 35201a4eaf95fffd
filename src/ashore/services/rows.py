# SPDX-License-Identifier: Apache-2.0
"""Load balancer rows as they come together: what is theirs alone, and where they are attached."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ashore.api import names, net
from ashore.schema import nb, row
from ashore.services.view import Backend

STICKY_FIELDS = frozenset({"ip_src", "ip_dst"})
"""A client's connections go to one backend as long as backends stay the same; see docs/decisions/0008."""
_DEFAULTS: Mapping[str, str] = {
    "reject": "true",
    "event": "false",
    "skip_snat": "false",
    # Addresses of services are routed to us, or the host answers for them: no router has to.
    "neighbor_responder": "none",
}
_FAMILY = {4: "ipv4", 6: "ipv6"}


class Parent(NamedTuple):
    """Something that has load balancers: a group, a switch, a router."""

    table: str
    uuid: row.Uuid


def group(uuid: row.Uuid) -> Parent:
    """A group of load balancers."""
    return Parent(nb.LoadBalancerGroup.TABLE.name, uuid)


def switch(uuid: row.Uuid) -> Parent:
    """One switch."""
    return Parent(nb.LogicalSwitch.TABLE.name, uuid)


def router(uuid: row.Uuid) -> Parent:
    """One router."""
    return Parent(nb.LogicalRouter.TABLE.name, uuid)


class Owner(NamedTuple):
    """Whose load balancers these are: a Kubernetes object's. ``prefix`` begins their names."""

    zone: str
    kind: str
    name: str
    uid: str

    @property
    def prefix(self) -> str:
        """As ovn-kubernetes names load balancers."""
        return f"{self.kind}_{self.name}"


class Draft:
    """The load balancers of one owner. Fronts with the same suffix and protocol are one load balancer."""

    def __init__(self, owner: Owner, *, is_sticky: bool = False) -> None:
        self._owner = owner
        self._is_sticky = is_sticky
        self._rows: dict[str, nb.LoadBalancer] = {}
        self._vips: dict[str, dict[str, str]] = {}
        self._members: set[row.Member] = set()

    def add(
        self,
        suffix: str,
        protocol: str,
        vips: Mapping[str, str],
        parents: Iterable[Parent],
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Fronts and what is behind them, on these parents. The suffix decides parents and options."""
        if not vips:
            return
        name = f"{self._owner.prefix}_{protocol}_{suffix}"
        known = self._vips.setdefault(name, {})
        known |= vips
        uuid = row.row_id(self._owner.zone, nb.LoadBalancer.TABLE.name, f"{self._owner.uid}/{protocol}/{suffix}")
        if name not in self._rows:
            # A client of a UDP endpoint that went may never stop sending: its entries are flushed. TCP's may drain.
            flush = {"ct_flush": "true"} if protocol == "UDP" else {}
            self._rows[name] = nb.LoadBalancer(
                uuid=uuid,
                name=name,
                vips=known,
                protocol=protocol.lower(),
                selection_fields=STICKY_FIELDS if self._is_sticky else frozenset(),
                options={**_DEFAULTS, **flush, **(options or {})},
                external_ids={
                    names.OWNER: f"{self._owner.kind.lower()}/{self._owner.name}",
                    "k8s.ovn.org/kind": self._owner.kind,
                    "k8s.ovn.org/owner": self._owner.name,
                },
            )
        self._members |= {row.Member(parent.table, parent.uuid, "load_balancer", uuid) for parent in parents}

    def plan(self) -> row.Plan:
        """What was added."""
        return row.Plan(tuple(self._rows[name] for name in sorted(self._rows)), frozenset(self._members))


def template(version: int) -> dict[str, str]:
    """Options of a load balancer whose fronts are template variables."""
    return {"template": "true", "address-family": _FAMILY[version]}


def variable(version: int, index: int) -> str:
    """The template variable that holds a node's address, as ovn-kubernetes calls it."""
    return f"NODEIP_IPv{version}_{index}"


def socket(address: net.Address, port: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"  # noqa: PLR2004 (an IP version)


def targets(backends: Iterable[Backend]) -> str:
    """What a VIP maps to; empty for none."""
    # In the order of addresses, so that the same endpoints are the same text whatever order slices have.
    found = {(backend.address.packed, backend.port): backend for backend in backends}
    return ",".join(socket(found[key].address, found[key].port) for key in sorted(found))


def digest(words: Iterable[str]) -> str:
    """A short name for a set of names."""
    return hashlib.sha256("\0".join(sorted(words)).encode()).hexdigest()[:12]
