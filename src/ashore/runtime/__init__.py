# SPDX-License-Identifier: Apache-2.0
"""How every ashore process works: keys in a queue, reconcile until level, leadership, health, metrics, shutdown.

Admission rule: knows no Kubernetes kind and no OVN table; what a key means is the process' business. This is the only
room where ``except Exception`` may stand.
"""

from ashore.runtime.health import Health, serve_metrics
from ashore.runtime.leadership import (
    Candidate,
    Elector,
    LeaseRecord,
    LeaseStore,
    LeaseTaken,
    LeaseUnreachable,
    NotLeader,
    Term,
    Timing,
)
from ashore.runtime.process import run_all, set_up_logging, stop_signals
from ashore.runtime.queue import WorkQueue
from ashore.runtime.verdicts import Refused, Retry

__all__ = [
    "Candidate",
    "Elector",
    "Health",
    "LeaseRecord",
    "LeaseStore",
    "LeaseTaken",
    "LeaseUnreachable",
    "NotLeader",
    "Refused",
    "Retry",
    "Term",
    "Timing",
    "WorkQueue",
    "run_all",
    "serve_metrics",
    "set_up_logging",
    "stop_signals",
]
