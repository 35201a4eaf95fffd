# SPDX-License-Identifier: Apache-2.0
"""What the host half asks of the half with OVS, in one process (full) or through annotations (dpu-host, dpu)."""

from collections.abc import Collection
from typing import Protocol

import msgspec

from ashore.api import annotations
from ashore.api.net import PodKey


class PlugError(Exception):
    """A pod's representor can't be connected (now); ``reason`` goes to the pod's status and Event as it is.

    ``is_final`` says that waiting doesn't help: the request itself has to change.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class PlugRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which netdev of this node with OVS carries which pod's network.

    ``representor`` is that netdev's name; ``vf_netdev_name`` the name that the other half uses. Bandwidths are bits
    per second as the pod sees them (ingress: towards the pod), 0: no limit.
    """

    pod: PodKey
    pod_uid: str
    sandbox: str
    network: annotations.PodNetwork
    representor: str
    vf_netdev_name: str = ""
    ingress_bps: int = 0
    egress_bps: int = 0


class Plugger(Protocol):
    """Connects representors of pods to the integration bridge."""

    async def plug(self, request: PlugRequest) -> None:
        """Returns when OVN has installed the port. Idempotent.

        Raises:
            PlugError: with the reason for people.
        """

    def damage(self, pod_uid: str, sandbox: str) -> str:
        """Why packets of this very sandbox's port don't flow, "" when they do."""

    def sandboxes(self) -> Collection[tuple[str, str]]:
        """Pods' ports: (pod's UID, sandbox)."""

    async def unplug(self, pod_uid: str, sandbox: str) -> None:
        """Returns when the port of this very sandbox is gone; another sandbox's port is left alone. Idempotent."""
