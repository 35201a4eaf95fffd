# SPDX-License-Identifier: Apache-2.0
"""Rows of the OVN_Northbound and Open_vSwitch databases as typed, frozen data, and plans made of them.

Admission rule: ``nb.py`` and ``vswitch.py`` are generated from the .ovsschema files; ``row.py`` is what they and all
planners stand on. Pure data; imports no other room.
"""
