# SPDX-License-Identifier: Apache-2.0
"""``ashore-controller``: ids, subnets and addresses, all northbound content, node taints, pod Events.

Admission rule: composes ``kube``, ``ovsdb`` and the planners. What a plan says is decided in ``ipam`` and ``topology``;
what stands here says when to plan, what to write where, and what to do when the world says no. Nothing here touches a
node, and nothing asks for a node's mode: a node is what its annotations say.
"""
