# SPDX-License-Identifier: Apache-2.0
"""A lab under strain: random operations, bursts of pods, and a look at what stays behind.

Admission rule: uses the lab as a person would, by kubectl, faults and commands inside nodes; what is found is compared
with what was there before, never with what the agents think.
"""

from ashore.lab.soak.story import Lab, Report, Wish, run

__all__ = ["Lab", "Report", "Wish", "run"]
