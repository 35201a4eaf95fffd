# SPDX-License-Identifier: Apache-2.0
"""What is left of a lab that was taken down, however it ended."""

from collections.abc import Callable
from typing import Protocol

import pytest

from ashore.lab import clusters, errors, processes, spec, world


class Shell(Protocol):
    small: spec.Shape

    def traces(self, name: str, mark: str) -> list[str]: ...


Tools = Callable[[], spec.Toolpaths]


def quiet(_line: str) -> None:
    pass


class Interrupted(Exception):  # noqa: N818 (an event)
    """Stands for whatever may end an ``up`` half-way."""


@pytest.mark.parametrize("until", ["places", "keys"])
def test_down_of_a_half_done_up_leaves_nothing(until: str, name: str, lab_tools: Tools, shell: Shell) -> None:
    def say(line: str) -> None:
        if until in line:
            raise Interrupted

    with pytest.raises(Interrupted):
        world.up(name, shell.small, lab_tools, say=say)
    _folders, record = world.find(name)
    assert shell.traces(name, record.uuid)
    world.down(name, say=quiet)
    assert shell.traces(name, record.uuid) == []


def test_a_lab_whose_processes_were_all_killed_beside_another_goes_without_a_trace(
    lab: str, name: str, lab_tools: Tools, shell: Shell
) -> None:
    world.up(name, shell.small, lab_tools, say=quiet)
    folders, record = world.find(name)
    other_folders, other = world.find(lab)
    try:
        assert list(clusters.ready_nodes(folders, record)) == ["host-1"]
        assert processes.kill_all(record.uuid) > 0
        assert clusters.ready_nodes(folders, record) == {}
    finally:
        world.down(name, say=quiet)
    assert shell.traces(name, record.uuid) == []
    assert list(clusters.ready_nodes(other_folders, other)) == ["host-1"]


def test_taking_down_what_isnt_there_says_so(name: str) -> None:
    with pytest.raises(errors.NoSuchLab, match=name):
        world.down(name, say=quiet)
