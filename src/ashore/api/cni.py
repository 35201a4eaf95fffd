# SPDX-License-Identifier: Apache-2.0
"""One line of JSON each way between the shim and the agent (DESIGN 3.3); the shim can't import it, tests hold both."""

from typing import Any

import msgspec

CNI_VERSION = "1.1.0"
SUPPORTED_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"})
SOCKET = "/run/ashore/cni.sock"
ADD_DEADLINE_S = 30.0
MAX_REQUEST_BYTES = 1 << 20

# Error codes below 100 are the CNI specification's; ours are stable and documented in docs/reference/cni.md.
INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODE_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50
LIMITED = 51
AGENT_UNREACHABLE = 100
DEADLINE = 101
NO_FREE_VF = 102
POD_NOT_FOUND = 103
NO_ADDRESS = 104
DPU_REFUSED = 105
DPU_DOWN = 106
BAD_NETNS = 107
DEVICE_LOST = 108
CHECK_FAILED = 109
WRONG_DEVICE = 110
HOST_PORT = 111
BAD_BANDWIDTH = 112
INTERNAL = 999


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the runtime asked for. ``config`` is the network configuration as JSON value, ``args`` is CNI_ARGS."""

    command: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    config: dict[str, Any] = {}
    pod_uid: str = ""


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """A CNI error: stable code, one line for people, more for the curious."""

    code: int
    msg: str
    details: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``result`` and ``error``; an empty result is ``{}``."""

    result: dict[str, Any] | None = None
    error: Error | None = None


class Failure(Exception):  # noqa: N818 (CNI's word is failure; it becomes an Error on the wire)
    """Raised by whatever serves a request; the server turns it into an Error."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.error = Error(code=code, msg=msg, details=details)
