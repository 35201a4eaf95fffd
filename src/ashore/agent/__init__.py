# SPDX-License-Identifier: Apache-2.0
"""The process that serves one node, in one of the modes of ``modes.py``.

Admission rule: composes doors and planners and decides nothing that a planner could decide; everything that differs
between modes stands in one table.
"""
