"""What the scripts of this folder share as commands: options, one line for bad input, where their text goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import document

from drpass.console import visible
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


def count(text: str) -> int:
    """What an option's number is read with that must be above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


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
        print(f"error: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
