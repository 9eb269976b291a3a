"""Reading the processor's own energy counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from drpass.energy import joules_per_call


def package(folder: Path, name: str, energy: int, largest: int = 10_000_000) -> Path:
    path = folder / name
    path.mkdir()
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{largest}\n")
    return path / "energy_uj"


def test_energy_is_the_sum_of_packages_over_the_calls(tmp_path: Path) -> None:
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 5)
    core = package(tmp_path, "intel-rapl:0:0", 7)  # part of package 0

    def call() -> None:
        first.write_text("2000100")
        second.write_text("1000005")
        core.write_text("999999")

    assert joules_per_call(call, tmp_path, seconds=0) == pytest.approx(3.0)


def test_counter_that_began_again_is_understood(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 9_000_000, largest=9_999_999)
    assert joules_per_call(lambda: counter.write_text("1000000"), tmp_path, seconds=0) == pytest.approx(2.0)


def test_machine_without_counters_has_no_energy(tmp_path: Path) -> None:
    assert joules_per_call(lambda: None, tmp_path, seconds=0) is None


@pytest.mark.parametrize("content", ["", "many", "\x00"])
def test_unreadable_counter_gives_no_energy(tmp_path: Path, content: str) -> None:
    package(tmp_path, "intel-rapl:0", 1).write_text(content)
    assert joules_per_call(lambda: None, tmp_path, seconds=0) is None
