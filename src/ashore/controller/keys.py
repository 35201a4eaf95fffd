# SPDX-License-Identifier: Apache-2.0
"""What the controller looks at one after another: its queue's keys.

Structs, not tuples: a pod's two keys hold the same name and must not be equal.
"""

from typing import TypeAlias

import msgspec

from ashore.api import net
from ashore.services import view


class ConfigKey(msgspec.Struct, frozen=True):
    """The NetworkConfig."""

    name: str = "default"


class NodeKey(msgspec.Struct, frozen=True):
    """A node's share, switch and taint."""

    node: net.NodeName


class PodKey(msgspec.Struct, frozen=True):
    """A pod's addresses and port."""

    pod: net.PodKey


class EventKey(msgspec.Struct, frozen=True):
    """What a pod's DPU says about it; apart from PodKey, since Events never hold up an address."""

    told_by: net.PodKey


class ServiceKey(msgspec.Struct, frozen=True):
    """A service's load balancers."""

    service: view.ServiceName


class ReachKey(msgspec.Struct, frozen=True):
    """A group of load balancers that services share."""

    reach: view.Reach


class WholeZone(msgspec.Struct, frozen=True):
    """All northbound content at once: drift repaired, leftovers removed."""

    zone: str


Key: TypeAlias = ConfigKey | NodeKey | PodKey | EventKey | ServiceKey | ReachKey | WholeZone
