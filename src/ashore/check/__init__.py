# SPDX-License-Identifier: Apache-2.0
"""Whether everybody reaches everybody in a running cluster: pods, hosts, services of every kind, the outside.

Admission rule: uses a cluster as a person would, by kubectl; knows what Kubernetes promises and nothing of agents,
controller or OVN. Which cases there are, and what an answer means, is decided by pure functions.
"""

from ashore.check.ask import CommandFailed, Outside
from ashore.check.checking import Report, Wish, run
from ashore.check.verdict import Case

__all__ = ["Case", "CommandFailed", "Outside", "Report", "Wish", "run"]
