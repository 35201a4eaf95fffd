# SPDX-License-Identifier: Apache-2.0
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping

import pytest

from ashore.lab.tools import ToolsError, cache, report

LIMIT_S = 20


def _recipe(fill: Callable[[cache.Job], Mapping[str, str]], *, source: str = "one") -> cache.Recipe:
    return cache.Recipe(name="demo", inputs=lambda: (source,), fill=fill)


def _write_program(job: cache.Job) -> Mapping[str, str]:
    (job.dest / "bin").mkdir()
    (job.dest / "bin/tool").write_text(f"lives in {job.final}")
    return {"tool": "1"}


def _entries(where: pathlib.Path) -> list[str]:
    return sorted(path.name for path in where.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"ASHORE_CACHE": "/a", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/a"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/ashore"),
        ({"HOME": "/h"}, "/h/.cache/ashore"),
    ],
)
def test_the_most_specific_setting_says_where_the_cache_is(env: dict[str, str], expected: str) -> None:
    assert cache.root(env) == pathlib.Path(expected)


def test_a_key_changes_with_content_boundaries_order_and_file_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    variants: list[tuple[str | pathlib.Path, ...]] = [
        ("ab", "c"),
        ("a", "bc"),
        ("c", "ab"),
        ("ab", "d"),
        (tmp_path / "a",),
        (tmp_path / "b",),
    ]
    assert len({cache.key_of(variant) for variant in variants}) == len(variants)
    assert cache.key_of(("ab", "c")) == cache.key_of(("ab", b"c"))


def test_an_entry_is_made_once_and_then_used_as_it_is(tmp_path: pathlib.Path) -> None:
    made: list[int] = []

    def fill(job: cache.Job) -> Mapping[str, str]:
        made.append(1)
        return _write_program(job)

    first = cache.obtain(_recipe(fill), where=tmp_path, say=report.quiet)
    second = cache.obtain(_recipe(fill), where=tmp_path, say=report.quiet)
    assert (first, len(made)) == (second, 1)
    assert (first / "bin/tool").read_text() == f"lives in {first}"
    assert json.loads((first / "manifest.json").read_text())["holds"] == {"tool": "1"}


def test_other_sources_make_another_entry_and_leave_the_first(tmp_path: pathlib.Path) -> None:
    first = cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet)
    second = cache.obtain(_recipe(_write_program, source="two"), where=tmp_path, say=report.quiet)
    assert first != second
    assert first.is_dir()


def test_an_entry_that_nobody_used_for_a_month_makes_room(tmp_path: pathlib.Path) -> None:
    old = cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet)
    os.utime(old, (0, 0))
    new = cache.obtain(_recipe(_write_program, source="two"), where=tmp_path, say=report.quiet)
    assert _entries(tmp_path) == [new.name]


def test_a_failed_build_leaves_nothing_and_the_next_one_succeeds(tmp_path: pathlib.Path) -> None:
    def fail(job: cache.Job) -> Mapping[str, str]:
        (job.dest / "half").write_text("half")
        raise ToolsError("no network")

    with pytest.raises(ToolsError, match="no network"):
        cache.obtain(_recipe(fail), where=tmp_path, say=report.quiet)
    assert _entries(tmp_path) == []
    assert cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet).is_dir()


def test_a_full_disk_is_reported_with_the_remedy(tmp_path: pathlib.Path) -> None:
    def fail(job: cache.Job) -> Mapping[str, str]:
        raise OSError(28, "No space left on device")

    with pytest.raises(ToolsError, match=r"demo: can't be written .*No space.*ASHORE_CACHE"):
        cache.obtain(_recipe(fail), where=tmp_path, say=report.quiet)


SLOW_BUILD = """
    import pathlib, sys, time
    from ashore.lab.tools import cache, report
    def fill(job):
        (job.dest / "half").write_text("half")
        print("half done", flush=True)
        sys.stdin.read()  # Until the test has seen enough.
        return {}
    recipe = cache.Recipe(name="demo", inputs=lambda: ("one",), fill=fill)
    cache.obtain(recipe, where=pathlib.Path(sys.argv[1]), say=report.quiet)
"""


def _half_done(where: pathlib.Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW_BUILD), str(where)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "half done\n"
    return process


def test_a_build_that_was_killed_half_way_is_not_taken_for_finished(tmp_path: pathlib.Path) -> None:
    with _half_done(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert any(cache.UNFINISHED in name for name in _entries(tmp_path))
    entry = cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet)
    assert (entry / "bin/tool").is_file()
    assert _entries(tmp_path) == [entry.name]


def test_a_second_run_waits_for_the_first_says_so_and_uses_its_result(tmp_path: pathlib.Path) -> None:
    waiting = threading.Event()
    said: list[str] = []
    result: list[pathlib.Path] = []

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    def never(job: cache.Job) -> Mapping[str, str]:
        raise AssertionError("the first run's result was not used")

    second = threading.Thread(target=lambda: result.append(cache.obtain(_recipe(never), where=tmp_path, say=say)))
    with _half_done(tmp_path) as first:
        second.start()
        assert waiting.wait(LIMIT_S)
        assert first.stdin
        first.stdin.close()
        second.join(LIMIT_S)
    assert said == ["demo: another run is making it; waiting for that run to end"]
    assert (result[0] / "half").is_file()


def test_an_entry_that_is_there_needs_no_lock(tmp_path: pathlib.Path) -> None:
    entry = cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet)
    with (tmp_path / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cache.obtain(_recipe(_write_program), where=tmp_path, say=report.quiet) == entry
