"""What can't be done is refused in one line, before anything is run or written."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(conv_model(), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


@pytest.mark.parametrize("place", ["", "missing/plan.toml"])
def test_plan_that_can_not_be_written_leaves_no_model(source: Path, place: str) -> None:
    output = source.with_name("out.onnx")
    refused(drpass("rewrite", source, output, "--plan-out", source.parent / place), "can't write")
    assert list(source.parent.iterdir()) == [source]


def test_tuning_whose_model_can_not_be_written_does_not_begin(source: Path) -> None:
    output = source.with_name("missing") / "out.onnx"
    refused(drpass("rewrite", source, output, "--calibrate", "random"), "there is no folder")


def test_tuning_whose_plan_would_replace_a_pipe_does_not_begin(source: Path) -> None:
    os.mkfifo(source.with_name("pipe"))
    options = ("--calibrate", "random", "--plan-out", source.with_name("pipe"))
    refused(drpass("rewrite", source, source.with_name("out.onnx"), *options), "no regular file")


def test_metric_without_its_budget_is_the_only_thing_that_is_said(source: Path) -> None:
    options = ("--calibrate", "random", "--metric", "nowhere:score")
    refused(drpass("rewrite", source, source.with_name("out.onnx"), *options), "--budget metric-loss=X")


def test_negative_seed_of_random_inputs_is_refused(source: Path) -> None:
    refused(drpass("run", source, "--random", "--seed", "-1"), "seed", "-1")


def test_length_of_sub_vectors_that_is_too_large_is_refused_with_the_range(source: Path) -> None:
    refused(drpass("rewrite", source, source.with_name("out.onnx"), "-L", 2**40), "in [1, 2^31)")


@pytest.mark.parametrize("command", ["diff", "inspect"])
def test_external_data_that_is_a_link_to_itself_is_refused(source: Path, command: str) -> None:
    proto = conv_model()
    weights = proto.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="circle")
    source.write_bytes(proto.SerializeToString())
    source.with_name("circle").symlink_to("circle")
    refused(drpass(command, *[source] * (2 if command == "diff" else 1)), "no valid location")


def test_output_that_is_a_link_to_itself_is_replaced(source: Path) -> None:
    output = source.with_name("circle")
    output.symlink_to("circle")
    assert drpass("rewrite", source, output).status == 0
    assert onnx.load(output) == onnx.load(source)
