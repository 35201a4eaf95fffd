# SPDX-License-Identifier: Apache-2.0
"""An API server that babbles, cuts off, repeats itself and mixes things up: the informer ends with what there is."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import looptime
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ashore import kube
from ashore.kube import client as client_module
from ashore.kube import errors, objects, transport

LIMIT_S = 600  # of the loop's own time
Tamper = Callable[[list[bytes]], list[bytes]]
Json = dict[str, Any]
KINDS: list[kube.Kind[Any]] = [kube.PODS, kube.NODES, kube.LEASES, kube.SERVICES, kube.ENDPOINT_SLICES,
                               kube.NAMESPACES, kube.NETWORK_CONFIGS]  # fmt: skip
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "a", "BOOKMARK", "ERROR", "DELETED", "9" * 18, "9" * 5000, 0, -1, 2**70, 1.5, True, [], {}, "\ud800"]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "name", "annotations", "code"]), inner, max_size=3)
    ),
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.plural))
@given(body=BODIES)
@example(body=b"[" * 100_000)
@example(body=b'{"metadata":{"name":"\xff"}}')
def test_an_answer_is_an_object_or_an_error_that_names_what_was_asked_for(kind: kube.Kind[Any], body: bytes) -> None:
    try:
        client_module._decode(kind, "web", body)
    except kube.Undecodable as error:
        assert str(error).startswith("web: ")  # noqa: PT017 (most bodies are refused, not all)
    item = client_module.decode_item(kind, msgspec.Raw(body))
    assert isinstance(item, client_module.Broken) or item.metadata.name


@given(st.integers(100, 999), BODIES, st.text(max_size=5) | st.sampled_from(["²", "9" * 5000, "-1", "1.5", "10"]))
def test_a_failure_is_an_api_error_and_asks_for_a_bounded_wait(status: int, body: bytes, after: str) -> None:
    error = client_module._failure("web", status, {"Retry-After": after}, body)
    assert isinstance(error, kube.ApiError)
    assert 0 <= error.retry_after_s <= errors.LONGEST_RETRY_AFTER_S


class Script:
    """A transport to a server of service accounts that is a list of events; ``tamper`` bends the next live ones."""

    timeouts = kube.Timeouts()

    def __init__(self) -> None:
        self.tamper: Tamper | None = None
        self.bends_state = False
        self.events: list[tuple[str, Json]] = []
        self.piece = 1 << 20
        self._news = asyncio.Event()
        self._stop = 0
        self._last: tuple[bytes, ...] = ()

    def say(self, *changes: tuple[str, str]) -> None:
        """Each (verb, name) is an event; what it says differs each time."""
        for verb, name in changes:
            version = str(len(self.events) + 1)
            self.events.append((verb, {"metadata": {"name": name, "uid": name, "resourceVersion": version}}))
        self._news.set()

    def end(self, *last: bytes) -> None:
        """Ends all watches with these words."""
        self._stop += 1
        self._last = last
        self._news.set()

    @property
    def state(self) -> dict[str, Json]:
        now: dict[str, Json] = {}
        for verb, item in self.events:
            now.pop(item["metadata"]["name"], None)
            if verb != "DELETED":
                now[item["metadata"]["name"]] = item
        return now

    async def refresh(self) -> None:
        """No credentials here."""

    @contextlib.asynccontextmanager
    async def stream(self, request: transport.Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        yield 200, self._cut(self._lines(request.params or {}))

    async def _cut(self, batches: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for batch in batches:
            for at in range(0, len(batch), self.piece):
                yield batch[at : at + self.piece]
                await asyncio.sleep(0.1 if self.piece < len(batch) else 0)

    async def _lines(self, params: Any) -> AsyncIterator[bytes]:
        since, stop = int(params.get("resourceVersion", 0)), self._stop
        if since > len(self.events):
            yield line("ERROR", {"code": 504, "message": "Too large resource version: …"})
            return
        if "sendInitialEvents" in params:
            since = len(self.events)
            notes = {"resourceVersion": str(since), "annotations": {"k8s.io/initial-events-end": "true"}}
            initial = [*(line("ADDED", item) for item in self.state.values()), line("BOOKMARK", {"metadata": notes})]
            for each in self._bent(initial) if self.bends_state else initial:
                yield each
        while True:
            self._news.clear()
            news, since = self.events[since:], len(self.events)
            for each in self._bent([line(*event) for event in news]):
                if not each:
                    return
                yield each
            await self._news.wait()
            if stop != self._stop:
                for word in self._last:
                    yield word
                return

    def _bent(self, lines: list[bytes]) -> list[bytes]:
        if self.tamper is None or not lines:
            return lines
        tamper, self.tamper = self.tamper, None
        return tamper(lines)


def line(verb: str, item: Json) -> bytes:
    return json.dumps({"type": verb, "object": item}).encode() + b"\n"


TOO_OLD = line("ERROR", {"code": 410, "message": "too old"})
Told = dict[kube.ObjectKey, objects.ServiceAccount]
Story = Callable[[Script, "kube.Informer[objects.ServiceAccount]"], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    """Runs a story on fake time; the informer must live through it, and tell its subscribers what its store says."""

    async def play_it() -> None:
        server = Script()
        client = kube.Client(kube.Unauthenticated("http://192.0.2.1"))
        await client.close()
        client.transport = server  # type: ignore[assignment]
        informer: kube.Informer[objects.ServiceAccount] = kube.Informer(client, kube.SERVICE_ACCOUNTS)
        told: Told = {}

        def note(old: objects.ServiceAccount | None, new: objects.ServiceAccount | None) -> None:
            last = new or old
            assert last is not None
            assert (kube.key_of(last) in told) == (old is not None)
            told.pop(kube.key_of(last), None)
            if new is not None:
                told[kube.key_of(new)] = new

        informer.subscribe(note)
        server.say(("ADDED", "a"), ("ADDED", "b"))
        task = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                await story(server, informer)
            assert told == dict(informer.store)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(play_it())


async def agreed(server: Script, informer: "kube.Informer[objects.ServiceAccount]") -> None:
    """Waits until the store is what the server has, and again after one more event."""
    for _ in range(2):
        while {  # noqa: ASYNC110 (fake time)
            key.name: item.metadata.resource_version for key, item in informer.store.items()
        } != {name: item["metadata"]["resourceVersion"] for name, item in server.state.items()}:
            await asyncio.sleep(1)
        server.say(("ADDED", f"later-{len(server.events)}"))


CHANGES = (("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "c"), ("DELETED", "a"))


def survives(tamper: Tamper, *, piece: int = 1 << 20) -> None:
    async def story(server: Script, informer: "kube.Informer[objects.ServiceAccount]") -> None:
        await informer.synced.wait()
        server.tamper, server.piece = tamper, piece
        server.say(*CHANGES)
        await agreed(server, informer)

    play(story)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_events_in_any_order_end_in_the_servers_state(order: tuple[int, ...]) -> None:
    survives(lambda lines: [lines[index] for index in order])


@pytest.mark.parametrize("again", list(itertools.product(range(4), range(4))), ids=str)
def test_an_event_that_comes_again_changes_nothing(again: tuple[int, int]) -> None:
    what, after = again
    survives(lambda lines: [*lines[: after + 1], lines[what], *lines[after + 1 :]])


@given(st.integers(0, 3), st.integers(0, 100), st.sampled_from([b"", b"\n", b"\xff\n", b"null\n", b"{}\n", b"<html>"]))
def test_a_watch_that_breaks_off_goes_on_where_it_was(index: int, length: int, rest: bytes) -> None:
    survives(lambda lines: [*lines[:index], lines[index][:length] + rest, b""])


@pytest.mark.parametrize("piece", [1, 2, 7, 60])
def test_events_that_trickle_in_are_taken_in(piece: int) -> None:
    survives(lambda lines: [b"".join(lines)], piece=piece)


def test_a_server_that_was_restored_to_an_older_state_is_read_anew() -> None:
    async def story(server: Script, informer: "kube.Informer[objects.ServiceAccount]") -> None:
        await informer.synced.wait()
        server.say(*CHANGES)
        await agreed(server, informer)
        del server.events[2:]
        server.end()
        server.say(("ADDED", "x"))
        await agreed(server, informer)

    play(story)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a JSON value."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(deeper for key, part in inner for deeper in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    return value | {path[0]: replaced(value[path[0]], path[1:], odd)} if path else odd


@settings(max_examples=200)
@given(st.booleans(), st.integers(0, 3), st.integers(0, 8), JSON)
@example(True, 2, 5, "")  # a complete state without a version
@example(False, 0, 1, "BOOKMARK")
@example(False, 0, 5, "9" * 18)  # a version from the future
def test_whatever_part_of_an_event_is_odd_the_informer_lives_and_a_new_list_heals_it(
    is_state: bool,  # noqa: FBT001 (drawn)
    which: int,
    where: int,
    odd: Any,
) -> None:
    def tamper(lines: list[bytes]) -> list[bytes]:
        at = which % len(lines)
        value = json.loads(lines[at])
        paths = places(value)
        bent = json.dumps(replaced(value, paths[where % len(paths)], odd)).encode() + b"\n"
        return [*lines[:at], bent, *lines[at + 1 :]]

    async def story(server: Script, informer: "kube.Informer[objects.ServiceAccount]") -> None:
        server.bends_state = is_state
        server.tamper = tamper if is_state else None
        await asyncio.sleep(1)
        server.end(TOO_OLD)  # what never got a complete state asks again
        await informer.synced.wait()
        if not is_state:
            server.tamper = tamper
        server.say(*CHANGES)
        await asyncio.sleep(1)
        server.end(TOO_OLD)
        await agreed(server, informer)

    play(story)
