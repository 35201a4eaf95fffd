# SPDX-License-Identifier: Apache-2.0
"""containerd, runc and the reference CNI plugins, built from Go modules."""

import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping

from ashore.lab.tools import apt, cache, golang, lock, report
from ashore.lab.tools.errors import ToolsError

HERE = pathlib.Path(__file__).parent
MODULES = HERE / "go"
LOCK = HERE / "seccomp.lock"
SUITE = "bookworm"  # A static library of an older suite links against any newer C library, not the other way round.
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
CNI = ("loopback", "ptp", "host-local", "bridge")
FLAGS = "-s -w"
# Without seccomp every pod sandbox fails with "unable to init seccomp".
RUNC_TAGS = "seccomp netgo osusergo"
RUNC_FLAGS = "-linkmode external -extldflags '-static -L{libraries}'"
_CONTAINERD = "github.com/containerd/containerd/v2"
_RUNC = "github.com/opencontainers/runc"


def _inputs() -> Iterable[str | pathlib.Path]:
    for name in ("containerd", "runc", "cni"):
        yield from (name, MODULES / name / "go.mod", MODULES / name / "go.sum")
    yield from (LOCK, FLAGS, RUNC_TAGS, RUNC_FLAGS, golang.toolchain().version, *CONTAINERD, *CNI)


def _pinned(module: str, path: str) -> str:
    match = re.search(rf"{re.escape(path)} (v\S+)", (MODULES / module / "go.mod").read_text())
    return match[1] if match else "unknown"


def _fill(job: cache.Job) -> Mapping[str, str]:
    if not shutil.which("gcc"):
        raise ToolsError("runtime: runc is partly written in C and there is no gcc here; `apt-get install -y gcc "
                         "libc6-dev`, or put containerd 2.0 and runc 1.2 or later on PATH")  # fmt: skip
    bin_dir = job.dest / "bin"
    bin_dir.mkdir()
    _containerd(job, bin_dir)
    _runc(job, bin_dir)
    job.say(f"runtime: building CNI plugins {', '.join(CNI)}")
    golang.build(golang.Build(what="cni", module=MODULES / "cni", packages=["tool"], output=bin_dir), say=job.say)
    holds = {"containerd": _pinned("containerd", _CONTAINERD), "runc": _pinned("runc", _RUNC)}
    return holds | {"cni-plugins": _pinned("cni", "github.com/containernetworking/plugins")}


def _containerd(job: cache.Job, bin_dir: pathlib.Path) -> None:
    version = _pinned("containerd", _CONTAINERD)
    job.say(f"runtime: building containerd {version}, its shim and ctr (first time: about 1 min on 2 cores)")
    build = golang.Build(
        what="containerd", module=MODULES / "containerd", output=bin_dir,
        packages=[f"{_CONTAINERD}/cmd/{name}" for name in CONTAINERD],
        ldflags=f"{FLAGS} -X {_CONTAINERD}/version.Version={version}",
    )  # fmt: skip
    golang.build(build, say=job.say)


def _runc(job: cache.Job, bin_dir: pathlib.Path) -> None:
    version = _pinned("runc", _RUNC)
    archive = apt.opened(SUITE, scratch=job.scratch, say=job.say)
    prefix = archive.place / "seccomp"
    for pin in apt.fetch(lock.read(LOCK, arch=apt.arch()), archive, allow_newer=job.allow_newer):
        archive.unpack(pin, to=prefix)
    (library,) = prefix.glob("usr/lib/*/libseccomp.a")
    job.say(f"runtime: building runc {version}")
    # Go keeps what pkg-config said in its build cache and doesn't ask again, so that no path of this folder may be
    # in it. (A small machine has no pkg-config either.)
    pkg_config = archive.place / "pkg-config"
    pkg_config.write_text('#!/bin/sh\ncase "$*" in *--libs*) echo -lseccomp ;; esac\n')
    pkg_config.chmod(0o755)
    mark = f"-X main.version={version.lstrip('v')}"
    build = golang.Build(
        what="runc",
        module=MODULES / "runc",
        packages=[_RUNC],
        output=bin_dir / "runc",
        tags=RUNC_TAGS,
        ldflags=f"{FLAGS} {mark} {RUNC_FLAGS.format(libraries=library.parent)}",
        cgo={"PKG_CONFIG": str(pkg_config), "CGO_CFLAGS": f"-O2 -I{prefix}/usr/include"},
    )
    golang.build(build, say=job.say)


def update_lock(say: report.Say) -> None:
    """Pin what the archive has today."""
    with tempfile.TemporaryDirectory(prefix="ashore-lock-") as scratch:
        archive = apt.opened(SUITE, scratch=pathlib.Path(scratch), say=say)
        lock.write(LOCK, suite=SUITE, pins=archive.download([("libseccomp-dev", "")]))
    say("seccomp.lock: 1 package pinned")


RECIPE = cache.Recipe(name="runtime", inputs=_inputs, fill=_fill)
