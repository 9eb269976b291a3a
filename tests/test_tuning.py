"""The search of the tuner. Times are made up, so that what it must find is known; errors are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import model, node, random_array
from tuning_models import (
    FakeClock,
    attribute,
    classifier,
    clusters_are_quick,
    exact_is_quickest,
    original_is_quickest,
    pictures,
    split,
)

from drpass import model_io
from drpass.benchmark import Timing
from drpass.data import Data
from drpass.data.split import Split
from drpass.errors import DrpassError
from drpass.operator.spec import DOMAIN, ReuseParameters
from drpass.plan_file import Plan
from drpass.rewriting import rewrite
from drpass.tune import Budget, Tuned, Tuning, measured, shadow, tuning, workbench
from drpass.tune.exact import by_rule, wherever_possible
from drpass.tune.judgement import Judgement
from drpass.tune.judgement import judge as real_judge
from drpass.tune.subject import Subject
from drpass.validation import Reference, validate


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    model_io.save(classifier(), path)
    return path


def tune(original: Path, budget: Budget, parts: Split | None = None, **options: Any) -> Tuned:
    return Tuning(original, parts or split(), budget, threads=1, **options).run()


def methods(tuned: Tuned) -> dict[str, str]:
    return {entry.node: entry.parameters.method if entry.parameters else "kept" for entry in tuned.plan.nodes}


def test_loose_budget_clusters_what_is_quicker_and_keeps_it(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=8.0))
    assert methods(tuned) == {"first": "grid", "second": "grid", "last": "kept"}
    assert not tuned.report.stopped_early
    report = validate(original, tuned.result.to_proto(), split().held_out)
    assert report.outputs[0].errors.sqnr_db >= 8.0
    assert tuned.report.held_out is not None
    assert tuned.report.held_out.kept


def test_original_runs_once_on_the_data_of_all_judgements(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    made: list[Reference] = []
    judged: list[Data] = []

    class Watched(Reference):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    def judge(
        budget: Budget, reference: Reference, rewritten: onnx.ModelProto, data: Data, **options: Any
    ) -> Judgement:
        judged.append(data)
        return real_judge(budget, reference, rewritten, data, **options)

    monkeypatch.setattr(tuning, "Reference", Watched)
    monkeypatch.setattr(workbench, "judge", judge)
    tune(original, Budget(min_sqnr=30.0))
    calls = 32 // 4
    assert sum(data.n for data in judged) // 4 > 5 * calls
    assert [reference.runs for reference in made] == [2 * calls]  # on the calibration part, and on what is held out


def test_report_says_that_the_constants_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    path = tmp_path / "in.onnx"
    model_io.save(classifier(channels=20), path)
    report = tune(path, Budget.parse(["exact"])).report
    padding = 4 * 12 * 8 * 9  # of the first convolution, from 20 to 32 outputs
    before = 4 * (20 * 8 * 9 + 48 * 20 * 9 + 480)
    found = report.to_dict()["constants"]
    assert (found["before"], found["after"]) == (before, before + padding)
    assert report.notes[-1].startswith("constants grow from 41.2 KiB to 44.6 KiB: packed weights fill panels")


def test_tighter_budget_gets_smaller_steps_or_fewer_clustered_layers(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    speeds = []
    for limit in (30.0, 50.0, 60.0):
        tuned = tune(original, Budget(min_sqnr=limit))
        assert tuned.report.speed is not None
        speeds.append(tuned.report.speed.ratio.median)
        assert validate(original, tuned.result.to_proto(), split().held_out).outputs[0].errors.sqnr_db >= limit
    assert speeds[0] > speeds[1] > speeds[2]


def test_budget_that_no_clustering_keeps_comes_back_exact(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=100.0))
    assert methods(tuned) == {"first": "exact", "second": "exact", "last": "kept"}
    assert "budget" in tuned.report.layers[0].reason


def test_budget_of_no_error_comes_back_exact_without_trying_clusters(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    monkeypatch.setattr(shadow, "measure_errors", lambda *_: pytest.fail("tried a clustering"))
    tuned = tune(original, Budget.parse(["exact"]))
    assert methods(tuned) == {"first": "exact", "second": "exact", "last": "kept"}
    assert validate(original, tuned.result.to_proto(), split().held_out).outputs[0].errors.max_rel < 1e-5


def test_every_way_of_exact_operators_has_a_choice_for_what_can_not_be_replaced() -> None:
    proto = classifier()
    proto.graph.node[4].CopyFrom(node("MatMul", ["d", "d"], ["m"], "square"))
    proto.graph.node.insert(5, node("GlobalAveragePool", ["m"], ["e"]))
    subject = Subject(proto, [{"x": pictures(4, 1)}], 4, 1)
    for way in (by_rule(subject), wherever_possible(subject)):
        assert set(way) == {verdict.key for verdict in subject.verdicts}
        assert "not constant" in str(way["", "square"])


def test_where_nothing_that_clusters_is_faster_every_layer_says_so(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(exact_is_quickest, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert methods(tuned)["first"] == "exact"
    assert "nothing that clusters is faster" in tuned.report.layers[0].reason
    # One rung of every ladder was enough to know.
    assert (
        len({trial.parameters.step for trial in tuned.report.layers[0].trials if trial.parameters.method == "grid"})
        == 1
    )


def test_machine_that_was_busy_at_first_does_not_make_clusters_look_quick(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(clusters_are_quick, monkeypatch)

    def price(node: onnx.NodeProto) -> float:
        slower = attribute(node, "method", b"").decode() in ("grid", "lsh")
        return (6.0 if slower else clusters_are_quick(node)) * (3.0 if clock.calls < 4 else 1.0)

    clock.price = price
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert "nothing that clusters is faster" in tuned.report.layers[0].reason


def test_original_that_is_fastest_comes_back_unchanged_saying_why(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(original_is_quickest, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert set(methods(tuned).values()) == {"kept"}
    assert tuned.result.to_proto() == model_io.load_proto(original)
    assert tuned.report.speed is None
    assert "unchanged" in tuned.report.verdict
    assert all(layer.reason for layer in tuned.report.layers)


def test_clustering_that_beats_only_the_exact_model_is_not_chosen(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def price(node: onnx.NodeProto) -> float:
        return clusters_are_quick(node) + (20.0 if node.domain == DOMAIN else 0.0)

    FakeClock(price, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert set(methods(tuned).values()) == {"kept"}
    assert tuned.report.speed is None


def test_node_that_is_quicker_as_it_was_is_given_back(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def price(node: onnx.NodeProto) -> float:
        return 12.0 if node.domain == DOMAIN and node.name == "first" else exact_is_quickest(node)

    FakeClock(price, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert methods(tuned) == {"first": "kept", "second": "exact", "last": "kept"}
    assert "quicker" in tuned.report.layers[0].reason


def test_node_that_was_quicker_once_by_luck_is_not_given_back(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def price(node: onnx.NodeProto) -> float:
        return 12.0 if node.domain == DOMAIN and node.name == "first" else exact_is_quickest(node)

    clock, trials = FakeClock(price, monkeypatch), []

    def bench(left: onnx.ModelProto, right: onnx.ModelProto, data: Data, **options: Any) -> Any:
        """The first trial against an exact model looks quick; any other finds all models alike but the original."""
        clock.count()
        against_exact = any(node.domain == DOMAIN for node in left.graph.node)
        lucky = against_exact and not trials
        trials.extend([right] if against_exact else [])
        after = 6.0 if lucky else 12.0
        return type("Report", (), {"timings": [Timing(1, [12.0 if against_exact else 24.0] * 5, [after] * 5)]})

    monkeypatch.setattr(measured, "bench", bench)
    tuned = tune(original, Budget(min_sqnr=1.0))
    assert methods(tuned)["first"] == "exact"
    assert len(trials) > 1


def test_clustering_that_breaks_the_budget_on_held_out_data_is_taken_back(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    # Every image has two colours, which are clusters without any error.
    halves = np.repeat(np.repeat(pictures(32, 1)[:, :, :1, :2], 16, axis=2), 8, axis=3)
    tuned = tune(original, Budget(min_sqnr=60.0), split(calibration=halves))
    assert set(methods(tuned).values()) == {"exact", "kept"}
    assert any("taken back" in note for note in tuned.report.notes)


def test_plan_of_a_run_gives_the_same_bytes_again(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=8.0))
    tuned.plan.write(tmp_path / "plan.toml")
    tuned.result.save(tmp_path / "one.onnx")
    rewrite(original, plan=Plan.read(tmp_path / "plan.toml")).save(tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    text = (tmp_path / "plan.toml").read_text()
    for word in ("fingerprint", "sha256", "cpu", "onnxruntime", "seed", "dense_ms"):
        assert word in text


@pytest.mark.parametrize("at", [1, 3, 9])
def test_interrupted_run_has_a_plan_and_goes_on_where_it_was(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole = FakeClock(clusters_are_quick, monkeypatch)
    expected = tune(original, Budget(min_sqnr=8.0))
    journal = tmp_path / "journal"
    cut = FakeClock(clusters_are_quick, monkeypatch)
    cut.interrupt_at = at
    tuning = Tuning(original, split(), Budget(min_sqnr=8.0), threads=1, journal=journal)
    with pytest.raises(KeyboardInterrupt):
        tuning.run()
    rewrite(original, plan=tuning.best)
    rest = FakeClock(clusters_are_quick, monkeypatch)
    resumed = tune(original, Budget(min_sqnr=8.0), journal=journal, resume=True)
    assert resumed.plan.assignment() == expected.plan.assignment()
    # What was interrupted is measured again, what was finished is not.
    assert cut.calls + rest.calls == whole.calls + 1
    assert not journal.exists()


def test_run_without_time_still_returns_a_model_within_the_budget(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    tuned = tune(original, Budget(min_sqnr=20.0), seconds=1e-6)
    assert tuned.report.stopped_early
    assert validate(original, tuned.result.to_proto(), split().held_out).outputs[0].errors.sqnr_db >= 20.0


def test_depthwise_network_comes_back_unchanged_saying_why(tmp_path: Path) -> None:
    path = tmp_path / "depthwise.onnx"
    depthwise = model(
        [node("Conv", ["x", "w"], ["y"], "only", group=8)],
        {"x": ["N", 8, 16, 16]},
        {"y": None},
        {"w": random_array(16, 1, 3, 3)},
    )
    model_io.save(depthwise, path)
    tuned = tune(path, Budget(min_sqnr=1.0))
    assert tuned.result.to_proto() == model_io.load_proto(path)
    assert "depthwise" in tuned.report.layers[0].reason


def test_model_without_candidates_comes_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "relu.onnx"
    model_io.save(model([node("Relu", ["x"], ["y"])], {"x": ["N", 8, 16, 16]}, {"y": None}), path)
    tuned = tune(path, Budget(min_sqnr=1.0))
    assert tuned.report.layers == ()
    assert "unchanged" in tuned.report.verdict


def test_nodes_without_names_are_tuned_by_the_names_of_their_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    path, nameless = tmp_path / "nameless.onnx", classifier()
    for entry in nameless.graph.node:
        entry.name = ""
    model_io.save(nameless, path)
    tuned = tune(path, Budget(min_sqnr=8.0))
    assert methods(tuned) == {"a": "grid", "c": "grid", "y": "kept"}
    assert [node.op_type for node in tuned.result.to_proto().graph.node].count("DeepReuseGemm") == 2


def test_budget_on_classes_without_labels_is_refused_before_anything_runs(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(clusters_are_quick, monkeypatch)
    with pytest.raises(DrpassError, match="labels"):
        tune(original, Budget(max_top1_loss=0.01))
    assert clock.calls == 0


def test_setting_of_every_trial_is_told_with_its_figures(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(clusters_are_quick, monkeypatch)
    layer = tune(original, Budget(min_sqnr=8.0)).report.layers[0]
    grid = [trial for trial in layer.trials if trial.parameters.method == "grid"]
    assert len(grid) > 5
    coarse, fine = (
        next(t for t in grid if t.parameters == ReuseParameters("grid", "image", 4, s)) for s in (2.0, 0.125)
    )
    assert coarse.error > fine.error > 0
    assert coarse.effect > fine.effect > 0
    assert coarse.milliseconds < fine.milliseconds
    assert all(0 < ratio <= 1 for trial in grid for ratio in trial.remaining_ratios)


def test_lower_end_of_the_median_is_the_order_statistic_of_the_sign_test() -> None:
    # P(X <= 5 of 20 fair coins) = 0.0207, P(X <= 6) = 0.0577: the sixth least value.
    assert measured.median_at_least([float(value) for value in range(20, 0, -1)]) == 6.0
    assert measured.median_at_least([3.0, 2.0]) == 2.0


def test_lower_end_of_the_median_covers_it_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).lognormal(size=(2000, 15))
    covered = np.mean([measured.median_at_least(list(draw)) <= 1.0 for draw in draws])
    assert 0.95 <= covered <= 0.99
