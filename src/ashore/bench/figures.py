# SPDX-License-Identifier: Apache-2.0
"""Figures from samples, and what they are called in reports. Pure; field names are the command line's contract."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Times of one thing that was done ``n`` times. ``phases_ms`` are medians and need not add up."""

    n: int
    p50_ms: float
    p90_ms: float
    max_ms: float
    phases_ms: Mapping[str, float] = {}


class Restart(msgspec.Struct, frozen=True):
    """From the agent's death, and from its new process' start, to the end of the first ADD that succeeded."""

    from_kill: Timing
    from_start: Timing


class Way(msgspec.Struct, frozen=True):
    """Traffic between two pods."""

    way: str
    family: str
    mbit_per_s: float
    ping_p50_ms: float
    ping_max_ms: float
    lost: int


class Plugging(msgspec.Struct, frozen=True):
    """How pods of one mode's node are plugged."""

    node: str
    add: Timing
    delete: Timing = msgspec.field(name="del")
    concurrent_add: Timing
    concurrent_del: Timing
    ready: Timing
    restart: Restart


class Report(msgspec.Struct, frozen=True):
    """One run. What stands at the top is ``mode``'s: the first one that the lab has, DPU hosts before full nodes."""

    name: str
    mode: str
    add: Timing
    delete: Timing = msgspec.field(name="del")
    ready: Timing
    concurrent_add: Timing
    concurrent: int
    rss_mb: Mapping[str, Mapping[str, float]]
    """By place and daemon of ours, after the work; with each place's ``total``."""
    modes: Mapping[str, Plugging]
    traffic: tuple[Way, ...]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least that share of samples doesn't exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def timing(samples: Sequence[float], phases: Iterable[Mapping[str, float]] = ()) -> Timing:
    """Of at least one sample, in milliseconds, and of what each one's phases took."""
    by_phase: dict[str, list[float]] = {}
    for one in phases:
        for name, took_ms in one.items():
            by_phase.setdefault(name, []).append(took_ms)
    return Timing(
        n=len(samples),
        p50_ms=round(percentile(samples, 50), 1),
        p90_ms=round(percentile(samples, 90), 1),
        max_ms=round(max(samples), 1),
        phases_ms={name: round(percentile(took, 50), 1) for name, took in by_phase.items()},
    )


class Spent(msgspec.Struct, frozen=True):
    """What an agent's histograms had summed up at one moment, in milliseconds, and how many observations that was."""

    ms: Mapping[tuple[str, str], float]
    """By command and phase; the phase "request" is the whole request."""
    count: Mapping[tuple[str, str], int]

    def since(self, before: "Spent") -> dict[tuple[str, str], float]:
        """Mean of what was observed meanwhile, by command and phase."""
        found = {}
        for key, count in self.count.items():
            if more := count - before.count.get(key, 0):
                found[key] = (self.ms[key] - before.ms.get(key, 0.0)) / more
        return found


_LINE = re.compile(
    r"ashore_cni_(?P<what>request|phase)_seconds_(?P<kind>sum|count)\{(?P<labels>[^}]*)\} (?P<value>\S+)"
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def read_spent(text: str) -> Spent:
    """From the text of ``/metrics``."""
    ms: dict[tuple[str, str], float] = {}
    count: dict[tuple[str, str], int] = {}
    for match in _LINE.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        key = (labels["command"], labels.get("phase", "request"))
        if match["kind"] == "sum":
            ms[key] = ms.get(key, 0.0) + float(match["value"]) * 1000
        else:
            count[key] = count.get(key, 0) + int(float(match["value"]))
    return Spent(ms, count)


def split_add(
    total_ms: float, host: Mapping[tuple[str, str], float], switch: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    """Where an ADD's time went, by what the two agents observed during it (one agent's twice on a full node).

    ``netns`` runs beside ``api``, ``wiring`` and ``ovn``; ``api`` is everything between the two agents that neither
    spent on work: writing details, noticing them, writing the status, noticing that.
    """

    def of(seen: Mapping[tuple[str, str], float], *names: str) -> float:
        return sum(seen.get(("ADD", name), 0.0) for name in names)

    request, talk = of(host, "request"), of(host, "tell", "answer")
    wiring, ovn = of(switch, "wire"), of(switch, "ovn")
    inside, connected = of(host, "address", "netns"), max(talk, wiring + ovn)
    return {
        "shim": total_ms - request,
        "device": of(host, "device"),
        "api": connected - wiring - ovn,
        "wiring": wiring,
        "ovn": ovn,
        "netns": of(host, "netns"),
        "rest": request - of(host, "device") - max(inside, connected),
    }


def split_delete(total_ms: float, host: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Where a DEL's time went: ``disconnect`` is telling the DPU, or unplugging on a full node."""
    request, tell, netns = (host.get(("DEL", name), 0.0) for name in ("request", "tell", "netns"))
    return {"shim": total_ms - request, "disconnect": tell, "netns": netns, "rest": request - tell - netns}
