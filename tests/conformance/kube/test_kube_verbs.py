# SPDX-License-Identifier: Apache-2.0
"""The client's verbs: the same answers from FakeKube and from kube-apiserver."""

import json
from typing import Any

import pytest

from ashore import kube
from ashore.kube import objects, transport


def pod(name: str, *, node: str = "", labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "pause", "ports": [{"containerPort": 80}]}], "nodeName": node}
    # The server would hold a pod that has a node for its grace period, and no kubelet is here to end it.
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec | {"terminationGracePeriodSeconds": 0}}


async def test_what_is_created_can_be_read_and_listed(client: kube.Client, namespace: str) -> None:
    made = await client.create(kube.PODS, pod("web", node="worker-1"), namespace)
    assert await client.get(kube.PODS, "web", namespace) == made
    assert (made.spec.node_name, made.spec.containers[0].ports[0].container_port) == ("worker-1", 80)
    assert made.status.phase == "Pending"
    assert [item async for item in client.list(kube.PODS, namespace=namespace)] == [made]


async def test_selectors_choose_by_name_node_and_label(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("a", node="one", labels={"app": "x"}), namespace)
    await client.create(kube.PODS, pod("b", node="two", labels={"app": "y"}), namespace)
    await client.create(kube.PODS, pod("c"), namespace)

    async def names(field_selector: str = "", label_selector: str = "") -> list[str]:
        found = client.list(
            kube.PODS, namespace=namespace, field_selector=field_selector, label_selector=label_selector
        )
        return [item.metadata.name async for item in found]

    assert await names("spec.nodeName=two") == ["b"]
    assert await names("metadata.name=c") == ["c"]
    assert await names("spec.nodeName!=") == ["a", "b"]
    assert await names(label_selector="app=x") == ["a"]
    assert await names(label_selector="app") == ["a", "b"]


async def test_a_long_list_comes_in_pages(client: kube.Client, namespace: str) -> None:
    for index in range(5):
        await client.create(kube.SERVICE_ACCOUNTS, {"metadata": {"name": f"a{index}"}}, namespace)
    selection = kube.Selection(namespace=namespace)
    pages = [page async for page in client.pages(kube.SERVICE_ACCOUNTS, selection, limit=2)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert len({page.resource_version for page in pages}) == 1


async def test_a_missing_object_is_not_found_by_its_name(client: kube.Client, namespace: str) -> None:
    with pytest.raises(kube.NotFound, match=f'pod {namespace}/none: pods "none" not found'):
        await client.get(kube.PODS, "none", namespace)
    with pytest.raises(kube.NotFound, match="none"):
        await client.delete(kube.PODS, "none", namespace)


async def test_a_second_of_a_name_already_exists(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("web"), namespace)
    with pytest.raises(kube.AlreadyExists, match="web"):
        await client.create(kube.PODS, pod("web"), namespace)


async def test_an_object_without_a_name_is_invalid(client: kube.Client, namespace: str) -> None:
    with pytest.raises(kube.Invalid, match="name"):
        await client.create(kube.SERVICE_ACCOUNTS, {"metadata": {}}, namespace)


async def test_a_patch_of_a_pods_status_changes_annotations_and_no_spec(client: kube.Client, namespace: str) -> None:
    made = await client.create(kube.PODS, pod("web", node="worker-1"), namespace)
    body = {"metadata": {"annotations": {"a": "1"}}, "spec": {"nodeName": "stolen"}, "status": {"phase": "Running"}}
    patched = await client.patch(kube.PODS, "web", namespace, body, uid=made.metadata.uid)
    assert patched.metadata.annotations == {"a": "1"}
    assert (patched.spec.node_name, patched.status.phase) == ("worker-1", "Running")
    cleared = await client.patch(kube.PODS, "web", namespace, {"metadata": {"annotations": {"a": None}}})
    assert cleared.metadata.annotations == {}


async def test_a_patch_of_a_pod_leaves_its_status(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("web"), namespace)
    body = {"metadata": {"labels": {"a": "1"}}, "status": {"phase": "Running"}}
    patched = await client.patch(kube.PODS, "web", namespace, body, subresource="")
    assert (patched.metadata.labels, patched.status.phase) == ({"a": "1"}, "Pending")


async def test_a_patch_that_changes_nothing_makes_no_new_version(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("web"), namespace)
    body = {"metadata": {"annotations": {"a": "1"}}}
    first = await client.patch(kube.PODS, "web", namespace, body)
    assert await client.patch(kube.PODS, "web", namespace, body) == first


async def test_a_patch_of_another_incarnation_conflicts(client: kube.Client, namespace: str) -> None:
    old = await client.create(kube.PODS, pod("web"), namespace)
    await client.delete(kube.PODS, "web", namespace, uid=old.metadata.uid, grace_s=0)
    await client.create(kube.PODS, pod("web"), namespace)
    body = {"metadata": {"annotations": {"a": "1"}}}
    with pytest.raises(kube.Conflict, match=old.metadata.uid):
        await client.patch(kube.PODS, "web", namespace, body, uid=old.metadata.uid)
    with pytest.raises(kube.Conflict, match=old.metadata.uid):
        await client.delete(kube.PODS, "web", namespace, uid=old.metadata.uid, grace_s=0)


async def test_a_patch_of_an_old_version_conflicts(client: kube.Client, namespace: str) -> None:
    old = await client.create(kube.LEASES, objects.Lease(objects.ObjectMeta(name="l")), namespace)
    version = old.metadata.resource_version
    body = {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 12}}
    new = await client.patch(kube.LEASES, "l", namespace, body, resource_version=version)
    assert (new.spec.holder_identity, new.spec.lease_duration_seconds) == ("a", 12)
    with pytest.raises(kube.Conflict, match="modified"):
        await client.patch(kube.LEASES, "l", namespace, {"spec": {"holderIdentity": "b"}}, resource_version=version)


async def test_a_finalizer_keeps_a_deleted_object_until_it_goes(client: kube.Client, namespace: str) -> None:
    await client.create(kube.SERVICE_ACCOUNTS, {"metadata": {"name": "a", "finalizers": ["test/x"]}}, namespace)
    await client.delete(kube.SERVICE_ACCOUNTS, "a", namespace)
    assert (await client.get(kube.SERVICE_ACCOUNTS, "a", namespace)).metadata.deletion_timestamp
    await client.patch(kube.SERVICE_ACCOUNTS, "a", namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(kube.NotFound):
        await client.get(kube.SERVICE_ACCOUNTS, "a", namespace)


async def test_a_running_pod_stays_marked_for_its_grace_period(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("web", node="worker-1"), namespace)
    await client.delete(kube.PODS, "web", namespace, grace_s=30)
    assert (await client.get(kube.PODS, "web", namespace)).metadata.deletion_timestamp
    await client.delete(kube.PODS, "web", namespace, grace_s=0)
    with pytest.raises(kube.NotFound):
        await client.get(kube.PODS, "web", namespace)


async def test_the_same_event_twice_counts(client: kube.Client, namespace: str) -> None:
    made = await client.create(kube.PODS, pod("web"), namespace)
    regarding = objects.ObjectReference("v1", "Pod", namespace, "web", made.metadata.uid)
    for _ in range(2):
        await kube.publish_event(client, regarding=regarding, reason="NotPlugged", message="no VF", type_="Warning")
    await kube.publish_event(client, regarding=regarding, reason="Plugged", message="ens1f0v3")
    found = [event async for event in client.list(kube.EVENTS, namespace=namespace)]
    assert sorted((event.reason, event.count, event.type) for event in found) == [
        ("NotPlugged", 2, "Warning"),
        ("Plugged", 1, "Normal"),
    ]


async def test_the_server_says_its_version(client: kube.Client) -> None:
    assert (await client.server_version()).startswith("v1.")


async def test_an_object_replaced_as_a_whole_has_to_be_the_latest(client: kube.Client, namespace: str) -> None:
    await client.create(kube.PODS, pod("web"), namespace)
    path = kube.PODS.path(namespace, "web")
    _, _, read = await client.transport.send(transport.Request("GET", path, "pod"))

    async def put(note: str) -> int:
        whole = json.loads(read)
        whole["metadata"]["annotations"] = {"example.org/by": note}
        whole["spec"]["nodeName"] = "not-by-status"
        body = json.dumps(whole).encode()
        return (await client.transport.send(transport.Request("PUT", f"{path}/status", "pod", body=body)))[0]

    assert await put("first") == 200
    assert await put("late") == 409
    now = await client.get(kube.PODS, "web", namespace)
    assert (now.metadata.annotations, now.spec.node_name) == ({"example.org/by": "first"}, "")
