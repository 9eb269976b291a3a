"""The original that many models are compared with: it runs once on every input, and never answers for another."""

from __future__ import annotations

import numpy as np
import pytest
from test_budget import N, data, passing, shifting

from drpass.errors import DrpassError
from drpass.tune import Budget, Metric
from drpass.tune.judgement import judge
from drpass.validation import Reference, validate

#: Of 16 samples and the rest, with four outputs each.
_BATCHES, _BYTES = 3, N * 4 * 4


def test_second_comparison_on_the_same_data_runs_only_the_other_model() -> None:
    reference = Reference(passing(), room=_BYTES)
    shift, first, again = shifting([0.25, 0, 0, 0]), data(), data()
    assert validate(reference, shift, first) == validate(passing(), shift, first)
    assert reference.runs == _BATCHES
    assert validate(reference, shifting([1, 0, 0, 0]), again) == validate(passing(), shifting([1, 0, 0, 0]), again)
    assert reference.runs == _BATCHES


def test_first_samples_of_data_that_is_known_need_no_run_but_of_a_batch_that_is_cut() -> None:
    reference = Reference(passing(), room=2 * _BYTES)
    validate(reference, passing(), data())
    validate(reference, passing(), data().first(32))
    assert reference.runs == _BATCHES
    validate(reference, passing(), data().first(20))
    assert reference.runs == _BATCHES + 1


def test_what_finds_no_room_is_computed_each_time_and_is_right() -> None:
    reference = Reference(passing(), room=_BYTES // 2)  # of the first batch
    for _ in range(2):
        assert validate(reference, passing(), data()).outputs[0].errors.max_abs == 0
    assert reference.runs == _BATCHES + _BATCHES - 1


def test_inputs_that_differ_in_a_bit_a_name_or_a_shape_are_others() -> None:
    reference = Reference(passing(), room=1 << 20)
    x = np.zeros((4, 4), np.float32)
    for other in (x, -x, x[:2], np.nextafter(x, np.float32(1))):
        np.testing.assert_array_equal(reference.outputs({"x": other})[0], other)
    assert reference.runs == 4


def test_metric_that_writes_to_what_it_gets_changes_nothing_that_is_kept() -> None:
    def spoil(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
        score = float(outputs["y"].mean())
        outputs["y"][:] = 7.0
        return score

    reference, one_batch = Reference(passing(), room=1 << 20), data(batch=N)
    found = [
        judge(Budget(max_metric_loss=1.0), reference, shifting([-0.25] * 4), one_batch, metric=Metric("spoil", spoil))
        for _ in range(2)
    ]
    assert reference.runs == 1
    assert found[0] == found[1]
    assert found[0].findings[0].value == pytest.approx(0.25, abs=1e-4)


def test_original_that_can_not_be_loaded_is_refused_in_one_line() -> None:
    with pytest.raises(DrpassError, match="no such file"):
        validate(Reference("none.onnx"), passing(), data())
