# SPDX-License-Identifier: Apache-2.0
"""Whatever comes to the agent's socket or to the shim gets a CNI answer or none, and the next one is served."""

import asyncio
import contextlib
import json
import pathlib
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ashore.agent import cni_server
from ashore.api import cni
from ashore.cni import shim

ODD: st.SearchStrategy[Any] = st.sampled_from([None, "", "ADD", "\0", "\ud800", 0, -1, 2**70, 1.5, True, [], {}])
JSON: st.SearchStrategy[Any] = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
REQUESTS = st.dictionaries(
    st.sampled_from(["command", "container_id", "netns", "ifname", "args", "config", "pod_uid", "more"]), JSON
) | st.fixed_dictionaries({"command": st.sampled_from(["ADD", "DEL", "GC", "BUG", "\ud800"])})
LINES = REQUESTS.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
GOOD = b'{"command":"STATUS"}\n'


async def handle(request: cni.Request) -> dict[str, Any]:
    if request.command == "BUG":
        raise ZeroDivisionError
    if request.command == "GC":
        raise cni.Failure(cni.TRY_AGAIN, "ashore: not now")
    return {"config": request.config}


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="fc-") as folder:
        place, listening = pathlib.Path(folder) / "cni.sock", asyncio.Event()
        task = asyncio.create_task(cni_server.CniServer(place, handle).run(listening.set))
        await listening.wait()
        try:
            yield place
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ask(place: pathlib.Path, *pieces: bytes, is_over: bool = True) -> bytes:
    """All that the agent answers; ``is_over``: the asker says that nothing more comes."""
    reader, writer = await asyncio.open_unix_connection(place)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if is_over:
            writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            answer = await reader.read()
    writer.close()
    return answer


async def converse(*pieces: bytes, is_over: bool = True) -> bytes:
    async with served() as place:
        answer = await ask(place, *pieces, is_over=is_over)
        assert json.loads(await ask(place, GOOD)) == {"result": {"config": {}}}
        return answer


def run(*pieces: bytes, is_over: bool = True) -> bytes:
    with asyncio.Runner() as runner:
        return runner.run(converse(*pieces, is_over=is_over))


@given(LINES, st.sampled_from([b"", b"\n", b"\n\n{}\n", b"\n" + GOOD]), st.integers(1, 50))
@example(b"[" * 200_000, b"\n", 65536)
@example(b'{"command":"ADD","container_id":"\xff"}', b"\n", 50)
@example(b'{"command":"ADD","config":{"a":"' + b"x" * (2 << 20) + b'"}}', b"\n", 1 << 20)
def test_whatever_is_asked_the_answer_is_one_reply_or_none(line: bytes, end: bytes, size: int) -> None:
    stream = line + end
    answer = run(*(stream[at : at + size] for at in range(0, len(stream), size)))
    if answer:
        assert answer.count(b"\n") == 1
        assert len(set(json.loads(answer)) & {"result", "error"}) == 1


@pytest.mark.parametrize("pieces", [(), (b'{"command":"ADD"',)], ids=["nothing", "half"])
def test_a_shim_that_never_ends_its_line_is_left(pieces: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_server, "REQUEST_TIMEOUT_S", 0.05)
    assert run(*pieces, is_over=False) == b""


def test_a_bug_is_an_error_of_its_request_alone() -> None:
    assert json.loads(run(b'{"command":"BUG"}\n'))["error"]["code"] == cni.INTERNAL


TEXTS = JSON.map(json.dumps) | st.text(max_size=20) | st.sampled_from(["[" * 100_000, '{"a":' * 50_000, "9" * 5000])


@given(st.sampled_from(list(shim.NEEDS)), TEXTS)
def test_the_shim_reads_a_configuration_or_says_what_is_wrong(command: str, text: str) -> None:
    try:
        config = shim.read_config(command, text)
        shim.check_request(command, config)
    except shim.Trouble as trouble:
        assert trouble.code in (shim.UNDECODABLE, shim.INCOMPATIBLE, shim.BAD_ENV, shim.BAD_CONFIG)  # noqa: PT017 (most are refused, not all)


ANSWERS = st.fixed_dictionaries({}, optional={"result": JSON, "error": JSON, "more": JSON}).map(json.dumps)
ERRORS = st.fixed_dictionaries({"error": st.fixed_dictionaries({"code": JSON, "msg": JSON, "details": JSON})})


@settings(max_examples=200)
@given(ANSWERS | ERRORS.map(json.dumps) | TEXTS)
@example('{"result":{"a":1},"error":{}}')
def test_the_shim_prints_a_json_object_or_an_error(answer: str) -> None:
    try:
        printed = shim.unpack(answer)
    except shim.Trouble as trouble:
        said = f'{{"code":{trouble.code},"msg":{shim.quote(trouble.msg)},"details":{shim.quote(trouble.details)}}}'
        assert json.loads(said)["code"] == trouble.code  # noqa: PT017 (most are refused, not all)
        return
    assert printed == "" or isinstance(json.loads(printed.encode()), dict)
