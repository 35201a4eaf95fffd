# SPDX-License-Identifier: Apache-2.0
"""The lab's demonstration: pods on every kind of node try each other, and each answer is shown to be no accident.

Admission rule: uses the lab as a person would, by kubectl and by commands inside nodes; knows nothing of the agents'
or the controller's insides.
"""

from ashore.lab.demo.show import Report, run

__all__ = ["Report", "run"]
