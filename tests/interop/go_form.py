# SPDX-License-Identifier: Apache-2.0
"""Annotations as the Go halves read and write them: written from what they do, with none of ashore's code."""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

DETAILS = "k8s.ovn.org/dpu.connection-details"
STATUS = "k8s.ovn.org/dpu.connection-status"
NETWORKS = "k8s.ovn.org/pod-networks"
MANAGEMENT = "k8s.ovn.org/node-mgmt-port"
HOST_ADDRESS = "k8s.ovn.org/primary-dpu-host-addr"
HOST_CIDRS = "k8s.ovn.org/host-cidrs"
MASQUERADE = "k8s.ovn.org/node-masquerade-subnet"
SUBNETS = "k8s.ovn.org/node-subnets"
CHASSIS = "k8s.ovn.org/node-chassis-id"
ENCAP_IPS = "k8s.ovn.org/node-encap-ips"
PRIMARY_ADDRESS = "k8s.ovn.org/node-primary-ifaddr"
GATEWAY = "k8s.ovn.org/l3-gateway-config"

Notes = Mapping[str, str]
Entry = dict[str, Any]


class NotSetError(Exception):
    """The annotation, or its entry for a network, isn't there (yet): Go waits."""


def read_map(notes: Notes, key: str) -> dict[str, Entry]:
    """All networks' entries. What isn't a map of objects is read as one object: the legacy form, of "default"."""
    if key not in notes:
        return {}
    read = json.loads(notes[key])
    if not isinstance(read, dict):
        raise TypeError(f"cannot unmarshal into {key}: {notes[key]}")
    if all(isinstance(entry, dict) for entry in read.values()):
        return {network: _folded(entry) for network, entry in read.items()}
    return {"default": _folded(read)}


def entry(notes: Notes, key: str, network: str = "default") -> Entry:
    """One network's entry."""
    found = read_map(notes, key)
    if network not in found:
        raise NotSetError(f"{key}: {network}")
    return found[network]


def with_entry(notes: Notes, key: str, network: str, new: Entry | None) -> str | None:
    """The annotation with this entry changed, None where it says so already: then Go writes nothing."""
    found = read_map(notes, key)
    if found.get(network) == (_folded(new) if new is not None else None):
        return None
    found.pop(network, None)
    if new is not None:
        found[network] = new
    return json.dumps(found, separators=(",", ":"), sort_keys=True)


def network(notes: Notes, name: str = "default") -> Entry:
    """A pod's addresses with the checks of UnmarshalPodAnnotation: any that fails is an error at once."""
    found = entry(notes, NETWORKS, name)
    addresses = found.get("ip_addresses") or ([found["ip_address"]] if found.get("ip_address") else [])
    gateways = found.get("gateway_ips") or ([found["gateway_ip"]] if found.get("gateway_ip") else [])
    assert found.get("ip_address") in (None, "", *addresses[:1]), "ip_address and ip_addresses conflict"
    assert found.get("gateway_ip") in (None, "", *gateways[:1]), "gateway_ip and gateway_ips conflict"
    assert len(bytes.fromhex(found["mac_address"].replace(":", ""))) == 6
    for route in found.get("routes") or []:
        destination = ipaddress.ip_network(route["dest"])
        assert not destination.network_address.is_unspecified, "a default route has to be a gateway"
        assert not route["nextHop"] or ipaddress.ip_address(route["nextHop"]).version == destination.version
    return {
        "addresses": [str(ipaddress.ip_interface(text)) for text in addresses],
        "gateways": [str(ipaddress.ip_address(text)) for text in gateways],
        "mac": found["mac_address"],
        "role": found.get("role", ""),
    }


_FIELDS = {
    name.lower(): name
    for name in (
        "pfId", "vfId", "sandboxId", "vfNetdevName", "netnsPath", "Status", "Reason", "DeviceId", "PfId", "FuncId",
    )
    if name != "PfId"
}  # fmt: skip


def _folded(read: Entry) -> Entry:
    """Go matches names without their case and leaves out what it doesn't know."""
    if {"pfid", "funcid"} <= {name.lower() for name in read}:
        return {
            {"pfid": "PfId", "funcid": "FuncId", "deviceid": "DeviceId"}.get(k.lower(), k): v for k, v in read.items()
        }
    folded = {_FIELDS.get(name.lower(), name): value for name, value in read.items()}
    if "Status" in folded:
        return {name: folded[name] for name in ("Status", "Reason") if folded.get(name)}
    return folded
