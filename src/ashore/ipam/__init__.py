# SPDX-License-Identifier: Apache-2.0
"""Which numbers, subnets and addresses are taken, and which one comes next.

Admission rule: pure and frozen; an allocation gives a new book. Time is an argument, exhaustion is a value, and nothing
here knows Kubernetes or OVN. The record of what was given out is elsewhere; a book is rebuilt from it at any time.
"""
