"""bench/command.py: bad input is one line and status 2; text is printed and written once."""

from __future__ import annotations

from pathlib import Path

import command
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


def test_numbers_that_are_none_are_refused_by_the_name_of_the_option() -> None:
    assert command.whole_numbers("--threads", "1,2") == [1, 2]
    with pytest.raises(DrpassError, match=r"--threads must be whole numbers .*'1,two'"):
        command.whole_numbers("--threads", "1,two")


def test_text_is_printed_and_put_into_its_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.md"
    command.publish({"one": "1 line"}, path)
    assert capsys.readouterr().out == "1 line\n"
    assert "<!-- measured: one -->\n1 line\n" in path.read_text()
