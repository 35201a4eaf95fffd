# SPDX-License-Identifier: Apache-2.0
"""From what is known of nodes and pods to the logical network: rows of OVN's northbound database.

Admission rule: pure planners and the views that they read. A planner is given a view and gives a ``schema.row.Plan``;
it knows no clock, no door and no mode of a node: a node is what its annotations say.
"""
