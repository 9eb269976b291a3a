"""Plan files: what is written is read, what can't be meant is refused, and what was done can be done again."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import drpass, refused
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import conv_model, function_model, if_model, model, node, random_array
from rewriting import assert_same_outputs, ops

from drpass import DrpassError, Plan, ReuseParameters, rewrite
from drpass.operator.spec import OP_TYPE
from drpass.passes import EXACT
from drpass.plan_file import KEPT, NodePlan
from drpass.replay import METADATA_KEY

GRID = ReuseParameters(step=0.1)
LSH = ReuseParameters(method="lsh", sub_vector_length=3, hash_bits=7, seed=-5, table_type="float")


def chain_model() -> onnx.ModelProto:
    """x → Conv "first" → Relu → LRN "norm" → MaxPool → Conv "second" (no name) → Relu → y."""
    nodes = [
        node("Conv", ["x", "a"], ["c"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("LRN", ["r"], ["n"], name="norm", size=5),
        node("MaxPool", ["n"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "b"], ["second"], pads=[1, 1, 1, 1]),
        node("Relu", ["second"], ["y"]),
    ]
    for entry in nodes[4:]:
        entry.name = ""
    constants = {"a": random_array(32, 3, 3, 3), "b": random_array(48, 32, 3, 3)}
    return model(nodes, {"x": ["N", 3, 40, 40]}, {"y": None}, constants)


def a_node(**changes: Any) -> NodePlan:
    return replace(NodePlan("conv", "", "Conv", (32, 3, 3, 3), GRID), **changes)


def data_of(result: Any) -> bytes:
    return result.to_proto().SerializeToString()


# The file

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIGURES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans(), NAMES
)
TABLES = st.dictionaries(NAMES, FIGURES, max_size=3)
POSITIVE = st.floats(1e-30, 1e30)
PARAMETERS = st.one_of(
    st.just(EXACT),
    st.builds(
        ReuseParameters,
        method=st.just("grid"),
        scope=st.sampled_from(["image", "batch"]),
        sub_vector_length=st.integers(1, 2**31 - 1),
        step=POSITIVE,
        max_remaining_ratio=st.floats(0, 1, exclude_min=True),
        table_type=st.sampled_from(["float", "int16"]),
    ),
    st.builds(
        ReuseParameters,
        method=st.just("lsh"),
        hash_bits=st.integers(1, 64),
        seed=st.integers(-(2**63), 2**63 - 1),
    ),
)
NODES = st.builds(
    NodePlan,
    node=NAMES,
    graph=NAMES,
    op_type=st.sampled_from(["Conv", "Gemm", "MatMul"]),
    shape=st.lists(st.integers(1, 10**9), max_size=4).map(tuple),
    parameters=st.one_of(st.none(), PARAMETERS),
    reason=NAMES,
    measured=TABLES,
)
PLANS = st.builds(
    Plan,
    nodes=st.lists(NODES, max_size=3, unique_by=lambda entry: entry.key).map(tuple),
    chains=st.booleans(),
    memo_bytes=st.integers(0, 1 << 36),
    allow_tf32=st.booleans(),
    about=st.dictionaries(NAMES.map("about {}".format), TABLES, max_size=2),
)


@given(PLANS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    plan.write(path)
    assert Plan.read(path) == plan


def test_file_says_what_it_is_and_keeps_floats_as_a_person_wrote_them(tmp_path: Path) -> None:
    Plan((a_node(reason="quick"),)).write(tmp_path / "plan.toml")
    text = (tmp_path / "plan.toml").read_text()
    assert text.startswith("# A plan of drpass")
    assert "--plan" in text
    assert text.endswith("\n")
    lines = text.splitlines()
    assert {"format = 1", 'shape = "32x3x3x3"', "step = 0.1", 'reason = "quick"'} <= set(lines)
    assert not any(line.startswith(("hash_bits", "graph")) for line in lines)


def test_figures_that_toml_can_not_hold_are_left_out_or_made_plain(tmp_path: Path) -> None:
    measured = {"ms": np.float32(0.5), "n": np.int64(3), "nan": math.nan, "inf": np.float64(math.inf), "none": None}
    about = {"data": {"big": 2**64, "list": [1.0, None, math.nan], "path": Path("a/b")}}
    Plan((a_node(measured=measured),), about=about).write(tmp_path / "plan.toml")
    read = Plan.read(tmp_path / "plan.toml")
    assert read.nodes[0].measured == {"ms": 0.5, "n": 3}
    assert read.about == {"data": {"list": [1.0], "path": "a/b"}}


def test_edited_plan_may_leave_out_what_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        'format = 1\n[[node]]\nname = "a"\nop_type = "Conv"\nmethod = "grid"\nstep = 1\n'
        '[[node]]\nname = "b"\nop_type = "Gemm"\nkeep = ""\n'
    )
    plan = Plan.read(tmp_path / "plan.toml")
    assert plan.assignment() == {("", "a"): ReuseParameters(step=1.0), ("", "b"): KEPT}
    assert (plan.chains, plan.memo_bytes, plan.allow_tf32) == (True, 0, False)


def test_table_for_people_can_not_take_the_place_of_a_setting() -> None:
    with pytest.raises(ValueError, match="none of them called"):
        Plan((), about={"node": {}})


NODE = '[[node]]\nname = "conv"\nop_type = "Conv"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "format is missing"),
        ("format = 2", "format 2, where this version of drpass reads format 1"),
        ("format = true", "format must be a whole number, not true or false"),
        ("format = 0x" + "f" * 9000, "format has more than 64 bits"),
        ("format = 1\nchain = false", "unknown key 'chain'"),
        ('format = 1\nchains = "no"', "chains must be true or false, not 'no'"),
        ("format = 1\nmemo_mib = -1", "memo_mib can't be -1; it must be in 0 to 65536"),
        ("format = 1\nmemo_mib = nan", "memo_mib can't be nan"),
        ("format = 1\nmemo_mib = 65537", "memo_mib can't be 65537"),
        ("format = 1\nallow_tf32 = 1", "allow_tf32"),
        ("format = 1\nnode = 3", "node must be a list, not a whole number"),
        ("format = 1\nnode = [3]", "[[node]]"),
        ("format = 1\n[[nodes]]\nname = 'a'", "unknown key 'nodes'"),
        ("format = 1\n[[node]]\nop_type = 'Conv'", "node 1: name is missing"),
        ("format = 1\n[[node]]\nname = 'a'\nop_type = 'Relu'", "node 1 (a): op_type can't be 'Relu'"),
        (f"format = 1\n{NODE}", "node 1 (conv): it needs either method or keep"),
        (f"format = 1\n{NODE}keep = ''\nmethod = 'exact'", "it needs either method or keep"),
        (f"format = 1\n{NODE}keep = true", "keep must be text, not true or false"),
        (f"format = 1\n{NODE}keep = ''\nstep = 0.1", "unknown key 'step'"),
        (f"format = 1\n{NODE}method = 'magic'", "method can't be 'magic'; it must be exact, lsh or grid"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = -0.5", "step can't be -0.5; it must be a positive number"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = '0.5'", "step must be a number, not '0.5'"),
        (f"format = 1\n{NODE}method = 'grid'\nstep = nan", "step can't be nan"),
        (f"format = 1\n{NODE}method = 'grid'\nsub_vector_length = 4.0", "sub_vector_length must be a whole number"),
        (f"format = 1\n{NODE}method = 'grid'\nsub_vector_length = 0", "sub_vector_length can't be 0"),
        (f"format = 1\n{NODE}method = 'lsh'\nhash_bits = 65", "hash_bits can't be 65; it must be in 1 to 64"),
        (f"format = 1\n{NODE}method = 'lsh'\nstep = 0.1", "step has no meaning for the method lsh"),
        (f"format = 1\n{NODE}method = 'grid'\nstpe = 0.1", "unknown key 'stpe'"),
        (f"format = 1\n{NODE}method = 2000-01-01", "method must be text, not a date or time"),
        (f"format = 1\n{NODE}keep = ''\nshape = [1, 2]", "shape must be text, not a list"),
        (f"format = 1\n{NODE}keep = ''\nshape = '3x-1'", "shape must be written as in 64x3x3x3"),
        (f"format = 1\n{NODE}keep = ''\nmeasured = 3", "measured must be a table, not a whole number"),
        (f"format = 1\n{NODE}keep = ''\n{NODE}method = 'exact'", "two different choices for 'conv'"),
        ("format = 1\n[[node]]\nname = 'n'\nop_type = 'LRN'\nmethod = 'grid'", "LRN has no method but exact"),
        ("format = 1\na = " + "[" * 100_000, "is not a TOML file"),
        ("format = 1" + "0" * 9000, "is not a TOML file"),
        ("\x00", "is not a TOML file"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(DrpassError) as caught:
        Plan.read(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert len(message) < 400


def test_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"format = 1\n# \xe9")
    for name, words in (("latin.toml", "is not a TOML file"), ("none.toml", "can't read"), (".", "can't read")):
        with pytest.raises(DrpassError, match=words):
            Plan.read(tmp_path / name)


def test_plan_in_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="can't write"):
        Plan(()).write(tmp_path / "missing" / "plan.toml")


@given(st.lists(st.tuples(st.integers(0, 600), st.sampled_from([*'"[]=.\n0x-', "", "nan", "true"])), max_size=4))
def test_damaged_plan_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    Plan((a_node(), a_node(node="b", parameters=LSH)), about={"machine": {"threads": 2}}).write(path)
    text = path.read_text()
    text = text[text.index("format") :]
    for position, new in damages:
        text = text[:position] + new + text[position + 1 :]
    path.write_text(text)
    try:
        plan = Plan.read(path)
    except DrpassError:
        return
    assert isinstance(plan, Plan)


# Re-applying

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
    assert ops(result.to_proto()) == [OP_TYPE, OP_TYPE]
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
