# SPDX-License-Identifier: Apache-2.0
"""What a person is told when a tool can't be had."""


class ToolsError(Exception):
    """A tool can't be had; the text names the tool, what was found, and the remedy."""
