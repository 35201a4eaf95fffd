# SPDX-License-Identifier: Apache-2.0
"""CNI arguments in, CNI results out, in each supported version of the specification. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

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


def added(request: cni.Request, plan: dpu_host.LinkPlan) -> dict[str, Any]:
    """The result of an ADD."""
    version = str(request.config.get("cniVersion") or cni.CNI_VERSION)
    interface: dict[str, Any] = {"name": plan.name, "mac": plan.mac, "sandbox": request.netns}
    if version == cni.CNI_VERSION:
        interface["mtu"] = plan.mtu
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
