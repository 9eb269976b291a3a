"""bench/command.py: bad input is one line and status 2; text is printed and written once."""

from __future__ import annotations

from pathlib import Path

import command
import first_frame
import pytest

from drpass.errors import DrpassError


def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise DrpassError("no\nsuch row")

    assert command.finish(fails) == 2
    assert capsys.readouterr().err == "error: no such row\n"


@pytest.mark.parametrize("status", [None, 0, 1])
def test_the_status_is_what_the_work_returns(status: int | None) -> None:
    assert command.finish(lambda: status) == (status or 0)


@pytest.mark.parametrize("text", ["0", "-3", "two", ""])
def test_counts_below_one_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = command.parser_of("Counts.")
    parser.add_argument("--runs", type=command.count)
    assert parser.parse_args(["--runs", "7"]).runs == 7
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(["--runs", text])
    assert exit_.value.code == 2
    assert f"argument --runs: must be a whole number above 0, not {text!r}" in capsys.readouterr().err


def test_text_is_printed_and_put_into_its_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.md"
    command.publish({"one": "1 line"}, path)
    assert capsys.readouterr().out == "1 line\n"
    assert "<!-- measured: one -->\n1 line\n" in path.read_text()


def test_film_that_is_not_there_is_one_line_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert first_frame.main(["no such film"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "has no row 'no such film'; it has film-panned" in line
