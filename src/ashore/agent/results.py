# SPDX-License-Identifier: Apache-2.0
"""CNI arguments in, CNI results out, in each supported version of the specification. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from ashore import hardware
from ashore.agent import records
from ashore.api import cni, net
from ashore.wiring import dpu_host

_WITH_FAMILY = ("0.3.0", "0.3.1", "0.4.0")


class Sandbox(msgspec.Struct, frozen=True):
    """Whose interface a request is about. ``pod_uid`` is empty where a runtime doesn't tell it."""

    pod: net.PodKey
    pod_uid: str


def read_sandbox(request: cni.Request) -> Sandbox:
    """The pod that the runtime names. Raises cni.Failure."""
    parts = (part.partition("=") for part in request.args.split(";"))
    args = {key: value for key, _, value in parts}
    namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
    if not namespace or not name:
        raise cni.Failure(
            cni.INVALID_ENVIRONMENT,
            "ashore: CNI_ARGS names no pod (K8S_POD_NAMESPACE, K8S_POD_NAME); only Kubernetes runtimes are served",
        )
    return Sandbox(net.PodKey(namespace, name), request.pod_uid or args.get("K8S_POD_UID", ""))


def read_device(config: Mapping[str, Any]) -> str:
    """The PCI address that the runtime insists on, "" for none. Raises cni.Failure.

    Multus writes ``deviceID`` into the configuration; the CNI convention has it in ``runtimeConfig``.
    """
    inner = config.get("runtimeConfig")
    told = [config.get("deviceID"), inner.get("deviceID") if isinstance(inner, dict) else None]
    found = sorted({each.lower() if isinstance(each, str) else repr(each) for each in told if each not in (None, "")})
    if not found:
        return ""
    if len(found) > 1:
        text = f"deviceID is {found[0]} in one place and {found[1]} in the other (deviceID, runtimeConfig.deviceID)"
        raise cni.Failure(cni.INVALID_CONFIG, f"ashore: {text}; give one")
    if not hardware.is_address(found[0]):
        text = f"deviceID {found[0][:60]!r} isn't a VF's PCI address such as 0000:03:00.3"
        raise cni.Failure(cni.INVALID_CONFIG, f"ashore: {text}; only VFs are served")
    return found[0]


def read_valid(config: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """What GC has to keep: (sandbox, interface name).

    Raises:
        cni.Failure: one odd entry makes the list worthless, as it may stand for an attachment in use.
    """
    listed = config.get("cni.dev/valid-attachments")
    if not isinstance(listed, list):
        raise cni.Failure(cni.INVALID_CONFIG, "ashore: GC without a list cni.dev/valid-attachments; nothing was freed")
    valid = set()
    for number, entry in enumerate(listed):
        pair = (entry.get("containerID"), entry.get("ifname")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(pair[0], str) and isinstance(pair[1], str) and all(pair)):
            text = f"entry {number} of cni.dev/valid-attachments has no containerID and ifname: {str(entry)[:60]}"
            raise cni.Failure(cni.INVALID_CONFIG, f"ashore: {text}; nothing was freed")
        valid.add((pair[0], pair[1]))
    return frozenset(valid)


def added(request: cni.Request, plan: dpu_host.LinkPlan, record: records.Record) -> dict[str, Any]:
    """The result of an ADD.

    A VF that its pod drives itself is listed as well, in the pod's sandbox, though that has no such link: the addresses
    belong to it, and ``pciID`` (CNI 1.1) says which device it is.
    """
    version = str(request.config.get("cniVersion") or cni.CNI_VERSION)
    interface: dict[str, Any] = {"name": plan.name, "mac": plan.mac, "sandbox": request.netns}
    if version == cni.CNI_VERSION:
        interface["mtu"] = plan.mtu
        if hardware.is_address(record.pci):
            interface["pciID"] = record.pci
    gateways = _gateways(plan)
    ips = []
    for text in plan.addresses:
        address = ipaddress.ip_interface(text)
        entry: dict[str, Any] = {"address": text, "interface": 0}
        if address.version in gateways:
            entry["gateway"] = gateways[address.version]
        if version in _WITH_FAMILY:
            entry["version"] = str(address.version)
        ips.append(entry)
    routes = [{"dst": route.dest, **({"gw": route.gateway} if route.gateway else {})} for route in plan.routes]
    return {"cniVersion": version, "interfaces": [interface], "ips": ips, "routes": routes, "dns": {}}


def _gateways(plan: dpu_host.LinkPlan) -> Mapping[int, str]:
    defaults = [route for route in plan.routes if route.dest in ("0.0.0.0/0", "::/0") and route.gateway]
    return {ipaddress.ip_address(route.gateway).version: route.gateway for route in defaults}
