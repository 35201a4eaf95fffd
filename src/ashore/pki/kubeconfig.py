# SPDX-License-Identifier: Apache-2.0
"""The text of a kubeconfig for a client certificate."""

import base64
import json
import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Credentials:
    """What a kubeconfig carries; a ``Path`` is referred to (and can be rotated), bytes are written inline."""

    authority: bytes | pathlib.Path
    cert: bytes | pathlib.Path
    key: bytes | pathlib.Path


def render_kubeconfig(server: str, credentials: Credentials, *, name: str = "ashore") -> bytes:
    """A kubeconfig with one cluster, one user and one context, all called ``name``. Relative paths stay relative."""
    cluster = {"server": server} | _entry("certificate-authority", credentials.authority)
    user = _entry("client-certificate", credentials.cert) | _entry("client-key", credentials.key)
    # JSON is YAML; a flow mapping a line keeps it readable without a YAML writer.
    lines = (
        "apiVersion: v1",
        "kind: Config",
        f"clusters: {json.dumps([{'name': name, 'cluster': cluster}])}",
        f"users: {json.dumps([{'name': name, 'user': user}])}",
        f"contexts: {json.dumps([{'name': name, 'context': {'cluster': name, 'user': name}}])}",
        f"current-context: {json.dumps(name)}",
    )
    return ("\n".join(lines) + "\n").encode()


def _entry(key: str, value: bytes | pathlib.Path) -> dict[str, str]:
    if isinstance(value, bytes):
        return {f"{key}-data": base64.b64encode(value).decode()}
    return {key: str(value)}
