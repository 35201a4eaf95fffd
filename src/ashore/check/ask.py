# SPDX-License-Identifier: Apache-2.0
"""The two things that a check does to a cluster: kubectl, and the probe inside clients."""

import asyncio
import os
from collections.abc import Sequence

import msgspec

from ashore.check import verdict, world

AT_ONCE = 4
"""Clients that ask at the same time."""


class CommandFailed(RuntimeError):  # noqa: N818 (says what happened)
    """A command failed; the text has the command and what it said."""


class Outside(msgspec.Struct, frozen=True):
    """A place outside the cluster: a command that behaves as the probe does, and the addresses that it asks from."""

    probe: tuple[str, ...]
    ips: tuple[str, ...]


class Cluster(msgspec.Struct, frozen=True):
    """A cluster by kubectl's words for reaching it, the namespace of the check, and the outside if there is one."""

    kubectl: tuple[str, ...]
    namespace: str
    outside: Outside | None = None

    async def run(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> str:
        """Kubectl's output. Raises CommandFailed."""
        return await _run((*self.kubectl, *arguments), stdin=stdin, timeout_s=timeout_s)

    async def ask(
        self, client: world.Actor, questions: Sequence[verdict.Question], *, tries: int = 3, timeout_ms: int = 1000
    ) -> list[verdict.Answer | None]:
        """What a client's probe says to each question, in their order; None where it couldn't be asked."""
        if not questions:
            return []
        limits = ("check", "-tries", str(tries), "-timeout", f"{timeout_ms}ms", "-at-once", "8")
        command = (*self._probe(client), *limits, *(question.target for question in questions))
        # Eight at a time, each with its tries and as long again for the second question.
        longest = 30 + len(questions) / 8 * (tries + 1) * timeout_ms / 1000
        try:
            out = await _run(command, timeout_s=longest)
            answers = [msgspec.json.decode(line, type=verdict.Answer) for line in out.splitlines()]
        except (CommandFailed, msgspec.DecodeError):
            return [None] * len(questions)
        return [*answers, *[None] * (len(questions) - len(answers))]

    def _probe(self, client: world.Actor) -> tuple[str, ...]:
        if client.kind == world.EXTERNAL:
            return self.outside.probe if self.outside else ("false",)
        return (*self.kubectl, "exec", "-n", self.namespace, client.name, "--", "/bin/probe")


async def ask_all(
    cluster: Cluster, questions: Sequence[verdict.Question], *, tries: int = 3
) -> tuple[verdict.Case, ...]:
    """Verdicts on all questions; each client asks its own."""
    slots = asyncio.Semaphore(AT_ONCE)
    by_client: dict[world.Actor, list[verdict.Question]] = {}
    for question in questions:
        by_client.setdefault(question.client, []).append(question)

    async def one(client: world.Actor, mine: list[verdict.Question]) -> list[verdict.Case]:
        async with slots:
            answers = await cluster.ask(client, mine, tries=tries)
        return [verdict.judge(question, answer) for question, answer in zip(mine, answers, strict=True)]

    groups = await asyncio.gather(*(one(client, mine) for client, mine in by_client.items()))
    return tuple(case for group in groups for case in group)


async def _run(command: Sequence[str], *, stdin: str = "", timeout_s: float = 60) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        raise CommandFailed(f"{command[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{' '.join(command)[:300]}: no end within {timeout_s:.0f} s") from None
    if process.returncode:
        said = (err or out).decode().strip()[-600:]
        raise CommandFailed(f"{' '.join(command)[:300]}: exit {process.returncode}: {said}")
    return out.decode()
