# SPDX-License-Identifier: Apache-2.0
"""Open_vSwitch rows of a node whose representors are on this side: a DPU, or the OVS half of a full node."""

import msgspec

from ashore.api import names, net
from ashore.schema import row, vswitch
from ashore.wiring import ovs_rows

BITS_PER_KILOBIT = 1000
MOST_POLICING_KBPS = 2**32 - 1
"""OVS takes 32 bits (lib/netdev.h, netdev_set_policing); more than that is more than any port carries."""
LEAST_BURST_KBIT = 120
"""Ten full-sized frames: OVS asks for at least one (ovs-vswitchd.conf.db(5)), and for 0 it takes 8 Mbit."""


class PodPort(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's interface as the integration bridge sees it. Bandwidths in bits per second as the pod sees them."""

    pod: net.PodKey
    pod_uid: str
    sandbox: str
    representor: str
    vf_netdev_name: str
    mac: str
    ip_addresses: tuple[str, ...]
    ingress_bps: int = 0
    egress_bps: int = 0


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What the node's own rows are planned from; ``datapath_type`` is the external bridge's.

    ``southbound`` is the database's remote, ``credentials`` the directory with its key.pem, cert.pem and ca.pem.
    """

    open_vswitch: row.Uuid
    integration_bridge: row.Uuid | None
    datapath_type: str
    southbound: str
    encap_ip: str
    credentials: str


class NodePlan(msgspec.Struct, frozen=True):
    """Rows to have, and the keys of ``Open_vSwitch external_ids`` to set; other keys there belong to others."""

    plan: row.Plan
    external_ids: dict[str, str]


def plan_pod(bridge: row.Uuid, port: PodPort) -> row.Plan:
    """The rows that plug a pod's representor.

    The key is what can't change: another sandbox or another pod on the same representor is another port, so what OVN
    said about the one (``ovn-installed``) is never taken for the other.
    """
    key = f"{port.representor}\0{port.pod_uid}\0{port.sandbox}"
    marks = {
        ovs_rows.ATTACHED_MAC: port.mac,
        ovs_rows.IFACE_ID: names.pod_port(port.pod),
        ovs_rows.IFACE_ID_VER: port.pod_uid,
        ovs_rows.IP_ADDRESSES: ",".join(port.ip_addresses),
        ovs_rows.SANDBOX: port.sandbox,
        ovs_rows.VF_NETDEV_NAME: port.vf_netdev_name or port.representor,
    }
    policing_kbps = min(port.egress_bps // BITS_PER_KILOBIT, MOST_POLICING_KBPS)
    plan = _plug(
        bridge,
        vswitch.Interface(
            uuid=row.row_id(ovs_rows.SCOPE, "Interface", key),
            name=port.representor,
            external_ids=marks,
            ingress_policing_rate=policing_kbps,
            # A tenth of a second's worth, as ovn-kubernetes has it.
            ingress_policing_burst=max(policing_kbps // 10, LEAST_BURST_KBIT) if policing_kbps else 0,
        ),
        shaper := _shaper(key, port),
    )
    return row.Plan((*plan.rows, shaper), plan.members) if shaper else plan


def plan_management_port(bridge: row.Uuid, node: net.NodeName, representor: str) -> row.Plan:
    """The rows that plug the representor of a host's management port."""
    marks = {ovs_rows.IFACE_ID: names.management_port(node), ovs_rows.MANAGEMENT_PORT_NAME: names.MANAGEMENT_PORT}
    key = f"{representor}\0{names.management_port(node)}"
    return _plug(
        bridge,
        vswitch.Interface(
            uuid=row.row_id(ovs_rows.SCOPE, "Interface", key), name=representor, external_ids=marks
        ),
        None,
    )  # fmt: skip


def plan_node(view: NodeView) -> NodePlan:
    """The integration bridge, ovn-controller's credentials and its settings.

    ``ovn-bridge-mappings``, ``system-id`` and ``ovn-bridge-datapath-type`` are the operating system's: not touched.
    """
    rows: list[row.Row] = [vswitch.OpenVSwitch(uuid=view.open_vswitch)]
    members = set()
    bridge = view.integration_bridge
    if bridge is None:
        # ovn-controller would make it as well; pods needn't wait for it. Same columns as its create_br_int().
        interface = vswitch.Interface(
            uuid=row.row_id(ovs_rows.SCOPE, "Interface", names.INTEGRATION_BRIDGE),
            name=names.INTEGRATION_BRIDGE,
            type="internal",
        )
        port = vswitch.Port(
            uuid=row.row_id(ovs_rows.SCOPE, "Port", names.INTEGRATION_BRIDGE),
            name=names.INTEGRATION_BRIDGE,
            interfaces=frozenset({interface.uuid}),
        )
        bridge = row.row_id(ovs_rows.SCOPE, "Bridge", names.INTEGRATION_BRIDGE)
        rows += [
            vswitch.Bridge(
                uuid=bridge,
                name=names.INTEGRATION_BRIDGE,
                datapath_type=view.datapath_type,
                fail_mode="secure",
                other_config={"disable-in-band": "true"},
            ),
            port,
            interface,
        ]
        members = {
            row.Member("Bridge", bridge, "ports", port.uuid),
            row.Member("Open_vSwitch", view.open_vswitch, "bridges", bridge),
        }
    return NodePlan(row.Plan(tuple(rows[1:]), frozenset(members)), _settings(view))


def plan_credentials(ssl: row.Uuid | None, directory: str) -> vswitch.SSL:
    """The row that tells ovn-controller which files prove who it is; at most one such row can exist."""
    return vswitch.SSL(
        uuid=ssl or row.row_id(ovs_rows.SCOPE, "SSL", "southbound"),
        private_key=f"{directory}/key.pem",
        certificate=f"{directory}/cert.pem",
        ca_cert=f"{directory}/ca.pem",
        bootstrap_ca_cert=False,
    )


def _settings(view: NodeView) -> dict[str, str]:
    return {
        "ovn-remote": view.southbound,
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": view.encap_ip,
        # Tunnels leave from the address that peers know, also where the bridge has several.
        "ovn-set-local-ip": "true",
        # A node learns its own ports' neighbourhood only; the zone is shared by all nodes.
        "ovn-monitor-all": "false",
        "ovn-remote-probe-interval": "10000",
        "ovn-openflow-probe-interval": "60",
        # A restarted ovn-controller keeps the flows of running pods until it has computed the new ones.
        "ovn-ofctrl-wait-before-clear": "8000",
    }


def _plug(bridge: row.Uuid, interface: vswitch.Interface, shaper: vswitch.QoS | None) -> row.Plan:
    port = vswitch.Port(
        uuid=row.row_id(ovs_rows.SCOPE, "Port", interface.uuid),
        name=interface.name,
        interfaces=frozenset({interface.uuid}),
        qos=shaper.uuid if shaper else None,
        # OVS's start script removes such ports at boot; after one no netdev is what it was.
        other_config={"transient": "true"},
    )
    return row.Plan((interface, port), frozenset({row.Member("Bridge", bridge, "ports", port.uuid)}))


def _shaper(key: str, port: PodPort) -> vswitch.QoS | None:
    if not port.ingress_bps:
        return None
    return vswitch.QoS(
        uuid=row.row_id(ovs_rows.SCOPE, "QoS", key),
        type="linux-htb",
        other_config={"max-rate": str(port.ingress_bps)},
        external_ids={ovs_rows.SANDBOX: port.sandbox},
    )
