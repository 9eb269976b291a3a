"""Names of a model that a terminal would obey: escape codes, line ends, marks that turn the direction of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import drpass, refused
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import model, node, random_array

from drpass.console import Line, visible
from drpass.model_io import save

#: Clears the screen, ends the line, forges one, begins a colour in 8 bits, and turns what follows around.
CODES = "\x1b[2J\nerror: forged\x9b31m\u202e"
SHOWN = r"\x1b[2J\nerror: forged\x9b31m\u202e"

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A model all of whose names hold the codes, and the same rewritten by the command."""
    folder = tmp_path_factory.mktemp("names")
    x, weights, bias, middle, y = (f"{name}{CODES}" for name in "xwbmy")
    nodes = [
        node("Conv", [x, weights, bias], [middle], f"conv{CODES}", kernel_shape=[3, 3]),
        node("Relu", [middle], [y], f"relu{CODES}"),
    ]
    constants = {weights: random_array(32, 16, 3, 3), bias: random_array(32)}
    original, rewritten = folder / "net.onnx", folder / "fast.onnx"
    save(model(nodes, {x: [1, 16, 20, 20]}, {y: None}, constants), original)
    assert drpass("rewrite", original, rewritten, "--method", "grid", "--plan-out", folder / "plan.toml").status == 0
    return original, rewritten


def shown(*arguments: object, status: int = 0) -> str:
    """What a command prints, once a terminal has nothing to obey in it and no name begins a line."""
    outcome = drpass(*arguments)
    assert outcome.status == status, outcome
    text = outcome.out + outcome.err
    assert all(line.isprintable() for line in text.split("\n")), text
    assert not any(line.startswith("error: forged") for line in text.split("\n"))
    return text


def flat(text: str) -> str:
    """Without the frames of tables and the line ends that narrow columns need."""
    return "".join(text.replace("│", "").split())


@pytest.mark.parametrize("options", [(), ("--all",)])
def test_inspect_shows_them_as_escapes(files: Files, options: tuple[str, ...]) -> None:
    assert flat(f"conv{SHOWN}") in flat(shown("inspect", files[0], *options))


def test_rewrite_and_restore_show_them_as_escapes(files: Files, tmp_path: Path) -> None:
    plan = files[0].with_name("plan.toml")
    assert r"conv\x1b" in shown("rewrite", files[0], tmp_path / "fast.onnx", "--plan", plan)
    assert r"conv\x1b" in shown("restore", files[1], tmp_path / "back.onnx")
    assert all(line.isprintable() for line in plan.read_text(encoding="utf-8").split("\n"))


def test_diff_shows_them_as_escapes(files: Files) -> None:
    text = shown("diff", *files)
    for name in ("conv", "relu", "w"):
        assert f"{name}{SHOWN}" in text


def test_explain_shows_them_as_escapes(files: Files) -> None:
    for file in files:
        assert f"conv{SHOWN}" in shown("explain", file, "conv*")


def test_validate_shows_them_as_escapes_also_where_a_limit_is_passed(files: Files) -> None:
    options = ("--data", "random", "--limit", 1, "--layers", "--max-abs", 0)
    text = shown("validate", *files, *options, status=1)
    assert f"y{SHOWN}" in text
    assert r"conv\x1b" in text
    assert any(line.startswith("failed: ") and SHOWN in line for line in text.splitlines())


def test_run_and_bench_show_them_as_escapes(files: Files) -> None:
    assert r"y\x1b" in shown("run", files[0], "--random")
    assert r"conv\x1b" in shown("bench", *files, "--data", "random", "--runs", 1, "--warmup", 0, "--stages")


def test_error_that_lists_names_is_one_line(files: Files) -> None:
    outcome = drpass("explain", files[0], "no such node")
    refused(outcome, r"conv\x1b[2J")
    assert outcome.err.strip().isprintable()


def test_json_has_the_very_names_and_nothing_that_a_terminal_obeys(files: Files) -> None:
    found: list[dict[str, Any]] = json.loads(shown("inspect", files[0], "--json"))
    assert [entry["node"] for entry in found] == [f"conv{CODES}"]


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_is_printable_and_other_text_is_not_touched(text: str) -> None:
    assert visible(text).isprintable()
    if text.isprintable():
        assert visible(text) == text
    assert Line(text).add(text).plain == 2 * visible(text)
