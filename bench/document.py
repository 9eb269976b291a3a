"""Markdown: aligned tables, and a file in which only the measured parts are replaced."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime

from drpass import __version__
from drpass.benchmark import Machine, this_machine
from drpass.errors import DrpassError
from drpass.files import atomic_output


def conditions(script: str, machine: Machine | None) -> str:
    """When, with which versions, where and by which command figures were measured."""
    words = [f"{datetime.date.today().isoformat()}, drpass {__version__}, ONNX Runtime {onnxruntime.__version__}"]
    if machine is not None:
        words.append(f"{machine.cpu}, {machine.cores} cores, kernels {machine.kernels}")
    return "; ".join([*words, f"`{shlex.join(['python', script, *sys.argv[1:]])}`"])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned in the source too, so that it reads well in a terminal."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def measured(script: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with the conditions above it, on this machine."""
    return f"{conditions(script, this_machine())}\n\n{table(headings, rows)}"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- measured: {name} -->", f"<!-- end of {name} -->"


def with_section(text: str, name: str, body: str) -> str:
    """``text`` with what is between the markers of ``name`` replaced, or the section put at its end.

    Raises DrpassError if the text does not have exactly one begin and one end, in this order.
    """
    begin, end = _markers(name)
    section = f"{begin}\n{body.strip()}\n{end}"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        return f"{text.rstrip()}\n\n{section}\n".lstrip()
    if counts != (1, 1) or text.index(begin) > text.index(end):
        raise DrpassError(f"the markers '{begin}' and '{end}' must be there once each, in this order")
    return text[: text.index(begin)] + section + text[text.index(end) + len(end) :]


def write_sections(path: Path, sections: Mapping[str, str]) -> None:
    """Replace these sections of a file, which is made if it is not there. Raises DrpassError if that fails."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DrpassError(f"can't read {path}: {error}") from error
    for name, body in sections.items():
        try:
            text = with_section(text, name, body)
        except DrpassError as error:
            raise DrpassError(f"{path}: {error}") from error
    with atomic_output(path) as part:
        part.write_text(text, encoding="utf-8")
