from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from models_for_tests import conv_model, model, node, random_array

from drpass.data import Batch, Data
from drpass.errors import DrpassError
from drpass.rewriting import ReuseParameters, rewrite
from drpass.validation import ErrorMeter, Thresholds, validate
from drpass.validation.classes import ClassMeter


def gemm(scale: float = 1.0, shift: float = 0.0, output: str = "y", classes: int = 10) -> onnx.ModelProto:
    """x [N, 16] → scores [N, classes], a little wrong by ``scale`` and ``shift``."""
    held = {"w": random_array(16, classes) * np.float32(scale), "b": random_array(classes) + np.float32(shift)}
    return model([node("Gemm", ["x", "w", "b"], [output], name="fc")], {"x": ["N", 16]}, {output: ["N", classes]}, held)


def samples(n: int = 40, labels: list[int] | None = None, batch: int = 8) -> Data:
    x = random_array(n, 16, seed=5)

    def batches():  # type: ignore[no-untyped-def]
        for start in range(0, n, batch):
            rows = slice(start, start + batch)
            chosen = None if labels is None else np.asarray(labels[rows], np.int64)
            yield Batch({"x": x[rows]}, chosen, [str(index) for index in range(n)[rows]])

    return Data(n, "test samples", labels is not None, batches)


def expected_scores(proto: onnx.ModelProto, n: int = 40) -> np.ndarray:
    held = {item.name: onnx.numpy_helper.to_array(item) for item in proto.graph.initializer}
    return random_array(n, 16, seed=5).astype(np.float64) @ held["w"] + held["b"]


# Figures of errors

finite = st.floats(-1e3, 1e3, width=32)


@given(arrays(np.float32, (6, 5), elements=finite), arrays(np.float32, (6, 5), elements=finite))
def test_figures_gathered_in_batches_are_those_of_the_whole(reference: np.ndarray, value: np.ndarray) -> None:
    meter = ErrorMeter("y")
    for start in range(0, 6, 2):
        meter.add(reference[start : start + 2], value[start : start + 2])
    figures = meter.figures()
    r, y = reference.astype(np.float64), value.astype(np.float64)
    d = y - r
    assert figures.elements == 30
    assert figures.max_abs == np.abs(d).max()
    assert figures.mean_abs == pytest.approx(np.abs(d).mean())
    if np.abs(r).max() > 0:
        assert figures.max_rel == pytest.approx(np.abs(d).max() / np.abs(r).max())
        assert figures.rms_rel == pytest.approx(np.linalg.norm(d) / np.linalg.norm(r))
    if np.any(d) and np.any(r):
        assert figures.sqnr_db == pytest.approx(10 * np.log10((r**2).sum() / (d**2).sum()))
    if np.any(d) and np.ptp(r) > 0:
        assert figures.psnr_db == pytest.approx(10 * np.log10(np.ptp(r) ** 2 / (d**2).mean()))
    if np.any(r) and np.any(y):
        assert figures.cosine == pytest.approx((r * y).sum() / np.linalg.norm(r) / np.linalg.norm(y))


def test_equal_values_have_no_error() -> None:
    meter = ErrorMeter("y")
    meter.add(np.arange(5.0), np.arange(5.0))
    figures = meter.figures()
    assert (figures.max_abs, figures.max_rel, figures.rms_rel) == (0, 0, 0)
    assert figures.sqnr_db == figures.psnr_db == math.inf
    assert figures.cosine == 1


def test_a_given_peak_sets_psnr() -> None:
    meter = ErrorMeter("y", peak=1.0)
    meter.add(np.array([0.0, 0.5]), np.array([0.1, 0.4]))
    assert meter.figures().psnr_db == pytest.approx(20.0)


def test_a_reference_of_zeros_makes_relative_errors_infinite() -> None:
    meter = ErrorMeter("y")
    meter.add(np.zeros(3), np.ones(3))
    figures = meter.figures()
    assert figures.max_rel == figures.rms_rel == math.inf
    assert figures.sqnr_db == -math.inf
    assert figures.psnr_db is None
    assert figures.cosine is None


def test_the_same_nan_and_infinity_in_both_are_left_out() -> None:
    meter = ErrorMeter("y")
    meter.add(np.array([np.nan, np.inf, -np.inf, 2.0]), np.array([np.nan, np.inf, -np.inf, 3.0]))
    figures = meter.figures()
    assert (figures.elements, figures.non_finite, figures.max_abs) == (1, 0, 1.0)


@pytest.mark.parametrize(("left", "right"), [(1.0, np.nan), (np.inf, 1.0), (np.inf, -np.inf), (np.nan, np.inf)])
def test_one_value_that_is_finite_in_one_model_only_makes_every_error_infinite(left: float, right: float) -> None:
    meter = ErrorMeter("y")
    meter.add(np.array([left, 1.0]), np.array([right, 1.0]))
    figures = meter.figures()
    assert figures.non_finite == 1
    assert figures.max_abs == figures.rms_rel == math.inf
    assert figures.sqnr_db == -math.inf


def test_outputs_of_different_shapes_are_refused() -> None:
    with pytest.raises(DrpassError, match=r"\[2, 3\] in the original but \[3, 2\]"):
        ErrorMeter("y").add(np.zeros((2, 3)), np.zeros((3, 2)))


# Classes


def test_agreement_counts_first_and_first_five_classes() -> None:
    reference = np.eye(4, 8, dtype=np.float32)
    value = reference.copy()
    value[1] = [5, 1, 4, 3, 2, 0, 0, 0]  # class 1 falls to the fifth place
    value[2] = [5, 4, 0, 3, 2, 1, 0, 0]  # class 2 falls out of the first five
    meter = ClassMeter("y")
    meter.add(reference, value, None)
    agreement = meter.figures().agreement
    assert (agreement.samples, agreement.top1, agreement.top5) == (4, 0.5, 0.75)
    assert meter.figures().accuracy is None


def test_top_five_is_not_given_for_five_classes() -> None:
    meter = ClassMeter("y")
    meter.add(np.eye(5), np.eye(5), None)
    assert meter.figures().agreement.top5 is None


def test_a_row_with_nan_agrees_with_nothing_and_is_wrong() -> None:
    scores = np.eye(3)
    scores[0, 1] = np.nan
    meter = ClassMeter("y")
    meter.add(scores, scores, np.array([0, 1, 2]))
    figures = meter.figures()
    assert figures.agreement.top1 == pytest.approx(2 / 3)
    assert figures.accuracy is not None
    assert figures.accuracy.original == figures.accuracy.rewritten == pytest.approx(2 / 3)


def test_accuracy_with_its_paired_interval_and_test() -> None:
    # 100 samples: 60 right in both, 5 lost, 2 gained, 33 wrong in both.
    reference, value = np.zeros((100, 2)), np.zeros((100, 2))
    reference[:65, 0], reference[65:, 1] = 1, 1
    value[:60, 0], value[65:67, 0] = 1, 1
    value[60:65, 1], value[67:, 1] = 1, 1
    meter = ClassMeter("y")
    for start in range(0, 100, 10):
        meter.add(reference[start : start + 10], value[start : start + 10], np.zeros(10, np.int64))
    accuracy = meter.figures().accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.lost, accuracy.gained) == (100, 5, 2)
    assert (accuracy.original, accuracy.rewritten) == (0.65, 0.62)
    assert accuracy.loss == pytest.approx(0.03)
    # By hand: p = 6/102 and 3/102, difference -3/102, variance (9/102 - (3/102)^2) / 102.
    half = 1.959964 * math.sqrt((9 / 102 - (3 / 102) ** 2) / 102)
    assert accuracy.interval == pytest.approx((-3 / 102 - half, -3 / 102 + half))
    # Of 7 fair coins, 2 or fewer on one side or the other: 2 (1 + 7 + 21) / 128.
    assert accuracy.p_value == pytest.approx(58 / 128)


def test_labels_of_another_data_set_are_refused() -> None:
    with pytest.raises(DrpassError, match="which has 3 classes"):
        ClassMeter("y").add(np.eye(3), np.eye(3), np.array([0, 1, 999]))


# Whole models


def test_errors_are_those_of_the_two_outputs() -> None:
    left, right = gemm(), gemm(scale=1.01, shift=0.1)
    report = validate(left, right, samples())
    r, y = expected_scores(left), expected_scores(right)
    (output,) = report.outputs
    assert report.samples == 40
    assert report.passed
    assert output.errors.max_abs == pytest.approx(np.abs(y - r).max(), rel=1e-4)
    assert output.errors.rms_rel == pytest.approx(np.linalg.norm(y - r) / np.linalg.norm(r), rel=1e-4)
    assert output.classes is not None
    assert output.classes.agreement.top1 == (r.argmax(1) == y.argmax(1)).mean()


def test_accuracy_is_given_where_the_data_has_labels() -> None:
    left, right = gemm(), gemm(scale=-1)
    labels = expected_scores(left).argmax(1).tolist()
    (output,) = validate(left, right, samples(labels=labels)).outputs
    assert output.classes is not None
    assert output.classes.accuracy is not None
    assert output.classes.accuracy.original == 1.0
    assert output.classes.accuracy.rewritten == (expected_scores(right).argmax(1) == labels).mean()


def test_outputs_in_another_order_are_compared_by_name() -> None:
    def pair(*names: str) -> onnx.ModelProto:
        nodes = [node("Abs", ["x"], ["a"]), node("Neg", ["x"], ["b"])]
        return model(nodes, {"x": ["N", 16]}, {name: ["N", 16] for name in names})

    report = validate(pair("a", "b"), pair("b", "a"), samples())
    assert [output.errors.max_abs for output in report.outputs] == [0, 0]


@pytest.mark.parametrize(
    ("limit", "passes"),
    [
        ({"max_abs": 0.2}, True),
        ({"max_abs": 0.05}, False),
        ({"max_rel": 0.05}, True),
        ({"max_rel": 0.001}, False),
        ({"min_sqnr": 30}, True),
        ({"min_sqnr": 60}, False),
        ({"min_psnr": 40}, True),
        ({"min_psnr": 80}, False),
    ],
)
def test_a_limit_passes_or_fails_by_the_figure_that_it_names(limit: dict[str, float], passes: bool) -> None:
    report = validate(gemm(), gemm(shift=0.1), samples(), thresholds=Thresholds(**limit))
    assert report.passed is passes
    if not passes:
        (failure,) = report.failures
        assert failure.startswith("y: ")
        assert next(iter(limit)).removeprefix("min_") in failure


def test_limits_on_agreement_and_accuracy() -> None:
    left, right = gemm(), gemm(scale=-1)
    labels = expected_scores(left).argmax(1).tolist()
    limits = Thresholds(min_top1_agreement=0.9, max_accuracy_loss=0.01)
    assert validate(left, left, samples(labels=labels), thresholds=limits).passed
    failures = validate(left, right, samples(labels=labels), thresholds=limits).failures
    assert [words.split()[1] for words in failures] == ["accuracy_loss", "top1_agreement"]


def test_nan_in_the_rewritten_model_alone_fails_without_any_limit() -> None:
    report = validate(gemm(), gemm(shift=np.nan), samples())
    assert not report.passed
    assert "in one model only" in report.failures[0]


def test_a_limit_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(DrpassError, match="needs labels"):
        validate(gemm(), gemm(), samples(), thresholds=Thresholds(max_accuracy_loss=0.1))
    summed = model([node("ReduceSum", ["x"], ["y"], keepdims=0)], {"x": ["N", 16]}, {"y": None})
    with pytest.raises(DrpassError, match=r"needs an output of shape \[N, classes\]"):
        validate(summed, summed, samples(), thresholds=Thresholds(min_top1_agreement=0.9))
    with pytest.raises(DrpassError, match="share between 0 and 1"):
        Thresholds(min_top1_agreement=98)


def test_models_with_different_outputs_are_refused() -> None:
    with pytest.raises(DrpassError, match="different outputs"):
        validate(gemm(), gemm(output="z"), samples())


def test_models_with_different_input_types_are_refused() -> None:
    other = gemm()
    other.graph.node[0].input[0] = "x32"
    other.graph.node.insert(0, node("Cast", ["x"], ["x32"], to=onnx.TensorProto.FLOAT))
    other.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(DrpassError, match="different inputs"):
        validate(gemm(), other, samples())


def test_layers_compare_the_value_after_every_replaced_node() -> None:
    after = [
        node("Relu", ["conv_out"], ["r"]),
        node("Conv", ["r", "w2"], ["c2"], name="conv2"),
        node("Sigmoid", ["c2"], ["y"]),
    ]
    original = conv_model(after, {"w2": random_array(32, 32, 3, 3)})
    result = rewrite(original, parameters=ReuseParameters(method="grid", step=0.2))
    assert result.report.replaced == 2
    report = validate(original, result.model, "photographs", layers=True)
    assert [(layer.node, layer.value) for layer in report.layers] == [("conv", "r"), ("conv2", "y")]
    assert all(0 < layer.errors.rms_rel < 0.3 for layer in report.layers)
    assert [output.name for output in report.outputs] == ["y"], "values of layers are no outputs of the model"
    assert report.outputs[0].errors == report.layers[1].errors


def test_exact_layers_differ_by_rounding_only() -> None:
    original = conv_model([node("Relu", ["conv_out"], ["y"])])
    result = rewrite(original, parameters=ReuseParameters(method="exact"))
    report = validate(original, result.model, "photographs", layers=True)
    assert report.layers[0].errors.max_rel < 1e-5


# The command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    for name, proto in (("left", gemm()), ("right", gemm(shift=0.1))):
        onnx.save(proto, tmp_path / f"{name}.onnx")
    labels = expected_scores(gemm()).argmax(1)
    np.savez(tmp_path / "data.npz", x=random_array(40, 16, seed=5), labels=labels)
    return tmp_path / "left.onnx", tmp_path / "right.onnx", tmp_path / "data.npz"


def test_command_prints_errors_agreement_accuracy_and_data(files: tuple[Path, Path, Path]) -> None:
    left, right, data = files
    outcome = drpass("validate", left, right, "--data", data)
    assert outcome.status == 0
    for words in ("40 of 40 samples", "labels from the file", "SQNR dB", "top-1", "accuracy: original 100.00%"):
        assert words in outcome.out


def test_command_fails_with_status_1_and_names_the_limit(files: tuple[Path, Path, Path]) -> None:
    left, right, data = files
    outcome = drpass("validate", left, right, "--data", data, "--max-abs", "1e-3")
    assert outcome.status == 1
    assert "failed: y: max_abs is 0.1, above the limit 0.001" in outcome.err


def test_command_prints_json(files: tuple[Path, Path, Path]) -> None:
    left, right, data = files
    report = json.loads(drpass("validate", left, right, "--data", data, "--json", "--layers").out)
    assert report["samples"] == 40
    assert report["passed"] is True
    assert report["outputs"][0]["name"] == "y"
    assert report["outputs"][0]["max_abs"] == pytest.approx(0.1, rel=1e-3)
    assert report["outputs"][0]["accuracy"]["n"] == 40
    assert report["layers"] == []


def test_command_says_when_data_is_random(files: tuple[Path, Path, Path]) -> None:
    assert "RANDOM" in drpass("validate", files[0], files[1]).out


def test_command_refuses_a_limit_without_labels(files: tuple[Path, Path, Path]) -> None:
    refused(drpass("validate", files[0], files[1], "--max-accuracy-loss", "0.1"), "needs labels")


def test_command_refuses_unknown_choices(files: tuple[Path, Path, Path]) -> None:
    refused(drpass("validate", *files[:2], "--provider", "tpu"), "--provider must be one of cpu, cuda")
    refused(drpass("validate", *files[:2], "--labels", "file"), "--labels must be one of auto")
    refused(drpass("validate", *files[:2], "--mean", "a,b"), "--mean must be numbers")
    refused(drpass("validate", *files[:2], "--threads", "0"), "threads must be between")
