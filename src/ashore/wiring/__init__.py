# SPDX-License-Identifier: Apache-2.0
"""What a node's links, addresses, routes and OVS rows should be, from views of its node and pods.

Admission rule: pure planners. Imports ``api``, ``schema`` and ``ipam`` alone; knows no socket, clock or event loop.
"""
