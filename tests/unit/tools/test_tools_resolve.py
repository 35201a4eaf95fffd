# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable

import click.testing
import pytest

from ashore.cli import tools as cli_tools
from ashore.lab import tools
from ashore.lab.tools import cache, golang, recipe_kube, recipe_ovs, report, run, search

Script = Callable[[pathlib.Path, str], pathlib.Path]


@pytest.fixture
def script() -> Script:
    """A program that prints a version."""

    def make(path: pathlib.Path, text: str) -> pathlib.Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{text}'\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def empty(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A machine with an empty cache and nothing on PATH."""
    monkeypatch.setattr(search, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for name in [name for name in os.environ if name.startswith(search.SETTING)] + [search.FOLDERS_SETTING]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


PAIR = search.Wanted(names=("one", "two"), least=(3, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ovs-vswitchd (Open vSwitch) 3.5.0", (3, 5, 0)),
        ("Kubernetes v1.37.2", (1, 37, 2)),
        ("runc version 1.5.2\ncommit: 0.9", (1, 5, 2)),
        ("containerd github.com/containerd/containerd/v2 v2.4.2 abc", (2, 4, 2)),
        ("go1.26.8".replace("go", " "), (1, 26, 8)),
        ("no idea", None),
    ],
)
def test_versions_are_read_from_what_programs_print(text: str, expected: tuple[int, ...] | None) -> None:
    assert search.parse_version(text) == expected


def test_programs_on_path_are_taken_when_they_are_new_enough(tmp_path: pathlib.Path, script: Script) -> None:
    places = {name: script(tmp_path / name, "tool 3.10.1") for name in PAIR.names}
    assert search.on_path(PAIR, env={"PATH": str(tmp_path)}) == places


def test_one_program_that_is_too_old_makes_the_whole_group_come_from_elsewhere(
    tmp_path: pathlib.Path, script: Script
) -> None:
    script(tmp_path / "one", "tool 3.3.0")
    script(tmp_path / "two", "tool 3.2.9")
    assert search.on_path(PAIR, env={"PATH": str(tmp_path)}) == {}


def test_half_a_group_on_path_is_not_mixed_with_the_other_half(tmp_path: pathlib.Path, script: Script) -> None:
    script(tmp_path / "one", "tool 3.3.0")
    assert search.on_path(PAIR, env={"PATH": str(tmp_path)}) == {}
    loose = search.Wanted(names=PAIR.names, whole=False)
    assert set(search.on_path(loose, env={"PATH": str(tmp_path)})) == {"one"}


def test_a_setting_goes_before_path_and_cache(
    empty: pathlib.Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = script(empty / "mine/ovs-vswitchd", "1.0")
    monkeypatch.setenv("ASHORE_TOOL_OVS_VSWITCHD", str(mine))
    box = tools.find(["ovs"])
    assert box.programs["ovs-vswitchd"] == tools.toolbox.Tool(path=mine, origin="setting")
    assert box.lookup("ovsdb-server") is None


def test_a_setting_that_names_nothing_is_an_error_that_names_the_setting(
    empty: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASHORE_TOOL_KUBE_APISERVER", "/no/such/program")
    with pytest.raises(tools.ToolsError, match="ASHORE_TOOL_KUBE_APISERVER=/no/such/program: no such program"):
        tools.find(["kube"])


def test_a_folder_of_tools_brings_its_schemas(
    empty: pathlib.Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(empty / "prefix/bin/ovs-vswitchd", "3.5.0")
    schema = empty / "prefix/share/openvswitch/vswitch.ovsschema"
    schema.parent.mkdir(parents=True)
    schema.write_text("{}")
    monkeypatch.setenv(search.FOLDERS_SETTING, str(empty / "prefix/bin"))
    assert tools.find(["ovs"]).schema("vswitch") == schema


def _fake_entry(name: str) -> pathlib.Path:
    """An entry as its recipe would leave it."""
    entry = cache.entry_of(tools.SETS[name].recipe, where=cache.root())
    (entry / "bin").mkdir(parents=True)
    (entry / "share").mkdir()
    for program in (program for group in tools.SETS[name].groups for program in group.names):
        (entry / "bin" / program).touch(mode=0o755)
    for schema in recipe_ovs.SCHEMAS if name == "ovs" else ():
        (entry / "share" / f"{schema}.ovsschema").touch()
    return entry


def test_a_full_cache_is_used_at_once_without_running_anything(
    empty: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {name: _fake_entry(name) for name in tools.SETS}

    def refuse(*argv: object, **options: object) -> str:
        raise AssertionError(argv)

    monkeypatch.setattr(run, "run", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    tools.ensure(report=report.quiet)
    took: list[float] = []
    for _ in range(5):  # The least of them: other processes may be busy.
        started = time.perf_counter()
        box = tools.ensure(report=report.quiet)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.05
    assert box.path("etcd") == entries["kube"] / "bin/etcd"
    assert box.schema("ovn-sb") == entries["ovs"] / "share/ovn-sb.ovsschema"
    assert (box.bin_dir / "runc").readlink() == entries["runtime"] / "bin/runc"
    assert {path.name for path in box.bin_dir.iterdir()} == set(box.programs)


def test_looking_alone_writes_nothing(empty: pathlib.Path) -> None:
    box = tools.find()
    assert box.lookup("kubelet") is None
    with pytest.raises(tools.ToolsError, match="kubelet: not on this machine; run `ashore lab tools`"):
        box.path("kubelet")
    assert not (empty / "cache").exists()


def test_a_missing_compiler_is_named_with_its_remedy(empty: pathlib.Path) -> None:
    with pytest.raises(tools.ToolsError, match="there is no gcc here; `apt-get install -y gcc libc6-dev`"):
        tools.ensure(["runtime"], report=report.quiet)


def test_a_machine_that_is_not_debian_is_told_what_would_do(empty: pathlib.Path) -> None:
    with pytest.raises(tools.ToolsError, match=r"apt-get isn't on this machine.*put the tools on PATH"):
        tools.ensure(["ovs"], report=report.quiet)


def test_a_failed_command_shows_its_last_lines() -> None:
    with pytest.raises(tools.ToolsError, match=r"ended with status 3; its last lines:\n  \| broken"):
        run.run(["sh", "-c", "echo broken; exit 3"])
    lines: list[str] = []
    with pytest.raises(tools.ToolsError, match=r"status 4(.|\n)*\| undefined: x"):
        run.follow(["sh", "-c", "echo a/b >&2; echo undefined: x >&2; exit 4"], cwd=pathlib.Path("/"), env={},
                   on_line=lines.append)  # fmt: skip
    assert lines == ["a/b", "undefined: x"]


def test_an_old_go_makes_way_for_the_pinned_one(tmp_path: pathlib.Path, script: Script) -> None:
    go = script(tmp_path / "old/bin/go", "go1.19.8")
    (tmp_path / "old/VERSION").write_text("go1.19.8\ntime x\n")
    assert golang.toolchain({"PATH": str(go.parent)}).program is None
    (tmp_path / "old/VERSION").write_text("go1.27.0\n")
    assert golang.toolchain({"PATH": str(go.parent)}) == golang.Go(program=go, version="1.27.0")


def test_go_mod_wants_no_newer_go_than_the_pinned_one() -> None:
    pinned = search.parse_version(golang.PINNED.read_text().partition("==")[2])
    assert pinned
    for module in sorted((golang.HERE / "go").glob("*/go.mod")):
        wanted = next(line for line in module.read_text().splitlines() if line.startswith("go "))
        assert (search.parse_version(wanted) or ()) <= pinned, module
        assert (search.parse_version(wanted) or ()) <= golang.LEAST, module


def test_a_changed_source_changes_the_key_of_its_set_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: cache.key_of(tools.SETS[name].recipe.inputs()) for name in tools.SETS}
    for name in ("go.mod", "go.sum", "main.go"):
        (tmp_path / name).write_bytes((recipe_kube.MODULE / name).read_bytes())
    (tmp_path / "pod").symlink_to(recipe_kube.MODULE / "pod")
    monkeypatch.setattr(recipe_kube, "MODULE", tmp_path)
    after = {name: cache.key_of(tools.SETS[name].recipe.inputs()) for name in tools.SETS}
    assert {name for name in tools.SETS if before[name] != after[name]} == {"kube"}


def test_the_command_prints_where_each_tool_is_from(empty: pathlib.Path) -> None:
    entry = _fake_entry("kube")
    done = click.testing.CliRunner().invoke(cli_tools.tools, ["--only", "kube", "-o", "json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["tools"]["etcd"] == {"path": str(entry / "bin/etcd"), "from": "cache"}
    text = click.testing.CliRunner().invoke(cli_tools.tools, ["--only", "kube"])
    assert f"etcd                     cache    {entry}/bin/etcd\n" in text.stdout
    assert (
        click.testing.CliRunner().invoke(cli_tools.tools, ["--only", "kube", "--bin"]).stdout == told["bin_dir"] + "\n"
    )


def test_the_command_couldnt_look_when_a_tool_cant_be_had(empty: pathlib.Path) -> None:
    done = click.testing.CliRunner().invoke(cli_tools.tools, ["--only", "ovs"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: apt-get isn't on this machine")
