# SPDX-License-Identifier: Apache-2.0
"""``ashore lab demo``: pods on every kind of node try each other."""

import asyncio
import sys

import click
from rich.console import Console

from ashore.cli import demo_tables
from ashore.cli import output as out
from ashore.lab import demo, errors, spec, world
from ashore.lab.demo import hands

Report = demo.Report


def run(name: str) -> Report:
    """The demonstration of one lab. Raises LabError when something couldn't be asked."""
    _folders, record = world.find(name)
    places = spec.nodes(record.shape)
    lab = hands.of_lab(name)
    hosts = tuple(node.name for node in places if node.mode == "dpu-host")
    full = tuple(node.name for node in places if node.mode == "full")
    try:
        return asyncio.run(demo.run(lab, host_nodes=hosts, full_nodes=full))
    except hands.CommandFailed as error:
        raise errors.LabError(f"lab {name}: the demonstration couldn't ask: {error}") from error


def show(report: Report) -> None:
    """Print a report for people."""
    is_terminal = sys.stdout.isatty()
    demo_tables.show(report, Console(width=None if is_terminal else 200, color_system="auto" if is_terminal else None))


@click.command("demo")
@click.option("--name", default="ashore", show_default=True, help="Which lab.")
@out.format_option
@out.guarded
def command(*, name: str, output: str) -> None:
    """Have pods on every kind of node try each other, with negative controls."""
    report = run(name)
    if output == "json":
        out.as_json(report)
    else:
        show(report)
    if not report.passed:
        sys.exit(out.FOUND_A_PROBLEM)
