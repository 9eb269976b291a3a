"""What `make bench` reads (rows.toml) and writes (Markdown)."""

from __future__ import annotations

from pathlib import Path

import document
import measure
import pytest
from rows import load_rows

from drpass.errors import DrpassError

ROWS = Path(measure.__file__).with_name("rows.toml")

ROW = """
[tiny]
title = "tiny | network"
kind = "classes"
model = "tiny.onnx"
data = "tiny.tar"
preprocess = "models/cifarnet.toml"
goal = 0.01
max_loss = 0.5
runs = 4
rewrite = { method = "exact" }
"""


def test_rows_of_the_repository_are_sound() -> None:
    rows = [row for name in ("rows.toml", "films.toml", "paper.toml") for row in load_rows(ROWS.with_name(name))]
    assert {row.kind for row in rows} == {"classes", "layer", "pictures", "film"}
    assert all((measure.REPOSITORY / row.preprocess).is_file() for row in rows)
    assert [row.name for row in load_rows(ROWS, ["vgg16-8", "cifarnet-1"])] == ["cifarnet-1", "vgg16-8"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tiny", "not a TOML file"),
        ("tiny = 3", "row 'tiny': must be a table"),
        (ROW.replace("goal = 0.01", ""), "row 'tiny': goal is missing"),
        (ROW.replace("goal = 0.01", "gaol = 0.01"), "unknown key 'gaol'; the keys are title, "),
        (ROW.replace("goal = 0.01", "goal = '2'"), "goal must be a number, 0 or more, not '2'"),
        (ROW.replace("goal = 0.01", "goal = nan"), "goal must be a number"),
        (ROW.replace("runs = 4", "runs = 2.5"), "runs must be a whole number"),
        (ROW.replace("runs = 4", "runs = true"), "runs must be a whole number"),
        (ROW.replace("runs = 4", "runs = -1"), "runs must be a whole number, 0 or more"),
        (ROW.replace('"classes"', '"class"'), "kind must be one of classes, pictures, layer, film, not 'class'"),
        (ROW.replace('"classes"', '"layer"'), "node is missing"),
        (ROW.replace('"classes"', '"film"'), "side is missing"),
        (ROW.replace('"exact"', '"exactly"'), "rewrite: method must be one of exact, lsh, grid, not 'exactly'"),
        (ROW.replace('"exact"', "1"), "rewrite: method must be one of exact, lsh, grid, not 1"),
        (ROW.replace("method =", "methods ="), "unknown key rewrite.methods"),
        (ROW.replace('method = "exact"', 'include = "conv"'), "rewrite: include must be a list of texts"),
        (ROW.replace('method = "exact"', "memo = 1"), "rewrite.memo is for films"),
        (ROW.replace('method = "exact"', "memo = -1"), "rewrite: memo must be a whole number, 0 or more"),
        (ROW.replace('method = "exact"', "step = -1"), "rewrite: step must be a number, 0 or more, not -1"),
        (ROW.replace('method = "exact"', 'scope = "batch"') + "judge_batch = 2", "judge_batch must be batch"),
    ],
)
def test_faulty_rows_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DrpassError) as caught:
        load_rows(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_unknown_and_missing_row_files(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="can't read"):
        load_rows(tmp_path / "none.toml")
    with pytest.raises(DrpassError, match="has no row 'none'; it has cifarnet-100"):
        load_rows(ROWS, ["none"])


def test_table_is_aligned_and_bars_are_escaped() -> None:
    assert document.table(["a", "long"], [["x|y", "1"]]).splitlines() == [
        "| a    | long |",
        "|------|------|",
        "| x\\|y | 1    |",
    ]


def test_sections_are_replaced_and_text_around_them_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    document.write_sections(path, {"table": "old"})
    path.write_text(f"# Title\n\nBefore.\n{path.read_text(encoding='utf-8')}\nAfter.\n", encoding="utf-8")
    document.write_sections(path, {"table": "new\n", "other": "more"})
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\nBefore.\n<!-- measured: table -->\nnew\n<!-- end of table -->\n\nAfter.\n")
    assert "old" not in text
    assert text.endswith("<!-- measured: other -->\nmore\n<!-- end of other -->\n")


@pytest.mark.parametrize(
    "text",
    [
        "<!-- measured: t -->",
        "<!-- end of t --><!-- measured: t -->",
        2 * "<!-- measured: t --><!-- end of t -->",
    ],
)
def test_broken_markers_are_refused_and_nothing_is_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DrpassError, match="once each"):
        document.write_sections(path, {"t": "new"})
    assert path.read_text(encoding="utf-8") == text
