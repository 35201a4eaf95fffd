# SPDX-License-Identifier: Apache-2.0
"""``ashore bench``: how long things take and how much memory they need."""

import click

from ashore.bench import figures
from ashore.bench import plug as plugging
from ashore.cli import output as out


@click.group()
def bench() -> None:
    """Measure ashore; figures, never a verdict."""


@bench.command()
@click.option("--name", default="ashore", show_default=True, help="Which lab.")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=30, show_default=True, help="Pods of each kind.")
@click.option(
    "--concurrent", type=click.IntRange(2, 100), default=10, show_default=True, help="Pods that are plugged at once."
)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=3, show_default=True, help="Of each TCP stream.")
@out.format_option
@out.guarded
def plug(*, name: str, count: int, concurrent: int, seconds: float, output: str) -> None:
    """Time CNI ADD and DEL, pods' way to Ready, restarts of the agent, and traffic; in each mode that a lab has."""
    report = plugging.run(name, plugging.Wanted(n=count, concurrent=concurrent, seconds=seconds), out.say)
    if output == "json":
        out.as_json(report)
        return
    out.as_table(("what", "mode", "n", "p50 ms", "p90 ms", "max ms", "phases, median ms"), _times(report))
    out.as_table(
        ("place", "RSS MB", "of which"),
        [
            (where, f"{sizes['total']:.0f}", ", ".join(f"{k} {v:.0f}" for k, v in sizes.items() if k != "total"))
            for where, sizes in report.rss_mb.items()
        ],
    )
    out.as_table(
        ("pods", "family", "Mbit/s", "ping p50 ms", "max ms", "lost"),
        [
            (
                way.way,
                way.family,
                f"{way.mbit_per_s:.0f}",
                f"{way.ping_p50_ms:.2f}",
                f"{way.ping_max_ms:.2f}",
                str(way.lost),
            )
            for way in report.traffic
        ],
    )


def _times(report: figures.Report) -> list[tuple[str, ...]]:
    rows = []
    for mode, found in report.modes.items():
        for what, timing in (
            ("ADD", found.add),
            (f"ADD, {report.concurrent} at once", found.concurrent_add),
            ("DEL", found.delete),
            (f"DEL, {report.concurrent} at once", found.concurrent_del),
            ("create → Ready", found.ready),
            ("agent's start → first ADD", found.restart.from_start),
            ("agent's death → first ADD", found.restart.from_kill),
        ):
            phases = ", ".join(f"{name} {took:.0f}" for name, took in timing.phases_ms.items())
            numbers = (timing.p50_ms, timing.p90_ms, timing.max_ms)
            rows.append((what, mode, str(timing.n), *(f"{number:.0f}" for number in numbers), phases))
    return rows
