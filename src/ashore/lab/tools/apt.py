# SPDX-License-Identifier: Apache-2.0
"""Debian packages of a chosen suite, fetched with the machine's own apt and unpacked; nothing is installed.

The archive's address, its key and any proxy are the machine's own. State and lists are private, so that the machine's
apt never sees the other suite.
"""

import dataclasses
import hashlib
import pathlib
import platform
import re
import shutil
import urllib.parse
from collections.abc import Iterable, Sequence

from ashore.lab.tools import lock, report, run
from ashore.lab.tools.errors import ToolsError

SUITES = frozenset(
    {"bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable", "oldoldstable"}
)
ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SNAPSHOT = "an apt source of Debian's snapshot archive"


@dataclasses.dataclass(frozen=True)
class Source:
    """One place that the machine fetches Debian's main suite from."""

    uris: tuple[str, ...]
    signed_by: str = ""
    """The value of Signed-By, a path or a key; empty: apt's own trusted keys."""


def arch() -> str:
    """Debian's name of this machine's architecture."""
    return ARCHES.get(platform.machine(), platform.machine())


def parse_deb822(text: str) -> list[Source]:
    """The sources of a `.sources` file that carry a plain Debian suite and its main component."""
    return [found for stanza in re.split(r"\n\s*\n", text) if (found := _from_stanza(stanza))]


def _from_stanza(stanza: str) -> Source | None:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace():  # A key that is written out, or a long list, goes on in indented lines.
            fields[name] = f"{fields.get(name, '')}\n{line}"
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        fields[name] = value.strip()
    if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
        return None
    plain = SUITES & set(fields.get("suites", "").split())
    if not plain or "main" not in fields.get("components", "").split():
        return None
    return Source(uris=tuple(fields.get("uris", "").split()), signed_by=fields.get("signed-by", ""))


def parse_one_line(text: str) -> list[Source]:
    """The sources of a `.list` file that carry a plain Debian suite and its main component."""
    found = []
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]*)", line
        )
        if match and match["suite"] in SUITES and "main" in match["rest"].split():
            options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
            found.append(Source(uris=(match["uri"],), signed_by=options.get("signed-by", "")))
    return found


def sources(etc: pathlib.Path = pathlib.Path("/etc/apt")) -> list[Source]:
    """The machine's sources for Debian itself.

    Raises:
        ToolsError: It has none.
    """
    found: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text())
        elif path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text())
    if not found:
        raise ToolsError(
            f"no Debian archive is named in {etc}/sources.list or .d (looked for a line or stanza with"
            " one of Debian's suites and the component main); add one, or put the tools on PATH"
        )
    return found


def stanza_for(source: Source, *, suite: str) -> str:
    """The source as a deb822 stanza for another suite."""
    signed_by = source.signed_by or (KEYRING if pathlib.Path(KEYRING).exists() else "")
    key = f"Signed-By: {signed_by}\n" if signed_by else ""
    return f"Types: deb\nURIs: {' '.join(source.uris)}\nSuites: {suite}\nComponents: main\n{key}"


@dataclasses.dataclass(frozen=True)
class Archive:
    """A suite whose index has been fetched."""

    suite: str
    place: pathlib.Path

    def _apt(self, *words: str) -> str:
        return run.run(words, cwd=self.place, env={"APT_CONFIG": str(self.place / "apt.conf")})

    def closure(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """The (name, version) of all that `names` depend on, themselves included."""
        text = self._apt("apt-get", "-qq", "--simulate", "--no-install-recommends", "install", *names)
        return re.findall(r"^Inst (\S+) \((\S+) ", text, flags=re.MULTILINE)

    def download(self, wanted: Iterable[tuple[str, str]]) -> list[lock.Pin]:
        """Fetch these (name, version); they are then in `debs/`. An empty version means the archive's newest."""
        (self.place / "debs").mkdir(exist_ok=True)
        words = [f"{name}={version}" if version else name for name, version in wanted]
        run.run(["apt-get", "-qq", "download", *words], cwd=self.place / "debs",
                env={"APT_CONFIG": str(self.place / "apt.conf")})  # fmt: skip
        return [_pin_of(path) for path in sorted((self.place / "debs").glob("*.deb"))]

    def versions(self, names: Iterable[str]) -> dict[str, set[str]]:
        """What the archive has of each name."""
        text = self._apt("apt-cache", "madison", *names)
        found: dict[str, set[str]] = {}
        for line in text.splitlines():
            name, version, *_ = (word.strip() for word in line.split("|"))
            found.setdefault(name, set()).add(version)
        return found

    def unpack(self, pin: lock.Pin, *, to: pathlib.Path) -> None:
        """Unpack a fetched package."""
        to.mkdir(parents=True, exist_ok=True)
        (file,) = (self.place / "debs").glob(f"{pin.name}_*.deb")
        run.run(["dpkg-deb", "-x", str(file), str(to)])


def _pin_of(path: pathlib.Path) -> lock.Pin:
    name, version, _ = path.stem.split("_")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # Packages for all architectures are pinned per architecture too: the closure of each is its own.
    return lock.Pin(name=name, version=urllib.parse.unquote(version), arch=path.stem.rpartition("_")[2], sha256=digest)


def opened(suite: str, *, scratch: pathlib.Path, say: report.Say) -> Archive:
    """Debian's `suite`, its index fetched just now; all that it keeps is in a directory below `scratch`.

    Raises:
        ToolsError: This isn't a Debian machine, or the archive can't be reached.
    """
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise ToolsError(f"{program} isn't on this machine: OVS, OVN and busybox are taken from Debian's packages; "
                             "use Debian 12 or later, or put the tools on PATH")  # fmt: skip
    place = scratch / suite
    for part in ("lists/partial", "cache/archives/partial", "parts"):
        (place / part).mkdir(parents=True)
    (place / "status").touch()
    (place / "debian.sources").write_text("\n".join(stanza_for(source, suite=suite) for source in sources()))
    (place / "parts" / "debian.sources").write_text((place / "debian.sources").read_text())
    (place / "apt.conf").write_text(_configuration(place))
    say(f"packages: reading the index of Debian {suite}")
    archive = Archive(suite=suite, place=place)
    archive._apt("apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")  # noqa: SLF001 (its own module)
    return archive


def _configuration(place: pathlib.Path) -> str:
    settings = {
        "Dir::State::Lists": place / "lists", "Dir::State::status": place / "status", "Dir::Cache": place / "cache",
        "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": place / "parts",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null", "APT::Sandbox::User": "root",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false", "Acquire::Languages": "none",
        "Acquire::Retries": "3", "Debug::NoLocking": "1",
    }  # fmt: skip
    return "".join(f'{name} "{value}";\n' for name, value in settings.items())


def fetch(locked: lock.Lock, archive: Archive, *, allow_newer: bool) -> list[lock.Pin]:
    """Fetch what is pinned, each package's content checked against its pin.

    Raises:
        ToolsError: A pinned version is gone from the archive, or its content is another.
    """
    have = archive.versions(pin.name for pin in locked.pins)
    gone = [pin for pin in locked.pins if pin.version not in have.get(pin.name, ())]
    if gone and not allow_newer:
        lines = "; ".join(f"{p.name} {p.version} (there: {', '.join(have.get(p.name, ['none']))})" for p in gone)
        raise ToolsError(
            f"Debian {archive.suite} doesn't have the pinned version of {len(gone)} packages any more: {lines}; update "
            f"the checkout, use {SNAPSHOT}, or take what is there: `ashore lab tools --allow-newer`"
        )
    got = archive.download((pin.name, "" if pin in gone else pin.version) for pin in locked.pins)
    expected = {pin.name: pin for pin in locked.pins if pin not in gone}
    for pin in got:
        if pin.name in expected and pin.sha256 != expected[pin.name].sha256:
            raise ToolsError(
                f"package {pin.name} {pin.version}: its SHA-256 is {pin.sha256}, the lock has "
                f"{expected[pin.name].sha256}; the archive or the way to it can't be trusted"
            )
    return got
