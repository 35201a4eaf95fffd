# SPDX-License-Identifier: Apache-2.0
"""Run the demonstration and gather what it showed."""

import time

import msgspec

from ashore.lab.demo import hands, hosts, matrix, pods


class Report(msgspec.Struct, frozen=True):
    """Everything that the demonstration showed; ``passed`` is the whole verdict."""

    passed: bool
    pods: tuple[pods.DemoPod, ...]
    cases: tuple[matrix.Case, ...]
    hosts: tuple[hosts.HostProof, ...]
    seconds_to_answers: float
    seconds: float

    @property
    def failed_cases(self) -> tuple[matrix.Case, ...]:
        """Cases whose probe failed, or whose negative control answered."""
        return tuple(case for case in self.cases if not (case.ok and case.refuted))


async def run(lab: hands.Hands, *, host_nodes: tuple[str, ...], full_nodes: tuple[str, ...]) -> Report:
    """Bring the pods up, ask everyone, switch each server off and ask again, look at the hosts.

    Raises:
        CommandFailed: when something couldn't be asked at all.
    """
    began = time.monotonic()
    running = await pods.bring_up(lab, pods.places(host_nodes, full_nodes))
    positive = await matrix.ask_all(lab, running)
    answered = time.monotonic() - began
    negative = await matrix.ask_switched_off(lab, running)
    cases = matrix.judge(running, positive, negative)
    proofs = tuple([await hosts.prove(lab, node) for node in host_nodes])
    passed = (
        bool(cases) and all(case.ok and case.refuted for case in cases) and not any(proof.problems for proof in proofs)
    )
    return Report(passed, running, cases, proofs, answered, time.monotonic() - began)
