# SPDX-License-Identifier: Apache-2.0
"""What the lab says when it can't do what was asked."""


class LabError(Exception):
    """One line: the object, what was found, what to do about it."""


class NoSuchLab(LabError):  # noqa: N818 (a finding)
    """There is no lab of that name."""


class NoSuchNode(LabError):  # noqa: N818 (a finding)
    """The lab has no such node, daemon or link."""


class NotWell(LabError):  # noqa: N818 (a finding)
    """The lab is there and isn't as it should be."""
