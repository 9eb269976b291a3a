"""What every command prints with: tables and notes for people, JSON for machines, progress on standard error.

Names and messages from files may hold anything: `out`, `err` and `Line` show what a terminal would obey, line ends
included, as escapes like ``\\x1b``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text


def python_escape(character: str) -> str:
    """As Python writes it in a text."""
    return character.encode("unicode_escape").decode()


def visible(text: str, escape: Callable[[str], str] = python_escape) -> str:
    """With escapes in place of what can't be printed: controls, line ends, marks that turn the direction of text."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else escape(character) for character in text)


class _VisibleConsole(Console):
    """Every string comes by here, also those in tables; a `Text` does not."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


class Line(Text):
    """One line, put together of coloured parts."""

    def __init__(self, text: str = "", style: str | Style = "") -> None:
        super().__init__(visible(text), style)

    def add(self, text: str, style: str | Style = "") -> Line:
        """Append a part; returns the line."""
        self.append(visible(text), style)
        return self


#: Results go to standard output (in a file or pipe with room for wide tables), everything else to standard error, so
#: that ``--json`` can be piped. Names like ``a:x:b`` are no emoji.
_is_terminal = sys.stdout is not None and sys.stdout.isatty()
out = _VisibleConsole(highlight=False, emoji=False, width=None if _is_terminal else 140)
err = _VisibleConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def emit_json(value: Any) -> None:
    """Print ``value`` as one JSON document on standard output; NaN and infinities become null."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")
    for line in json.dumps(_finite(value), indent=2, ensure_ascii=ascii_only).split("\n"):
        # JSON itself escapes only the first 32 of the controls.
        print(visible(line, lambda character: json.dumps(character)[1:-1]))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Any]:
    """A progress bar on standard error (nothing where that is not a terminal); yields ``advance(steps=1)``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps=1: bar.advance(task, steps)
