# SPDX-License-Identifier: Apache-2.0
"""What differs between a pod's interface as it was promised and as it is, in words for people. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ashore import netlink
from ashore.agent import records
from ashore.api import cni
from ashore.wiring import dpu_host

RECREATE = "recreate the pod"


def link(seen: netlink.Observed | None, record: records.Record, plan: dpu_host.LinkPlan) -> Iterator[str]:
    """The link in the pod's namespace. Further routes are the pod's own affair."""
    if seen is None:
        yield f"the namespace has no {plan.name}; {RECREATE}"
        return
    if seen.link.alias != record.pci:
        yield f"{plan.name} isn't device {record.pci} but {seen.link.alias or 'another one'}; {RECREATE}"
        return
    if not seen.link.is_up:
        yield "it is down; set it up, or " + RECREATE
    if seen.link.mac != plan.mac:
        yield f"MAC is {seen.link.mac}, not {plan.mac}; {RECREATE}"
    if seen.link.mtu != plan.mtu:
        yield f"MTU is {seen.link.mtu}, not {plan.mtu}; {RECREATE}"
    yield from _addresses(seen, plan)


def _addresses(seen: netlink.Observed, plan: dpu_host.LinkPlan) -> Iterator[str]:
    for text in plan.addresses:
        if text not in seen.addresses:
            yield f"address {text} is missing; add it, or {RECREATE}"
    for text in sorted(seen.addresses - set(plan.addresses)):
        yield f"address {text} isn't the pod's and won't be answered; remove it, or {RECREATE}"
    present = {(route.dest, route.gateway) for route in seen.routes}
    for route in plan.routes:
        if (route.dest, route.gateway) not in present:
            yield f"route to {route.dest} by {route.gateway or 'the link'} is missing; add it, or {RECREATE}"


def previous(config: Mapping[str, Any], netns: str, plan: dpu_host.LinkPlan) -> Iterator[str]:
    """What the runtime believes that ADD gave (``prevResult``), in any version's form. Raises cni.Failure."""
    result = config.get("prevResult")
    if not isinstance(result, dict):
        raise cni.Failure(cni.INVALID_CONFIG, "ashore: CHECK without a prevResult; the runtime has to send it")
    interfaces = [each for each in _list(result, "interfaces") if each.get("sandbox")]
    ours = [each for each in interfaces if each.get("name") == plan.name]
    if not ours:
        yield f"prevResult names no interface {plan.name} in a sandbox; {RECREATE}"
    for each in ours:
        if str(each.get("mac", plan.mac)).lower() != plan.mac:
            yield f"prevResult has MAC {each['mac']}, not {plan.mac}; {RECREATE}"
        if netns and each["sandbox"] != netns:
            yield f"prevResult is about namespace {each['sandbox']}, not {netns}; {RECREATE}"
    told = {str(each.get("address")) for each in _list(result, "ips")}
    if missing := sorted(set(plan.addresses) - told):
        yield f"prevResult lacks the pod's address {', '.join(missing)} (it has {_named(told)}); {RECREATE}"


def _list(result: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = result.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _named(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts)) or "none"
