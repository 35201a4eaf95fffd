# SPDX-License-Identifier: Apache-2.0
"""The real tools for tests that need them, and the account of what ran in which tier."""

import asyncio
import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import hypothesis
import pytest

from ashore.lab import tools as lab_tools

TIERS = ("unit", "property", "conformance", "scenario", "integration", "interop", "fuzz", "typing", "e2e")
ROOT = pathlib.Path(__file__).parent

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile(
    "ashore", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # fmt: skip
hypothesis.settings.load_profile("ashore")


@dataclasses.dataclass(frozen=True)
class Tools:
    """Real binaries and schemas for a test; a missing one skips the test loudly, or fails it where CI=true."""

    box: lab_tools.Toolbox
    missing: list[str]

    def path(self, name: str) -> pathlib.Path:
        """The executable of that name."""
        return self._or_skip(self.box.lookup(name), name)

    def schema(self, name: str) -> pathlib.Path:
        """The OVSDB schema file: "vswitch", "ovn-nb" or "ovn-sb"."""
        return self._or_skip(self.box.lookup_schema(name), f"schema {name}")

    def _or_skip(self, found: pathlib.Path | None, name: str) -> pathlib.Path:
        if found is not None:
            return found
        self.missing.append(name)
        reason = f"{name}: not on this machine; run `make tools` (it fetches or builds what the tests need)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


MISSING = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> Tools:
    return Tools(box=lab_tools.find(), missing=request.config.stash[MISSING])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-tier", action="store_true", help="fail if a tier's directory exists and has no test")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MISSING] = []
    # pytest-asyncio asks for the current loop before it sets its own; on Python 3.11 the question makes one that
    # nobody closes, and its ResourceWarning fails whichever test happens to run next. With "none" said, it makes none.
    asyncio.set_event_loop(None)


def tier_of(path: pathlib.Path) -> str:
    """The tier that a test file belongs to: the directory below tests/."""
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else ()
    return parts[0] if len(parts) > 1 else "other"


def _rank(item: pytest.Item) -> int:
    tier = tier_of(item.path)
    return TIERS.index(tier) if tier in TIERS else len(TIERS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Cheap tiers first, so that a plain mistake shows before the long tests start; random order within a tier."""
    items.sort(key=_rank)
    if session.testsfailed or not session.config.getoption("--every-tier"):
        return  # A file that can't be read comes first: it may be the tier's only one.
    have = {tier_of(item.path) for item in items}
    if empty := [tier for tier in TIERS if (ROOT / tier).is_dir() and tier not in have]:
        raise pytest.UsageError(f"no test in {', '.join(f'tests/{tier}' for tier in empty)}: add one or remove it")


def _reports(terminal: pytest.TerminalReporter, outcome: str) -> Iterator[pytest.TestReport]:
    return (report for report in terminal.stats.get(outcome, ()) if isinstance(report, pytest.TestReport))


def _counts(terminal: pytest.TerminalReporter, config: pytest.Config) -> dict[str, collections.Counter[str]]:
    counts: dict[str, collections.Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in _reports(terminal, outcome):
            tier = tier_of(config.rootpath / report.nodeid.partition("::")[0])
            counts.setdefault(tier, collections.Counter())[outcome] += 1
    return counts


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI=true a tier of which nothing ran is a failure, whatever the reason of each skip."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or not isinstance(terminal, pytest.TerminalReporter):
        return
    for counter in _counts(terminal, session.config).values():
        if session.exitstatus == pytest.ExitCode.OK and set(counter) == {"skipped"}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests ran in each tier, and, loudly, what did not run."""
    counts = _counts(terminalreporter, config)
    terminalreporter.section("tests per tier")
    for tier in (*TIERS, "other"):
        if tier in counts:
            terminalreporter.line(f"{tier:12} " + ", ".join(f"{n} {what}" for what, n in sorted(counts[tier].items())))
    if not any(counter["skipped"] for counter in counts.values()):
        return
    terminalreporter.section("TIERS THAT DID NOT RUN", red=True)
    for tier, counter in counts.items():
        if counter["skipped"]:
            whole = "nothing of it ran" if not counter["passed"] + counter["failed"] else "the rest ran"
            terminalreporter.line(f"{tier}: {counter['skipped']} skipped; {whole}")
    missing = config.stash[MISSING]
    for name in sorted(set(missing)):
        terminalreporter.line(f"missing tool: {name} (remedy: make tools)")
