# SPDX-License-Identifier: Apache-2.0
"""``ashore``: exit 0 means as it should be, 1 looked and found a problem, 2 couldn't look."""

import logging
import sys

import click
import structlog

from ashore.cli import bench, check, demo, lab, offload, soak, tools


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ashore")
def main() -> None:
    """Look at ashore, and run its lab."""
    # Rooms log what they do; on a command line only what is wrong matters, and never on standard output.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


lab.lab.add_command(tools.tools)
lab.lab.add_command(demo.command)
lab.lab.add_command(soak.command)
main.add_command(lab.lab)
main.add_command(bench.bench)
main.add_command(check.command)
main.add_command(offload.group)


if __name__ == "__main__":
    main()
