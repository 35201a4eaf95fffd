# SPDX-License-Identifier: Apache-2.0
"""What stands in a node's Open_vSwitch database about ports on the integration bridge, read as data."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ashore.schema.row import Uuid

SCOPE = "ovs"
"""The zone argument of row identities in a node's own database, which serves one node."""

IFACE_ID = "iface-id"
IFACE_ID_VER = "iface-id-ver"
SANDBOX = "sandbox"
ATTACHED_MAC = "attached_mac"
IP_ADDRESSES = "ip_addresses"
VF_NETDEV_NAME = "vf-netdev-name"
MANAGEMENT_PORT_NAME = "k8s.ovn.org/management-port-name"
INSTALLED = "ovn-installed"

View = Mapping[str, Mapping[Uuid, Mapping[str, Any]]]
"""Tables of the database: table -> row -> column -> value. Columns are those of COLUMNS."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("bridges", "ssl", "external_ids", "other_config"),
    "Bridge": ("name", "datapath_type", "fail_mode", "ports", "external_ids", "other_config"),
    "Port": ("name", "interfaces", "qos", "tag", "other_config"),
    "Interface": (
        "name", "type", "external_ids", "ofport", "error", "mtu", "mac_in_use", "options",
        "ingress_policing_rate", "ingress_policing_burst",
    ),
    "QoS": ("type", "other_config", "external_ids"),
    "SSL": ("private_key", "certificate", "ca_cert", "bootstrap_ca_cert"),
}  # fmt: skip
"""What an agent has to monitor for the planners and readers of this room."""


class ObservedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the integration bridge that an agent made, and what OVS and OVN say about it.

    ``pod_uid`` and ``sandbox`` are empty for the management port.
    """

    port: Uuid
    interface: Uuid
    qos: Uuid | None
    name: str
    iface_id: str
    pod_uid: str
    sandbox: str
    addresses: tuple[str, ...]
    is_installed: bool
    error: str


def bridge(view: View, name: str) -> Uuid | None:
    """The bridge's row."""
    return next((row for row, columns in view["Bridge"].items() if columns["name"] == name), None)


def observe_ports(view: View, bridge_row: Uuid) -> Iterator[ObservedPort]:
    """Every port on the bridge that carries an agent's marks, by no particular order."""
    for port in view["Bridge"][bridge_row]["ports"]:
        columns = view["Port"].get(port)
        for interface in columns["interfaces"] if columns else ():
            found = view["Interface"].get(interface)
            if columns and found and (seen := _observed(port, columns, interface, found)):
                yield seen


def _observed(
    port: Uuid, port_columns: Mapping[str, Any], interface: Uuid, columns: Mapping[str, Any]
) -> ObservedPort | None:
    marks = columns["external_ids"]
    is_pod = SANDBOX in marks and IFACE_ID_VER in marks
    if not (is_pod or MANAGEMENT_PORT_NAME in marks):
        return None
    return ObservedPort(
        port=port,
        interface=interface,
        qos=port_columns["qos"],
        name=columns["name"],
        iface_id=marks.get(IFACE_ID, ""),
        pod_uid=marks.get(IFACE_ID_VER, "") if is_pod else "",
        sandbox=marks.get(SANDBOX, "") if is_pod else "",
        addresses=tuple(cidr.partition("/")[0] for cidr in marks.get(IP_ADDRESSES, "").split(",") if cidr),
        is_installed=marks.get(INSTALLED) == "true",
        error=columns["error"] or "",
    )
