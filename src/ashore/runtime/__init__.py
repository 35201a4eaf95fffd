# SPDX-License-Identifier: Apache-2.0
"""How every ashore process works: keys in a queue, reconcile until level, leadership, health, metrics, shutdown.

Admission rule: knows no Kubernetes kind and no OVN table; what a key means is the process' business. This is the only
room where ``except Exception`` may stand.
"""
