"""Every command that reads models, on files that are none: one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from command_line import drpass, refused
from models_for_tests import conv_model, model, node
from onnx import helper


@pytest.fixture
def good(tmp_path: Path) -> Path:
    onnx.save(conv_model(), tmp_path / "good.onnx")
    return tmp_path / "good.onnx"


def bad_file(kind: str, good: Path) -> Path:
    path = good.with_name("bad.onnx")
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        body = good.read_bytes()
        path.write_bytes(body[: len(body) * 2 // 3])
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"this is no model\n" * 50, "zeros": b"\0" * 500}[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "zeros", "truncated"])
@pytest.mark.parametrize("command", ["run", "validate", "validate --layers", "diff", "bench"])
def test_a_file_that_is_no_model_is_named(good: Path, command: str, kind: str) -> None:
    bad = bad_file(kind, good)
    name, *options = command.split()
    models = [bad] if name == "run" else [good, bad]
    options += [] if name == "diff" else ["--data", "random"]
    refused(drpass(name, *models, *options), str(bad))
    if name != "run":
        refused(drpass(name, bad, good, *options), str(bad))


@pytest.mark.parametrize("command", ["run", "validate", "bench"])
def test_an_unknown_operator_domain_is_named(tmp_path: Path, command: str) -> None:
    strange = helper.make_node("Strange", ["x"], ["y"], domain="com.unknown", name="s")
    onnx.save(model([strange], {"x": [1, 4]}, {"y": [1, 4]}, domains={"com.unknown": 1}), tmp_path / "s.onnx")
    models = [tmp_path / "s.onnx"] * (1 if command == "run" else 2)
    refused(drpass(command, *models, "--data", "random"), "com.unknown")


def test_an_operator_that_does_not_exist_is_named(tmp_path: Path) -> None:
    onnx.save(model([node("Nonesuch", ["x"], ["y"])], {"x": [1]}, {"y": [1]}), tmp_path / "n.onnx")
    refused(drpass("run", tmp_path / "n.onnx", "--random"), "Nonesuch")


@pytest.mark.parametrize("command", ["run", "validate", "bench"])
def test_data_that_does_not_exist_is_named(good: Path, command: str) -> None:
    models = [good] * (1 if command == "run" else 2)
    refused(drpass(command, *models, "--data", "/no/such/folder"), "/no/such/folder does not exist")
    refused(drpass(command, *models, "--preprocess", "/no/such.toml"), "can't read /no/such.toml")
