# SPDX-License-Identifier: Apache-2.0
"""Where each tool is, once that is settled."""

import dataclasses
import pathlib
from collections.abc import Mapping

from ashore.lab.tools.errors import ToolsError


@dataclasses.dataclass(frozen=True)
class Tool:
    """One program and where it comes from."""

    path: pathlib.Path
    origin: str
    """"setting", "PATH" or "cache"."""


@dataclasses.dataclass(frozen=True)
class Toolbox:
    """The programs, schemas and images that were asked for."""

    programs: Mapping[str, Tool]
    schemas: Mapping[str, pathlib.Path]
    images: list[pathlib.Path]
    """OCI archives for `ctr images import`."""
    bin_dir: pathlib.Path
    """A directory with a link to every program, for PATH."""

    def lookup(self, name: str) -> pathlib.Path | None:
        """The program's path, None if it isn't here."""
        tool = self.programs.get(name)
        return tool.path if tool else None

    def lookup_schema(self, name: str) -> pathlib.Path | None:
        """The schema's path, None if it isn't here."""
        return self.schemas.get(name)

    def path(self, name: str) -> pathlib.Path:
        """The program's path.

        Raises:
            ToolsError: It isn't here.
        """
        if (found := self.lookup(name)) is None:
            raise ToolsError(f"{name}: not on this machine; run `ashore lab tools` (it fetches or builds it)")
        return found

    def schema(self, name: str) -> pathlib.Path:
        """The schema file of "vswitch", "ovn-nb" or "ovn-sb".

        Raises:
            ToolsError: It isn't here.
        """
        if (found := self.lookup_schema(name)) is None:
            raise ToolsError(f"schema {name}: not on this machine; run `ashore lab tools`")
        return found
