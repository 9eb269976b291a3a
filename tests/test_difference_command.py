"""drpass diff."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from command_line import drpass
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import conv_model, if_model, model, node
from onnx import helper
from rewriting import rewrite


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before = conv_model([node("Relu", ["conv_out"], ["y"], name="act")])
    onnx.save(before, tmp_path / "before.onnx")
    rewrite(before).save(tmp_path / "after.onnx")
    return tmp_path / "before.onnx", tmp_path / "after.onnx"


def test_command_exits_with_1_only_if_asked_and_different(files: tuple[Path, Path]) -> None:
    before, after = files
    assert drpass("diff", before, after).status == 0
    assert drpass("diff", before, after, "--exit-code").status == 1
    assert drpass("diff", before, before, "--exit-code").status == 0


def test_command_prints_json(files: tuple[Path, Path]) -> None:
    report = json.loads(drpass("diff", *files, "--json").out)
    assert report["different"] is True
    (change,) = report["scopes"][0]["nodes"]
    assert change["op_after"] == "DeepReuseGemm"
    assert change["absorbed"] == [{"name": "act", "op": "Relu"}]
    assert {"field": "method", "before": None, "after": "grid"} in change["fields"]


def test_command_prints_names_with_brackets_as_they_are(tmp_path: Path) -> None:
    left = model([node("Abs", ["x"], ["y"], name="[bold]a[/b]")], {"x": [1]}, {"y": [1]})
    right = model([node("Neg", ["x"], ["y"], name="[bold]a[/b]")], {"x": [1]}, {"y": [1]})
    onnx.save(left, tmp_path / "l.onnx")
    onnx.save(right, tmp_path / "r.onnx")
    assert "~ [bold]a[/b]  Abs → Neg" in drpass("diff", tmp_path / "l.onnx", tmp_path / "r.onnx").out


def test_command_reads_models_of_unknown_domains(tmp_path: Path) -> None:
    strange = helper.make_node("Strange", ["x"], ["y"], domain="com.unknown", name="s")
    onnx.save(model([strange], {"x": [1]}, {"y": [1]}, domains={"com.unknown": 1}), tmp_path / "l.onnx")
    onnx.save(model([node("Abs", ["x"], ["y"], name="s")], {"x": [1]}, {"y": [1]}), tmp_path / "r.onnx")
    outcome = drpass("diff", tmp_path / "l.onnx", tmp_path / "r.onnx")
    assert outcome.status == 0
    assert "~ s  com.unknown::Strange → Abs" in outcome.out


@settings(max_examples=80)
@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=6))
def test_command_reads_or_refuses_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, offset: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    onnx.save(if_model(), folder / "whole.onnx")
    body = bytearray((folder / "whole.onnx").read_bytes())
    # Most of the file is weights; hit the structure as often.
    offset = offset % len(body) if offset % 2 else offset % 600
    body[offset : offset + len(noise)] = noise
    (folder / "damaged.onnx").write_bytes(body)
    outcome = drpass("diff", folder / "whole.onnx", folder / "damaged.onnx")
    assert outcome.status in (0, 2), outcome.err
    assert outcome.status == 0 or outcome.err.startswith("error: ")
