# SPDX-License-Identifier: Apache-2.0
"""What a pod asks for that isn't served: refused at ADD, as ignoring it would go unnoticed. Pure."""

from ashore.agent import bandwidth
from ashore.api import cni
from ashore.kube import objects


def refuse(pod: objects.Pod) -> None:
    """Returns when all that the pod asks for is served. Raises cni.Failure."""
    what = f"ashore: pod {pod.metadata.namespace}/{pod.metadata.name}"
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for port in container.ports:
            if port.host_port:
                text = (
                    f"{what}: hostPort {port.host_port}/{port.protocol} of container {container.name} isn't served; "
                    "use a Service of type NodePort, or hostNetwork"
                )
                raise cni.Failure(cni.HOST_PORT, text)
    if problem := bandwidth.problem(pod):
        raise cni.Failure(cni.BAD_BANDWIDTH, f"ashore: {problem}")
