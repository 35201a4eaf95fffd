# SPDX-License-Identifier: Apache-2.0
"""What is asked, and what an answer means."""

import msgspec

from ashore.check import world


class Question(msgspec.Struct, frozen=True):
    """One probe.

    ``expect`` names the servers that may answer (empty: nobody may); ``sources`` who they may see asking
    (empty: anybody). ``refused``: the client has to hear that nobody is there, silence isn't enough.
    """

    client: world.Actor
    server: str
    via: str
    placement: str
    protocol: str
    ip: str
    port: int
    expect: tuple[str, ...]
    sources: tuple[str, ...] = ()
    refused: bool = False

    @property
    def target(self) -> str:
        """As the probe takes it."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{self.protocol}://{host}:{self.port}"


class Answer(msgspec.Struct, frozen=True):
    """One line of the probe's output."""

    target: str
    ok: bool
    rtt_ms: float = 0
    error: str = ""
    server: str = ""
    seen_as: str = ""


class Case(msgspec.Struct, frozen=True):
    """A question with its verdict. ``known``: it fails for a reason that isn't ours (``check.known``)."""

    client: str
    server: str
    via: str
    placement: str
    protocol: str
    family: str
    ok: bool
    target: str = ""
    rtt_ms: float = 0
    known: bool = False
    reason: str = ""
    hint: str = ""


HINTS = {
    "direct": "does `ashore check --only direct` fail for other pairs too? then look at tunnels between their nodes",
    "cluster-ip": "direct works? then the service's load balancer: has it endpoints (kubectl get endpointslices)?",
    "node-port-own-node": "is the port in NetworkConfig's nodePortRange? on a host: `ip rule` has the NodePort rules?",
    "node-port-other-node": "the node's br-ex has its OVN flows? `/healthz` of its agent says what the gateway lacks",
    "external-ip": "does the network route the address to a node?",
    "load-balancer": "does the network route the address to a node? what announces it?",
}


def judge(question: Question, answer: Answer | None) -> Case:
    """The verdict on one answer; None: the client couldn't be asked."""
    reason = _reason(question, answer)
    return Case(
        client=question.client.title,
        server=question.server,
        via=question.via,
        placement=question.placement,
        protocol=question.protocol,
        family=world.family(question.ip),
        ok=not reason,
        target=question.target,
        rtt_ms=answer.rtt_ms if answer else 0,
        reason=reason,
        hint=HINTS.get(question.via, "") if reason else "",
    )


def _reason(question: Question, answer: Answer | None) -> str:
    if answer is None:
        return "the client couldn't be asked"
    return _fault(question, answer) if question.expect else _presence(question, answer)


def _presence(question: Question, answer: Answer) -> str:
    """What is wrong where nobody should answer."""
    if answer.ok:
        return f"{answer.server or 'somebody'} answered, and nobody should have"
    if question.refused and "refused" not in answer.error and "unreachable" not in answer.error:
        return f"nobody is there and the client isn't told: {answer.error}"
    return ""


def _fault(question: Question, answer: Answer) -> str:
    if not answer.ok:
        return answer.error or "no answer"
    if answer.server and answer.server not in question.expect:
        return f"{answer.server} answered instead of {' or '.join(question.expect)}"
    if question.sources and answer.seen_as not in question.sources:
        return f"the server saw {answer.seen_as}, not {' or '.join(question.sources)}"
    return ""
