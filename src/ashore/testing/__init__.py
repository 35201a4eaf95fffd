# SPDX-License-Identifier: Apache-2.0
"""Fakes that users of ashore's rooms may test with: FakeKube, FakeOvsdb, FakeKernel, a clock, consistency checks.

Admission rule: a fake enters when the same conformance tests run on it and on the real thing. No product room
imports this one.
"""
