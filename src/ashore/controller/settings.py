# SPDX-License-Identifier: Apache-2.0
"""What the controller is told on its command line: only what it needs to reach the API and the database."""

import pathlib
from dataclasses import dataclass

from ashore.ovsdb import remote


class Unusable(Exception):  # noqa: N818 (a finding about settings)
    """The controller can't start with these settings; the text names file, finding and remedy."""


@dataclass(frozen=True)
class Settings:
    """The controller's settings."""

    credentials: pathlib.Path
    """Directory with ``kubeconfig`` and ``nb/{key,cert,ca}.pem``, ``nb/remote``; files are read again on change."""
    identity: str
    """This replica's name as holder of the lease."""
    api_servers: tuple[str, ...] = ()
    """URLs tried in turn; empty: the kubeconfig's server."""
    metrics: str = ""
    """host:port to serve metrics and health on; empty: not served."""
    lease_s: float = 15.0
    """The lease's duration in seconds: how long a killed leader is waited for."""

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The host cluster's kubeconfig."""
        return self.credentials / "kubeconfig"


def northbound_remotes(settings: Settings) -> tuple[str, ...]:
    """Where the northbound database listens, from ``nb/remote``: remotes separated by commas.

    Raises:
        Unusable: the file can't be read or holds no remote.
    """
    path = settings.credentials / "nb" / "remote"
    try:
        text = path.read_text()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}; it holds the database's remote, such as ssl:host:6641") from error
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise Unusable(f"{path}: is empty; it holds the database's remote, such as ssl:host:6641")
    for each in found:
        try:
            remote.parse(each)
        except ValueError as error:
            raise Unusable(f"{path}: {error}") from error
    return found


def check(settings: Settings) -> None:
    """Raises Unusable for what no waiting cures."""
    try:
        settings.kubeconfig.read_bytes()
    except OSError as error:
        raise Unusable(
            f"{settings.kubeconfig}: {error.strerror}; put the host cluster's kubeconfig there, readable by this user"
        ) from error
    northbound_remotes(settings)
