"""drpass rewrite and drpass inspect as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest
from models_for_tests import conv_model, node, random_array
from rewriting import ops

from drpass.cli import main
from drpass.operator.spec import OP_TYPE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(conv_model([node("Relu", ["conv_out"], ["y"], name="relu")]), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


@pytest.fixture
def drpass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command; returns (exit status, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["drpass", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_rewrite_writes_the_model_and_says_that_accuracy_was_not_checked(drpass, path: Path, tmp_path: Path) -> None:
    status, out, err = drpass("rewrite", path, tmp_path / "out.onnx", "--method", "grid")
    assert (status, err) == (0, "")
    assert ops(onnx.load(tmp_path / "out.onnx")) == [OP_TYPE]
    assert "1 of 1 nodes replaced" in out
    assert "relu" in out
    assert "accuracy was NOT checked" in out
    assert "drpass validate" in out
    assert "--data IMAGES" in out


def test_chains_are_told_and_can_be_switched_off(drpass, tmp_path: Path) -> None:
    second = node("Conv", ["conv_out", "v"], ["y"], name="second")
    onnx.save(conv_model([second], {"v": random_array(32, 32, 3, 3)}), tmp_path / "in.onnx")
    _, out, _ = drpass("rewrite", tmp_path / "in.onnx", tmp_path / "out.onnx", "--method", "exact")
    assert "NCHW→NCHW16c" in out
    assert "values in NCHW16c, whose shapes differ from those in the original: 1" in out
    _, out, _ = drpass("rewrite", tmp_path / "in.onnx", tmp_path / "out.onnx", "--method", "exact", "--no-chains")
    assert "NCHW16c" not in out


def test_allow_tf32_is_on_every_node_in_the_plan_and_in_the_difference(drpass, tmp_path: Path) -> None:
    second = node("Conv", ["conv_out", "v"], ["y"], name="second")
    original, plain, rounding = (tmp_path / name for name in ("in.onnx", "plain.onnx", "rounding.onnx"))
    onnx.save(conv_model([second], {"v": random_array(32, 32, 3, 3)}), original)
    drpass("rewrite", original, plain, "--method", "exact")
    plan = tmp_path / "plan.toml"
    _, out, _ = drpass("rewrite", original, rounding, "--method", "exact", "--allow-tf32", "--plan-out", plan)
    assert "all DeepReuseGemm may round factors to TF32" in out
    for entry in onnx.load(rounding).graph.node:
        assert [attribute.i for attribute in entry.attribute if attribute.name == "allow_tf32"] == [1]
    assert "allow_tf32 = true" in plan.read_text()
    _, out, _ = drpass("diff", plain, rounding)
    assert out.count("+ allow_tf32") == 2


def test_rewrite_prints_the_report_as_json(drpass, path: Path, tmp_path: Path) -> None:
    options = ("--method", "lsh", "-L", 8, "-H", 12, "--seed", 3, "--scope", "batch", "--max-remaining-ratio", 0.25)
    options += ("--table-type", "float")
    status, out, _ = drpass("rewrite", path, tmp_path / "out.onnx", *options, "--json")
    report = json.loads(out)
    assert status == 0
    assert report["replaced"] == 1
    assert report["nodes"][0]["parameters"] == {
        "method": "lsh", "scope": "batch", "sub_vector_length": 8, "hash_bits": 12, "seed": 3,
        "max_remaining_ratio": 0.25, "table_type": "float",
    }  # fmt: skip


def test_rewrite_shows_why_a_node_is_kept(drpass, path: Path, tmp_path: Path) -> None:
    status, out, _ = drpass("rewrite", path, tmp_path / "out.onnx", "--exclude", "conv")
    assert status == 0
    assert "kept: excluded by the user" in out
    assert "NOT" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--step", "-1"), "error: step can't be -1.0"),
        (("--include", "cnv"), "error: 'cnv' matches no Conv, Gemm, MatMul or LRN node of the model; there are conv"),
        (("--op-types", "Conv,Add"), "error: 'Add' can't be replaced; op types are Conv, Gemm, MatMul"),
        (("--shape", "z=1x3"), "error: the model has no input 'z'; it has x"),
        (("--shape", "x:1,3"), "error: 'x:1,3' is no shape; write NAME=1x3x224x224"),
    ],
)
def test_bad_option_is_one_line_and_writes_nothing(drpass, path, tmp_path, options, message) -> None:
    status, out, err = drpass("rewrite", path, tmp_path / "out.onnx", *options)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_unknown_method_is_a_usage_error(drpass, path: Path, tmp_path: Path) -> None:
    status, _, err = drpass("rewrite", path, tmp_path / "out.onnx", "--method", "magic")
    assert status == 2
    assert "magic" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["rewrite", "inspect"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "can't read"), (b"", "is empty"), (b"text", "is not an ONNX"), ("cut", "it is truncated")],
)
def test_bad_file_is_one_line(drpass, path: Path, tmp_path: Path, command: str, content, message: str) -> None:
    bad = tmp_path / "bad.onnx"
    if content is not None:
        bad.write_bytes(path.read_bytes()[:900] if content == "cut" else content)
    status, out, err = drpass(command, bad, *([tmp_path / "out.onnx"] if command == "rewrite" else []))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_input_is_not_overwritten_unless_asked(drpass, path: Path) -> None:
    before = path.read_bytes()
    status, _, err = drpass("rewrite", path, path)
    assert status == 2
    assert "--overwrite" in err
    assert path.read_bytes() == before
    assert drpass("rewrite", path, path, "--method", "grid", "--overwrite")[0] == 0
    assert ops(onnx.load(path)) == [OP_TYPE]


def test_output_in_a_missing_folder_is_one_line(drpass, path: Path, tmp_path: Path) -> None:
    status, _, err = drpass("rewrite", path, tmp_path / "missing" / "out.onnx")
    assert status == 2
    assert "can't write" in err
    assert err.count("\n") == 1


def test_inspect_prints_a_table(drpass, path: Path) -> None:
    status, out, err = drpass("inspect", path)
    assert (status, err) == (0, "")
    for text in ("conv", "N×3×20×20", "N×32×18×18", "279.94 k", "100.0%", "keep: no convolution"):
        assert text in out, text


def test_inspect_prints_json(drpass, path: Path) -> None:
    status, out, _ = drpass("inspect", path, "--shape", "x=2x3x20x20", "--all", "--json")
    conv, relu = json.loads(out)
    assert status == 0
    assert (conv["node"], relu["node"]) == ("conv", "relu")
    assert conv["macs"] == 2 * 32 * 18 * 18 * 27
    assert conv["input_shape"] == [2, 3, 20, 20]


@pytest.mark.parametrize("command", ["rewrite", "inspect"])
def test_help_has_examples(drpass, command: str) -> None:
    status, out, _ = drpass(command, "--help")
    assert status == 0
    assert "Examples" in out
    assert f"drpass {command} model.onnx" in out
