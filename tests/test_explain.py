"""drpass explain: originals, rewritten models, nodes that are kept, absorbed, or of no concern."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, function_model, if_model, model, node, random_array
from onnx import helper

from drpass import DrpassError, Plan, ReuseParameters, rewrite
from drpass.execution import open_session, run
from drpass.explanation import Explanation, explain
from drpass.passes import EXACT
from drpass.plan_file import NodePlan
from drpass.replay import METADATA_KEY

GRID = ReuseParameters(step=0.1)


def network() -> onnx.ModelProto:
    """x → Conv "first" → Relu → LRN → MaxPool → Conv "wide" → Conv "winograd" → GlobalAveragePool → Flatten → Gemm."""
    nodes = [
        node("Conv", ["x", "a", "a_bias"], ["c"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], name="relu"),
        node("LRN", ["r"], ["n"], name="norm", size=5),
        node("MaxPool", ["n"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "b"], ["d"], name="wide", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Conv", ["d", "e"], ["f"], name="winograd", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["f"], ["g"], name="average"),
        node("Flatten", ["g"], ["h"], name="flatten"),
        node("Gemm", ["h", "w"], ["y"], name="head"),
    ]
    constants = {
        "a": random_array(32, 3, 3, 3),
        "a_bias": random_array(32),
        "b": random_array(48, 32, 3, 3),
        "e": random_array(48, 48, 3, 3),
        "w": random_array(48, 10),
    }
    return model(nodes, {"x": ["N", 3, 40, 40]}, {"y": None}, constants)


def told(explanation: Explanation) -> str:
    return "\n".join([explanation.title, *explanation.facts, *explanation.reasons, *explanation.changes])


def test_convolution_that_becomes_exact() -> None:
    found = explain(network(), "winograd")
    assert found.title == "winograd: Conv, replaced by `drpass rewrite` without options"
    # Outputs of an image times the weights that each reads.
    assert found.facts[0] == (
        f"A 3×3 convolution of 48 channels to 48, 10×10 pixels to 10×10: {100 * 48 * 48 * 9:,} multiply-adds an image."
    )
    assert "It becomes a DeepReuseGemm: exact." in found.facts
    assert any("F(4×4, 3×3)" in fact for fact in found.facts)
    assert any("NCHW16c" in fact for fact in found.facts)
    assert "fewer multiplications" in found.reasons[0]
    assert any("not expected to gain: too few pixels (100" in change for change in found.changes)
    assert "`--exclude winograd` keeps it." in found.changes


def test_convolution_with_strides_says_that_it_is_there_for_its_chain() -> None:
    found = explain(network(), "wide")
    assert "strides 2×2, 20×20 pixels to 10×10" in found.facts[0]
    assert any(fact.startswith("The direct product") for fact in found.facts)
    assert "keeps the chain whole" in found.reasons[0]


def test_matrix_product_that_is_kept() -> None:
    found = explain(network(), "head", shapes={"x": (8, 3, 40, 40)})
    assert found.title == "head: Gemm, kept by `drpass rewrite` without options"
    assert found.facts[0].startswith("The product of 8 rows of 48 values")
    assert found.facts[0].endswith("3,840 multiply-adds.")
    assert found.reasons == ("A matrix product gains nothing without clustering.",)
    assert any("--method grid --include head" in change and "10; at least 32" in change for change in found.changes)


def test_nodes_besides_the_candidates() -> None:
    absorbed = explain(network(), "relu")
    assert "absorbed by 'first'" in absorbed.facts[0]
    pool = explain(network(), "pool")
    assert "replaced" in pool.title
    assert "`--no-chains` keeps it." in pool.changes
    assert "`--exclude norm` keeps it." in explain(network(), "norm").changes
    other = explain(network(), "flatten")
    assert other.reasons[0].startswith("Not a candidate: drpass replaces Conv, Gemm, MatMul, ConvTranspose, ")
    assert other.changes == ("Nothing in drpass.",)


def test_depthwise_convolution_is_told_that_nothing_helps() -> None:
    found = explain(conv_model(channels=32, outputs=64, group=32), "conv")
    assert found.reasons == ("Depthwise, with several outputs a channel.",)
    assert found.changes[0].startswith("Nothing that helps")
    assert "32 groups" in found.facts[0]


def test_node_that_can_not_be_replaced_is_told_that_the_model_must_change() -> None:
    proto = conv_model()
    proto.graph.input.append(helper.make_tensor_value_info("conv.weight", onnx.TensorProto.FLOAT, [32, 3, 3, 3]))
    found = explain(proto, "conv")
    assert found.reasons == ("Weights are an initializer that is also a graph input.",)
    assert found.changes[0].startswith("Nothing in drpass: the model itself must change")


def test_plan_is_told_on_the_original() -> None:
    plan = Plan((NodePlan("first", "", "Conv", (32, 3, 3, 3), GRID, "saves 1 ms", {"ms": 0.25, "error": 0.0125}),))
    found = explain(network(), "first", plan=plan)
    assert found.title == "first: Conv, replaced by the plan"
    assert "It becomes a DeepReuseGemm: grid L=4 step=0.1σ image r_c≤0.5 int16." in found.facts
    assert found.reasons == (
        "Saves 1 ms.",
        "Measured when the plan was made: what became of it takes 0.25 ms, relative rms error of its result 0.013.",
    )
    assert any(change.startswith("In the plan") for change in found.changes)
    kept = explain(network(), "wide", plan=plan)
    assert kept.title == "wide: Conv, kept by the plan"
    assert kept.reasons == ("The plan does not name it.",)
    with pytest.raises(DrpassError, match="does not fit the model"):
        explain(conv_model(), "conv", plan=plan)


def clustered(**changes: Any) -> Explanation:
    parameters = ReuseParameters(**{"step": 0.25, "sub_vector_length": 5, "max_remaining_ratio": 0.1, **changes})
    return explain(rewrite(network(), parameters=parameters, include=["wide"]).model, "wide")


def test_parameters_of_a_rewritten_node_in_words_for_its_size() -> None:
    found = clustered()
    text = told(found)
    assert found.title == "wide: DeepReuseGemm of drpass"
    assert f"20×20 pixels to 10×10: {100 * 48 * 32 * 9:,} multiply-adds an image." in found.facts[0]
    assert "L = 5: the 32 channels of a pixel are cut into 7 sub-vectors." in found.facts
    assert "the 400 pixels of one image share clusters" in text
    assert "more than 40 clusters is computed densely" in text
    # A row of 48 outputs for each of 9 taps; five products for each value.
    assert "2,160 multiply-adds and a table of 432 products, 864 bytes as int16" in text
    bound = 0.25 * np.abs(random_array(48, 32, 3, 3)).sum(axis=(1, 2, 3)).max()
    assert f"at most {bound:.3g} σ here" in text
    assert any(change.startswith("A smaller step") for change in found.changes)


def test_each_parameter_changes_what_is_told() -> None:
    assert "1,728 bytes as float" in told(clustered(table_type="float"))
    lsh = told(clustered(method="lsh", hash_bits=9, seed=4))
    assert "9 hyperplanes (seed 4)" in lsh
    assert "no bound of its error" in lsh
    assert "More hash bits" in lsh
    batch = told(clustered(scope="batch"))
    assert "the result depends on the batch" in batch
    assert "more than 0.1 clusters a pixel" in batch


def test_bound_that_is_told_holds() -> None:
    """On random pixels, with a cell so wide that it matters."""
    proto = conv_model(channels=4, size=12, bias=False)
    parameters = ReuseParameters(step=0.5, sub_vector_length=1, max_remaining_ratio=1.0, table_type="float")
    rewritten = rewrite(proto, parameters=parameters, include=["conv"]).to_proto()
    sentence = next(fact for fact in explain(rewritten, "conv").facts if fact.startswith("No output moves"))
    x = random_array(1, 4, 12, 12)
    bound = float(sentence.split("at most ")[1].split()[0]) * math.sqrt(x.var(axis=(2, 3)).mean())
    exact, found = (run(open_session(entry), {"x": x})[0] for entry in (proto, rewritten))
    error = np.abs(exact - found).max()
    assert 0.05 * bound < error <= 1.001 * bound


def test_exact_node_of_a_rewritten_model_with_all_that_it_does() -> None:
    rewritten = rewrite(network(), parameters=EXACT, memo_bytes=2 << 20)
    first = told(explain(rewritten.model, "first"))
    for words in ("nothing is approximated", "the bias, the activation relu", "writes NCHW16c", "call to call", "MiB"):
        assert words in first, words
    assert "The file does not say why" in first
    assert "--method grid --include first" in first
    assert "own kernel" in told(explain(rewritten.model, "norm"))
    assert "A pool (max)" in told(explain(rewritten.model, "pool"))


def test_node_that_may_round_to_tf32_says_so_and_others_do_not() -> None:
    plain, rounding = (rewrite(network(), parameters=EXACT, allow_tf32=allowed) for allowed in (False, True))
    assert "allow_tf32 = 1" in told(explain(rounding.model, "first"))
    assert "TF32" not in told(explain(plain.model, "first"))


def test_what_was_measured_is_found_in_the_rewritten_file_or_in_its_plan() -> None:
    entry = NodePlan("first", "", "Conv", (), EXACT, "quick", {"dense_ms": 2.5, "r": [1, 2]})
    kept = NodePlan("wide", "", "Conv", (), None, "slower", {"dense_ms": 1.5})
    plan = Plan((entry, kept))
    rewritten = rewrite(network(), plan=plan).model
    reasons = ("Quick.", "Measured when the plan was made: the original's node takes 2.5 ms, r [1, 2].")
    assert explain(rewritten, "first").reasons == reasons
    assert explain(rewrite(network(), parameters=EXACT).model, "first", plan=plan).reasons == reasons
    found = explain(rewritten, "wide", plan=plan)
    assert found.title == "wide: Conv, kept when the model was rewritten"
    assert found.reasons[0] == "Slower."
    assert "2.5" not in told(found)
    assert explain(rewritten, "wide").reasons == ("The file does not say why; its plan may (--plan).",)


def test_plan_that_differs_from_the_file_is_told() -> None:
    plan = Plan((NodePlan("first", "", "Conv", (), GRID),))
    found = explain(rewrite(network(), parameters=EXACT).model, "first", plan=plan)
    assert "it says grid L=4 step=0.1σ" in found.reasons[-1]


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "[1]", '{"reason": 3, "measured": []}', "NaN"])
def test_damaged_metadata_says_nothing(text: str) -> None:
    proto = rewrite(network(), parameters=EXACT).to_proto()
    proto.graph.node[0].metadata_props.add(key=METADATA_KEY, value=text)
    assert "The file does not say why" in explain(proto, "first").reasons[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "magic"), ("sub_vector_length", 0), ("group", 0), ("output_channels", 500), ("step", "wide")],
)
def test_damaged_node_is_refused(name: str, value: Any) -> None:
    proto = rewrite(network(), parameters=GRID, include=["wide"]).to_proto()
    (reuse,) = [entry for entry in proto.graph.node if entry.name == "wide"]
    rest = [item for item in reuse.attribute if item.name != name]
    del reuse.attribute[:]
    reuse.attribute.extend([*rest, helper.make_attribute(name, value)])
    with pytest.raises(DrpassError):
        explain(proto, "wide")


# Names


def test_pattern_that_one_node_matches_is_a_name() -> None:
    assert explain(network(), "w?de").title.startswith("wide")
    # flatten matches too, but is no Conv, Gemm, MatMul or LRN.
    assert explain(network(), "f*").title.startswith("first")
    assert explain(network(), "fl*").title.startswith("flatten")


def test_nodes_in_subgraphs_and_functions_are_called_with_their_graph() -> None:
    for name in ("conv_then", "choose/then_branch/conv_then"):
        assert explain(if_model(), name).title.startswith("conv_then: Conv, in choose/then_branch")
    assert explain(function_model(), "conv_block").title.startswith("conv_block: Conv, in function local::Block")


def test_node_without_a_name_is_called_by_its_output() -> None:
    proto = conv_model()
    proto.graph.node[0].name = ""
    assert explain(proto, "conv_out").title.startswith("conv_out: Conv")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wid", ["no node of the model is called 'wid'", "wide"]),
        ("w*", ["2 nodes match 'w*': wide, winograd; name one"]),
        ("nothing", ["no node of the model is called 'nothing'; there are"]),
    ],
)
def test_name_that_is_not_one_node_is_refused(name: str, words: list[str]) -> None:
    with pytest.raises(DrpassError) as caught:
        explain(network(), name)
    assert all(word in str(caught.value) for word in words)


def test_absorbed_node_is_not_in_the_rewritten_model() -> None:
    with pytest.raises(DrpassError, match="a node that was absorbed is gone, the original still has it"):
        explain(rewrite(network()).model, "relu")


def test_nodes_of_one_name_can_not_be_told_apart() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"], name="conv")])
    with pytest.raises(DrpassError, match="2 nodes are called 'conv'"):
        explain(proto, "conv")


# The command


def test_command_prints_sentences_or_json(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "in.onnx")
    outcome = drpass("explain", tmp_path / "in.onnx", "head", "--shape", "x=1x3x40x40")
    assert outcome.status == 0, outcome.err
    for text in ("head: Gemm", "What it does", "Why", "What would change it", "480 multiply-adds"):
        assert text in outcome.out
    outcome = drpass("explain", tmp_path / "in.onnx", "head", "--json")
    assert json.loads(outcome.out) == json.loads(json.dumps(explain(network(), "head").to_dict()))


def test_command_takes_a_plan(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "in.onnx")
    rewrite(network(), parameters=GRID, include=["wide"]).plan().write(tmp_path / "plan.toml")
    outcome = drpass("explain", tmp_path / "in.onnx", "wide", "--plan", tmp_path / "plan.toml")
    assert "replaced by the plan" in outcome.out


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "in.onnx")
    refused(drpass("explain", tmp_path / "in.onnx", "hed"), "no node", "head")
    refused(drpass("explain", tmp_path / "none.onnx", "head"), "can't read")
    refused(drpass("explain", tmp_path / "in.onnx", "head", "--plan", tmp_path / "none.toml"), "can't read")
    refused(drpass("explain", tmp_path / "in.onnx", "head", "--shape", "z=1"), "no input 'z'")
