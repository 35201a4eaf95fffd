# SPDX-License-Identifier: Apache-2.0
import json
import random

import pytest

from ashore.ovsdb import remote, wire

OBJECTS = [{"a": '}{"\\'}, {"b": {"c": ["}", "\\", "é", {"d": 'x"y'}]}}, {}, {"long": "{" * 500}]


@pytest.mark.parametrize("seed", range(20))
def test_objects_come_out_whole_wherever_the_stream_is_cut(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (a repeatable test)
    stream = b" \n".join(json.dumps(each, ensure_ascii=False).encode() for each in OBJECTS)
    framer, got = wire.Framer(), []
    while stream:
        size = chance.choice([1, 2, 3, 50, 1000])
        got += [json.loads(text) for text in framer.feed(stream[:size])]
        stream = stream[size:]
    assert got == OBJECTS


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("unix:/run/ovn/nb.sock", remote.Remote("unix", "/run/ovn/nb.sock")),
        ("ssl:172.30.0.2:6641", remote.Remote("ssl", "172.30.0.2", 6641)),
        ("tcp:[fd00:30::2]:6641", remote.Remote("tcp", "fd00:30::2", 6641)),
    ],
)
def test_a_remote_is_read_and_written(text: str, parsed: remote.Remote) -> None:
    assert remote.parse(text) == parsed
    assert str(parsed) == text


@pytest.mark.parametrize("text", ["", "unix:", "ssl:host", "ptcp:1:2", "tcp:host:port"])
def test_a_remote_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="want unix"):
        remote.parse(text)
