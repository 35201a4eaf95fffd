# SPDX-License-Identifier: Apache-2.0
"""Renewing the package locks: a developer's act, never a part of a build."""

from collections.abc import Collection

from ashore.lab.tools import recipe_image, recipe_ovs, recipe_runtime, report

_UPDATES = {
    "ovs": recipe_ovs.update_lock,
    "runtime": recipe_runtime.update_lock,
    "image": recipe_image.update_lock,
}


def update(only: Collection[str] = (), *, say: report.Say = report.to_stderr) -> None:
    """Pin what the archive has today, for this machine's architecture."""
    for name, renew in _UPDATES.items():
        if not only or name in only:
            renew(say)
