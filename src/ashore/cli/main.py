# SPDX-License-Identifier: Apache-2.0
"""``ashore``: exit 0 means as it should be, 1 looked and found a problem, 2 couldn't look."""

import click

from ashore.cli import bench, check, demo, lab, tools


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ashore")
def main() -> None:
    """Look at ashore, and run its lab."""


lab.lab.add_command(tools.tools)
lab.lab.add_command(demo.command)
main.add_command(lab.lab)
main.add_command(bench.bench)
main.add_command(check.command)
