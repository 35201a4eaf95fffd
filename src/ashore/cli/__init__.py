# SPDX-License-Identifier: Apache-2.0
"""The command line ``ashore``: people's door.

Admission rule: words, tables, JSON and exit codes. What is looked up or done lives in the room that knows it; nothing
imports this one.
"""
