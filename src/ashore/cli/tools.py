# SPDX-License-Identifier: Apache-2.0
"""`ashore lab tools`: what the lab and the tests run, found or made, and where it is."""

import json
import sys

import click

from ashore.lab import tools as lab_tools
from ashore.lab.tools import locks_update


@click.command("tools")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
@click.option("--only", "only", multiple=True, type=click.Choice(list(lab_tools.SETS)), help="Only this set.")
@click.option("--allow-newer", is_flag=True, help="Take newer packages where a pinned one is gone from the archive.")
@click.option("--bin", "show", flag_value="bin", help="Print only the directory that has all of them, for PATH.")
@click.option("--brief", "show", flag_value="brief", help="Print one line.")
@click.option("--update-locks", is_flag=True, help="Pin today's Debian packages (for the project's developers).")
def tools(output: str, only: tuple[str, ...], show: str | None, *, allow_newer: bool, update_locks: bool) -> None:
    """Find, fetch or build the programs that the lab and the tests run; done once, then cached."""
    try:
        if update_locks:
            locks_update.update(only)
            return
        box = lab_tools.ensure(only or tuple(lab_tools.SETS), allow_newer=allow_newer)
    except lab_tools.ToolsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if output == "json":
        click.echo(json.dumps(_as_json(box)))
    elif show == "bin":
        click.echo(box.bin_dir)
    else:
        _print(box, brief=show == "brief")


def _print(box: lab_tools.Toolbox, *, brief: bool) -> None:
    # Plain lines, never cut: a path that was shortened for the screen is of no use.
    for name, tool in sorted(box.programs.items()) if not brief else ():
        click.echo(f"{name:24} {tool.origin:8} {tool.path}")
    for path in box.images if not brief else ():
        click.echo(f"{'image':24} {'cache':8} {path}")
    click.echo(f"tools: {len(box.programs)} programs, {len(box.images)} images; on one PATH: {box.bin_dir}")


def _as_json(box: lab_tools.Toolbox) -> dict[str, object]:
    return {
        "tools": {name: {"path": str(tool.path), "from": tool.origin} for name, tool in sorted(box.programs.items())},
        "schemas": {name: str(path) for name, path in sorted(box.schemas.items())},
        "images": [str(path) for path in box.images],
        "bin_dir": str(box.bin_dir),
    }
