# SPDX-License-Identifier: Apache-2.0
"""The only door to ovs-vswitchd and ovn-controller beside OVSDB: their control sockets, later OpenFlow bundles.

Admission rule: asks and tells running daemons what the database can't carry. Knows no pod and no node; what should be
true is decided elsewhere.
"""
