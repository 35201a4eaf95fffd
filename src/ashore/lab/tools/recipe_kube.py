# SPDX-License-Identifier: Apache-2.0
"""Kubernetes and etcd: one program of many names, built from Go modules."""

import pathlib
import re
from collections.abc import Iterable, Mapping

from ashore.lab.tools import cache, golang

MODULE = pathlib.Path(__file__).parent / "go" / "kube"
NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "etcd")
FLAGS = "-s -w"


def _sources() -> list[pathlib.Path]:
    return [MODULE / "go.mod", MODULE / "go.sum", *sorted(MODULE.glob("*.go"))]


def version() -> str:
    """The Kubernetes version that go.mod pins."""
    match = re.search(r"k8s\.io/kubernetes (v\d+\.\d+\.\d+)", (MODULE / "go.mod").read_text())
    return match[1] if match else "v0.0.0"


def _inputs() -> Iterable[str | pathlib.Path]:
    return (*_sources(), FLAGS, golang.toolchain().version, *NAMES)


def _fill(job: cache.Job) -> Mapping[str, str]:
    job.say(f"kube: building {', '.join(NAMES)} {version()} from Go modules (first time: about 6 min on 2 cores)")
    (job.dest / "bin").mkdir()
    stamp, (major, minor) = "k8s.io/component-base/version", version().lstrip("v").split(".")[:2]
    # Without these the server says v0.0.0-master, and kubectl and kubelet refuse to work with it.
    marks = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean",
             "buildDate": "1970-01-01T00:00:00Z"}  # fmt: skip
    ldflags = " ".join([FLAGS, *(f"-X {stamp}.{name}={value}" for name, value in marks.items())])
    golang.build(
        golang.Build(what="kube", module=MODULE, packages=["."], output=job.dest / "bin/kube", ldflags=ldflags),
        say=job.say,
    )
    for name in NAMES:
        (job.dest / "bin" / name).symlink_to("kube")
    return {"kubernetes": version()}


RECIPE = cache.Recipe(name="kube", inputs=_inputs, fill=_fill)
