# SPDX-License-Identifier: Apache-2.0
"""How every command says what it found: JSON for programs, tables for people, one line for an error."""

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import msgspec
from rich import box, console, table

from ashore.lab import errors
from ashore.lab import tools as lab_tools

FOUND_A_PROBLEM, COULD_NOT_LOOK = 1, 2

format_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)


def as_json(value: Any) -> None:
    """Prints structs, dicts and lists as JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1).decode())


def as_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Prints rows in columns; plain text where it isn't a terminal, and never cut there."""
    shown = table.Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*row)
    is_terminal = sys.stdout.isatty()
    console.Console(width=None if is_terminal else 200, color_system="auto" if is_terminal else None).print(shown)


def say(line: str) -> None:
    """Progress: beside the result, so that the result can be piped."""
    click.echo(line, err=True)


def fail(text: str, status: int = COULD_NOT_LOOK) -> NoReturn:
    """Ends the program with one line."""
    click.echo(f"error: {text}", err=True)
    sys.exit(status)


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what a command can foresee going wrong into one line and an exit status."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except errors.NotWell as error:
            fail(str(error), FOUND_A_PROBLEM)
        except (errors.LabError, lab_tools.ToolsError) as error:
            fail(str(error))

    return run
