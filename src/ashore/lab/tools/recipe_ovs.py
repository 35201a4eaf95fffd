# SPDX-License-Identifier: Apache-2.0
"""OVS, OVN and the network's small tools: Debian's packages, unpacked, each program with the libraries it needs.

The programs run through the prefix's own dynamic loader, so the C library of the machine doesn't matter.
"""

import dataclasses
import pathlib
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from ashore.lab.tools import apt, cache, lock, report, run
from ashore.lab.tools.errors import ToolsError

HERE = pathlib.Path(__file__).parent
LOCK = HERE / "ovs.lock"
SUITE = "trixie"
ROOTS = (
    "openvswitch-switch", "openvswitch-common", "ovn-central", "ovn-host", "ovn-common",
    "iputils-ping", "tcpdump", "ethtool", "nftables", "conntrack", "iproute2",
)  # fmt: skip
OVS = ("ovsdb-tool", "ovsdb-client", "ovsdb-server", "ovs-vsctl", "ovs-appctl", "ovs-ofctl", "ovs-dpctl",
       "ovs-vswitchd")  # fmt: skip
OVN = ("ovn-nbctl", "ovn-sbctl", "ovn-northd", "ovn-controller", "ovn-appctl", "ovn-trace")
NET = ("ping", "tcpdump", "ethtool", "nft", "conntrack", "ip", "bridge", "tc", "ss")
FOLDERS = ("usr/bin", "usr/sbin", "usr/lib/openvswitch-*", "bin", "sbin")
SCHEMAS = {"vswitch": "openvswitch", "ovn-nb": "ovn", "ovn-sb": "ovn"}


@dataclasses.dataclass(frozen=True)
class _Program:
    name: str
    file: pathlib.Path
    libraries: tuple[pathlib.Path, ...]


def _inputs() -> Iterable[str | pathlib.Path]:
    return (LOCK, pathlib.Path(__file__), *OVS, *OVN, *NET)


def _programs(unpacked: pathlib.Path) -> Iterator[_Program]:
    """Each program with the libraries that its loader finds in the unpacked packages."""
    libs = [unpacked / "*" / "usr/lib" / f"{platform.machine()}-linux-gnu"]
    folders = [path for pattern in libs for path in sorted(unpacked.glob(str(pattern.relative_to(unpacked))))]
    loader = _loader(unpacked)
    for name in (*OVS, *OVN, *NET):
        places = (hit for folder in FOLDERS for hit in unpacked.glob(f"*/{folder}/{name}"))
        hits = [hit for hit in places if hit.is_file() and not hit.is_symlink()]
        if not hits:
            raise ToolsError(f"{name}: it is in none of the packages of {LOCK.name}; the lock doesn't fit this version")
        path = ":".join(str(folder) for folder in (*folders, *(folder / "systemd" for folder in folders)))
        text = run.run([str(loader), "--library-path", path, "--list", str(hits[0])])
        found = tuple(pathlib.Path(hit) for hit in re.findall(r"=> (/\S+) \(", text))
        if missing := re.findall(r"(\S+) => not found", text):
            raise ToolsError(f"{name}: no package of {LOCK.name} has {', '.join(missing)}; run --update-locks")
        yield _Program(name=name, file=hits[0], libraries=found)


def _loader(unpacked: pathlib.Path) -> pathlib.Path:
    for pattern in ("libc6/usr/lib/*/ld-linux-*.so.*", "libc6/usr/lib*/ld-linux-*.so.*", "libc6/lib*/ld-linux-*.so.*"):
        if hits := [path for path in sorted(unpacked.glob(pattern)) if path.exists()]:
            return hits[0]
    raise ToolsError("libc6: its package has no dynamic loader where one is expected")


def _fill(job: cache.Job) -> Mapping[str, str]:
    pinned = lock.read(LOCK, arch=apt.arch())
    archive = apt.opened(pinned.suite, scratch=job.scratch, say=job.say)
    job.say(f"ovs: fetching {len(pinned.pins)} packages")
    got = apt.fetch(pinned, archive, allow_newer=job.allow_newer)
    unpacked = archive.place / "unpacked"
    for pin in got:
        archive.unpack(pin, to=unpacked / pin.name)
    _lay_out(job, unpacked)
    return {pin.name: pin.version for pin in got}


def _lay_out(job: cache.Job, unpacked: pathlib.Path) -> None:
    for part in ("bin", "lib", "libexec", "share"):
        (job.dest / part).mkdir()
    shutil.copy2(_loader(unpacked), job.dest / "lib/ld.so")
    for program in _programs(unpacked):
        shutil.copy2(program.file, job.dest / "libexec")
        for library in program.libraries:
            shutil.copy2(library, job.dest / "lib" / library.name)
        wrapper = job.dest / "bin" / program.name
        prefix = job.final
        wrapper.write_text(
            f"#!/bin/sh\nexec '{prefix}/lib/ld.so' --library-path '{prefix}/lib' --argv0 {program.name} "
            f"'{prefix}/libexec/{program.file.name}' \"$@\"\n"
        )
        wrapper.chmod(0o755)
    for name, folder in SCHEMAS.items():
        file = next(unpacked.glob(f"*/usr/share/{folder}/{name}.ovsschema"))
        shutil.copy2(file, job.dest / "share")


def update_lock(say: report.Say) -> None:
    """Pin what the archive has today: only the packages that a program or one of its libraries comes from."""
    with tempfile.TemporaryDirectory(prefix="ashore-lock-") as scratch:
        archive = apt.opened(SUITE, scratch=pathlib.Path(scratch), say=say)
        names = archive.closure(ROOTS)
        say(f"ovs.lock: looking at {len(names)} packages")
        pins = archive.download(names)
        unpacked = archive.place / "unpacked"
        for pin in pins:
            archive.unpack(pin, to=unpacked / pin.name)
        files = {_loader(unpacked), *unpacked.glob("*/usr/share/*/*.ovsschema")}
        for program in _programs(unpacked):
            files |= {program.file, *program.libraries}
        used = {path.relative_to(unpacked).parts[0] for path in files}
        kept = [dataclasses.replace(pin, arch=apt.arch()) for pin in pins if pin.name in used]
        lock.write(LOCK, suite=SUITE, pins=kept)
        say(f"ovs.lock: {len(kept)} packages pinned")


RECIPE = cache.Recipe(name="ovs", inputs=_inputs, fill=_fill)
