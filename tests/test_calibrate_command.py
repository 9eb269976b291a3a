"""`drpass rewrite --calibrate`: what it writes, prints, refuses, and leaves behind when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import drpass, refused
from tuning_models import classifier, pictures

from drpass import model_io
from drpass.plan_file import Plan
from drpass.rewriting import rewrite

QUICK = ["--time", "0.05", "--threads", "1", "--batch", "8"]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    model_io.save(classifier(), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=pictures(96, 3), labels=np.arange(96) % 10)
    return path


def test_model_plan_and_page_are_written_and_the_plan_applies_again(original: Path, data: Path, tmp_path: Path) -> None:
    out, plan, page = tmp_path / "out.onnx", tmp_path / "plan.toml", tmp_path / "why.html"
    written = ["--plan-out", plan, "--html", page, "--json"]
    outcome = drpass("rewrite", original, out, "--calibrate", data, "--budget", "sqnr=20", *QUICK, *written)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert [layer["node"] for layer in report["layers"]] == ["first", "second", "last"]
    assert all(layer["reason"] or layer["chosen"] for layer in report["layers"])
    assert report["budget"] == "SQNR of at least 20 dB"
    assert report["data"]["fingerprint"]
    drpass("rewrite", original, tmp_path / "again.onnx", "--plan", plan)
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()
    assert "first" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == ["out.onnx"]


def test_table_says_for_every_node_what_and_why(original: Path, data: Path, tmp_path: Path) -> None:
    outcome = drpass("rewrite", original, tmp_path / "out.onnx", "--calibrate", data, "--budget", "exact", *QUICK)
    assert outcome.status == 0, outcome.err
    for words in ("first", "second", "a matrix product gains nothing", "the budget allows no error"):
        assert words in " ".join(outcome.out.split())


def test_without_a_budget_the_default_is_said_aloud(original: Path, data: Path, tmp_path: Path) -> None:
    outcome = drpass("rewrite", original, tmp_path / "out.onnx", "--calibrate", data, *QUICK)
    assert "no --budget given, so it is top-1 agreement of at least 99.5 %" in " ".join(outcome.err.split())


def test_metric_of_the_user_is_a_budget(original: Path, data: Path, tmp_path: Path) -> None:
    score = tmp_path / "score.py"
    score.write_text("def mean(outputs, labels):\n    return float(outputs['y'].mean()) + len(labels)\n")
    limits = ["--budget", "metric-loss=0.001", "--metric", f"{score}:mean", "--json"]
    outcome = drpass("rewrite", original, tmp_path / "out.onnx", "--calibrate", data, *limits, *QUICK)
    assert outcome.status == 0, outcome.err
    held_out = json.loads(outcome.out)["judgements"]["held_out"]
    assert held_out is None or held_out["findings"][0]["value"] <= 0.001


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "speed=2"], ["speed=2", "top1-loss=X"]),
        (["--budget", "metric-loss=1"], ["--metric"]),
        (["--metric", "a.py:b", "--budget", "sqnr=1"], ["metric-loss"]),
        (["--method", "grid"], ["--calibrate chooses everything"]),
        (["--time", "0"], ["--time"]),
        (["--threads", "0"], ["--threads"]),
        (["--limit", "3", "--batch", "8"], ["too few"]),
        (["--html", "nowhere/page.html"], ["nowhere"]),
    ],
)
def test_options_that_mean_nothing_are_refused_and_nothing_is_written(
    original: Path, data: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    refused(drpass("rewrite", original, tmp_path / "out.onnx", "--calibrate", data, *options), *words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "option",
    [
        *(["--budget", "sqnr=20"], ["--resume"], ["--batch", "8"], ["--mean", "0.5"]),
        *(["--peak", "1"], ["--time", "10"], ["--threads", "2"], ["--held-out", "9"]),
    ],
)
def test_tuning_options_without_data_are_refused(original: Path, tmp_path: Path, option: list[str]) -> None:
    refused(drpass("rewrite", original, tmp_path / "out.onnx", *option), "--calibrate")


def _heed_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupted(command: list[str], journal: Path) -> tuple[int, bytes]:
    """Status and errors of a run that gets Ctrl-C once it has measured something."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # What a shell starts in the background ignores Ctrl-C, and so would its children.
    with subprocess.Popen(command, **pipes, cwd=journal.parent, preexec_fn=_heed_interrupt) as child:
        limit = time.monotonic() + 300  # only for a run that hangs: a busy machine takes its time
        while not (journal.exists() and journal.read_text().count("\n") > 2):
            assert time.monotonic() < limit
            if child.poll() is not None:
                break
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    return child.returncode, err


def test_interrupted_run_leaves_the_best_plan_so_far_and_can_be_resumed(
    original: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ["rewrite", original, tmp_path / "out.onnx", "--calibrate", data, "--budget", "sqnr=20"]
    arguments += ["--threads", "1", "--batch", "8", "--time", "5"]
    command = [sys.executable, "-m", "drpass", *map(str, arguments)]
    journal, plan = tmp_path / "out.onnx.tuning", tmp_path / "out.onnx.plan.toml"
    # On a busy machine a run may be over before the signal comes; then it says nothing, and another is begun.
    status, err = 0, b""
    for _ in range(10):
        status, err = _interrupted(command, journal)
        if status != 0:
            break
        (tmp_path / "out.onnx").unlink()
    assert status == 130, err
    assert b"--resume" in err
    assert not (tmp_path / "out.onnx").exists()
    rewrite(original, plan=Plan.read(plan))
    outcome = drpass(*arguments[:-2], "--time", "5", "--resume")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "out.onnx").exists()
    assert not journal.exists()


def test_resuming_the_journal_of_other_data_is_refused(original: Path, data: Path, tmp_path: Path) -> None:
    journal = tmp_path / "out.onnx.tuning"
    journal.write_text(json.dumps({"format": 1, "model": "another"}) + "\n")
    arguments = ["rewrite", original, tmp_path / "out.onnx", "--calibrate", data, "--budget", "sqnr=20", "--resume"]
    refused(drpass(*arguments, *QUICK), "other model", "--resume")
    assert journal.exists()
