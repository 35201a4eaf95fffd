# SPDX-License-Identifier: Apache-2.0
"""What a pod's annotations say about its bandwidth. Pure."""

import decimal
import re

import msgspec

from ashore.kube import objects

INGRESS = "kubernetes.io/ingress-bandwidth"
EGRESS = "kubernetes.io/egress-bandwidth"
LEAST_BPS = 10**3
MOST_BPS = 10**15
"""Kubernetes' own bounds (k8s.io/kubernetes/pkg/util/bandwidth: 1k and 1P)."""

# A Kubernetes quantity (k8s.io/apimachinery/pkg/api/resource): a decimal number with a suffix or an exponent.
_QUANTITY = re.compile(
    r"\+?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([mkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_FACTORS = {"": decimal.Decimal(1), "m": decimal.Decimal("0.001")}
_FACTORS |= {suffix: decimal.Decimal(10 ** (3 * power)) for power, suffix in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{suffix}i": decimal.Decimal(2 ** (10 * power)) for power, suffix in enumerate("KMGTPE", 1)}


class BadBandwidth(ValueError):  # noqa: N818 (a finding about data)
    """An annotation that isn't a bandwidth; the text names pod, key and remedy."""


class Limits(msgspec.Struct, frozen=True):
    """Bits per second as the pod sees them: what it may receive and send; 0: no limit."""

    ingress_bps: int = 0
    egress_bps: int = 0


def read(pod: objects.Pod) -> Limits:
    """The pod's limits. Raises BadBandwidth."""
    return Limits(_bits_per_second(pod, INGRESS), _bits_per_second(pod, EGRESS))


def problem(pod: objects.Pod) -> str:
    """Why the pod's limits can't be read, "" when they can."""
    try:
        read(pod)
    except BadBandwidth as error:
        return str(error)
    return ""


def _bits_per_second(pod: objects.Pod, key: str) -> int:
    text = pod.metadata.annotations.get(key)
    if text is None:
        return 0
    what = f"pod {pod.metadata.namespace}/{pod.metadata.name}: annotation {key}: {text[:40]!r}"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise BadBandwidth(f"{what} isn't a quantity of bits per second; write one such as 10M")
    suffix = match[2] or ""
    is_exponent = suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix not in _FACTORS
    factor = decimal.Decimal(f"1{suffix}") if is_exponent else _FACTORS[suffix]
    value = int(decimal.Decimal(match[1]) * factor)
    if not LEAST_BPS <= value <= MOST_BPS:
        raise BadBandwidth(f"{what} is out of range; Kubernetes allows 1k to 1P, and no annotation means no limit")
    return value
