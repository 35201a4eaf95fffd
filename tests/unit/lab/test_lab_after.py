# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess

from ashore.lab import daemon


def run(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(daemon.module("ashore.lab.after", *words), stdout=subprocess.PIPE, text=True)


def test_a_command_starts_when_its_last_file_appears(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "made" / "first", tmp_path / "second"
    second.touch()
    with run("--for", str(first), "--for", str(second), "--", "echo", "started") as process:
        first.parent.mkdir(exist_ok=True)
        first.touch()
        assert process.communicate(timeout=20)[0] == "started\n"


def test_a_oneshot_leaves_its_mark_on_success_alone(tmp_path: pathlib.Path) -> None:
    mark = tmp_path / "done" / "it"
    with run("--touch", str(mark), "--", "false") as process:
        assert process.wait(20) == 1
    assert not mark.exists()
    with run("--touch", str(mark), "--", "true") as process:
        assert process.wait(20) == 0
    assert mark.exists()
