"""Metrics of the user's own: functions and commands."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import refusing

from drpass.errors import DrpassError
from drpass.tune import metric
from drpass.tune.metric import Metric

OUTPUTS = {"logits": np.array([[1, 2], [4, 3], [5, 6]], np.float32)}
LABELS = np.array([1, 0, 0], np.int64)


@pytest.fixture
def scorers(tmp_path: Path) -> Path:
    path = tmp_path / "score it.py"
    path.write_text(
        "import sys, numpy as np\n"
        "def accuracy(outputs, labels): return (outputs['logits'].argmax(1) == labels).mean()\n"
        "def count(outputs, labels): return len(outputs['logits']) if labels is None else -1\n"
        "def wrong(outputs, labels): return outputs['nothing']\n"
        "def text(outputs, labels): return 'good'\n"
        "def endless(outputs, labels): return float('nan')\n"
        "if __name__ == '__main__':\n"
        "    file = np.load(sys.argv[1])\n"
        "    print('names', sorted(file.files))\n"
        "    print((file['logits'].argmax(1) == file['labels']).mean() if 'labels' in file else len(file['logits']))\n"
    )
    return path


def command(text: str) -> str:
    return f"'{sys.executable}' {text}"


def test_a_function_of_a_file(scorers: Path) -> None:
    assert Metric.of(f"{scorers}:accuracy").score(OUTPUTS, LABELS) == 2 / 3
    assert Metric.of(f"{scorers}:count").score(OUTPUTS, None) == 3.0


def test_a_function_of_a_module_beside_the_user(scorers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorers.rename(scorers.with_name("module_of_scores.py"))
    monkeypatch.chdir(scorers.parent)
    path = list(sys.path)
    assert Metric.of("module_of_scores:accuracy").score(OUTPUTS, LABELS) == 2 / 3
    assert sys.path == path


def test_a_command_reads_outputs_and_labels_from_a_file(scorers: Path) -> None:
    found = Metric.of(command(f"'{scorers}' {{outputs}}"))
    assert found.score(OUTPUTS, LABELS) == pytest.approx(2 / 3)
    assert found.score(OUTPUTS, None) == 3.0


def test_a_command_runs_without_a_shell(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = "import sys; print(len(sys.argv))"
    score = Metric.of(command(f'-c "{program}" {{outputs}} ; touch "{mark}" $HOME')).score(OUTPUTS, None)
    assert score == 6.0
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong", "raised KeyError: 'nothing'"),
        ("text", "raised ValueError: could not convert string to float: 'good'"),
        ("endless", "gives nan; it must give a finite number"),
    ],
)
def test_a_function_that_fails_is_refused_in_one_line(scorers: Path, name: str, words: str) -> None:
    with refusing(words):
        Metric.of(f"{scorers}:{name}").score(OUTPUTS, LABELS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (command("-c \"import sys; sys.exit('one\\ntwo')\" {outputs}"), "failed with status 1: two"),
        (command('-c "import sys; sys.exit(3)" {outputs}'), "failed with status 3: no message"),
        (command("-c \"print('3 %')\" {outputs}"), "prints must be its score, not '3 %'"),
        (command('-c "pass" {outputs}'), "prints must be its score, not ''"),
        (command("-c \"print('inf')\" {outputs}"), "must give a finite number"),
        ("no-such-program-at-all {outputs}", "can't run the metric no-such-program-at-all"),
    ],
)
def test_a_command_that_fails_is_refused_in_one_line(text: str, words: str) -> None:
    with refusing(words):
        Metric.of(text).score(OUTPUTS, LABELS)


def test_a_command_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(DrpassError, match=r"took more than 0\.5 s"):
        Metric.of(command('-c "import time; time.sleep(60)" {outputs}')).score(OUTPUTS, LABELS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score", "must be package.module:function, file.py:function or a command with {outputs} in it"),
        ("'score {outputs}", "is no command: No closing quotation"),
        ("no.such.module:score", "raised ModuleNotFoundError"),
        ("missing.py:score", "missing.py does not exist"),
    ],
)
def test_what_names_no_metric_is_refused(text: str, words: str) -> None:
    with refusing(words):
        Metric.of(text)


def test_an_output_called_labels_is_not_overwritten() -> None:
    found = Metric.of(command('-c "print(1)" {outputs}'))
    assert found.score({"labels": LABELS}, None) == 1.0
    with pytest.raises(DrpassError, match="has an output 'labels'"):
        found.score({"labels": LABELS}, LABELS)
