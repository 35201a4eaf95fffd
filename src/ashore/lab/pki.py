# SPDX-License-Identifier: Apache-2.0
"""Every key and certificate of a lab, put where its owner looks for it. Authorities stay outside all nodes."""

import pathlib

import msgspec

from ashore import pki as certificates
from ashore.api import names, net
from ashore.lab import addresses, daemon, kubernetes, spec

_MASTERS = ("system:masters",)
_CONTROL_PLANE_USERS = {
    "controller-manager": "system:kube-controller-manager",
    "scheduler": "system:kube-scheduler",
}


class _Databases(msgspec.Struct, frozen=True):
    """The three authorities of the OVN databases: who may write NB, who may be a chassis, who the servers are."""

    nb_clients: certificates.Authority
    chassis: certificates.Authority
    server: certificates.Authority


def make(folders: spec.Folders, lab: spec.LabSpec) -> None:
    """Makes what a lab lacks; a node's files are made in one go, so a node that has some has all."""
    cluster_authorities = {cluster: _authority(folders, f"{cluster}-cluster") for cluster in ("host", "nic")}
    databases = _Databases(*(_authority(folders, name) for name in ("ovn-nb-clients", "ovn-chassis", "ovn-databases")))
    for cluster, authority in cluster_authorities.items():
        _administrator(folders, lab, cluster, authority)
    for node in spec.nodes(lab.shape):
        etc = folders.etc(node.name)
        if not node.has_init or (etc / ".complete").exists():
            continue
        if node.mode == "control-plane":
            _control_plane(etc, node, folders, cluster_authorities[node.cluster])
        if node == spec.CP:
            _database_server(etc, databases)
            _controller(etc, databases, cluster_authorities["host"])
        if node.has_kubelet:
            _kubelet(etc, node, cluster_authorities["host"])
        if node.mode in ("dpu", "dpu-host", "full"):
            _agent(etc, node, cluster_authorities["host"])
        if node.has_ovs:
            keys = databases.chassis.issue(common_name=node.name)
            remote = f"ssl:{addresses.api_ips('host')[0]}:6642"
            _database_client(etc / "ashore/credentials/sb", keys, databases.server, remote)
        etc.mkdir(parents=True, exist_ok=True)
        (etc / ".complete").touch()


def _authority(folders: spec.Folders, name: str) -> certificates.Authority:
    key, cert = folders.pki / f"{name}.key", folders.pki / f"{name}.crt"
    if cert.exists():
        return certificates.Authority(key.read_bytes(), cert.read_bytes())
    made = certificates.Authority.create(f"ashore lab {name}")
    certificates.write_private(key, made.key_pem)
    certificates.write_private(cert, made.cert_pem)
    return made


def _administrator(folders: spec.Folders, lab: spec.LabSpec, cluster: str, authority: certificates.Authority) -> None:
    path = folders.kubeconfig(cluster)
    if not path.exists():
        keys = authority.issue(common_name="admin", organizations=_MASTERS)
        _kubeconfig(path, f"https://127.0.0.1:{lab.ports[cluster]}", keys, authority)


def _control_plane(
    etc: pathlib.Path, node: spec.Node, folders: spec.Folders, authority: certificates.Authority
) -> None:
    pki = etc / kubernetes.PKI.removeprefix("/etc/")
    front = _authority(folders, f"{node.cluster}-front-proxy")
    service_accounts = certificates.make_key()
    ips = ("127.0.0.1", "::1", *addresses.api_ips(node.cluster), *addresses.service_ips())
    base = "kubernetes.default.svc"
    dns = ("localhost", "kubernetes", "kubernetes.default", base, f"{base}.cluster.local")
    keys = {
        "ca": certificates.KeyPair(authority.key_pem, authority.cert_pem),
        "apiserver": authority.issue(common_name="kube-apiserver", ips=ips, dns=dns, usages=("server",)),
        "apiserver-kubelet": authority.issue(common_name="kube-apiserver-kubelet-client", organizations=_MASTERS),
        "front-proxy": front.issue(common_name="front-proxy-client"),
    }
    for name, pair in keys.items():
        _pair(pki, name, pair)
    certificates.write_private(pki / "front-proxy-ca.crt", front.cert_pem)
    certificates.write_private(pki / "sa.key", service_accounts)
    certificates.write_private(pki / "sa.pub", certificates.public_key_of(service_accounts))
    server = f"https://127.0.0.1:{addresses.API_PORT}"
    for name, user in _CONTROL_PLANE_USERS.items():
        _kubeconfig(etc / f"kubernetes/{name}.kubeconfig", server, authority.issue(common_name=user), authority)


def _database_server(etc: pathlib.Path, databases: _Databases) -> None:
    pki = etc / daemon.DATABASE_PKI.removeprefix("/etc/")
    ips = addresses.api_ips("host")
    _pair(pki, "server", databases.server.issue(common_name="ovn-databases", ips=ips, usages=("server",)))
    certificates.write_private(pki / "nb-clients.crt", databases.nb_clients.cert_pem)
    certificates.write_private(pki / "chassis.crt", databases.chassis.cert_pem)


def _controller(etc: pathlib.Path, databases: _Databases, cluster: certificates.Authority) -> None:
    keys = databases.nb_clients.issue(common_name=names.CONTROLLER_USER)
    remote = f"ssl:{addresses.api_ips('host')[0]}:6641"
    _database_client(etc / "ashore/credentials/nb", keys, databases.server, remote)
    user = cluster.issue(common_name=names.CONTROLLER_USER)
    _kubeconfig(etc / "ashore/credentials/kubeconfig", addresses.api_server("host"), user, cluster)


def _kubelet(etc: pathlib.Path, node: spec.Node, authority: certificates.Authority) -> None:
    keys = authority.issue(common_name=f"system:node:{node.name}", organizations=("system:nodes",))
    _kubeconfig(etc / "kubernetes/kubelet.kubeconfig", addresses.api_server("host"), keys, authority)
    certificates.write_private(etc / "kubernetes/pki/ca.crt", authority.cert_pem)


def _agent(etc: pathlib.Path, node: spec.Node, authority: certificates.Authority) -> None:
    if node.mode == "dpu":
        user, group = names.dpu_user(net.NodeName(f"host-{node.index}")), names.DPU_GROUP
    else:
        user, group = names.host_user(net.NodeName(node.name)), names.HOST_GROUP
    keys = authority.issue(common_name=user, organizations=(group,))
    _kubeconfig(etc / "ashore/credentials/kubeconfig", addresses.api_server("host"), keys, authority)


def _database_client(
    folder: pathlib.Path, keys: certificates.KeyPair, server: certificates.Authority, remote: str
) -> None:
    content = {"key.pem": keys.key_pem, "cert.pem": keys.cert_pem, "ca.pem": server.cert_pem}
    for name, text in (content | {"remote": f"{remote}\n".encode()}).items():
        certificates.write_private(folder / name, text)


def _pair(folder: pathlib.Path, name: str, keys: certificates.KeyPair) -> None:
    certificates.write_private(folder / f"{name}.key", keys.key_pem)
    certificates.write_private(folder / f"{name}.crt", keys.cert_pem)


def _kubeconfig(path: pathlib.Path, server: str, keys: certificates.KeyPair, authority: certificates.Authority) -> None:
    credentials = certificates.Credentials(authority.cert_pem, keys.cert_pem, keys.key_pem)
    certificates.write_private(path, certificates.render_kubeconfig(server, credentials, name=path.stem))
