# SPDX-License-Identifier: Apache-2.0
"""What the controller looks at one after another: its queue's keys."""

from typing import NamedTuple, TypeAlias

from ashore.api import net


class ConfigKey(NamedTuple):
    """The NetworkConfig."""

    name: str = "default"


class NodeKey(NamedTuple):
    """A node's share, switch and taint."""

    node: net.NodeName


class PodKey(NamedTuple):
    """A pod's addresses and port."""

    pod: net.PodKey


class EventKey(NamedTuple):
    """What a pod's DPU says about it; apart from PodKey, since Events never hold up an address."""

    told_by: net.PodKey


class WholeZone(NamedTuple):
    """All northbound content at once: drift repaired, leftovers removed."""

    zone: str


Key: TypeAlias = ConfigKey | NodeKey | PodKey | EventKey | WholeZone
