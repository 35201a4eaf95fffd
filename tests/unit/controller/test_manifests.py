# SPDX-License-Identifier: Apache-2.0
"""The manifests say the same as the code."""

import pathlib
from typing import Any

import msgspec
import pytest
import yaml

from ashore import kube
from ashore.api import config
from ashore.kube import objects

MANIFESTS = pathlib.Path(__file__).parents[3] / "deploy" / "manifests"


def crd_properties() -> dict[str, Any]:
    crd = yaml.safe_load((MANIFESTS / "crds.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    assert (crd["spec"]["group"], version["name"]) == (kube.NETWORK_CONFIGS.group, kube.NETWORK_CONFIGS.version)
    properties: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
    return properties


@pytest.mark.parametrize(
    ("struct", "where"),
    [
        (config.NetworkConfigSpec, ("spec",)),
        (config.ClusterNetwork, ("spec", "properties", "clusterNetworks", "items")),
        (objects.NetworkConfigStatus, ("status",)),
    ],
)
def test_the_crd_has_exactly_the_fields_that_the_code_reads(
    struct: type[msgspec.Struct], where: tuple[str, ...]
) -> None:
    schema: dict[str, Any] = crd_properties()
    for step in where:
        schema = schema[step]
    fields = msgspec.structs.fields(struct)
    assert set(schema["properties"]) == {field.encode_name for field in fields}
    if where[0] == "spec":
        assert set(schema["required"]) == {field.encode_name for field in fields if field.required}


def test_the_crds_defaults_are_the_codes() -> None:
    schema = crd_properties()["spec"]["properties"]
    for field in msgspec.structs.fields(config.NetworkConfigSpec):
        if not field.required and "default" in schema[field.encode_name]:
            code = msgspec.json.decode(msgspec.json.encode(field.default))
            assert schema[field.encode_name]["default"] == code


def test_the_controller_may_write_statuses_and_taints_but_no_pod_spec_and_no_other_lease() -> None:
    rules = [
        rule
        for document in yaml.safe_load_all((MANIFESTS / "controller.yaml").read_text())
        for rule in document.get("rules", ())
    ]
    writes = {
        (r, v) for rule in rules for r in rule["resources"] for v in rule["verbs"] if v not in ("get", "list", "watch")
    }
    assert writes == {
        ("nodes/status", "patch"),
        ("pods/status", "patch"),
        ("nodes", "patch"),
        ("events", "create"),
        ("events", "patch"),
        ("networkconfigs/status", "patch"),
        ("leases", "create"),
        ("leases", "patch"),
    }
