# SPDX-License-Identifier: Apache-2.0
"""kubeconfigs: tokens, token files, exec plugins, and texts that name what is wrong."""

import json
import pathlib
import sys
from typing import Any

import pytest

from ashore.kube import credentials


def write(path: pathlib.Path, user: dict[str, Any], *, context: str = "x") -> credentials.Kubeconfig:
    content = {
        "current-context": context,
        "clusters": [{"name": "c", "cluster": {"server": "http://api:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    (path / "kubeconfig").write_text(json.dumps(content))
    return credentials.Kubeconfig(path / "kubeconfig")


def plugin(path: pathlib.Path, credential: dict[str, Any], *, exit_status: int = 0) -> dict[str, Any]:
    script = path / "plugin"
    script.write_text(
        f"#!{sys.executable}\nprint({json.dumps(json.dumps(credential))})\nraise SystemExit({exit_status})"
    )
    script.chmod(0o755)
    return {"exec": {"apiVersion": credentials.EXEC_API, "command": "./plugin", "args": None}}


async def test_a_token_is_sent_as_bearer(tmp_path: pathlib.Path) -> None:
    identity = await write(tmp_path, {"token": "abc"}).load()
    assert (identity.server, identity.headers) == ("http://api:1", {"Authorization": "Bearer abc"})


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("one\n")
    login = write(tmp_path, {"tokenFile": "token"})
    assert (await login.load()).headers == {"Authorization": "Bearer one"}
    assert not login.has_changed()
    (tmp_path / "token").write_text("second\n")
    assert login.has_changed()
    assert (await login.load()).headers == {"Authorization": "Bearer second"}


async def test_an_exec_plugin_gives_a_token_and_is_asked_again_when_it_runs_out(tmp_path: pathlib.Path) -> None:
    status = {"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    login = write(tmp_path, plugin(tmp_path, {"apiVersion": credentials.EXEC_API, "status": status}))
    assert (await login.load()).headers == {"Authorization": "Bearer t"}
    assert login.has_changed()


async def test_an_exec_plugin_that_fails_is_named(tmp_path: pathlib.Path) -> None:
    login = write(tmp_path, plugin(tmp_path, {}, exit_status=3))
    with pytest.raises(credentials.Unusable, match=r"exec plugin \./plugin: exit status 3"):
        await login.load()


async def test_a_missing_context_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(credentials.Unusable, match="current-context 'y' isn't in it"):
        await write(tmp_path, {}, context="y").load()


async def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(credentials.Unusable, match=r"token.*No such file"):
        await write(tmp_path, {"tokenFile": "token"}).load()
    with pytest.raises(credentials.Unusable, match=r"none: No such file"):
        await credentials.Kubeconfig(tmp_path / "none").load()
