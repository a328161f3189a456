"""The pytest plugin: `@pytest.mark.energy(max_joules=50)` fails a test that surely used more.

A marked test's call (not its fixtures) is recorded as `joulewise.track` does. It fails where even the low end of the 90 %
interval lies above the limit; with `strict=True` already where the high end does. `--energy` shows what every marked test
used. Recordings are kept under the test's name only with `--energy-keep`; without it nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from joulewise.vocabulary.figures import Figure
else:
    import pytest

_MARK = (
    "energy(max_joules=None, max_cpu_seconds=None, strict=False): fail a test that surely used more joules at the wall, or "
    "more CPU seconds (joulewise)"
)


@dataclass
class _Seen:
    """What the marked tests of a session used."""

    rows: list[tuple[str, str]] = field(default_factory=list)


_seen: pytest.StashKey[_Seen] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--energy` and `--energy-keep`."""
    group = parser.getgroup("joulewise", "energy of marked tests")
    group.addoption("--energy", action="store_true", help="show what every test marked `energy` used")
    group.addoption("--energy-keep", action="store_true", help="keep their recordings in the ledger")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", _MARK)
    config.stash[_seen] = _Seen()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Record a marked test, and hold what it used against its limits."""
    mark = item.get_closest_marker("energy")
    if mark is None:
        return (yield)
    limits = _limits(mark)
    from joulewise import wiring
    from joulewise.vocabulary.recording import EndState

    keep = bool(item.config.getoption("--energy-keep"))
    recorder = wiring.recorder(os.getpid(), item.name, (item.nodeid,), role="track", keep=keep)
    recorder.start()
    try:
        result = yield
    finally:
        recording = recorder.stop(EndState.FINISHED, exit_code=0)
    account = wiring.account(recording)
    energy_j, cpu_s = account.footprint.total_j, account.usage.cpu_s
    item.config.stash[_seen].rows.append((item.nodeid, _words(energy_j, cpu_s)))
    _hold(limits, energy_j, cpu_s)
    return result


def pytest_terminal_summary(terminalreporter: object, config: pytest.Config) -> None:
    """Show what the marked tests used, if `--energy` was given."""
    rows = config.stash[_seen].rows
    if rows and config.getoption("--energy"):
        write = terminalreporter.write_line  # type: ignore[attr-defined]  # pytest's TerminalReporter
        terminalreporter.section("energy")  # type: ignore[attr-defined]
        for name, words in rows:
            write(f"{words:<34} {name}")


@dataclass(frozen=True)
class _Limits:
    max_joules: float | None = None
    max_cpu_seconds: float | None = None
    strict: bool = False


def _limits(mark: pytest.Mark) -> _Limits:
    try:
        limits = _Limits(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise pytest.UsageError(
            f"@pytest.mark.energy: {error}; it takes max_joules, max_cpu_seconds and strict"
        ) from None
    for value in (limits.max_joules, limits.max_cpu_seconds):
        if value is not None and not value > 0:
            raise pytest.UsageError(f"@pytest.mark.energy: a limit is {value!r}, but must be above 0")
    return limits


def _hold(limits: _Limits, energy_j: Figure | None, cpu_s: float | None) -> None:
    if limits.max_joules is not None:
        if energy_j is None:
            pytest.fail(
                "the energy of this test could not be measured or modelled (joulewise doctor says why)",
                pytrace=False,
            )
        if (energy_j.high if limits.strict else energy_j.low) > limits.max_joules:
            sure = "may have used" if limits.strict else "surely used"
            pytest.fail(
                f"it {sure} more than {limits.max_joules:g} J: {_words(energy_j, None)}, {energy_j.basis.word}",
                pytrace=False,
            )
    if limits.max_cpu_seconds is not None and cpu_s is not None and cpu_s > limits.max_cpu_seconds:
        pytest.fail(
            f"it used {cpu_s:.3g} s of CPU time, more than {limits.max_cpu_seconds:g} s", pytrace=False
        )


def _words(energy_j: Figure | None, cpu_s: float | None) -> str:
    from joulewise.vocabulary.quantities import format_figure

    words = "unknown" if energy_j is None else format_figure(energy_j, "J")
    return words if cpu_s is None else f"{words}, {cpu_s:.2f} s CPU"
