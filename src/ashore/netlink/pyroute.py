# SPDX-License-Identifier: Apache-2.0
"""The one place that imports pyroute2.

Its package imports everything it has, NDB included: 8 MB and half of the import's time, on every host. The modules that
we use don't need that, so the package is entered without running its ``__init__``.
"""

import importlib.util
import sys
import types

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    if _spec is None or _spec.submodule_search_locations is None:
        raise ImportError("pyroute2 isn't installed; install ashore with its dependencies")
    _package = types.ModuleType("pyroute2")
    _package.__path__ = list(_spec.submodule_search_locations)
    _package.__spec__ = _spec
    sys.modules["pyroute2"] = _package

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted
from pyroute2.netlink.exceptions import NetlinkError as Refusal
from pyroute2.netlink.rtnl import RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK

__all__ = [
    "RTMGRP_IPV4_IFADDR",
    "RTMGRP_IPV6_IFADDR",
    "RTMGRP_LINK",
    "AsyncIPRoute",
    "NetlinkDumpInterrupted",
    "Refusal",
]
