# SPDX-License-Identifier: Apache-2.0
import pathlib

from click.testing import CliRunner

from ashore.controller import main


def start(folder: pathlib.Path) -> str:
    result = CliRunner().invoke(main.main, ["--credentials", str(folder), "--identity", "cp-a"])
    assert result.exit_code == 1
    return result.output


def test_a_missing_kubeconfig_is_one_clear_error(tmp_path: pathlib.Path) -> None:
    assert f"{tmp_path}/kubeconfig: No such file or directory; put the host cluster's kubeconfig there" in start(
        tmp_path
    )


def test_a_bad_remote_of_the_database_is_one_clear_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    assert f"{tmp_path}/nb/remote: No such file or directory" in start(tmp_path)
    (tmp_path / "nb").mkdir()
    (tmp_path / "nb" / "remote").write_text("\n")
    assert "is empty" in start(tmp_path)
    (tmp_path / "nb" / "remote").write_text("http://cp:6641")
    assert "want unix:/path, ssl:host:port or tcp:host:port" in start(tmp_path)
