# SPDX-License-Identifier: Apache-2.0
"""What differs between NIC vendors, as data; one file a family.

Admission rule: a ``VENDOR`` constant of type ``description.Vendor`` each, no code.
"""
