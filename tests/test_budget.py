"""Budgets, and whether models keep them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import refusing
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import conv_model, model, node, random_array

from drpass.data import Batch, Data
from drpass.errors import DrpassError
from drpass.tune.budget import Budget
from drpass.tune.judgement import check, gives_scores, judge, wilson
from drpass.tune.metric import Metric

N = 40


def passing(outputs: int = 1) -> onnx.ModelProto:
    """x [N, 4] → y (and z) = x: what goes in is what is judged."""
    names = ["y", "z"][:outputs]
    nodes = [node("Identity", ["x"], [name]) for name in names]
    return model(nodes, {"x": ["N", 4]}, {name: ["N", 4] for name in names})


def shifting(shift: list[float], outputs: int = 1) -> onnx.ModelProto:
    """The same with ``shift`` [4] added to the last output."""
    names = ["y", "z"][:outputs]
    nodes = [node("Identity", ["x"], [name]) for name in names[:-1]] + [node("Add", ["x", "shift"], [names[-1]])]
    held = {"shift": np.array(shift, np.float32)}
    return model(nodes, {"x": ["N", 4]}, {name: ["N", 4] for name in names}, held)


def data(x: np.ndarray | None = None, labels: list[int] | None = None, batch: int = 16) -> Data:
    rows = random_array(N, 4) if x is None else x
    given = None if labels is None else np.array(labels, np.int64)

    def batches():  # type: ignore[no-untyped-def]
        for start in range(0, len(rows), batch):
            part = slice(start, start + batch)
            yield Batch({"x": rows[part]}, None if given is None else given[part], [""] * len(rows[part]))

    return Data(len(rows), "test data", labels is not None, batches)


def one_hot(classes: list[int], height: float = 1.0) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[classes] * np.float32(height)


# Budgets in words


@pytest.mark.parametrize(
    ("texts", "budget"),
    [
        (["top1-loss=0.001"], Budget(max_top1_loss=0.001)),
        (["agreement=0.995", "sqnr=35"], Budget(min_agreement=0.995, min_sqnr=35)),
        (["psnr = 40"], Budget(min_psnr=40)),
        (["max-rel=1e-3", "metric-loss=0.01"], Budget(max_rel=1e-3, max_metric_loss=0.01)),
        (["exact"], Budget(max_rel=0.0)),
        (["max-rel=0"], Budget(max_rel=0.0)),
    ],
)
def test_clauses_are_read(texts: list[str], budget: Budget) -> None:
    assert Budget.parse(texts) == budget


def test_the_peak_goes_with_psnr() -> None:
    assert Budget.parse(["psnr=40"], peak=255).peak == 255
    with pytest.raises(DrpassError, match="add psnr=DB"):
        Budget.parse(["sqnr=40"], peak=255)
    with pytest.raises(DrpassError, match="above 0, not nan"):
        Budget.parse(["psnr=40"], peak=math.nan)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "the budget is empty; give one or more of top1-loss=X, agreement=X"),
        (["speed=2"], "there is no budget 'speed=2'; give one or more of top1-loss=X, agreement=X"),
        (["exact=1"], "there is no budget"),
        ([""], "there is no budget"),
        (["sqnr"], "needs a number, as in sqnr=0.5"),
        (["sqnr=35dB"], "needs a number"),
        (["sqnr=nan"], "must be finite"),
        (["agreement=99.5"], "a share between 0 and 1"),
        (["top1-loss=-0.1"], "a share between 0 and 1"),
        (["max-rel=-1"], "must be 0 or more"),
        (["max-rel=inf"], "must be 0 or more"),
        (["sqnr=1", "sqnr=2"], "two limits of one kind; the second is 'sqnr=2'"),
        (["max-rel=0.1", "exact"], "two limits of one kind; the second is 'exact'"),
    ],
)
def test_a_budget_with_a_mistake_is_refused(texts: list[str], words: str) -> None:
    with refusing(words):
        Budget.parse(texts)


def test_the_default_depends_on_the_outputs() -> None:
    assert gives_scores(passing(), data())
    assert not gives_scores(conv_model(), Data(1, "", False, lambda: iter([image()])))
    assert Budget.default(True) == Budget(min_agreement=0.995)
    assert Budget.default(False) == Budget(min_sqnr=35.0)


def image() -> Batch:
    return Batch({"x": random_array(1, 3, 20, 20)}, None, ["image"])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-50, 150), st.floats(0, 10), st.floats(0, 10))
def test_a_stricter_budget_asks_more_in_every_limit(
    loss: float, agreement: float, decibels: float, error: float, metric: float
) -> None:
    budget = Budget(loss, agreement, decibels, decibels, error, metric, peak=2.0)
    strict = budget.stricter()
    assert strict.max_top1_loss == loss / 2
    assert strict.min_agreement == pytest.approx(1 - (1 - agreement) / 2)
    assert strict.min_sqnr == strict.min_psnr == decibels + 3
    assert strict.max_rel == error / 2
    assert strict.max_metric_loss == metric / 2
    assert strict.peak == 2.0
    assert Budget().stricter() == Budget()


def test_budgets_are_told_apart_by_their_words() -> None:
    budgets = [
        Budget(max_top1_loss=0.001),
        Budget(max_top1_loss=0.0010001),
        Budget(min_agreement=0.995),
        Budget(min_sqnr=35),
        Budget(min_psnr=35),
        Budget(min_psnr=35, peak=255),
        Budget(max_rel=0),
        Budget(max_rel=1e-9),
        Budget(max_metric_loss=0.01),
        Budget(min_sqnr=35, min_psnr=35),
    ]
    assert len({budget.describe() for budget in budgets}) == len(budgets)
    assert budgets[0].describe() == "top-1 loss of at most 0.1 points"


# Judgements


def test_the_loss_of_accuracy_is_exact_at_its_limit() -> None:
    """Of 40 samples that the original has right, the other model turns one."""
    x = one_hot([0] * 39 + [1])
    x[-1] = [0.75, 1.0, 0, 0]
    found = judge(Budget(max_top1_loss=1 / 40), passing(), shifting([0.5, 0, 0, 0]), data(x, [0] * 39 + [1]))
    (finding,) = found.findings
    assert found.kept
    assert finding.value == 1 / 40
    assert finding.interval is not None
    assert finding.interval[0] < 1 / 40 < finding.interval[1]
    assert finding.n == found.n == N
    assert finding.describe().startswith("top-1 loss +2.50 points [")
    assert finding.describe().endswith("], limit 2.50, n 40: kept")
    assert not judge(Budget(max_top1_loss=0.024), passing(), shifting([0.5, 0, 0, 0]), data(x, [0] * 39 + [1])).kept


def test_the_sign_of_a_loss_is_that_of_what_is_lost() -> None:
    x = one_hot([1] * N, 0.25)
    better = judge(Budget(max_top1_loss=0.0), passing(), shifting([0.5, 0, 0, 0]), data(x, [0] * N))
    worse = judge(Budget(max_top1_loss=0.99), passing(), shifting([0.5, 0, 0, 0]), data(x, [1] * N))
    assert (better.findings[0].value, better.kept) == (-1.0, True)
    assert (worse.findings[0].value, worse.kept) == (1.0, False)
    assert better.findings[0].interval is not None
    assert better.findings[0].interval[1] < 0


def test_agreement_is_the_share_of_same_first_classes() -> None:
    x = one_hot([0] * 30 + [1] * 10, 0.25)
    found = judge(Budget(min_agreement=0.75), passing(), shifting([0.5, 0, 0, 0]), data(x))
    (finding,) = found.findings
    assert (finding.value, found.kept) == (0.75, True)
    assert finding.describe() == "top-1 agreement 75.00 % [59.81, 85.81], limit 75.00, n 40: kept"
    assert not judge(Budget(min_agreement=0.76), passing(), shifting([0.5, 0, 0, 0]), data(x)).kept


@pytest.mark.parametrize(
    ("limit", "kept", "certain"), [(0.5, True, True), (0.7, True, False), (0.8, False, False), (0.9, False, True)]
)
def test_a_limit_within_the_interval_is_not_certain(limit: float, kept: bool, certain: bool) -> None:
    """An agreement of 75.00 % [59.81, 85.81]."""
    x = one_hot([0] * 30 + [1] * 10, 0.25)
    (finding,) = judge(Budget(min_agreement=limit), passing(), shifting([0.5, 0, 0, 0]), data(x)).findings
    assert (finding.kept, finding.certain) == (kept, certain)


@pytest.mark.parametrize(
    ("share", "n", "interval"),
    [(0.5, 10, (0.2366, 0.7634)), (1.0, 10, (0.7225, 1.0)), (0.0, 1, (0.0, 0.7935))],
)
def test_the_interval_of_a_share(share: float, n: int, interval: tuple[float, float]) -> None:
    assert wilson(share, n) == pytest.approx(interval, abs=1e-4)


def test_errors_are_those_of_the_worst_output() -> None:
    x = np.tile(np.array([[2, -2, 2, -2]], np.float32), (N, 1))
    shifted = shifting([0.02, 0.02, 0.02, 0.02], outputs=2)
    budget = Budget(min_sqnr=30, min_psnr=40, max_rel=0.02, peak=20.0)
    found = judge(budget, passing(2), shifted, data(x))
    assert found.kept
    assert found.output_error == pytest.approx(0.01, rel=1e-5)
    values = {finding.what: finding.value for finding in found.findings}
    assert values == {
        "SQNR of 'z'": pytest.approx(40, abs=1e-3),
        "PSNR of 'z'": pytest.approx(60, abs=1e-3),
        "largest error relative to the largest value of 'z'": pytest.approx(0.01, rel=1e-5),
    }
    broken = judge(Budget(min_sqnr=41, max_rel=0.009), passing(2), shifted, data(x))
    assert [finding.kept for finding in broken.findings] == [False, False]


def test_a_model_that_turns_numbers_into_nan_keeps_no_budget() -> None:
    budget = Budget(min_agreement=0.1, min_sqnr=-100, max_rel=1e9)
    found = judge(budget, passing(), shifting([math.nan] * 4), data())
    assert [finding.kept for finding in found.findings] == [False, False, False]


def test_no_error_leaves_float_rounding_and_nothing_else() -> None:
    x = one_hot([0] * N)
    assert judge(Budget.parse(["exact"]), passing(), shifting([1e-6, 0, 0, 0]), data(x)).kept
    assert not judge(Budget.parse(["exact"]), passing(), shifting([1e-3, 0, 0, 0]), data(x)).kept


@pytest.mark.parametrize(("shift", "kept"), [(0.0, True), (0.5, False)])
def test_psnr_of_an_output_that_never_changes(shift: float, kept: bool) -> None:
    x = np.ones((N, 4), np.float32)
    assert judge(Budget(min_psnr=40), passing(), shifting([shift] * 4), data(x)).kept is kept


def test_every_limit_must_be_kept() -> None:
    x = one_hot([0] * N)
    found = judge(Budget(min_agreement=1.0, min_sqnr=100), passing(), shifting([0.1, 0, 0, 0]), data(x))
    assert [finding.kept for finding in found.findings] == [True, False]
    assert not found.kept


def test_a_judgement_as_json() -> None:
    found = judge(Budget(min_agreement=0.5), passing(), passing(), data())
    entry = found.to_dict()
    assert entry["kept"] is True
    assert entry["findings"][0]["text"] == found.findings[0].describe()
    assert entry["findings"][0].keys() == {"what", "value", "limit", "interval", "kept", "n", "unit", "certain", "text"}


def test_the_metric_gets_all_samples_of_both_models_in_order() -> None:
    seen: list[tuple[dict[str, Any], Any]] = []

    def rate(outputs: dict[str, np.ndarray], labels: np.ndarray | None) -> float:
        seen.append((outputs, labels))
        return float(outputs["y"][:, 0].mean())

    x = random_array(N, 4)
    labels = [index % 4 for index in range(N)]
    metric, worse = Metric("rate", rate), shifting([-0.25, 0, 0, 0])
    found = judge(Budget(max_metric_loss=0.5), passing(), worse, data(x, labels), metric=metric)
    np.testing.assert_array_equal(seen[0][0]["y"], x)
    np.testing.assert_array_equal(seen[1][0]["y"], x + np.array([-0.25, 0, 0, 0], np.float32))
    assert seen[0][1].tolist() == labels
    assert found.findings[0].value == pytest.approx(0.25, rel=1e-5)
    assert found.kept
    assert not judge(Budget(max_metric_loss=0.2), passing(), worse, data(x), metric=metric).kept


def test_a_limit_on_the_metric_without_one_is_refused() -> None:
    with pytest.raises(DrpassError, match="needs a metric"):
        judge(Budget(max_metric_loss=0.5), passing(), passing(), data())


# What can't be applied


def test_a_limit_that_can_not_be_applied_is_refused_before_anything_runs() -> None:
    with pytest.raises(DrpassError, match="needs labels, but the data is test data; use agreement=X"):
        check(Budget(max_top1_loss=0.1), passing(), data())
    pictures = Data(1, "", False, lambda: iter([image()]))
    with pytest.raises(DrpassError, match=r"needs scores .* but the outputs are 'conv_out' \[1, 32, 18, 18\]"):
        check(Budget(min_agreement=0.9), conv_model(), pictures)
    check(Budget(min_sqnr=30), conv_model(), pictures)
    check(Budget(max_top1_loss=0.1, min_agreement=0.9), passing(), data(labels=[3] * N))


def test_labels_that_are_not_classes_of_the_model_are_refused_at_once() -> None:
    with pytest.raises(DrpassError, match="has 4 classes"):
        check(Budget(min_agreement=0.9), passing(), data(labels=[4] * N))
