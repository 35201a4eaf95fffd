# SPDX-License-Identifier: Apache-2.0
"""What the agent counts."""

from contextlib import AbstractContextManager

from prometheus_client import Counter, Gauge, Histogram

CNI_SECONDS = Histogram(
    "ashore_cni_request_seconds",
    "Time to serve a CNI request; code 0 is success, -1 a request whose runtime went away.",
    ["command", "code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
PHASE_SECONDS = Histogram(
    "ashore_cni_phase_seconds",
    "Time of the parts of serving a CNI request: device, address, netns, tell, answer on a host; wire, ovn, report "
    "where the switch is. netns runs beside tell and answer.",
    ["command", "phase"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
FREE_DEVICES = Gauge("ashore_free_vfs", "VFs that pods may still take.")
DPU_IS_READY = Gauge("ashore_dpu_ready", "1 while the DPU renews its lease.")
EVENTS_LOST = Counter("ashore_events_lost_total", "Kubernetes Events that couldn't be written.")


def phase(command: str, name: str) -> AbstractContextManager[object]:
    """Counts how long the context lasts, also when it fails, as a phase of a CNI command."""
    return PHASE_SECONDS.labels(command, name).time()
