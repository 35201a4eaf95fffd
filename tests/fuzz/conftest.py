# SPDX-License-Identifier: Apache-2.0
"""The same examples on each run: what a search finds becomes an example of its own, with the mending of it."""

import pathlib

import hypothesis
import pytest

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.is_relative_to(HERE)
            and hasattr(item.function, "hypothesis")
        ):
            hypothesis.seed(1)(item.function)
