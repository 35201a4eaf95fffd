# SPDX-License-Identifier: Apache-2.0
"""Stories of pods with bandwidth annotations, told from the DPU's side."""

from typing import Any

IN, OUT = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"


def limits(world: Any) -> tuple[list[dict[str, str]], list[int]]:
    shapers = [dict(row["other_config"]) for row in world.fake.rows["QoS"].values()]
    return shapers, [row["ingress_policing_rate"] for row in world.fake.rows["Interface"].values()]


async def test_a_pods_limits_are_on_its_representor_as_long_as_it_is_plugged(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3, annotations={IN: "10M", OUT: "2M"})
    await world.ready("web")
    assert limits(world) == ([{"max-rate": "10000000"}], [2000])
    world.pods.detail("web", None)
    await eventually(lambda: world.ports() == {}, "the port is gone")
    assert limits(world) == ([], [])


async def test_what_is_no_bandwidth_is_refused_by_name_and_served_once_it_is_right(world: Any) -> None:
    world.pods.add("web", "u1", vf=3, annotations={IN: "fast"})
    await world.failed("web", f"pod ns/web: annotation {IN}: 'fast' isn't a quantity")
    assert world.ports() == {}
    world.pods.annotate("web", IN, "10M")
    await world.ready("web")


async def test_limits_are_those_at_add_whatever_the_annotations_say_later(world: Any) -> None:
    for name, vf, notes in (("free", 3, {}), ("limited", 4, {IN: "10M"})):
        world.pods.add(name, f"u-{name}", vf=vf, annotations=notes)
        await world.ready(name)
    before = limits(world)
    for text in ("20M", "fast", None):
        for name in ("free", "limited"):
            world.pods.annotate(name, IN, text)
        await world.settled()
        assert limits(world) == before
        assert set(world.ports()) == {"pf0vf3", "pf0vf4"}, "a running pod isn't unplugged for an annotation"
        assert world.pods.status("free").status == world.pods.status("limited").status == "Ready"
    world.pods.annotate("limited", IN, "30M")
    world.pods.detail("limited", 4, "s2")
    await world.ready("limited", "s2")
    assert limits(world)[0] == [{"max-rate": "30000000"}]
