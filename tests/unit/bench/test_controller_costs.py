# SPDX-License-Identifier: Apache-2.0
import sys
import types
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ashore import ovsdb
from ashore.api import net
from ashore.bench import controller_plans

NEW = msgspec.structs.replace(controller_plans.record(0, 1), key=net.PodKey("default", "new"), uid="uid-of-new")
PER_NODE = 10


def lines_of(step: Callable[[], Any]) -> int:
    """How many lines of Python are executed: what a machine's speed can't change."""
    count = 0

    def trace(_frame: types.FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)
    return count


def costs(nodes: int) -> dict[str, int]:
    cluster = controller_plans.Cluster(nodes, nodes * PER_NODE)
    cluster.plan()
    cluster.load()
    return {
        "added": lines_of(lambda: cluster.add(NEW)),
        "changed": lines_of(lambda: cluster.change(NEW.key)),
        "removed": lines_of(lambda: cluster.remove(NEW.key)),
    }


def test_one_pods_change_costs_the_same_at_any_size() -> None:
    assert costs(5) == costs(100)


def test_a_step_that_looks_at_every_row_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ovsdb.diff

    def searching(plan: Any, world: ovsdb.Replica, **more: Any) -> list[ovsdb.Op]:
        for rows in world.values():
            for _ in rows:
                pass
        return right(plan, world, **more)

    monkeypatch.setattr(ovsdb, "diff", searching)
    assert costs(20)["removed"] - costs(5)["removed"] > 15 * PER_NODE


def test_a_report_shows_a_cluster_that_is_as_planned() -> None:
    report = controller_plans.measure(3, 30, 2)
    assert report.operations > 30
    assert report.pod_removed.n == 2


def test_a_database_that_planning_twice_changes_is_no_base_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller_plans.Cluster, "load", lambda _self: None)
    with pytest.raises(AssertionError, match="operations are left"):
        controller_plans.measure(2, 4, 1)
