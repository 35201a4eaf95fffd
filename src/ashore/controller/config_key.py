# SPDX-License-Identifier: Apache-2.0
"""Which network settings are in force, and what a NetworkConfig's status says about it. Pure."""

import datetime as dt
from collections.abc import Iterable

import msgspec

from ashore.api import config
from ashore.ipam.nodes import NodeBook, NodeShare
from ashore.kube import objects


class Verdict(msgspec.Struct, frozen=True):
    """The settings that hold (None: none yet), the spec they come from, and the conditions to show."""

    settings: config.Settings | None
    in_force: config.NetworkConfigSpec | None
    conditions: tuple[objects.Condition, ...]


def judge(found: objects.NetworkConfig, shares: Iterable[NodeShare]) -> Verdict:
    """What to do with a NetworkConfig, given what nodes have.

    A spec that is invalid, or that would take away what nodes have, isn't taken: the settings that its status has
    recorded as in force stay.
    """
    generation = found.metadata.generation
    held = _parsed(found.status.in_force)
    in_use = tuple(share for share in shares if share.subnets)
    try:
        wanted = config.parse(found.spec)
    except config.Invalid as error:
        conditions = (
            _condition("Valid", "False", "Invalid", str(error), generation),
            _condition("InUse", "False", "Invalid", _still(held), generation),
        )
        return Verdict(held, found.status.in_force if held else None, conditions)
    valid = _condition("Valid", "True", "AsExpected", "", generation)
    if held is not None and (why := refusal(held, wanted, in_use)):
        clash = _condition("InUse", "False", "InUseByNodes", f"{why}; {_still(held)}", generation)
        return Verdict(held, found.status.in_force, (valid, clash))
    return Verdict(
        wanted, found.spec, (valid, _condition("InUse", "True", "AsExpected", "the spec is in force", generation))
    )


def refusal(held: config.Settings, wanted: config.Settings, in_use: Iterable[NodeShare]) -> str:
    """Why settings can't follow those that hold while nodes have these shares; empty: they can."""
    shares = tuple(in_use)
    if not shares:
        return ""
    kept = {str(n.cidr) + f" in /{n.host_prefix}" for n in wanted.cluster_networks}
    for network in held.cluster_networks:
        book = NodeBook.empty((network,))
        count = sum(any(s in share.subnets for s in book.claim(share)[1].subnets) for share in shares)
        if count and f"{network.cidr} in /{network.host_prefix}" not in kept:
            return f"spec.clusterNetworks: {network.cidr} in /{network.host_prefix} is in use by {count} nodes, keep it"
    for field, before, after in (
        ("serviceCIDRs", held.service_cidrs, wanted.service_cidrs),
        ("joinCIDRs", held.join_cidrs, wanted.join_cidrs),
    ):
        if gone := [str(cidr) for cidr in before if cidr not in after]:
            return f"spec.{field}: {', '.join(gone)} is in use, keep it"
    return ""


def status_of(found: objects.NetworkConfig, verdict: Verdict, now: dt.datetime) -> objects.NetworkConfigStatus:
    """The status to write; equal to the present one when nothing changed."""
    before = {c.type: c for c in found.status.conditions}
    stamped = []
    for condition in verdict.conditions:
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status
        at = old.last_transition_time if old is not None and same else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        stamped.append(msgspec.structs.replace(condition, last_transition_time=at))
    return objects.NetworkConfigStatus(found.metadata.generation, tuple(stamped), verdict.in_force)


def _parsed(spec: config.NetworkConfigSpec | None) -> config.Settings | None:
    if spec is None:
        return None
    try:
        return config.parse(spec)
    except config.Invalid:
        return None


def _still(held: config.Settings | None) -> str:
    if held is None:
        return "no settings are in force"
    return "in force stay " + ", ".join(f"{n.cidr} in /{n.host_prefix}" for n in held.cluster_networks)


def _condition(kind: str, status: str, reason: str, message: str, generation: int) -> objects.Condition:
    return objects.Condition(kind, status, reason, message, generation)
