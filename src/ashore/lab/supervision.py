# SPDX-License-Identifier: Apache-2.0
"""Supervisors: their configuration as text, and talking to them."""

import pathlib
import shlex
import xmlrpc.client
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from supervisor import xmlrpc as supervisor_xmlrpc

from ashore.lab import daemon

SOCKET = "/run/supervisor.sock"
"""Where a node's own supervisor listens, inside the node."""


class NotAnswering(Exception):  # noqa: N818 (a finding)
    """No supervisor at that socket."""


class Program(msgspec.Struct, frozen=True):
    """One entry of a supervisor's configuration."""

    name: str
    command: tuple[str, ...]
    log: pathlib.Path
    environment: Mapping[str, str] = {}
    autostart: bool = True
    is_oneshot: bool = False
    stop_signal: str = "TERM"


class State(msgspec.Struct, frozen=True):
    """What a supervisor says about a program."""

    name: str
    pid: int
    """0 where it doesn't run; counted in the supervisor's own pid namespace."""
    state: str
    why: str

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self.state in ("RUNNING", "STARTING", "STOPPING") and self.pid > 0

    @property
    def is_crash_looping(self) -> bool:
        """Whether it died while it started and is being tried again, or was given up."""
        return self.state in ("BACKOFF", "FATAL")


def of_daemon(wanted: daemon.Daemon, logs: pathlib.Path) -> Program:
    """A node's daemon as a program: gated on the files that it needs."""
    command = wanted.command
    if wanted.after or wanted.is_oneshot:
        gates = [part for file in wanted.after for part in ("--for", file)]
        if wanted.is_oneshot:
            gates += ["--touch", f"{daemon.DONE}/{wanted.name}"]
        command = daemon.module("ashore.lab.after", *gates, "--", *command)
    log = logs / f"{wanted.name}.log"
    return Program(wanted.name, command, log, wanted.environment, is_oneshot=wanted.is_oneshot)


def config(socket: str, own_log: pathlib.Path, programs: Iterable[Program], *, pidfile: str) -> str:
    """A supervisor's configuration file."""
    return "\n".join(
        [
            f"[unix_http_server]\nfile={socket}\nchmod=0600",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            f"[supervisord]\nlogfile={own_log}\nlogfile_maxbytes=1MB\nlogfile_backups=1\nloglevel=info",
            f"pidfile={pidfile}\nuser=root\nminfds=1024\nchildlogdir={own_log.parent}",
            *(_section(program) for program in programs),
            "",
        ]
    )


def _section(program: Program) -> str:
    environment = ",".join(f'{name}="{_literal(value)}"' for name, value in program.environment.items())
    return "\n".join(
        [
            f"[program:{program.name}]",
            f"command={_literal(shlex.join(program.command))}",
            f"environment={environment}",
            f"autostart={str(program.autostart).lower()}",
            # A one-shot that failed is tried again; one that is through stays so.
            f"autorestart={'unexpected' if program.is_oneshot else 'true'}",
            f"startsecs={0 if program.is_oneshot else 2}",
            # Never given up: the pause between tries grows by a second each time.
            "startretries=1000000",
            f"stopsignal={program.stop_signal}",
            "stopwaitsecs=5",
            "redirect_stderr=true",
            f"stdout_logfile={program.log}",
            "stdout_logfile_maxbytes=8MB",
            "stdout_logfile_backups=1",
        ]
    )


def _literal(text: str) -> str:
    return text.replace("%", "%%")


class Supervisor:
    """A running supervisor, at the end of a unix socket."""

    def __init__(self, socket: pathlib.Path) -> None:
        self._socket = socket

    def states(self) -> tuple[State, ...]:
        """Every program's state."""
        return tuple(
            State(entry["name"], entry["pid"], entry["statename"], entry["spawnerr"] or entry["description"])
            for entry in self._call("getAllProcessInfo")
        )

    def start(self, name: str) -> None:
        """Starts a program that doesn't run; returns when it was spawned."""
        if not self._state(name).is_running:
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stops a program and keeps it stopped; returns when it is gone."""
        if self._state(name).state not in ("STOPPED", "EXITED"):
            self._call("stopProcess", name, True)

    def kill(self, name: str) -> None:
        """Sends SIGKILL; the supervisor then restarts it, as it would after a crash."""
        self._call("signalProcess", name, "KILL")

    def _state(self, name: str) -> State:
        entry = self._call("getProcessInfo", name)
        return State(name, entry["pid"], entry["statename"], entry["spawnerr"])

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = supervisor_xmlrpc.SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except OSError as error:
                raise NotAnswering(f"supervisor at {self._socket}: {error}") from error
            finally:
                transport.close()
