# SPDX-License-Identifier: Apache-2.0
import pathlib

import pytest

from ashore.lab import errors, machine


def test_two_runs_on_one_lab_are_kept_apart_and_on_two_labs_are_not(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "home"
    with machine.alone(home, "one"):
        with machine.alone(home, "two"), machine.counted(home):
            pass
        with pytest.raises(errors.LabError, match="lab one: another"), machine.alone(home, "one"):
            pass


def test_locks_leave_nothing_behind_once_no_lab_is_left(tmp_path: pathlib.Path) -> None:
    home = tmp_path / "home"
    with machine.alone(home, "one"), machine.counted(home):
        pass
    assert not home.exists()


@pytest.mark.parametrize("failure", [FileNotFoundError, BlockingIOError, ZeroDivisionError])
def test_a_failure_inside_comes_out_as_it_was(failure: type[Exception], tmp_path: pathlib.Path) -> None:
    with pytest.raises(failure), machine.alone(tmp_path / "home", "one"), machine.counted(tmp_path / "home"):
        raise failure
    assert not (tmp_path / "home").exists()
