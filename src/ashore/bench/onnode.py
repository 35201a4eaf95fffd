# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.bench.onnode``: does on a node what its container runtime does, and times it there.

It runs in the node's namespaces, so that neither entering them nor a command line's start is part of a time. One JSON
object a line on standard input, one answer a line on standard output. Times are milliseconds of a monotonic clock.
"""

import concurrent.futures
import http.client
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ashore.bench import packets
from ashore.lab import netspace

CONFLIST = pathlib.Path("/etc/cni/net.d/10-ashore.conflist")
PLUGINS = pathlib.Path("/opt/cni/bin")
METRICS = ("127.0.0.1", 9410)
RETRY_S = 0.005


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": DOES[request.pop("do")](**request)}
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def plugin() -> tuple[str, bytes]:
    """The installed plugin and its configuration, made from the installed list as runtimes make it."""
    listed = json.loads(CONFLIST.read_bytes())
    first = listed["plugins"][0]
    config = {**first, "cniVersion": listed["cniVersion"], "name": listed["name"]}
    return str(PLUGINS / first["type"]), json.dumps(config).encode()


def execute(job: Mapping[str, str], program: str, config: bytes) -> dict[str, Any]:
    """Fork and execute the plugin once; the time ends when its output is read and its exit status collected."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": job["command"],
        "CNI_CONTAINERID": job["sandbox"],
        "CNI_NETNS": str(netspace.path(job["netns"])),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={job['namespace']};K8S_POD_NAME={job['pod']};"
        f"K8S_POD_INFRA_CONTAINER_ID={job['sandbox']};K8S_POD_UID={job['uid']}",
    }
    began = time.perf_counter()
    done = subprocess.run([program], env=environment, input=config, capture_output=True, check=False)
    took_s = time.perf_counter() - began
    said = (done.stdout + done.stderr).decode(errors="replace")
    return {"took_ms": took_s * 1000, "failure": said if done.returncode else ""}


def run(jobs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """All jobs at once, each in a thread that does nothing but wait for its process."""
    program, config = plugin()
    if len(jobs) == 1:
        return [execute(jobs[0], program, config)]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: execute(job, program, config), jobs))


def persist(job: dict[str, str], limit_s: float) -> dict[str, Any]:
    """The job again and again until it succeeds; ``ended_s`` is when, seconds since the machine's boot."""
    program, config = plugin()
    limit = time.monotonic() + limit_s
    while True:
        done = execute(job, program, config)
        ended_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if not done["failure"] or time.monotonic() > limit:
            return {**done, "ended_s": ended_s}
        time.sleep(RETRY_S)


def make(names: list[str]) -> None:
    """Pinned network namespaces, as a runtime has them before it calls a plugin."""
    for name in names:
        netspace.make(name)


def drop(names: list[str]) -> None:
    """Such namespaces are gone."""
    for name in names:
        netspace.remove(name)


def metrics() -> str:
    """What the node's agent says about itself."""
    connection = http.client.HTTPConnection(*METRICS, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


DOES: Mapping[str, Callable[..., Any]] = {
    "run": run,
    "persist": persist,
    "make": make,
    "drop": drop,
    "metrics": metrics,
    "serve": packets.serve,
    "stream": packets.stream,
    "ping": packets.ping,
}

if __name__ == "__main__":
    main()
