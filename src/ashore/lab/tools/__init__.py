# SPDX-License-Identifier: Apache-2.0
"""The foreign programs that the lab and the tests run: found on the machine, or made once and cached.

Admission rule: what decides where a tool comes from, and what fetches or builds it. Nothing here knows what a tool is
run for.
"""

from ashore.lab.tools.errors import ToolsError
from ashore.lab.tools.resolve import SETS, ensure, find
from ashore.lab.tools.toolbox import Toolbox

__all__ = ["SETS", "Toolbox", "ToolsError", "ensure", "find"]
