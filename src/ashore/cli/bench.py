# SPDX-License-Identifier: Apache-2.0
"""``ashore bench``: how long things take and how much memory they need."""

import click


@click.group()
def bench() -> None:
    """Measure ashore; figures, never a verdict."""
