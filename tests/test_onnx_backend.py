"""ONNX's own backend tests, rewritten in exact mode and restored; docs/coverage.md says what was replaced."""

from __future__ import annotations

import numpy as np
import pytest
from backend_cases import Case, all_cases, collected, expanded_cases, random_weights
from coverage_table import NOT_RUN, row, run_plainly, split_page, table
from models_for_tests import random_array
from rewriting import rewrite_exactly

from drpass.restoring import restore
from drpass.runtime import session

#: What ONNX Runtime does not pass: a zero point of another shape, and Gemm of opset 6.
REFUSED = {"test_convinteger_with_padding", "test_Linear", "test_operator_addmm", "test_operator_mm"}


def cases(kind: str) -> list[Case]:
    return [case for case in all_cases() if case.kind == kind]


@pytest.mark.parametrize(
    ("kind", "least"), [("node", 47), ("pytorch-converted", 30), ("pytorch-operator", 4), ("light", 9)]
)
def test_every_case_that_onnx_runtime_passes_does_so_rewritten_and_restored(kind: str, least: int) -> None:
    rows = [row(case) for case in cases(kind)]
    assert len(rows) >= least
    assert {found.name for found in rows if NOT_RUN in found.verdicts} <= REFUSED


def test_every_convolution_with_constant_weights_is_replaced() -> None:
    rows = [row(case) for case in all_cases() if case.kind != "light"]
    found = [found for found in rows if found.operators == ("Conv",)]
    assert len(found) >= 33
    assert {found.verdicts for found in found} == {("replaced",)}


def test_page_has_the_table_as_it_is_generated() -> None:
    assert split_page()[1] == table(), "run `python tests/coverage_table.py`"


def test_node_tests_as_they_are_are_kept_for_their_weights_are_not_constant() -> None:
    names = {case.name for case in cases("node") if row(case).operators[0] in ("Conv", "Gemm", "MatMul")}
    found = [case for case in collected() if case.name in names]
    assert len(found) == len(names)
    reasons = {rewrite_exactly(case.model).report.verdicts[0].reason for case in found}
    assert reasons == {"weights are not constant"}


def test_expansions_of_other_operators_come_back_unchanged_for_their_operands_are_computed() -> None:
    found = expanded_cases()
    assert len(found) > 100
    for case in found:
        result = rewrite_exactly(case.model)
        assert {verdict.reason for verdict in result.report.verdicts} == {"weights are not constant"}, case.name
        assert result.to_proto() == case.model, case.name


@pytest.mark.parametrize("name", ["light_squeezenet", "light_inception_v2", "light_densenet121"])
def test_known_network_with_random_weights_computes_the_same_rewritten_and_restored(name: str) -> None:
    (case,) = [case for case in cases("light") if case.name == name]
    model, feeds, _ = case.load()
    model = random_weights(model)
    feeds = {key: random_array(*array.shape) for key, array in feeds.items()}
    rewritten = rewrite_exactly(model).to_proto()
    restored = restore(rewritten).to_proto()
    (expected,) = run_plainly(model, feeds)
    (found,) = session(rewritten.SerializeToString(), threads=1).run(None, feeds)
    (back,) = run_plainly(restored, feeds)
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 1e-5 * scale
    # BatchNormalization was folded; without it the bits would be the same.
    folds = any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert np.abs(back - expected).max() <= (1e-6 * scale if folds else 0)
    assert {node.op_type for node in restored.graph.node} <= {node.op_type for node in model.graph.node}
