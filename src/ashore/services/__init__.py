# SPDX-License-Identifier: Apache-2.0
"""From services and their endpoints to load balancers: rows of OVN's northbound database.

Admission rule: pure planners and the views that they read. What switches and routers exist is told by ``Places``; which
Kubernetes object says what is decided before (``controller.service_records``). One service is planned alone, so that a
change of its endpoints touches its own rows and nothing else. Choices: ``docs/decisions/0008-load-balancer-groups.md``.
"""
