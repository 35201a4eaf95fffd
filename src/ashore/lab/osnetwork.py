# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.osnetwork``: the network part of a DPU's (or full node's) operating system, once a boot.

It makes ``br-ex`` and the node's identity in OVS's own database, so that host and DPU have network with nothing of
ashore running. What is there already is left alone, but for the addresses, which no database keeps.
"""

import subprocess
import sys

from ashore.lab import addresses, daemon, init, netspace, spec


def main() -> int:
    """0 when the bridge is up with its address."""
    boot = init.read()
    node, tool = boot.node, boot.tools
    vsctl = [tool["ovs-vsctl"], f"--db=unix:{daemon.OVS_RUN}/db.sock", "--timeout=60"]
    subprocess.run([*vsctl, "--no-wait", "init"], check=True)
    subprocess.run([*vsctl, *identity(node), *bridge(node)], check=True)
    _address(node)
    return 0


def identity(node: spec.Node) -> list[str]:
    """ovs-vsctl's words for who this is."""
    values = {
        "system-id": node.name,
        "hostname": node.name,
        "ovn-bridge-mappings": "physnet:br-ex",
        "ovn-bridge-datapath-type": "netdev",
    }
    if node.mode == "dpu":
        values["host-k8s-nodename"] = f"host-{node.index}"
    return ["set", "Open_vSwitch", ".", *(f"external_ids:{key}={value}" for key, value in values.items())]


def bridge(node: spec.Node) -> list[str]:
    """ovs-vsctl's words for ``br-ex``: a learning switch until the agent gives it flows, and again if those go."""
    kind = "uplink" if node.mode == "full" else "bridge"
    # A full node's bridge has its NIC's MAC, as an address moved there would; a DPU's differs from its host's.
    mac = addresses.mac(kind, (0x100 if node.mode == "full" else 0) + node.index)
    name = addresses.EXTERNAL_BRIDGE
    words = ["--", "--may-exist", "add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev"]
    words += ["fail_mode=standalone", f'other_config:hwaddr="{mac}"']
    ports = [addresses.UPLINK] + ([addresses.PF_REPRESENTOR] if node.mode == "dpu" else [])
    for port in ports:
        words += ["--", "--may-exist", "add-port", name, port]
    return words


def _address(node: spec.Node) -> None:
    name = addresses.EXTERNAL_BRIDGE
    netspace.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 0)
    netspace.checksums_in_software(name)
    init.address(addresses.Interface(name, addresses.fabric(node), addresses.GATEWAYS))


if __name__ == "__main__":
    sys.exit(main())
