# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable

import pytest

from ashore.lab.tools import ToolsError, apt, lock

DEB822 = """\
# The mirror.
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://other.example/things
Suites: nodistro
Components: main

Types: deb deb-src
Enabled: no
URIs: http://disabled.example/debian
Suites: trixie
Components: main
"""
ONE_LINE = """\
# deb http://commented.example/debian trixie main
deb [arch=amd64 signed-by=/etc/apt/keyrings/mine.gpg] https://mirror.example/debian trixie main contrib
deb http://mirror.example/debian trixie-updates main
deb http://mirror.example/debian-security trixie-security main
deb-src http://mirror.example/debian trixie main
deb https://other.example/apt cloud-sdk-bookworm main
"""
INLINE_KEY = """\
Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_a_sources_file_gives_the_debian_mirror_and_nothing_else() -> None:
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert apt.parse_deb822(DEB822) == [apt.Source(uris=("http://mirror.example/debian",), signed_by=key)]


def test_a_list_file_gives_the_debian_mirror_and_nothing_else() -> None:
    expected = apt.Source(uris=("https://mirror.example/debian",), signed_by="/etc/apt/keyrings/mine.gpg")
    assert apt.parse_one_line(ONE_LINE) == [expected]


def test_a_key_that_is_written_out_is_kept_whole() -> None:
    (source,) = apt.parse_deb822(INLINE_KEY)
    stanza = apt.stanza_for(source, suite="bookworm")
    assert apt.parse_deb822(stanza) == [source]
    assert "Suites: bookworm\n" in stanza
    assert "END PGP PUBLIC KEY BLOCK" in stanza


def test_both_kinds_of_files_are_read(tmp_path: pathlib.Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (parts / "debian.sources").write_text(DEB822)
    (parts / "debian.sources.bak").write_text(DEB822)
    assert [source.uris for source in apt.sources(tmp_path)] == [
        ("https://mirror.example/debian",),
        ("http://mirror.example/debian",),
    ]


def test_a_machine_without_debian_sources_is_told_what_is_missing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ToolsError, match=r"no Debian archive is named in .*add one, or put the tools on PATH"):
        apt.sources(tmp_path)


@dataclasses.dataclass(frozen=True)
class _Shelf(apt.Archive):
    """An archive whose packages are known."""

    content: dict[tuple[str, str], bytes] = dataclasses.field(default_factory=dict)

    def versions(self, names: Iterable[str]) -> dict[str, set[str]]:
        return {name: {version for have, version in self.content if have == name} for name in names}

    def download(self, wanted: Iterable[tuple[str, str]]) -> list[lock.Pin]:
        found = []
        for name, version in wanted:
            real = version or max(have for key, have in self.content if key == name)
            digest = hashlib.sha256(self.content[name, real]).hexdigest()
            found.append(lock.Pin(name=name, version=real, arch="all", sha256=digest))
        return found


def _pin(name: str, version: str, content: bytes) -> lock.Pin:
    return lock.Pin(name=name, version=version, arch="amd64", sha256=hashlib.sha256(content).hexdigest())


def _shelf(content: dict[tuple[str, str], bytes]) -> _Shelf:
    return _Shelf(suite="trixie", place=pathlib.Path("/nowhere"), content=content)


def test_a_pinned_package_is_fetched_and_checked() -> None:
    pinned = lock.Lock(suite="trixie", pins=(_pin("libx", "1", b"x"),))
    got = apt.fetch(pinned, _shelf({("libx", "1"): b"x", ("libx", "2"): b"y"}), allow_newer=False)
    assert [(pin.name, pin.version) for pin in got] == [("libx", "1")]


def test_a_package_with_other_content_than_pinned_is_refused() -> None:
    pinned = lock.Lock(suite="trixie", pins=(_pin("libx", "1", b"x"),))
    with pytest.raises(ToolsError, match=r"package libx 1: its SHA-256 is .* the lock has"):
        apt.fetch(pinned, _shelf({("libx", "1"): b"forged"}), allow_newer=True)


def test_a_pinned_version_that_is_gone_is_named_with_the_remedy_and_taken_newer_only_when_asked() -> None:
    pinned = lock.Lock(suite="trixie", pins=(_pin("libx", "1", b"x"),))
    shelf = _shelf({("libx", "2"): b"y"})
    with pytest.raises(ToolsError, match=r"libx 1 \(there: 2\).*--allow-newer"):
        apt.fetch(pinned, shelf, allow_newer=False)
    assert [pin.version for pin in apt.fetch(pinned, shelf, allow_newer=True)] == ["2"]


def test_a_lock_keeps_the_other_architectures_pins(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.lock"
    lock.write(path, suite="trixie", pins=[lock.Pin("a", "1", "amd64", "00"), lock.Pin("b", "1", "amd64", "01")])
    lock.write(path, suite="trixie", pins=[lock.Pin("a", "1", "arm64", "02")])
    lock.write(path, suite="trixie", pins=[lock.Pin("a", "2", "amd64", "03")])
    assert lock.read(path, arch="amd64") == lock.Lock("trixie", (lock.Pin("a", "2", "amd64", "03"),))
    assert lock.read(path, arch="arm64") == lock.Lock("trixie", (lock.Pin("a", "1", "arm64", "02"),))
    with pytest.raises(ToolsError, match=r"x\.lock: no packages are pinned for s390x \(pinned: amd64, arm64\)"):
        lock.read(path, arch="s390x")


@pytest.mark.parametrize("name", ["ovs.lock", "seccomp.lock", "busybox.lock"])
def test_the_shipped_locks_pin_every_package_by_checksum(name: str) -> None:
    pinned = lock.read(pathlib.Path(lock.__file__).with_name(name), arch="amd64")
    assert pinned.suite in apt.SUITES
    assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in pinned.pins)
