# SPDX-License-Identifier: Apache-2.0
"""The CNI plugin that a container runtime executes.

Admission rule: one file, ``shim.py``, that runs alone as ``python3 -I -S`` and imports nothing but what the interpreter
itself brings. Whatever can be done in the agent is done there.
"""
