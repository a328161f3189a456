"""The double of NVML: its truth in closed form, building it, and its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.testing import nvml
from joulewise.testing.nvml import SOURCE, build, environment, true_energy_j
from joulewise.vocabulary.errors import UsageError

MOMENTS = st.floats(0, 1e6)


class TestTruth:
    def test_whole_seconds(self) -> None:
        """A whole second is 160 J, wherever it begins."""
        assert true_energy_j(17.0, 18.0) == pytest.approx(160.0)
        assert true_energy_j(17.1, 57.1) == pytest.approx(40 * 160.0)

    def test_pulse_and_pause(self) -> None:
        """The first fifth of a second draws 400 W, the rest 100 W."""
        assert true_energy_j(5.0, 5.2) == pytest.approx(80.0)
        assert true_energy_j(5.2, 6.0) == pytest.approx(80.0)

    @given(MOMENTS, MOMENTS, MOMENTS)
    def test_halves_are_the_whole(self, one: float, two: float, three: float) -> None:
        """The energy of two parts of a time is the energy of the whole."""
        start, middle, end = sorted((one, two, three))

        assert true_energy_j(start, middle) + true_energy_j(middle, end) == pytest.approx(
            true_energy_j(start, end), abs=1e-3
        )


class TestBuild:
    def test_the_source_is_in_the_package(self) -> None:
        """The C source lies beside the module, so that it is installed with it."""
        assert "nvmlDeviceGetTotalEnergyConsumption" in SOURCE.read_text(encoding="utf-8")

    def test_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a C compiler the message says what to install."""
        monkeypatch.setattr(nvml, "compiler", lambda: None)

        with pytest.raises(UsageError, match="install gcc or clang"):
            build(tmp_path)

    def test_a_compiler_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A compiler that fails is named with what it says."""
        monkeypatch.setattr(nvml, "compiler", lambda: "false")

        with pytest.raises(UsageError, match="false could not build"):
            build(tmp_path)

    def test_environment(self, tmp_path: Path) -> None:
        """The double comes before other folders of libraries, and knobs get their prefix."""
        told = environment(tmp_path / "libnvidia-ml.so.1", {"LD_LIBRARY_PATH": "/opt/lib"}, GPUS=4)

        assert told == {"LD_LIBRARY_PATH": f"{tmp_path}:/opt/lib", "JOULEWISE_FAKE_NVML_GPUS": "4"}
