# SPDX-License-Identifier: Apache-2.0
"""The images that the lab's pods run: `lab.local/pause:1` and `lab.local/demo:1`."""

import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping

from ashore.lab.tools import apt, cache, golang, lock, oci, recipe_kube, report, run
from ashore.lab.tools.errors import ToolsError

HERE = pathlib.Path(__file__).parent
LOCK = HERE / "busybox.lock"
SUITE = "trixie"
PAUSE_C = HERE / "go" / "pause.c"
PROBE = HERE / "go" / "probe"
PAUSE = "lab.local/pause:1"
DEMO = "lab.local/demo:1"
FLAGS = "-s -w"
PROGRAM = "ashore-probe"


def _inputs() -> Iterable[str | pathlib.Path]:
    module = recipe_kube.MODULE
    sources = (module / "go.mod", module / "go.sum", *sorted((module / "pod").glob("*.go")), *sorted(PROBE.glob("*")))
    return (*sources, LOCK, PAUSE_C, HERE / "oci.py", pathlib.Path(__file__), FLAGS, golang.toolchain().version)


def _fill(job: cache.Job) -> Mapping[str, str]:
    if not shutil.which("gcc"):
        raise ToolsError("image: the pause program is written in C and there is no gcc here; "
                         "`apt-get install -y gcc libc6-dev`")  # fmt: skip
    images = job.dest / "images"
    images.mkdir()
    work = job.scratch
    run.run(["gcc", "-Os", "-static", "-s", "-o", str(work / "pause"), str(PAUSE_C)])
    oci.write(oci.Image(name=PAUSE, entrypoint=("/pause",), programs={"pause": work / "pause"}),
              images / "pause.tar")  # fmt: skip
    busybox = _busybox(job, work)
    job.say(f"image: building agnhost {recipe_kube.version()}")
    golang.build(
        golang.Build(what="agnhost", module=recipe_kube.MODULE, packages=["./pod"], output=work / "agnhost"),
        say=job.say,
    )
    job.say("image: building probe, the lab's own measuring instrument")
    golang.build(golang.Build(what="probe", module=PROBE, packages=["."], output=work / "probe"), say=job.say)
    # The lab's places outside pods measure with it too.
    (job.dest / "bin").mkdir()
    shutil.copy(work / "probe", job.dest / "bin" / PROGRAM)
    applets = run.run([str(busybox), "--list"]).split()
    demo = oci.Image(
        name=DEMO, entrypoint=("/bin/agnhost",),
        programs={"bin/busybox": busybox, "bin/agnhost": work / "agnhost", "bin/probe": work / "probe"},
        links={f"bin/{name}": "busybox" for name in applets if name != "busybox"},
    )  # fmt: skip
    oci.write(demo, images / "demo.tar")
    return {"pause": "1", "agnhost": recipe_kube.version()}


def _busybox(job: cache.Job, work: pathlib.Path) -> pathlib.Path:
    archive = apt.opened(SUITE, scratch=job.scratch, say=job.say)
    for pin in apt.fetch(lock.read(LOCK, arch=apt.arch()), archive, allow_newer=job.allow_newer):
        archive.unpack(pin, to=work / "busybox")
    return next(path for path in (work / "busybox").glob("**/bin/busybox") if path.is_file())


def update_lock(say: report.Say) -> None:
    """Pin what the archive has today."""
    with tempfile.TemporaryDirectory(prefix="ashore-lock-") as scratch:
        archive = apt.opened(SUITE, scratch=pathlib.Path(scratch), say=say)
        lock.write(LOCK, suite=SUITE, pins=archive.download([("busybox-static", "")]))
    say("busybox.lock: 1 package pinned")


RECIPE = cache.Recipe(name="image", inputs=_inputs, fill=_fill)
