# SPDX-License-Identifier: Apache-2.0
"""Keys, certificate requests, certificates, and the files that carry them.

Admission rule: what needs ``cryptography`` lives here and nowhere else, beside the writers of the files that hold its
results. Functions take data and return PEM; only ``files`` touches a disk. Knows no cluster, no database, no process.
"""

from ashore.pki.authority import Authority, KeyPair, Refused, Usage, make_key, make_request, public_key_of
from ashore.pki.files import write_private
from ashore.pki.kubeconfig import Credentials, render_kubeconfig

__all__ = [
    "Authority",
    "Credentials",
    "KeyPair",
    "Refused",
    "Usage",
    "make_key",
    "make_request",
    "public_key_of",
    "render_kubeconfig",
    "write_private",
]
