# SPDX-License-Identifier: Apache-2.0
"""What a node's daemon is, and the places in a node that daemons agree on."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

OVS_RUN = "/run/openvswitch"
OVN_RUN = "/run/ovn"
OVS_DB = "/var/lib/openvswitch/conf.db"
CREDENTIALS = "/etc/ashore/credentials"
DATABASE_PKI = "/etc/ovn/pki"
DONE = "/run/lab/done"
"""Where one-shot daemons leave a file of their name when they are through."""
SYS_ROOT = "/run/lab/sys"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


class Daemon(msgspec.Struct, frozen=True):
    """One program that a node's supervisor keeps."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    """Files (sockets as a rule) that must exist before it starts."""
    is_oneshot: bool = False
    """Runs to its end once a boot, again only if it failed."""
    environment: Mapping[str, str] = {}


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a Python module of ours."""
    return (sys.executable, "-m", name, *arguments)


def program(name: str) -> str:
    """Where an ashore program is: beside the interpreter that runs the lab."""
    return str(Path(sys.executable).parent / name)
