"""What the scripts of this folder share as commands: options, one line for bad input, where their text goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import document

from drpass.errors import DrpassError

#: Where models are kept from one script and run to the next.
_WORK = Path(__file__).resolve().parent.parent / "build" / "table"


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Says what the first line of a script's docstring says."""
    return argparse.ArgumentParser(description=(doc or "").split("\n")[0])


def add_places(parser: argparse.ArgumentParser, out: str = "Markdown file whose section is replaced") -> None:
    """The options ``--work`` and ``--out``."""
    parser.add_argument("--work", type=Path, default=_WORK, help="folder for the models")
    parser.add_argument("--out", type=Path, help=out)


def names(text: str) -> list[str]:
    """Of an option with commas between them; none of an empty one."""
    return [name for name in text.split(",") if name]


def whole_numbers(option: str, text: str) -> list[int]:
    """Of an option with commas between them. Raises DrpassError that names it."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise DrpassError(f"{option} must be whole numbers with commas between them: {text!r}") from error


def publish(sections: Mapping[str, str], out: Path | None) -> None:
    """Print the text, and replace these sections of a document if there is one to write."""
    print("\n\n".join(sections.values()))
    if out:
        document.write_sections(out, sections)


def finish(work: Callable[[], int | None]) -> int:
    """The exit status: what ``work`` returns, 0 for None; 2 and one line for bad input."""
    try:
        return work() or 0
    except DrpassError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
