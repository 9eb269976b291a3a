from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, model, node, random_array

from drpass import benchmark as module
from drpass.benchmark import Timing, bench, paired_ratio
from drpass.data import open_data
from drpass.errors import DrpassError
from drpass.tensors import TensorSpec


def small(op_type: str = "Abs", output: str = "y") -> onnx.ModelProto:
    return model([node(op_type, ["x"], [output])], {"x": ["N", 4]}, {output: ["N", 4]})


def test_ratio_is_the_median_of_the_pairs_with_quartiles() -> None:
    timing = Timing(1, original_ms=[2.0, 6.0, 3.0, 4.0, 5.0], rewritten_ms=[1.0, 1.0, 1.0, 1.0, 1.0])
    assert timing.ratio == (4, 3, 5)
    assert timing.to_dict()["original_median_ms"] == 4
    # Pair by pair: the ratio of the medians would be 2.
    assert paired_ratio([1.0, 2.0, 9.0], [1.0, 1.0, 3.0]).median == 2
    assert paired_ratio([3.0], [2.0]) == (1.5, 1.5, 1.5)


def test_steady_state_leaves_out_the_first_turns_of_all() -> None:
    timing = Timing(2, [9.0, 4.0, 4.0], [9.0, 1.0, 1.0], {"other": [9.0, 2.0, 2.0]}).after(1)
    assert timing == Timing(2, [4.0, 4.0], [1.0, 1.0], {"other": [2.0, 2.0]})
    assert timing.rival_ratio("other").median == 2


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_models_take_turns_and_every_input_is_met_in_both_orders(monkeypatch: pytest.MonkeyPatch, inputs: int) -> None:
    calls: list[tuple[int, float]] = []
    sessions: dict[int, int] = {}

    def record(session: object, feeds: dict[str, Any]) -> list[Any]:
        which = sessions.setdefault(id(session), len(sessions))
        calls.append((which, float(feeds["x"][0, 0])))
        return []

    monkeypatch.setattr(module, "run", record)
    x = np.arange(inputs, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    batches = [module.Batch({"x": row[None]}, None, ["s"]) for row in x]
    data = module.Data(inputs, "rows", False, lambda: iter(batches))
    report = bench(small(), small("Neg"), data, runs=4 * inputs, warmup=0)
    pairs = list(zip(calls[::2], calls[1::2]))
    assert len(pairs) == 4 * inputs == len(report.timings[0].original_ms)
    assert all(first[1] == second[1] and first[0] != second[0] for first, second in pairs)
    met = [(first[1], first[0]) for first, _ in pairs]
    for value in range(inputs):
        orders = [which for seen, which in met if seen == value]
        assert sorted(orders) == [0, 0, 1, 1]


def test_report_names_data_machine_and_every_series() -> None:
    data = open_data("random", [TensorSpec("x", "tensor(float)", ("N", 4))], batch=3, limit=6)
    report = bench(small(), small("Neg"), data, threads=[1, 2], runs=5, warmup=2)
    assert (report.batch, report.inputs) == (3, 2)
    assert "RANDOM" in report.data
    assert [timing.threads for timing in report.timings] == [1, 2]
    assert all(len(timing.original_ms) == len(timing.rewritten_ms) == 5 for timing in report.timings)
    assert all(value > 0 for timing in report.timings for value in timing.original_ms + timing.rewritten_ms)
    assert report.machine.cores >= 1
    assert report.machine.cpu
    assert report.machine.kernels


@pytest.mark.parametrize("options", [{"runs": 0}, {"warmup": -1}, {"threads": []}, {"threads": [0]}])
def test_numbers_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DrpassError):
        bench(small(), small("Neg"), **options)


def test_models_with_different_outputs_are_refused() -> None:
    with pytest.raises(DrpassError, match="different outputs"):
        bench(small(), small(output="z"), runs=1)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    onnx.save(small(), tmp_path / "left.onnx")
    onnx.save(small("Neg"), tmp_path / "right.onnx")
    return tmp_path / "left.onnx", tmp_path / "right.onnx"


def test_command_prints_a_table(files: tuple[Path, Path]) -> None:
    outcome = drpass("bench", *files, "--runs", "3", "--threads", "1,2", "--batch", "2")
    assert outcome.status == 0
    for words in ("16 RANDOM samples", "Machine: ", "kernels ", "load ", "quartiles", "ratio"):
        assert words in outcome.out


def test_command_prints_json_with_every_time(files: tuple[Path, Path]) -> None:
    report = json.loads(drpass("bench", *files, "--runs", "3", "--json").out)
    (timing,) = report["timings"]
    assert len(timing["original_ms"]) == len(timing["rewritten_ms"]) == 3
    assert timing["ratio_quartiles"][0] <= timing["ratio_median"] <= timing["ratio_quartiles"][1]
    assert set(report["machine"]) == {"cpu", "cores", "kernels", "load_before", "load_after"}


def test_command_uses_eight_batches_unless_told(tmp_path: Path) -> None:
    onnx.save(conv_model(), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=random_array(40, 3, 20, 20))
    common = ("bench", tmp_path / "m.onnx", tmp_path / "m.onnx", "--data", tmp_path / "d.npz", "--runs", "1", "--json")
    assert json.loads(drpass(*common, "--batch", "2").out)["inputs"] == 8
    assert json.loads(drpass(*common, "--batch", "2", "--limit", "4").out)["inputs"] == 2


def test_command_refuses_what_is_no_number(files: tuple[Path, Path]) -> None:
    refused(drpass("bench", *files, "--threads", "one"), "--threads must be whole numbers")
    refused(drpass("bench", *files, "--runs", "0"), "at least 1 run")
