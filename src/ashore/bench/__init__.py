# SPDX-License-Identifier: Apache-2.0
"""Measures ashore as it is used, and says what was measured.

Admission rule: times, sizes and rates of the real thing, taken from outside or from figures that the processes publish
anyway. Nothing here judges a figure; nothing but the command line imports it.
"""
