# SPDX-License-Identifier: Apache-2.0
"""What ashore promises on the wire: annotations, CNI messages, custom resources, names.

Admission rule: pure data and its codecs. Nothing here opens a file, a socket or a clock, and nothing here imports
another room. A change here is a change of a contract and needs a line in ``docs/reference/compatibility.md``.
"""
