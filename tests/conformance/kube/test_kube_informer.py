# SPDX-License-Identifier: Apache-2.0
"""The informer: the same story from FakeKube and from kube-apiserver, through outages too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import msgspec
import pytest

from ashore import kube
from ashore.kube import objects

LIMIT_S = 30
Accounts = kube.Informer[objects.ServiceAccount]


class Server(Protocol):
    def client(self, *, user: str = "admin") -> kube.Client: ...
    async def restart(self) -> None: ...
    async def forget(self) -> None: ...


@contextlib.asynccontextmanager
async def following(informer: kube.Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            await informer.synced.wait()
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def record(informer: kube.Informer[Any]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []

    def note(old: Any, new: Any) -> None:
        verb = "add" if old is None else "delete" if new is None else "change"
        thing = new or old
        assert (kube.key_of(thing) in informer.store) == (new is not None)
        told.append((verb, thing.metadata.name))

    informer.subscribe(note)
    return told


async def until(informer: kube.Informer[Any], key: kube.ObjectKey, *, exists: bool = True) -> None:
    await informer.wait_for(key, lambda item: (item is not None) is exists, timeout_s=LIMIT_S)


def account(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


async def add(client: kube.Client, namespace: str, *names: str) -> None:
    for name in names:
        await client.create(kube.SERVICE_ACCOUNTS, account(name), namespace)


@pytest.fixture
def informer(client: kube.Client, namespace: str) -> kube.Informer[objects.ServiceAccount]:
    return kube.Informer(client, kube.SERVICE_ACCOUNTS, namespace=namespace)


async def test_additions_changes_and_deletions_are_told(
    client: kube.Client, namespace: str, informer: Accounts
) -> None:
    await add(client, namespace, "before")
    told = record(informer)
    async with following(informer):
        await add(client, namespace, "after")
        await client.patch(kube.SERVICE_ACCOUNTS, "after", namespace, {"metadata": {"labels": {"a": "1"}}})
        await client.delete(kube.SERVICE_ACCOUNTS, "before", namespace)
        await until(informer, kube.ObjectKey(namespace, "before"), exists=False)
    assert told == [("add", "before"), ("add", "after"), ("change", "after"), ("delete", "before")]


async def test_an_object_that_leaves_the_selection_is_deleted_there(client: kube.Client, namespace: str) -> None:
    informer = kube.Informer(client, kube.SERVICE_ACCOUNTS, namespace=namespace, label_selector="a=1")
    told = record(informer)
    await client.create(kube.SERVICE_ACCOUNTS, account("x", a="1"), namespace)
    async with following(informer):
        await client.patch(kube.SERVICE_ACCOUNTS, "x", namespace, {"metadata": {"labels": {"a": "2"}}})
        await until(informer, kube.ObjectKey(namespace, "x"), exists=False)
    assert told == [("add", "x"), ("delete", "x")]


async def test_a_restarted_server_is_followed_on(
    server: Server, client: kube.Client, namespace: str, informer: Accounts
) -> None:
    await add(client, namespace, "a")
    told = record(informer)
    async with following(informer):
        await server.restart()
        await add(client, namespace, "b")
        await until(informer, kube.ObjectKey(namespace, "b"))
    assert told == [("add", "a"), ("add", "b")]


@pytest.mark.parametrize("can_stream_state", [True, False], ids=["watch-list", "paged-list"])
async def test_a_version_too_old_is_listed_again_and_what_was_missed_is_made_up(
    server: Server, client: kube.Client, namespace: str, informer: Accounts, *, can_stream_state: bool
) -> None:
    informer._can_stream_state = can_stream_state
    await add(client, namespace, "goes", "stays", "reborn")
    async with following(informer):
        pass
    told = record(informer)
    await client.delete(kube.SERVICE_ACCOUNTS, "goes", namespace)
    await client.delete(kube.SERVICE_ACCOUNTS, "reborn", namespace)
    await add(client, namespace, "new", "reborn")
    await server.forget()
    informer._version = "1"  # as if it had been away for longer than the server remembers
    informer.synced.clear()
    async with following(informer):
        pass
    assert sorted(told) == [("add", "new"), ("add", "reborn"), ("delete", "goes"), ("delete", "reborn")]
    assert told.index(("delete", "reborn")) < told.index(("add", "reborn"))
    assert "HTTP 410" in informer.statistics.last_failure


class ConfigMap(msgspec.Struct, frozen=True):
    metadata: objects.ObjectMeta
    data: Mapping[str, int] = msgspec.field(default_factory=dict)


class Text(msgspec.Struct, frozen=True):
    metadata: objects.ObjectMeta
    data: Mapping[str, str]


Text.__name__ = "ConfigMap"
NUMBERS = kube.Kind("", "v1", "configmaps", ConfigMap, namespaced=True)
TEXTS = kube.Kind("", "v1", "configmaps", Text, namespaced=True)


@pytest.mark.parametrize("can_stream_state", [True, False], ids=["watch-list", "paged-list"])
async def test_an_object_of_another_shape_is_reported_and_the_others_are_followed(
    client: kube.Client, namespace: str, *, can_stream_state: bool
) -> None:
    informer = kube.Informer(client, NUMBERS, namespace=namespace)
    informer._can_stream_state = can_stream_state
    bad = kube.ObjectKey(namespace, "bad")
    await client.create(TEXTS, {"metadata": {"name": "bad"}, "data": {"x": "text"}}, namespace)
    async with following(informer):
        await client.create(NUMBERS, {"metadata": {"name": "good"}}, namespace)
        await until(informer, kube.ObjectKey(namespace, "good"))
        assert "Expected `int`" in informer.undecodable[bad]
        await client.patch(NUMBERS, "bad", namespace, {"data": None})
        await until(informer, bad)
        assert not informer.undecodable


async def test_waiting_ends_with_the_objects_name(informer: Accounts, namespace: str) -> None:
    with pytest.raises(TimeoutError, match=rf"serviceaccount {namespace}/x: not as wanted within 0\.01 s"):
        await informer.wait_for(kube.ObjectKey(namespace, "x"), bool, timeout_s=0.01)
