"""Tables of TOML files: a dataclass says what may stand in them, and what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from drpass.errors import DrpassError
from drpass.files import read_tables, values_of


@dataclass(frozen=True)
class Entry:
    title: str
    size: int
    kind: Literal["small", "large"] = "small"
    share: float | None = None
    names: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


WHOLE = {"title": "one", "size": 3}


def test_table_gives_the_arguments_of_the_dataclass() -> None:
    table = {**WHOLE, "kind": "large", "share": 1, "names": ["a", "b"], "parts": [1], "more": {"a": 1}}
    made = Entry(**values_of(table, Entry))
    assert made == Entry("one", 3, "large", 1, ("a", "b"), [1], {"a": 1})  # type: ignore[arg-type]
    assert values_of({"size": 0}, Entry, given=("title",)) == {"size": 0}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "must be a table"),
        ({"title": "one"}, "size is missing"),
        ({**WHOLE, "sizes": 1}, "unknown key 'sizes'; the keys are title, size, kind, share, names, parts, more"),
        ({**WHOLE, "title": 1}, "title must be a text in quotes, not 1"),
        ({**WHOLE, "size": 1.0}, "size must be a whole number, above 0, not 1.0"),
        ({**WHOLE, "size": True}, "size must be a whole number, above 0, not True"),
        ({**WHOLE, "size": 0}, "size must be a whole number, above 0, not 0"),
        ({**WHOLE, "share": -0.5}, "share must be a number, 0 or more, not -0.5"),
        ({**WHOLE, "share": float("nan")}, "share must be a number, 0 or more, not nan"),
        ({**WHOLE, "share": "1"}, "share must be a number, 0 or more, not '1'"),
        ({**WHOLE, "kind": "huge"}, "kind must be one of small, large, not 'huge'"),
        ({**WHOLE, "kind": ["small"]}, "kind must be one of small, large"),
        ({**WHOLE, "names": "a"}, "names must be a list of texts, not 'a'"),
        ({**WHOLE, "names": ["a", 1]}, "names must be a list of texts"),
        ({**WHOLE, "parts": 1}, "parts must be a list, not 1"),
        ({**WHOLE, "more": [1]}, "more must be a table, not [1]"),
    ],
)
def test_table_that_does_not_fit_is_refused(table: Any, words: str) -> None:
    with pytest.raises(DrpassError) as caught:
        values_of(table, Entry, positive=("size",))
    assert words in str(caught.value)


def test_file_says_in_which_table_the_fault_is_even_where_it_was_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "entries.toml"
    path.write_text('[a]\ntitle = "one"\nsize = 1\n[b]\ntitle = "two"\nsize = 2\n')
    assert list(read_tables(path, lambda name, table: Entry(**values_of(table, Entry)), wanted=("b",))) == ["b"]
    with pytest.raises(DrpassError, match="has no entry 'c'; it has a, b"):
        read_tables(path, lambda name, table: table, "entry", ("c",))
    path.write_text(path.read_text().replace("size = 1", "size = '1'"))
    with pytest.raises(DrpassError, match=r"entries.toml: row 'a': size must be a whole number"):
        read_tables(path, lambda name, table: Entry(**values_of(table, Entry)), wanted=("b",))
