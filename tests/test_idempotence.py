"""Rewriting a rewritten model changes nothing, and says so."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, function_model, if_model, loop_model
from rewriting import EXACT
from test_restore import GRID, all_layers

from drpass.errors import DrpassError
from drpass.operator.spec import ReuseParameters
from drpass.restoring import restore
from drpass.rewriting import REWRITTEN, rewrite

LSH = ReuseParameters(method="lsh", seed=3)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"parameters": EXACT},
    {"parameters": EXACT, "chains": False},
    {"parameters": EXACT, "memo_bytes": 1 << 20},
    {"parameters": GRID},
    {"parameters": GRID, "allow_tf32": True},
    {"parameters": LSH, "memo_bytes": 1 << 20},
    {"parameters": EXACT, "op_types": ["Conv"]},
]


def chain_model() -> onnx.ModelProto:
    return all_layers().model("p", "q")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("make", [conv_model, if_model, loop_model, function_model, chain_model])
def test_same_options_again_change_nothing(make: Any, options: dict[str, Any]) -> None:
    first = rewrite(make(), **options)
    again = rewrite(first.to_proto(), **options)
    assert again.report.replaced == 0
    assert again.to_proto().SerializeToString() == first.to_proto().SerializeToString()
    assert again.report.notes == ((REWRITTEN,) if first.report.replaced else ())


@pytest.mark.parametrize("parameters", [EXACT, GRID, replace(GRID, step=0.1, max_remaining_ratio=0.3), LSH])
@pytest.mark.parametrize("make", [conv_model, if_model, function_model, chain_model])
def test_same_plan_again_changes_nothing(make: Any, parameters: ReuseParameters) -> None:
    first = rewrite(make(), parameters=parameters)
    again = rewrite(first.to_proto(), plan=first.plan())
    assert again.report.notes == (REWRITTEN,) if first.report.replaced else ()
    assert again.to_proto().SerializeToString() == first.to_proto().SerializeToString()


def test_other_plan_of_a_rewritten_model_is_refused() -> None:
    first = rewrite(chain_model(), parameters=GRID, include=["h", "n", "d"])
    assert first.report.replaced == 3
    plan = first.plan()
    other = replace(plan, nodes=tuple(replace(entry, parameters=EXACT) for entry in plan.nodes if entry.node in "hd"))
    with pytest.raises(DrpassError) as caught:
        rewrite(first.to_proto(), plan=other)
    assert str(caught.value).startswith("the plan does not fit the model: 'h' is replaced already by grid L=4")
    assert "drpass restore takes that back" in str(caught.value)
    assert "'d'" not in str(caught.value)


def test_plan_that_replaces_more_is_applied_to_what_is_left() -> None:
    proto = conv_model([onnx.helper.make_node("Conv", ["conv_out", "v"], ["y"], name="second")], {"v": _weights()})
    part = rewrite(proto, parameters=EXACT, exclude=["second"])
    whole = rewrite(proto, parameters=EXACT).plan()
    result = rewrite(part.to_proto(), plan=whole)
    assert [verdict.node for verdict in result.report.verdicts if verdict.replaced] == ["second"]


def _weights() -> Any:
    from models_for_tests import random_array

    return random_array(16, 32, 1, 1)


@pytest.mark.parametrize("name", ["squeezenet11_imagenet", "waifu2x_upconv7_photo_x2"])
@pytest.mark.parametrize("options", [[], ["--method", "grid", "--memo", "3"], ["--no-chains"]])
def test_trained_network_stays_the_same_file(tmp_path: Path, name: str, options: list[str]) -> None:
    source = Path(os.environ.get("DRPASS_MODELS", "")) / f"{name}.onnx"
    if not source.is_file():
        pytest.skip(f"DRPASS_MODELS names no folder with {name}.onnx")
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    assert drpass("rewrite", source, once, *options).status == 0
    outcome = drpass("rewrite", once, twice, *options)
    assert outcome.status == 0
    assert "the model is rewritten already" in outcome.out
    assert once.read_bytes() == twice.read_bytes() != source.read_bytes()


# The command


def test_command_writes_the_model_and_says_what_became_of_each_node(tmp_path: Path) -> None:
    rewrite(chain_model(), parameters=GRID, include=["a", "e", "h", "n"]).save(tmp_path / "fast.onnx")
    outcome = drpass("restore", tmp_path / "fast.onnx", tmp_path / "back.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    assert "Conv, Relu" in outcome.out
    assert "nodes restored; wrote" in outcome.out
    assert "nodes that clustered" in outcome.out
    expected = restore(tmp_path / "fast.onnx").to_proto().SerializeToString()
    assert (tmp_path / "back.onnx").read_bytes() == expected


def test_command_prints_json(tmp_path: Path) -> None:
    import json

    rewrite(chain_model(), parameters=EXACT).save(tmp_path / "fast.onnx")
    report = json.loads(drpass("restore", tmp_path / "fast.onnx", tmp_path / "back.onnx", "--json").out)
    assert report["restored"] == len(report["nodes"])
    (first,) = [found for found in report["nodes"] if found["node"] == "a"]
    assert first == {
        "node": "a",
        "op_type": "DeepReuseGemm",
        "graph": "",
        "operators": ["Conv", "Relu"],
        "parameters": {"method": "exact"},
    }


def test_command_refuses_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    rewrite(conv_model(), parameters=EXACT).save(tmp_path / "fast.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08nonsense")
    refused(drpass("restore", tmp_path / "fast.onnx", tmp_path / "fast.onnx"), "is the input itself")
    refused(drpass("restore", tmp_path / "bad.onnx", tmp_path / "back.onnx"), "bad.onnx")
    refused(drpass("restore", tmp_path / "gone.onnx", tmp_path / "back.onnx"), "gone.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx", "fast.onnx"]
    assert drpass("restore", tmp_path / "fast.onnx", tmp_path / "fast.onnx", "--overwrite").status == 0
