"""What a budget of no error leaves for the rounding of floats."""

from __future__ import annotations

import numpy as np
import onnx
from models_for_tests import model, node, random_array

from drpass.data import Data
from drpass.data.dataset import Batch
from drpass.passes import EXACT
from drpass.rewriting import rewrite
from drpass.tune import Budget
from drpass.tune.judgement import Judgement, judge

#: What one exact layer is bounded by.
ONE_LAYER = 5e-6

#: Inputs near this value make sums of 16 x 3 x 3 of them, which are taken off again.
OFFSET = 10.0


def data() -> Data:
    images = OFFSET + 0.1 * random_array(4, 16, 24, 24)
    return Data(4, "4 images", False, lambda: iter([Batch({"x": images}, None, list("abcd"))]))


def network(taken_off: float, wrong: float = 0.0) -> onnx.ModelProto:
    """Sums of 3x3 pixels less ``taken_off``; ``wrong`` is added to one weight."""
    weights = np.ones((16, 16, 3, 3), np.float32)
    weights[0, 0, 1, 1] += wrong
    nodes = [node("Conv", ["x", "w"], ["a"], "conv"), node("Sub", ["a", "c"], ["y"])]
    constants = {"w": weights, "c": np.array(taken_off, np.float32)}
    return model(nodes, {"x": [4, 16, 24, 24]}, {"y": [4, 16, 22, 22]}, constants)


#: What is left is a thousandth of the sums, and so is what it has of their digits.
CANCELLING = OFFSET * 16 * 3 * 3


def judged(original: onnx.ModelProto, other: onnx.ModelProto) -> Judgement:
    rewritten = rewrite(other, parameters=EXACT)
    assert rewritten.report.replaced == 1
    return judge(Budget(max_rel=0.0), original, rewritten.to_proto(), data())


def test_sums_that_do_not_cancel_may_differ_by_the_rounding_of_a_layer() -> None:
    assert judged(network(0.0), network(0.0)).findings[0].limit == ONE_LAYER


def test_exact_operators_keep_a_budget_of_no_error_where_values_cancel() -> None:
    found = judged(network(CANCELLING), network(CANCELLING))
    assert found.kept, found.findings
    assert found.findings[0].value > ONE_LAYER


def test_an_error_that_is_no_rounding_breaks_a_budget_of_no_error() -> None:
    for taken_off in (0.0, CANCELLING):
        assert not judged(network(taken_off), network(taken_off, wrong=0.01)).kept
