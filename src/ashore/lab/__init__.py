# SPDX-License-Identifier: Apache-2.0
"""The local two-cluster world: its tools, networks, nodes and daemons.

Admission rule: what exists only to make, show or break the lab on one Linux machine. No product process imports it.
"""
