# SPDX-License-Identifier: Apache-2.0
"""``ashore lab soak``: a lab under strain, and what stays behind."""

import asyncio
import sys

import click

from ashore.cli import output as out
from ashore.lab import errors, soak, spec, world
from ashore.lab.demo import hands


@click.command("soak")
@click.option("--name", default="ashore", show_default=True, help="Which lab.")
@click.option("--operations", default=100, show_default=True, help="How many random operations.")
@click.option("--minutes", default=0.0, help="Go on for so long instead.")
@click.option("--burst", default=0, help="First this many pods at once on one node.")
@click.option("--seed", default=1, show_default=True, help="The same seed tells the same story.")
@click.option("--faults/--no-faults", "with_faults", default=True, help="Whether agents, ovn-controllers and sandboxes "
              "are killed as well.")  # fmt: skip
@out.format_option
@out.guarded
def command(*, name: str, output: str, **wanted: object) -> None:
    """Create, delete, replace and break pods at random, then compare everything with what was there before.

    Compared are rows of both OVN databases, OVS ports, links of all nodes, files, network namespaces, tracked
    connections, annotations, and each daemon's open files and memory. Exit 1: something stayed behind, or a pod didn't
    become ready.
    """
    report = run(name, soak.Wish(**wanted))  # type: ignore[arg-type]
    if output == "json":
        out.as_json(report)
    else:
        show(report)
    if not report.passed:
        sys.exit(out.FOUND_A_PROBLEM)


def run(name: str, wish: soak.Wish) -> soak.Report:
    """The report on a lab. Raises LabError when it couldn't be asked."""
    lab = soak.Lab(name, hands.of_lab(name), spec.nodes(world.find(name)[1].shape))
    try:
        return asyncio.run(soak.run(lab, wish, out.say))
    except hands.CommandFailed as error:
        raise errors.LabError(f"lab {name}: {error}") from error


def show(report: soak.Report) -> None:
    """Leaks first, then what was done and what daemons hold."""
    for problem in report.problems:
        click.echo(f"problem: {problem}")
    if report.leaks:
        out.as_table(("where", "what isn't as before"), [(leak.what, leak.found) for leak in report.leaks])
    rows: list[tuple[str, ...]] = [
        (who, f"{old.files} → {new.files}", f"{old.rss_mb:.0f} → {new.rss_mb:.0f}")
        for who, (old, new) in report.held.items()
    ]
    out.as_table(("daemon", "open files", "RSS MB"), rows)
    click.echo(", ".join(f"{what}: {count}" for what, count in report.done.items()))
    rest = "nothing stayed behind" if report.passed else "not as before"
    click.echo(f"seed {report.seed}: {report.seconds} s, at rest after {report.settle_seconds} s: {rest}")
