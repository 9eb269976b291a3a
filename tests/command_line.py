"""Runs the command line in this process, through the function that the `drpass` script calls; what is refused."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import pytest

from drpass import cli
from drpass.errors import DrpassError


@dataclass(frozen=True)
class Outcome:
    """Exit status, standard output and standard error."""

    status: int
    out: str
    err: str


def drpass(*arguments: object) -> Outcome:
    """``drpass("diff", left, right)`` as a shell would run it."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["drpass", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Outcome(status, out.getvalue(), err.getvalue())


def refused(outcome: Outcome, *words: str) -> None:
    """Assert bad input: status 2, nothing on standard output, one line that has all the words."""
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


@contextlib.contextmanager
def refusing(*words: str) -> Iterator[None]:
    """Assert that what is done here raises DrpassError, whose message is one line that has all the words."""
    with pytest.raises(DrpassError) as error:
        yield
    assert len(str(error.value).splitlines()) == 1
    for word in words:
        assert word in str(error.value)
