"""Where the time of a node goes: collecting changes no result, and says of each method what it does."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, function_model, loop_model, node, random_array
from operator_models import Case, alike, block, forced_kernels, runnable_kernel_sets
from rewriting import EXACT

from drpass import ReuseParameters, rewrite, runtime, stages
from drpass.data import Batch, Data
from drpass.errors import DrpassError
from drpass.stages import NodeStages, measure_stages

GRID = ReuseParameters(method="grid", step=0.5, max_remaining_ratio=0.9)
LSH = ReuseParameters(method="lsh", hash_bits=8, max_remaining_ratio=0.9)

#: The stages of the methods beside "rest", which all have.
CLUSTERED = {"hash", "cluster", "gemm", "reconstruct", "epilogue"}


def case(kernel: int = 3, channels: int = 32, outputs: int = 40, size: int = 18) -> Case:
    rng = np.random.default_rng(kernel)
    return Case(
        alike(rng, (6, channels, size, size)),
        random_array(outputs, channels, kernel, kernel),
        bias=random_array(outputs),
        attributes={"pads": [kernel // 2] * 4},
        activation="relu",
    )


def collect(session: Any, x: np.ndarray, runs: int = 2) -> list[dict[str, Any]]:
    with stages.collecting() as library:
        for _ in range(runs):
            session.run(None, {"X": x})
    return stages.collected(library)


def stages_of(entry: dict[str, Any]) -> set[str]:
    return {name for name, time in entry["nanoseconds"].items() if time} - {"rest", "wait"}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("parameters", [EXACT, GRID, LSH], ids=lambda parameters: str(parameters.method))
@pytest.mark.parametrize("kernel", [1, 3])
def test_collecting_changes_no_byte(kernel: int, parameters: ReuseParameters, threads: int) -> None:
    of = case(kernel)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            session = runtime.session(of.reuse_model(stats=True, **parameters.attributes()), threads=threads)
        before = [array.tobytes() for array in session.run(None, {"X": of.x})]
        with stages.collecting():
            during = [array.tobytes() for array in session.run(None, {"X": of.x})]
        assert before == during, kernels


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "layout", "parameters", "expected"),
    [
        (1, "NCHW", EXACT, {"gemm", "epilogue"}),
        (1, "NCHW16c", EXACT, {"gemm"}),  # the micro-kernel finishes its tile itself
        (3, "NCHW", EXACT, {"gemm", "transform", "epilogue"}),
        (3, "NCHW16c", EXACT, {"gemm", "transform"}),
        (3, "NCHW", GRID, CLUSTERED),
        (3, "NCHW", LSH, CLUSTERED),
    ],
)
def test_every_method_has_its_stages(
    kernel: int, layout: str, parameters: ReuseParameters, expected: set[str], threads: int
) -> None:
    of = case(kernel, outputs=48, size=24)  # whole tiles
    layouts = {"x_layout": layout, "y_layout": layout}
    if layout == "NCHW16c":
        of.x = block(of.x)
    session = runtime.session(of.reuse_model(**parameters.attributes(), **layouts), threads=threads)
    (entry,) = collect(session, of.x)
    assert stages_of(entry) == expected
    assert entry["nanoseconds"]["rest"] > 0
    assert entry["calls"] == 2


def test_memo_is_a_stage() -> None:
    of = case()
    session = runtime.session(of.reuse_model(memo_bytes=64 << 20), threads=2)
    (entry,) = collect(session, of.x)
    assert stages_of(entry) == {"memo", "gemm", "transform", "epilogue"}
    # What was met before is only copied, in planes once more with the epilogue.
    (entry,) = collect(session, of.x)
    assert stages_of(entry) == {"memo", "gemm", "transform", "epilogue"} - {"gemm"}


def test_tile_that_is_computed_again_counts_where_it_works() -> None:
    of = case()
    of.x[2, 3, 4, 5] = np.inf
    of.x = block(of.x)
    session = runtime.session(of.reuse_model(x_layout="NCHW16c", y_layout="NCHW16c"), threads=1)
    (entry,) = collect(session, of.x)
    # Nothing has an epilogue of its own but the direct form of that tile.
    assert stages_of(entry) == {"gemm", "transform", "epilogue"}


@pytest.mark.parametrize("scope", ["image", "batch"])
@pytest.mark.parametrize("limit", [0.9, 0.1])
def test_clusters_are_those_of_the_second_output(scope: str, limit: float) -> None:
    of = case()
    parameters = {**GRID.attributes(), "scope": scope, "max_remaining_ratio": limit, "sub_vector_length": 5}
    session = runtime.session(of.reuse_model(stats=True, **parameters), threads=2)
    _, found = session.run(None, {"X": of.x})
    (entry,) = collect(session, of.x, runs=3)
    pixels = 18 * 18 * (len(of.x) if scope == "batch" else 1)
    assert len(entry["sub_groups"]) == found.shape[2] == 7
    for group, (clusters, seen, instances, guarded) in enumerate(entry["sub_groups"]):
        counts = found[:, 0, group]
        assert instances == 3 * len(counts)
        assert guarded == 3 * (counts < 0).sum()
        assert clusters == 3 * counts[counts >= 0].sum()
        assert seen == 3 * pixels * (counts >= 0).sum()


def test_nothing_is_collected_unless_asked_for_and_switching_on_forgets() -> None:
    of = case()
    session = runtime.session(of.reuse_model(), threads=1)
    assert collect(session, of.x, runs=0) == []
    session.run(None, {"X": of.x})
    with stages.collecting() as library:
        assert stages.collected(library) == []
    assert collect(session, of.x, runs=3)[0]["calls"] == 3
    assert collect(session, of.x, runs=1)[0]["calls"] == 1
    session.run(None, {"X": of.x})
    assert stages.collected(library)[0]["calls"] == 1
    del session
    assert stages.collected(library) == []


def test_call_that_fails_leaves_the_clock_in_order() -> None:
    of = case()
    session = runtime.session(of.reuse_model(**GRID.attributes()), threads=1)
    with stages.collecting() as library:
        with pytest.raises(Exception, match="channels"):
            session.run(None, {"X": of.x[:, :7]})
        assert stages.collected(library) == []
        session.run(None, {"X": of.x})
    (entry,) = stages.collected(library)
    assert entry["calls"] == 1
    assert stages_of(entry) == CLUSTERED


@pytest.mark.parametrize("name", ['a "quoted" \\ name', "tab\tline\nend", "Faltung/größer 畳み込み", ""])
def test_name_of_a_node_may_be_any_text(name: str) -> None:
    of = case()
    proto = onnx.load_from_string(of.reuse_model())
    proto.graph.node[0].name = name
    (entry,) = collect(runtime.session(proto.SerializeToString(), threads=1), of.x)
    assert entry["node"] == name


def test_concurrent_sessions_and_readers_do_not_disturb_each_other() -> None:
    of = case()
    models = [of.reuse_model(**parameters.attributes()) for parameters in (EXACT, GRID, LSH)]
    sessions = [runtime.session(source, threads=2) for source in models for _ in range(2)]
    expected = [session.run(None, {"X": of.x})[0].tobytes() for session in sessions]

    def calls(index: int) -> list[bytes]:
        return [sessions[index].run(None, {"X": of.x})[0].tobytes() for _ in range(5)]

    with ThreadPoolExecutor(len(sessions)) as pool:
        pending = [pool.submit(calls, index) for index in range(len(sessions))]
        while not all(future.done() for future in pending):
            with stages.collecting() as library:
                assert all(entry["calls"] > 0 for entry in stages.collected(library))
        results = [future.result() for future in pending]
    assert results == [5 * [wanted] for wanted in expected]
    with stages.collecting() as library:
        for session in sessions:
            session.run(None, {"X": of.x})
    assert [entry["calls"] for entry in stages.collected(library)] == len(sessions) * [1]


def network() -> onnx.ModelProto:
    after = [
        node("Relu", ["conv_out"], ["r"]),
        node("Conv", ["r", "w"], ["c"], name="second", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["y"]),
    ]
    return conv_model(after, {"w": random_array(64, 64, 3, 3)}, outputs=64, pads=[1, 1, 1, 1])


def repeating(channels: int = 3) -> Data:
    x = alike(np.random.default_rng(1), (4, channels, 20, 20))
    batches = [Batch({"x": x[first : first + 2]}, None, ["a", "b"]) for first in (0, 2)]
    return Data(4, "levels", False, lambda: iter(batches))


def test_measured_nodes_come_in_order_with_the_time_of_the_original() -> None:
    original = network()
    result = rewrite(original, parameters=GRID, include=["conv", "second"])
    found = measure_stages(original, result.model, repeating(), threads=2, runs=3)
    assert [entry.node for entry in found] == ["conv", "second"]
    for entry in found:
        assert entry.original_ms is not None
        assert entry.kernel_ms is not None
        assert entry.original_ms > 0
        assert entry.kernel_ms > 0
        assert entry.setting == GRID.describe()
        assert {stage for stage, time in entry.stages_ms.items() if time} >= CLUSTERED
        assert sum(map(entry.share, entry.stages_ms)) == pytest.approx(1)
    assert len(found[0].remaining_ratios) == 1
    assert len(found[1].remaining_ratios) == 16
    # The picture repeats; what the first layer makes of it does not.
    assert found[0].remaining_ratio is not None
    assert found[1].remaining_ratio is not None
    assert found[0].remaining_ratio < found[1].remaining_ratio <= 1


def test_nodes_without_names_are_measured_by_those_of_their_outputs() -> None:
    original = network()
    for entry in original.graph.node:
        entry.name = ""
    result = rewrite(original, parameters=EXACT)
    found = measure_stages(original, result.to_proto(), repeating(), runs=1)
    assert [entry.node for entry in found] == ["r", "y"]
    assert all(entry.original_ms is not None and entry.kernel_ms is not None for entry in found)


def test_body_of_a_loop_is_measured_without_an_original() -> None:
    result = rewrite(loop_model(), parameters=EXACT, include=["conv_body"])
    (entry,) = measure_stages(loop_model(), result.model, runs=2)
    assert (entry.node, entry.original_ms, entry.setting) == ("conv_body", None, "exact")
    assert entry.kernel_ms is not None
    assert entry.thread_ms > 0


def test_nodes_of_functions_are_not_left_out() -> None:
    result = rewrite(function_model(), parameters=EXACT)
    (entry,) = measure_stages(function_model(), result.model, runs=1)
    assert "conv_block" in entry.node
    assert entry.thread_ms > 0
    assert entry.kernel_ms is not None
    assert (entry.original_ms, entry.setting) == (None, "")


def test_r_c_of_a_guarded_group_is_one() -> None:
    original = conv_model(outputs=64, channels=8, pads=[1, 1, 1, 1])
    noise = Data(1, "noise", False, lambda: iter([Batch({"x": random_array(1, 8, 20, 20)}, None, ["a"])]))
    parameters = ReuseParameters(method="grid", step=1e-4)
    result = rewrite(original, parameters=parameters, include=["conv"])
    (entry,) = measure_stages(original, result.model, noise, runs=2)
    assert entry.remaining_ratios == (1, 1)
    assert entry.remaining_ratio == entry.guarded == 1
    assert entry.stages_ms["reconstruct"] == 0


def test_median_and_shares_of_a_node() -> None:
    entry = NodeStages("n", "grid", 2.0, 1.0, {"hash": 1.0, "gemm": 3.0}, 0.5, (0.1, 0.4, 1.0), 0.25)
    assert (entry.thread_ms, entry.remaining_ratio, entry.share("gemm")) == (4, 0.4, 0.75)
    assert json.loads(json.dumps(entry.to_dict()))["shares"] == {"hash": 0.25, "gemm": 0.75}


def test_model_without_nodes_of_the_operator_is_refused() -> None:
    with pytest.raises(DrpassError, match="no DeepReuseGemm ran"):
        measure_stages(network(), network())
    with pytest.raises(DrpassError, match="at least 1 run"):
        measure_stages(network(), network(), runs=0)


def test_scalar_reference_is_refused() -> None:
    with forced_kernels("reference"), pytest.raises(DrpassError, match="unset DRPASS_KERNELS"):
        measure_stages(network(), network())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    onnx.save(network(), tmp_path / "left.onnx")
    rewrite(network(), parameters=GRID, include=["conv", "second"]).save(tmp_path / "right.onnx")
    return tmp_path / "left.onnx", tmp_path / "right.onnx"


def test_command_prints_stages_of_every_number_of_threads(files: tuple[Path, Path]) -> None:
    outcome = drpass("bench", *files, "--runs", "1", "--threads", "1,2", "--stages")
    assert outcome.status == 0
    for words in ("Stages, 1 thread:", "Stages, 2 threads:", "conv", "second", "r_c", "guarded", "reconstruct"):
        assert words in outcome.out
    assert "memo" not in outcome.out
    assert "Stages" not in drpass("bench", *files, "--runs", "1").out


def test_command_prints_stages_as_json(files: tuple[Path, Path]) -> None:
    report = json.loads(drpass("bench", *files, "--runs", "1", "--threads", "1,2", "--stages", "--json").out)
    assert [series["threads"] for series in report["stages"]] == [1, 2]
    for series in report["stages"]:
        assert [entry["node"] for entry in series["nodes"]] == ["conv", "second"]
        for entry in series["nodes"]:
            assert entry["thread_ms"] == pytest.approx(sum(entry["stages_ms"].values()))
    assert "stages" not in json.loads(drpass("bench", *files, "--runs", "1", "--json").out)


def test_command_refuses_stages_where_there_are_none(files: tuple[Path, Path]) -> None:
    left, right = files
    refused(drpass("bench", left, left, "--runs", "1", "--stages"), "no DeepReuseGemm")
    refused(drpass("bench", left, right, "--stages", "--provider", "cuda"), "on the CPU")
