# SPDX-License-Identifier: Apache-2.0
"""Which tool from where: a setting, then PATH, then the cache, then it is fetched or built."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from ashore.lab.tools import cache, recipe_image, recipe_kube, recipe_ovs, recipe_runtime, report, search
from ashore.lab.tools.errors import ToolsError
from ashore.lab.tools.toolbox import Tool, Toolbox


@dataclasses.dataclass(frozen=True)
class ToolSet:
    """What is fetched or built together, and what would do instead."""

    recipe: cache.Recipe
    groups: tuple[search.Wanted, ...]


_NO_ASK: tuple[str, ...] = ()
SETS: Mapping[str, ToolSet] = {
    "ovs": ToolSet(
        recipe=recipe_ovs.RECIPE,
        groups=(
            search.Wanted(names=recipe_ovs.OVS, least=(3, 3)),
            search.Wanted(names=recipe_ovs.OVN, least=(24, 3), asks={"ovn-appctl": _NO_ASK}),
            search.Wanted(names=recipe_ovs.NET, whole=False),
        ),
    ),
    "kube": ToolSet(
        recipe=recipe_kube.RECIPE,
        groups=(
            search.Wanted(
                names=recipe_kube.NAMES, least=(1, 34), asks={"kubectl": ("version", "--client"), "etcd": _NO_ASK}
            ),
        ),
    ),
    "runtime": ToolSet(
        recipe=recipe_runtime.RECIPE,
        groups=(
            search.Wanted(names=recipe_runtime.CONTAINERD, least=(2, 0), asks={"containerd-shim-runc-v2": ("-v",)}),
            search.Wanted(names=("runc",), least=(1, 2)),
            search.Wanted(names=recipe_runtime.CNI, whole=False, folders=("/opt/cni/bin",)),
        ),
    ),
    "image": ToolSet(recipe=recipe_image.RECIPE, groups=()),
}


def ensure(
    sets: Sequence[str] = tuple(SETS), *, report: report.Say = report.to_stderr, allow_newer: bool = False
) -> Toolbox:
    """All tools of these sets; what isn't there is fetched or built now.

    Raises:
        ToolsError: Something can't be had.
    """
    where = cache.root()
    found = _Found()
    for name in sets:
        missing = found.look(SETS[name])
        if missing or not SETS[name].groups:
            entry = cache.obtain(SETS[name].recipe, where=where, say=report, allow_newer=allow_newer)
            found.take(SETS[name], entry)
    return found.toolbox(where, link=True)


def find(sets: Sequence[str] = tuple(SETS)) -> Toolbox:
    """The tools of these sets that are there now; nothing is made or written, and what is missing is missing."""
    where = cache.root()
    found = _Found()
    for name in sets:
        missing = found.look(SETS[name])
        if missing or not SETS[name].groups:
            with contextlib.suppress(ToolsError):
                entry = cache.entry_of(SETS[name].recipe, where=where)
                if entry.is_dir():
                    found.take(SETS[name], entry)
    return found.toolbox(where, link=False)


class _Found:
    """What one call has found so far."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        # The cache's own folders on PATH (README puts them there) aren't somebody else's installation.
        own = str(cache.root())
        folders = [folder for folder in env.get("PATH", "").split(os.pathsep) if not folder.startswith(own)]
        self._env = {**env, "PATH": os.pathsep.join(folders)}
        self._programs: dict[str, Tool] = {}
        self._schemas: dict[str, pathlib.Path] = {}
        self._images: list[pathlib.Path] = []

    def look(self, tools: ToolSet) -> bool:
        """Take what settings and PATH have; says whether something is still missing."""
        for group in tools.groups:
            named = {name: hit for name in group.names if (hit := search.explicit(name, env=self._env))}
            there = {} if len(named) == len(group.names) else search.on_path(group, env=self._env)
            self._programs |= {name: Tool(path=path, origin="PATH") for name, path in there.items()}
            self._programs |= {name: Tool(path=path, origin="setting") for name, path in named.items()}
        return any(name not in self._programs for group in tools.groups for name in group.names)

    def take(self, tools: ToolSet, entry: pathlib.Path) -> None:
        """Take the rest from the cache."""
        for group in tools.groups:
            for name in group.names:
                self._programs.setdefault(name, Tool(path=entry / "bin" / name, origin="cache"))
        if not tools.groups:
            # Nobody else makes these: whatever the recipe made.
            for path in sorted((entry / "bin").glob("*")):
                self._programs[path.name] = Tool(path=path, origin="cache")
        self._schemas |= {path.stem: path for path in sorted((entry / "share").glob("*.ovsschema"))}
        self._images += sorted((entry / "images").glob("*.tar"))

    def toolbox(self, where: pathlib.Path, *, link: bool) -> Toolbox:
        """What was found."""
        for name, folder in recipe_ovs.SCHEMAS.items():
            if hit := next(filter(pathlib.Path.is_file, self._schema_places(name, folder)), None):
                self._schemas[name] = hit
        bin_dir = _bin_dir({name: tool.path for name, tool in self._programs.items()}, where=where, link=link)
        return Toolbox(programs=self._programs, schemas=self._schemas, images=self._images, bin_dir=bin_dir)

    def _schema_places(self, name: str, folder: str) -> Iterator[pathlib.Path]:
        """A schema belongs to the server that reads it: beside OVS's programs unless those are the cache's."""
        server = self._programs.get("ovs-vswitchd" if name == "vswitch" else "ovn-northd")
        if server is None or server.origin == "cache":
            return
        for share in ("../share", "../usr/share", "../../usr/share"):
            yield (server.path.parent / share / folder / f"{name}.ovsschema").resolve()


def _bin_dir(programs: Mapping[str, pathlib.Path], *, where: pathlib.Path, link: bool) -> pathlib.Path:
    """A directory of links, one per choice of programs, so that two choices don't disturb each other."""

    def fill(job: cache.Job) -> Mapping[str, str]:
        (job.dest / "bin").mkdir()
        for name, path in programs.items():
            (job.dest / "bin" / name).symlink_to(path)
        return {}

    choice = [f"{name} {path}" for name, path in sorted(programs.items())]
    recipe = cache.Recipe(name="links", inputs=lambda: choice, fill=fill)
    entry = cache.obtain(recipe, where=where, say=report.quiet) if link else cache.entry_of(recipe, where=where)
    return entry / "bin"
