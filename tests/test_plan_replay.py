"""Plans applied: what was done is done again, and nodes carry what the plan knows of them."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, function_model, if_model, node, random_array
from plans import GRID, LSH, a_node, chain_model, data_of
from rewriting import assert_same_outputs, ops

from drpass import DrpassError, Plan, rewrite
from drpass.operator.spec import DEPTHWISE, OP_TYPE
from drpass.passes import EXACT
from drpass.plan_file import NodePlan
from drpass.replay import METADATA_KEY

REWRITES: list[dict[str, Any]] = [
    {},
    {"parameters": GRID},
    {"parameters": LSH, "chains": False},
    {"parameters": EXACT, "memo_bytes": (3 << 20) + 17},
    {"parameters": GRID, "allow_tf32": True},
    {"parameters": EXACT, "exclude": ["norm", "second"]},
    {"parameters": GRID, "include": ["first"]},
    {"exclude": ["*"]},
]


@pytest.mark.parametrize("options", REWRITES)
@pytest.mark.parametrize("make", [chain_model, if_model, function_model, conv_model])
def test_plan_of_a_rewrite_gives_the_same_bytes(tmp_path: Path, make: Any, options: dict[str, Any]) -> None:
    proto = make()
    if make is not chain_model:
        options = {name: value for name, value in options.items() if name not in ("include", "exclude")}
    first = rewrite(proto, **options)
    first.plan().write(tmp_path / "plan.toml")
    read = Plan.read(tmp_path / "plan.toml")
    again, once_more = rewrite(proto, plan=first.plan()), rewrite(proto, plan=read)
    assert data_of(again) == data_of(once_more) == data_of(first)
    assert [verdict.replaced for verdict in again.report.verdicts] == [
        verdict.replaced for verdict in first.report.verdicts
    ]
    assert once_more.plan() == read


def test_plan_keeps_every_verdict_of_a_mixed_model() -> None:
    plan = rewrite(chain_model(), parameters=GRID, exclude=["norm"]).plan()
    assert plan.assignment() == {
        ("", "first"): GRID,
        ("", "second"): GRID,
        ("", "norm"): "excluded by the user",
    }
    assert [entry.shape for entry in plan.nodes] == [(32, 3, 3, 3), (48, 32, 3, 3), ()]


def test_nodes_that_the_plan_does_not_name_are_kept() -> None:
    result = rewrite(chain_model(), plan=Plan((NodePlan("first", "", "Conv", (32, 3, 3, 3), EXACT),)))
    assert ops(result.to_proto()) == [OP_TYPE, "LRN", "MaxPool", "Conv", "Relu"]
    reasons = {verdict.node: verdict.reason for verdict in result.report.verdicts}
    assert reasons == {"first": "", "second": "the plan does not name it", "norm": "the plan does not name it"}


def test_plan_that_keeps_everything_without_reasons_gives_the_original() -> None:
    proto = chain_model()
    kept = [("first", "Conv"), ("second", "Conv"), ("norm", "LRN")]
    result = rewrite(proto, plan=Plan(tuple(NodePlan(name, "", op_type, (), None) for name, op_type in kept)))
    assert result.report.replaced == 0
    assert data_of(result) == proto.SerializeToString()


def test_plan_that_does_not_fit_is_refused_with_the_whole_list() -> None:
    entries = (
        NodePlan("gone", "", "Conv", (1,), EXACT),
        NodePlan("second", "function f", "Conv", (), None),
        NodePlan("norm", "", "Conv", (), None),
        NodePlan("first", "", "Conv", (32, 3, 5, 5), GRID),
        NodePlan("second", "", "Conv", (48, 32, 3, 3), GRID),
    )
    with pytest.raises(DrpassError) as caught:
        rewrite(chain_model(), plan=Plan(entries))
    assert str(caught.value) == (
        "the plan does not fit the model: it has no 'gone', 'function f/second'; 'norm' is LRN, not Conv; 'first' has "
        "weights 32x3x3x3, not 32x3x5x5; make it again or edit it"
    )


def test_plan_that_replaces_what_can_not_be_replaced_is_refused() -> None:
    proto = conv_model()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("conv.weight", onnx.TensorProto.FLOAT, [32, 3, 3, 3]))
    for shape in ((), (32, 3, 3, 3)):
        with pytest.raises(DrpassError, match=r"'conv' can't be replaced \(weights are an initializer"):
            rewrite(proto, plan=Plan((a_node(shape=shape),)))
    with pytest.raises(DrpassError, match="'conv' has weights that are not known, not 32x3x3x3"):
        rewrite(proto, plan=Plan((a_node(parameters=None),)))


@pytest.mark.parametrize(
    "argument",
    [
        {"parameters": GRID},
        {"include": ["conv"]},
        {"op_types": ["Conv"]},
        {"chains": False},
        {"memo_bytes": 1},
        {"allow_tf32": True},
    ],
)
def test_plan_does_not_go_with_other_choices(argument: dict[str, Any]) -> None:
    with pytest.raises(DrpassError, match="a plan says everything"):
        rewrite(conv_model(), plan=Plan((a_node(),)), **argument)


def test_memo_of_a_plan_has_the_range_of_the_argument() -> None:
    with pytest.raises(DrpassError, match="memo_bytes can't be -1"):
        rewrite(conv_model(), plan=Plan((a_node(),), memo_bytes=-1))


def two_of_one_name() -> onnx.ModelProto:
    second = node("Conv", ["conv_out", "w"], ["y"], name="conv", group=32)
    return conv_model([second], {"w": random_array(32, 1, 3, 3)})


def test_nodes_of_one_name_have_one_choice() -> None:
    result = rewrite(two_of_one_name(), parameters=EXACT)
    assert ops(result.to_proto()) == [OP_TYPE, DEPTHWISE]
    assert data_of(rewrite(two_of_one_name(), plan=result.plan())) == data_of(result)
    with pytest.raises(DrpassError, match="two different choices for 'conv'"):
        rewrite(two_of_one_name(), parameters=GRID).plan()  # the second is depthwise


# What replaced nodes carry


def metadata(proto: onnx.ModelProto) -> list[str | None]:
    return [
        next((prop.value for prop in entry.metadata_props if prop.key == METADATA_KEY), None)
        for entry in proto.graph.node
    ]


def test_replaced_nodes_carry_what_was_measured_and_kept_ones_stay_as_they_are() -> None:
    proto = chain_model()
    plan = Plan(
        (
            NodePlan("first", "", "Conv", (32, 3, 3, 3), GRID, "", {"ms": 0.5, "dense_ms": 1, "bad": math.nan}),
            NodePlan("norm", "", "LRN", (), None, "its kernel is no slower here", {"ms": 2.0}),
            NodePlan("second", "", "Conv", (), EXACT, "quick", {}),
        )
    )
    result = rewrite(proto, plan=plan).to_proto()
    assert ops(result) == [OP_TYPE, "LRN", "MaxPool", OP_TYPE]
    # The second has no name and its output became that of the Relu behind it.
    assert metadata(result) == ['{"measured":{"dense_ms":1,"ms":0.5}}', None, None, '{"reason":"quick"}']
    exact = replace(plan, nodes=(replace(plan.nodes[0], parameters=EXACT), *plan.nodes[1:]))
    assert_same_outputs(proto, rewrite(proto, plan=exact).to_proto(), {"x": random_array(2, 3, 40, 40)})


def test_lrn_that_a_plan_replaces_carries_its_reason() -> None:
    plan = Plan((NodePlan("norm", "", "LRN", (), EXACT, "quick"),))
    result = rewrite(chain_model(), plan=plan).to_proto()
    assert [entry.domain for entry in result.graph.node if entry.op_type == "LRN"] == ["ai.drpass"]
    assert [text for text in metadata(result) if text] == ['{"reason":"quick"}']


# The command


def test_command_writes_and_applies_plans(tmp_path: Path) -> None:
    source, plan = tmp_path / "in.onnx", tmp_path / "plan.toml"
    onnx.save(chain_model(), source)
    first = drpass("rewrite", source, tmp_path / "a.onnx", "--method", "lsh", "-L", 3, "--memo", 5, "--plan-out", plan)
    assert first.status == 0, first.err
    assert "plan.toml" in first.out
    again = drpass("rewrite", source, tmp_path / "b.onnx", "--plan", plan, "--plan-out", tmp_path / "c.toml", "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["parameters"] is None
    assert json.loads(again.out)["nodes"][0]["parameters"]["method"] == "lsh"
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert plan.read_text() == (tmp_path / "c.toml").read_text()


def test_bad_plan_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    source, plan, out = tmp_path / "in.onnx", tmp_path / "plan.toml", tmp_path / "out.onnx"
    onnx.save(conv_model(), source)
    refused(drpass("rewrite", source, out, "--plan", plan), "can't read")
    plan.write_text("format = 1\n[[node]]\nname = 'cnv'\nop_type = 'Conv'\nmethod = 'exact'\n")
    refused(drpass("rewrite", source, out, "--plan", plan), "does not fit the model", "'cnv'")
    refused(drpass("rewrite", source, out, "--plan", plan, "--no-chains"), "a plan says everything")
    refused(drpass("rewrite", source, out, "--plan-out", source), "by the same command already")
    refused(drpass("rewrite", source, out, "--plan-out", out), "by the same command already")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.onnx", "plan.toml"]


@pytest.mark.parametrize("name", ["squeezenet11_imagenet", "waifu2x_upconv7_photo_x2"])
@pytest.mark.parametrize("options", [[], ["--method", "grid", "--memo", "3"]])
def test_trained_network_is_made_again_from_its_plan(tmp_path: Path, name: str, options: list[str]) -> None:
    source = Path(os.environ.get("DRPASS_MODELS", "")) / f"{name}.onnx"
    if not source.is_file():
        pytest.skip(f"DRPASS_MODELS names no folder with {name}.onnx")
    plan = tmp_path / "plan.toml"
    assert drpass("rewrite", source, tmp_path / "a.onnx", *options, "--plan-out", plan).status == 0
    assert drpass("rewrite", source, tmp_path / "b.onnx", "--plan", plan).status == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
