# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' own daemons: their flags and files. Data only; paths are as a node sees them."""

import ipaddress
import json
from collections.abc import Mapping

from ashore.lab import addresses, daemon, spec

PKI = "/etc/kubernetes/pki"
KUBELET_CONFIG = "/etc/kubernetes/kubelet.yaml"
CONTAINERD_CONFIG = "/etc/containerd/lab.toml"
PAUSE_IMAGE = "lab.local/pause:1"
_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"


def control_plane(lab: spec.LabSpec, node: spec.Node) -> tuple[daemon.Daemon, ...]:
    """etcd, API server, controller manager and scheduler of one cluster."""
    tool = lab.tools.binaries
    # Both die, and cost a second of a core, where they find the API server without its bootstrap roles.
    ready = (f"{daemon.DONE}/api-ready",)
    return (
        daemon.Daemon("etcd", (tool["etcd"], *_flags(_ETCD_FLAGS))),
        daemon.Daemon("kube-apiserver", (tool["kube-apiserver"], *_flags(_api_server(lab, node)))),
        daemon.Daemon("api-ready", daemon.module("ashore.lab.apiready"), is_oneshot=True),
        daemon.Daemon(
            "kube-controller-manager",
            (tool["kube-controller-manager"], *_flags(_controller_manager(lab.shape))),
            after=ready,
        ),
        daemon.Daemon("kube-scheduler", (tool["kube-scheduler"], *_flags(_component("scheduler", 10259))), after=ready),
    )


def node(lab: spec.LabSpec, place: spec.Node) -> tuple[daemon.Daemon, ...]:
    """containerd, the images that the lab brings, kubelet."""
    tool = lab.tools.binaries
    path = {"PATH": f"{lab.tools.bin_dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    imports = daemon.module("ashore.lab.images", tool["ctr"], *lab.tools.images)
    kubelet = {
        "config": KUBELET_CONFIG,
        "kubeconfig": "/etc/kubernetes/kubelet.kubeconfig",
        "hostname-override": place.name,
        "node-ip": ",".join(addresses.node_ips(place, lab.shape.families)),
        "root-dir": "/var/lib/kubelet",
        "v": "2",
    }
    return (
        daemon.Daemon("containerd", (tool["containerd"], "-c", CONTAINERD_CONFIG), environment=path),
        daemon.Daemon("images", imports, after=(daemon.CONTAINERD_SOCKET,), is_oneshot=True),
        daemon.Daemon(
            "kubelet",
            (tool["kubelet"], *_flags(kubelet)),
            after=(f"{daemon.DONE}/images",),
            environment=path,
        ),
    )


def kubelet_config(cgroup: str) -> str:
    """A kubelet's configuration file."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{daemon.CONTAINERD_SOCKET}",
        # Machines that still have cgroup v1 are served as long as kubelet does.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "makeIPTablesUtilChains": False,
        "readOnlyPort": 0,
        # A full disk or memory is the machine's trouble, not one node's.
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "1Mi",
            "nodefs.inodesFree": "1",
            "imagefs.available": "1Mi",
            "imagefs.inodesFree": "1",
        },
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "10s",
        "nodeLeaseDurationSeconds": 8,
        "serializeImagePulls": False,
        "maxPods": 110,
    }
    return json.dumps(config, indent=1)


def containerd_config(runc: str) -> str:
    """Containerd's configuration file, version 3."""
    unused = [
        "io.containerd.nri.v1.nri",
        *(f"io.containerd.snapshotter.v1.{name}" for name in ("btrfs", "devmapper", "zfs", "erofs", "blockfile")),
        "io.containerd.tracing.processor.v1.otlp",
        "io.containerd.internal.v1.tracing",
        "io.containerd.monitor.container.v1.restart",
    ]
    return f"""version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
disabled_plugins = {unused}
[grpc]
  address = '{daemon.CONTAINERD_SOCKET}'
[plugins.'io.containerd.metadata.v1.bolt']
  no_sync = true
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  # A lab without CAP_SYS_RESOURCE can't lower oom_score_adj, and runc dies where it is asked to.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '{runc}'
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  use_internal_loopback = true
  conf_dir = '/etc/cni/net.d'
"""


def cluster_cidrs(families: tuple[int, ...]) -> str:
    """Pod ranges, the primary family first."""
    return ",".join(addresses.POD_CIDRS[family] for family in families)


def service_cidrs(families: tuple[int, ...]) -> str:
    """Service ranges, the primary family first."""
    return ",".join(addresses.SERVICE_CIDRS[family] for family in families)


def _flags(values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in values.items())


_ETCD_FLAGS = {
    "name": "lab",
    "data-dir": "/var/lib/etcd",
    "listen-client-urls": _ETCD,
    "advertise-client-urls": _ETCD,
    "listen-peer-urls": _ETCD_PEER,
    "initial-advertise-peer-urls": _ETCD_PEER,
    "initial-cluster": f"lab={_ETCD_PEER}",
    "unsafe-no-fsync": "true",
    "log-level": "warn",
    "auto-compaction-retention": "5m",
}


def _api_server(lab: spec.LabSpec, place: spec.Node) -> dict[str, str]:
    primary = lab.shape.families[0]
    advertised = next(ip for ip in addresses.api_ips(place.cluster) if ipaddress.ip_address(ip).version == primary)
    return {
        "etcd-servers": _ETCD,
        "bind-address": "::",
        "secure-port": str(addresses.API_PORT),
        "advertise-address": advertised,
        "service-cluster-ip-range": service_cidrs(lab.shape.families),
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": f"{PKI}/ca.crt",
        "tls-cert-file": f"{PKI}/apiserver.crt",
        "tls-private-key-file": f"{PKI}/apiserver.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": f"{PKI}/sa.pub",
        "service-account-signing-key-file": f"{PKI}/sa.key",
        "kubelet-client-certificate": f"{PKI}/apiserver-kubelet.crt",
        "kubelet-client-key": f"{PKI}/apiserver-kubelet.key",
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": f"{PKI}/front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": f"{PKI}/front-proxy.crt",
        "proxy-client-key-file": f"{PKI}/front-proxy.key",
        "profiling": "false",
        "v": "1",
    }


def _component(name: str, port: int) -> dict[str, str]:
    kubeconfig = f"/etc/kubernetes/{name}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "secure-port": str(port),
        "leader-elect": "false",
        # The defaults (20 requests a second) make a cluster's first seconds slow.
        "kube-api-qps": "500",
        "kube-api-burst": "1000",
        "profiling": "false",
    }


def _controller_manager(shape: spec.Shape) -> dict[str, str]:
    return _component("controller-manager", 10257) | {
        "use-service-account-credentials": "true",
        # Node subnets are our controller's business.
        "allocate-node-cidrs": "false",
        "cluster-cidr": cluster_cidrs(shape.families),
        "service-cluster-ip-range": service_cidrs(shape.families),
        "node-monitor-period": "1s",
        "node-monitor-grace-period": "10s",
        "root-ca-file": f"{PKI}/ca.crt",
        "service-account-private-key-file": f"{PKI}/sa.key",
        "cluster-signing-cert-file": f"{PKI}/ca.crt",
        "cluster-signing-key-file": f"{PKI}/ca.key",
    }
