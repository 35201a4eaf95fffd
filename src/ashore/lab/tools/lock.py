# SPDX-License-Identifier: Apache-2.0
"""Lock files of Debian packages: one `name version architecture sha256` a line, below a `suite` line."""

import dataclasses
import pathlib
from collections.abc import Iterable

from ashore.lab.tools.errors import ToolsError

HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Made by `ashore lab tools --update-locks`.\n"


@dataclasses.dataclass(frozen=True, order=True)
class Pin:
    """One package, exactly."""

    name: str
    version: str
    arch: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Lock:
    """What a tool set takes from one Debian suite."""

    suite: str
    pins: tuple[Pin, ...]


def read(path: pathlib.Path, *, arch: str) -> Lock:
    """The pins for one architecture (Debian's name of it).

    Raises:
        ToolsError: There are none.
    """
    suite, pins = "", list[Pin]()
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["suite"]:
            suite = words[1]
        elif words and not line.startswith("#"):
            pins.append(Pin(*words))
    if not (mine := tuple(pin for pin in pins if pin.arch == arch)):
        have = ", ".join(sorted({pin.arch for pin in pins})) or "nothing"
        raise ToolsError(
            f"{path.name}: no packages are pinned for {arch} (pinned: {have}); run `ashore lab tools --update-locks` on"
            f" such a machine, or put the tools on PATH"
        )
    return Lock(suite=suite, pins=mine)


def write(path: pathlib.Path, *, suite: str, pins: Iterable[Pin]) -> None:
    """Replace the pins of the architectures that `pins` names; the others stay."""
    fresh = sorted(pins)
    renewed = {pin.arch for pin in fresh}
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [Pin(*line.split()) for line in lines if line and not line.startswith(("#", "suite "))]
    every = sorted([*fresh, *(pin for pin in kept if pin.arch not in renewed)])
    body = "".join(f"{pin.name} {pin.version} {pin.arch} {pin.sha256}\n" for pin in every)
    path.write_text(f"{HEAD}suite {suite}\n{body}")
