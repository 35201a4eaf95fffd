# SPDX-License-Identifier: Apache-2.0
"""A node that is its own host and its own switch: both halves' plans, side by side, nothing else."""

import msgspec

from ashore.schema import row
from ashore.wiring import dpu, dpu_host


class Plan(msgspec.Struct, frozen=True):
    """What the host's half and the switch's half want."""

    link: dpu_host.LinkPlan
    rows: row.Plan


def plan_pod(view: dpu_host.PodView, bridge: row.Uuid, port: dpu.PodPort) -> Plan:
    """A pod's interface and its representor's port."""
    return Plan(dpu_host.plan_pod(view), dpu.plan_pod(bridge, port))
