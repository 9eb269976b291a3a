"""The table of layers as HTML; the page's script makes its headings sort and its rows select."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from drpass.report_page.rows import Row

#: Heading, whether the column holds numbers, and what it means.
_COLUMNS = (
    ("layer", False, "name of the node"),
    ("operator", False, "of the original"),
    ("dense ms", True, "time in the original model"),
    ("chosen ms", True, "time in the rewritten network with the chosen setting"),
    ("saved ms", True, "dense minus chosen"),
    ("r_c", True, "median remaining ratio over sub-vector groups; in brackets: of the fastest setting that clusters"),
    ("error", True, "relative rms error of the layer's result"),
    ("setting", False, "chosen; kept: the node is as it was"),
    ("reason", False, "why"),
)


def table(rows: Sequence[Row]) -> str:
    """One row a layer, in the order given. Roles are spelled out, because a narrow screen shows rows as blocks."""
    headings = "".join(
        f'<th scope="col" role="columnheader" aria-sort="none" title="{escape(meaning)}"'
        f"{' data-number' if number else ''}>{escape(heading)}</th>"
        for heading, number, meaning in _COLUMNS
    )
    body = "".join(_row(place, row) for place, row in enumerate(rows))
    return (
        f'<table role="table" id="layers"><thead role="rowgroup"><tr role="row">{headings}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _row(place: int, row: Row) -> str:
    # Names are long paths: a line may end behind a slash.
    name = escape(row.label).replace("/", "/<wbr>")
    ratios = row.ratios
    cells = (
        f'<th scope="row" role="rowheader"><span class="name">{name}</span></th>',
        _text(1, row.op_type),
        _number(2, row.dense_ms, "{:.3f}"),
        _number(3, row.chosen_ms, "{:.3f}"),
        _number(4, row.saved_ms, "{:+.3f}"),
        _number(5, ratios.median if ratios else None, "{:.3f}" if ratios and ratios.chosen else "({:.3f})"),
        _number(6, row.error, "{:.1e}" if row.error else "{:.0f}"),
        _text(7, row.setting or "kept"),
        _text(8, row.reason),
    )
    return f'<tr role="row" data-layer="{place}">{"".join(cells)}</tr>'


def _text(column: int, text: str) -> str:
    return f'<td role="cell" data-label="{_COLUMNS[column][0]}">{escape(text)}</td>'


def _number(column: int, value: float | None, style: str) -> str:
    """The cell sorts by its exact value; one without a value always comes last."""
    label = f'data-label="{_COLUMNS[column][0]}"'
    if value is None:
        return f'<td role="cell" class="number" {label}>–</td>'
    return f'<td role="cell" class="number" {label} data-value="{value!r}">{style.format(value)}</td>'
