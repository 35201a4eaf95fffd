# SPDX-License-Identifier: Apache-2.0
"""The lab's two clusters from outside: until they answer, and what a host cluster needs in it before nodes come."""

import json
import pathlib
import subprocess
from collections.abc import Sequence

import msgspec
import yaml

from ashore.api import config, names
from ashore.lab import addresses, apiready, errors, spec


def wait_ready(folders: spec.Folders, lab: spec.LabSpec, cluster: str, *, within_s: float = 90) -> None:
    """Returns when the API server says that it is ready.

    Raises:
        LabError: it wasn't in time.
    """
    try:
        apiready.wait(folders.pki / f"{cluster}-cluster.crt", lab.ports[cluster], within_s=within_s)
    except apiready.NotReady as error:
        place = spec.CP if cluster == "host" else spec.NIC_CP
        raise errors.LabError(
            f"API server of the {cluster} cluster: not ready after {within_s:.0f} s ({error}); "
            f"see `ashore lab logs {place.name} kube-apiserver`"
        ) from error


def kubectl(
    folders: spec.Folders, lab: spec.LabSpec, arguments: Sequence[str], *, cluster: str = "host", stdin: str = ""
) -> str:
    """Kubectl's output.

    Raises:
        LabError: what it said on failing.
    """
    command = [lab.tools.binaries["kubectl"], f"--kubeconfig={folders.kubeconfig(cluster)}", *arguments]
    reply = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if reply.returncode:
        raise errors.LabError(f"kubectl {' '.join(arguments)}: {reply.stderr.strip()}")
    return reply.stdout


def prepare_host_cluster(folders: spec.Folders, lab: spec.LabSpec) -> None:
    """The lease namespace, our definitions and rights, and the network's settings."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.LEASE_NAMESPACE}}
    _apply(folders, lab, json.dumps(namespace))
    manifests = manifests_folder()
    if manifests is None:
        return
    _apply(folders, lab, "\n---\n".join(file.read_text(encoding="utf-8") for file in sorted(manifests.glob("*.yaml"))))
    definition = f"crd/networkconfigs.{names.API_GROUP}"
    kubectl(folders, lab, ["wait", "--for=condition=Established", definition, "--timeout=30s"])
    _apply(folders, lab, json.dumps(network_config(lab.shape)))


def manifests_folder() -> pathlib.Path | None:
    """``deploy/manifests`` of the source tree, or of the installed package."""
    here = pathlib.Path(__file__).resolve()
    candidates = (here.parents[3] / "deploy/manifests", here.parents[1] / "deploy/manifests")
    return next((folder for folder in candidates if any(folder.glob("*.yaml"))), None)


def network_config(shape: spec.Shape) -> dict[str, object]:
    """The lab's ``NetworkConfig``."""
    settings = config.NetworkConfigSpec(
        cluster_networks=tuple(
            config.ClusterNetwork(addresses.POD_CIDRS[family], addresses.HOST_PREFIXES[family])
            for family in shape.families
        ),
        service_cidrs=tuple(addresses.SERVICE_CIDRS[family] for family in shape.families),
        # A userspace switch has nothing to offload to.
        offload="off",
    )
    return {
        "apiVersion": f"{names.API_GROUP}/v1alpha1",
        "kind": "NetworkConfig",
        "metadata": {"name": "default"},
        "spec": msgspec.to_builtins(settings),
    }


def wait_nodes(folders: spec.Folders, lab: spec.LabSpec, *, within_s: float = 90) -> None:
    """Returns when every Kubernetes node has registered and, where agents run, is Ready.

    Raises:
        NotWell: some node wasn't in time.
    """
    wanted = [f"node/{node.name}" for node in spec.nodes(lab.shape) if node.has_kubelet]
    if not wanted:
        return
    limit = f"--timeout={within_s:.0f}s"
    try:
        for node in wanted:  # kubectl waits for the creation of one name, and fails at once for several
            kubectl(folders, lab, ["wait", "--for=create", node, limit])
        if lab.shape.agents:
            kubectl(folders, lab, ["wait", "--for=condition=Ready", *wanted, limit])
    except errors.LabError as error:
        raise errors.NotWell(f"{error}; `ashore lab status --name {lab.name}` shows what is missing") from error


def ready_nodes(folders: spec.Folders, lab: spec.LabSpec) -> dict[str, bool]:
    """Nodes of the host cluster and whether kubelet calls them ready; empty if the cluster can't be asked."""
    try:
        reply = kubectl(folders, lab, ["get", "nodes", "-o", "json", "--request-timeout=3s"])
    except errors.LabError:
        return {}
    return {
        item["metadata"]["name"]: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in item["status"].get("conditions", ())
        )
        for item in json.loads(reply)["items"]
    }


def _apply(folders: spec.Folders, lab: spec.LabSpec, text: str) -> None:
    if any(document for document in yaml.safe_load_all(text)):
        kubectl(folders, lab, ["apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=text)
