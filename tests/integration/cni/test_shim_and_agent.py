# SPDX-License-Identifier: Apache-2.0
"""The installed shim as a runtime executes it, against the agent's socket and against everything that can go wrong."""

import asyncio
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ashore.agent import cni_server, install
from ashore.api import cni
from ashore.cni import shim


class Outcome(NamedTuple):
    status: int
    output: Any
    errors: str


def build(to: Path, *options: str) -> Path:
    """The shim in C, compiled as the Makefile does it."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    source = Path(shim.__file__).with_name("shim.c")
    warnings = ("-Wall", "-Wextra", "-Werror")
    command = ["gcc", "-std=c11", "-O2", *warnings, "-static", *options, "-o", str(to), str(source)]
    subprocess.run(command, check=True)
    return to


class Runtime:
    """Executes the plugin as containerd does."""

    def __init__(self, folder: Path, program: Path | None = None) -> None:
        self.socket = folder / "cni.sock"
        self.is_compiled = program is not None
        install.install(folder / "bin", folder / "net.d", self.socket, program=program)
        self.plugin = folder / "bin" / install.PLUGIN
        conflist = json.loads((folder / "net.d" / install.CONFLIST).read_text())
        self.config = {"cniVersion": conflist["cniVersion"], "name": conflist["name"], **conflist["plugins"][0]}

    def hurry(self) -> None:
        """Make the shim's deadlines short, so that a hang needn't be sat out."""
        if self.is_compiled:
            build(self.plugin, "-DADD_MS=200", "-DOTHER_MS=200", "-DGRACE_MS=100")
            return
        text = self.plugin.read_text()
        short = text.replace('{"ADD": 30.0}', '{"ADD": 0.2}').replace(
            "OTHER_DEADLINE_S = 10.0", "OTHER_DEADLINE_S = 0.2"
        )
        assert short != text
        self.plugin.write_text(short.replace("GRACE_S = 1.0", "GRACE_S = 0.1"))

    async def run(self, command: str, config: bytes | None = None, **changes: str) -> Outcome:
        env = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": "sandbox-1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=uid-1", **changes,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            self.plugin, env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        stdin = json.dumps(self.config).encode() if config is None else config
        async with asyncio.timeout(20):
            output, errors = await process.communicate(stdin)
        return Outcome(process.returncode or 0, json.loads(output) if output else None, errors.decode())


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim") / install.PLUGIN)


@pytest.fixture(params=["interpreted", "compiled"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    """A runtime with each of the two shims."""
    program = request.getfixturevalue("compiled") if request.param == "compiled" else None
    return Runtime(tmp_path, program)


@asynccontextmanager
async def agent(runtime: Runtime, handler: Callable[[cni.Request], Awaitable[dict[str, Any]]]) -> AsyncIterator[None]:
    listening = asyncio.Event()
    task = asyncio.create_task(cni_server.CniServer(runtime.socket, handler).run(listening.set))
    await listening.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def impostor(runtime: Runtime, reply: bytes | None) -> AsyncIterator[None]:
    """Something on the socket that answers with these bytes, or (None) never."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        if reply is None:
            await done.wait()
        else:
            writer.write(reply)
        writer.close()

    server = await asyncio.start_unix_server(serve, path=runtime.socket)
    try:
        yield
    finally:
        done.set()
        server.close()


async def test_a_request_reaches_the_agent_and_its_result_the_runtime(runtime: Runtime) -> None:
    seen: list[cni.Request] = []

    async def handler(request: cni.Request) -> dict[str, Any]:
        seen.append(request)
        return {"cniVersion": "1.1.0", "ips": [{"address": "10.244.1.5/24"}], "note": 'quote " and ünïcode'}

    async with agent(runtime, handler):
        outcome = await runtime.run("ADD")
    assert outcome.status == 0
    assert outcome.output["ips"] == [{"address": "10.244.1.5/24"}]
    assert outcome.output["note"] == 'quote " and ünïcode'
    assert (seen[0].command, seen[0].container_id, seen[0].pod_uid) == ("ADD", "sandbox-1", "uid-1")
    assert seen[0].config == runtime.config


async def test_an_empty_result_prints_nothing(runtime: Runtime) -> None:
    async def handler(_request: cni.Request) -> dict[str, Any]:
        return {}

    async with agent(runtime, handler):
        assert await runtime.run("DEL") == Outcome(0, None, "")


async def test_the_agent_s_failure_is_the_runtime_s_error(runtime: Runtime) -> None:
    async def handler(_request: cni.Request) -> dict[str, Any]:
        raise cni.Failure(cni.NO_FREE_VF, 'all "16" VFs are in use')

    async with agent(runtime, handler):
        outcome = await runtime.run("ADD")
    assert outcome.status == 1
    assert outcome.output == {"cniVersion": "1.1.0", "code": 102, "msg": 'all "16" VFs are in use'}


async def test_a_bug_in_the_agent_is_an_error_object_too(runtime: Runtime) -> None:
    async def handler(_request: cni.Request) -> dict[str, Any]:
        raise LookupError("oops")

    async with agent(runtime, handler):
        outcome = await runtime.run("ADD")
    assert (outcome.status, outcome.output["code"]) == (1, cni.INTERNAL)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"", cni.DECODE_FAILURE),
        (b"{", cni.DECODE_FAILURE),
        (b"[]", cni.DECODE_FAILURE),
        (b"\xff\xfe", cni.DECODE_FAILURE),
        (b"{} {}", cni.DECODE_FAILURE),
        (b'{"a":' * 100_000, cni.DECODE_FAILURE),
        (b'{"a":1,}', cni.DECODE_FAILURE),
        (b'{"a":01}', cni.DECODE_FAILURE),
        (b'{"a":"\x01"}', cni.DECODE_FAILURE),
        (b'{"a":"\\u12g4"}', cni.DECODE_FAILURE),
        (b'{"a" 1}', cni.DECODE_FAILURE),
        (b'"text"', cni.DECODE_FAILURE),
        (b" " * (shim.MAX_BYTES + 1), cni.DECODE_FAILURE),
        (b'{"cniVersion":"0.1.0"}', cni.INCOMPATIBLE_VERSION),
        (b'{"cniVersion":["1.0.0"]}', cni.INCOMPATIBLE_VERSION),
        (b'{"cniVersion":"1.0.0","socket":7}', cni.INVALID_CONFIG),
        (b'{"cniVersion":"1.0.0","socket":"relative"}', cni.INVALID_CONFIG),
        (b'{"cniVersion":"1.0.0","socket":"%s"}' % (b"/" * 108), cni.INVALID_CONFIG),
        (b'{"cniVersion":"1.0.0","socket":"/nowhere/cni.sock"}', cni.AGENT_UNREACHABLE),
        (b'{"socket":1,"a":[{},[1e3,-0.5,null,true]],"socket":"\\/nowhere"}', cni.AGENT_UNREACHABLE),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_garbage_is_an_error_object_with_its_code(runtime: Runtime, config: bytes, code: int) -> None:
    outcome = await runtime.run("ADD", config)
    assert (outcome.status, outcome.output["code"], outcome.errors) == (1, code, "")
    assert outcome.output["msg"].startswith("ashore: ")


@pytest.mark.parametrize(
    ("command", "code"),
    [("ADD", 100), ("CHECK", 100), ("DEL", 11), ("GC", 11), ("STATUS", 50), ("", 4), ("FLY", 4)],
)
async def test_a_missing_agent_is_an_error_object_with_its_code(runtime: Runtime, command: str, code: int) -> None:
    outcome = await runtime.run(command)
    assert (outcome.status, outcome.output["code"], outcome.errors) == (1, code, "")


async def test_a_missing_variable_is_named(runtime: Runtime) -> None:
    outcome = await runtime.run("ADD", CNI_NETNS="")
    assert (outcome.output["code"], "CNI_NETNS" in outcome.output["msg"]) == (cni.INVALID_ENVIRONMENT, True)


async def test_the_version_is_told_without_an_agent(runtime: Runtime) -> None:
    outcome = await runtime.run("VERSION", b'{"cniVersion":"0.4.0"}')
    assert outcome.output == {"cniVersion": "0.4.0", "supportedVersions": list(cni.SUPPORTED_VERSIONS)}


@pytest.mark.parametrize("reply", [b"", b"not json\n", b'{"result":3}\n', b'{"error":{}}\n', b"[]\n", b'{"result"'])
async def test_an_answer_that_is_none_is_an_error_object(runtime: Runtime, reply: bytes) -> None:
    async with impostor(runtime, reply):
        outcome = await runtime.run("ADD")
    assert (outcome.status, outcome.output["code"], outcome.errors) == (1, cni.IO_FAILURE, "")


async def test_a_hung_agent_ends_at_the_deadline(runtime: Runtime) -> None:
    runtime.hurry()
    async with impostor(runtime, None):
        outcome = await runtime.run("ADD")
    assert (outcome.status, outcome.output["code"], outcome.errors) == (1, cni.DEADLINE, "")


async def test_a_runtime_that_never_ends_its_input_ends_at_the_deadline(runtime: Runtime) -> None:
    runtime.hurry()
    process = await asyncio.create_subprocess_exec(
        runtime.plugin, env={"CNI_COMMAND": "ADD"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(10):
        output = await process.stdout.read()
        assert await process.wait() == 1
    assert json.loads(output)["code"] == cni.DEADLINE
    assert process.stdin is not None
    process.stdin.close()


async def test_a_killed_shim_cancels_its_add(runtime: Runtime) -> None:
    started, undone = asyncio.Event(), asyncio.Event()

    async def handler(_request: cni.Request) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            undone.set()
        return {}

    async with agent(runtime, handler):
        _, writer = await asyncio.open_unix_connection(runtime.socket)
        writer.write(b'{"command":"ADD","container_id":"other"}\n')
        async with asyncio.timeout(10):
            await started.wait()
            writer.close()
            await undone.wait()


async def test_requests_of_one_sandbox_come_one_after_another(runtime: Runtime) -> None:
    running, most = 0, 0

    async def handler(_request: cni.Request) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return {}

    async with agent(runtime, handler):
        outcomes = await asyncio.gather(*(runtime.run("DEL") for _ in range(4)))
    assert ([outcome.status for outcome in outcomes], most) == ([0] * 4, 1)


async def test_only_the_owner_may_open_the_socket(runtime: Runtime) -> None:
    async def handler(_request: cni.Request) -> dict[str, Any]:
        return {}

    async with agent(runtime, handler):
        assert stat.S_IMODE(runtime.socket.stat().st_mode) == 0o600


def test_the_shim_and_the_agent_agree_on_numbers() -> None:
    assert shim.VERSIONS == cni.SUPPORTED_VERSIONS
    assert (shim.SOCKET, shim.MAX_BYTES) == (cni.SOCKET, cni.MAX_REQUEST_BYTES)
    assert shim.DEADLINES_S == cni_server.DEADLINE_S
    assert shim.OTHER_DEADLINE_S == cni_server.OTHER_DEADLINE_S
    ours = (shim.TRY_AGAIN, shim.NOT_AVAILABLE, shim.UNREACHABLE, shim.DEADLINE, shim.INTERNAL, shim.IO_FAILURE)
    assert ours == (
        cni.TRY_AGAIN, cni.NOT_AVAILABLE, cni.AGENT_UNREACHABLE, cni.DEADLINE, cni.INTERNAL, cni.IO_FAILURE,
    )  # fmt: skip


def test_the_shim_imports_little_until_something_is_wrong(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    probe = (
        "import sys; exec(open(sys.argv[1]).read(), {'__name__': 'shim'});"
        "print(sorted({'json', 're', 'socket'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-ISc", probe, runtime.plugin], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_installing_twice_changes_nothing_and_leaves_no_draft(tmp_path: Path) -> None:
    for _ in range(2):
        install.install(tmp_path / "bin", tmp_path / "net.d", tmp_path / "cni.sock")
    assert [path.name for path in (tmp_path / "bin").iterdir()] == [install.PLUGIN]
    assert [path.name for path in (tmp_path / "net.d").iterdir()] == [install.CONFLIST]


def test_a_bug_in_the_shim_is_an_error_object_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_said: dict[str, str]) -> str:
        raise LookupError("oops")

    monkeypatch.setattr(shim, "serve", broken)
    assert shim.main() == 1
    assert json.loads(capfd.readouterr().out)["code"] == cni.INTERNAL
