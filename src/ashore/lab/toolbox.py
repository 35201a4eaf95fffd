# SPDX-License-Identifier: Apache-2.0
"""The tools as a lab's record keeps them."""

from ashore.lab import spec, tools

_SCHEMAS = ("vswitch", "ovn-nb", "ovn-sb")


def resolve() -> spec.Toolpaths:
    """Finds, fetches or builds every tool.

    Raises:
        ToolsError: one can't be had.
    """
    found = tools.ensure()
    return spec.Toolpaths(
        binaries={name: str(tool.path) for name, tool in found.programs.items()},
        bin_dir=str(found.bin_dir),
        images=tuple(str(image) for image in found.images),
        schemas={name: str(found.schema(name)) for name in _SCHEMAS},
    )
