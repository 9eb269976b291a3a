"""The table of what drpass reaches: speed against the untouched model, and the quality beside it.

    python bench/table.py [--quick] [--rows NAME,...] [--threads 1,2] [--out docs/performance.md]
    python bench/table.py --rows-file bench/films.toml --out docs/performance.md --section films

Rows are in rows.toml; films.toml has those that take long, paper.toml networks whose weights are not shipped. Data and
models are found through DRPASS_DATA and DRPASS_MODELS; a row whose data or model is not there says so. Exit status: 0
measured (whether or not goals are met), 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import command
import document
from measure import Effort, Measured, Workshop, measure
from rows import Row, load_rows

from drpass.commands.comma_lists import names, whole_numbers
from drpass.errors import DrpassError

#: What the rewritten session may take at its peak besides its memo, as a multiple of the original's; ratio on noise.
_MAX_MEMORY, _MIN_NOISE = 1.5, 0.95

_SPEED = ("input", "rewritten with", "threads", "original ms", "rewritten ms", "speed-up [quartiles]", "goal", "load")
_QUALITY = ("input", "loss [95 % interval]", "limit", "on noise", "≥ 0.95", "peak memory MiB", "≤ 1.5 + memo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the document if asked to."""
    options = _options(arguments)
    return command.finish(lambda: _run(options))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs and pictures: to try out, not to report")
    parser.add_argument("--rows", default="", help="only these rows, with commas between them")
    parser.add_argument("--threads", default="1,2", help="threads of an operator, with commas between them")
    parser.add_argument("--rows-file", type=Path, default=Path(__file__).with_name("rows.toml"))
    command.add_places(parser, "Markdown file whose measured section is replaced")
    parser.add_argument("--section", default="table", help="name of that section")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    if options.out and (options.quick or options.rows):
        raise DrpassError("--out takes the whole table only: leave out --quick and --rows")
    threads = tuple(whole_numbers("--threads", options.threads))
    rows = load_rows(options.rows_file, names(options.rows))
    text = report(*measure_all(rows, Workshop(options.work), Effort(threads, options.quick)))
    command.publish({options.section: text}, options.out)


def measure_all(
    rows: Sequence[Row], workshop: Workshop, effort: Effort
) -> tuple[list[Measured], list[tuple[Row, str]]]:
    """The rows that could be measured; and the others, with the reason. Progress goes to standard error."""
    measured, missing = [], []
    for row in rows:
        print(f"{row.name} ...", file=sys.stderr, flush=True)
        try:
            measured.append(measure(row, workshop, effort))
        except DrpassError as error:
            missing.append((row, str(error)))
    return measured, missing


def report(measured: Sequence[Measured], missing: Sequence[tuple[Row, str]]) -> str:
    """The figures as Markdown."""
    parts = [_conditions(measured)]
    if measured:
        speed = [line for one in measured for line in _speed_lines(one)]
        parts += [document.table(_SPEED, speed), document.table(_QUALITY, [_quality_line(one) for one in measured])]
    notes = [f"- {note}" for one in measured for note in one.notes]
    notes += [f"- {one.row.title}: timed on {one.report.data}; judged on {one.quality.data}" for one in measured]
    notes += [f"- {row.title}: not measured: {reason}" for row, reason in missing]
    # Data is found by the folder; where that is on this machine says nothing.
    folder = os.environ.get("DRPASS_DATA", "")
    return "\n\n".join([*parts, "\n".join(notes).replace(f"{folder}/", "")])


def _conditions(measured: Sequence[Measured]) -> str:
    explained = (
        "Speed-up: time of the untouched model at ORT_ENABLE_ALL over that of the rewritten one, median and quartiles "
        "of runs in alternating order in one process with the same threads. Load: runnable threads before and after."
    )
    machine = measured[0].report.machine if measured else None
    return f"{document.conditions('bench/table.py', machine)}\n\n{explained}"


def _speed_lines(one: Measured) -> list[list[str]]:
    machine = one.report.machine
    lines = []
    for timing in one.report.timings:
        ratio = timing.ratio
        lines.append(
            [
                one.row.title,
                one.row.rewrite.describe(),
                str(timing.threads),
                f"{statistics.median(timing.original_ms):.2f}",
                f"{statistics.median(timing.rewritten_ms):.2f}",
                ratio.describe(),
                f"≥ {one.row.goal:g}: {_verdict(ratio.median >= one.row.goal)}",
                f"{_load(machine.load_before)}, {_load(machine.load_after)}",
            ]
        )
    return lines


def _quality_line(one: Measured) -> list[str]:
    classes = one.row.kind in ("classes", "layer")
    limit = f"≤ {100 * one.row.max_loss:g} points, same class ≥ 98.5 %" if classes else f"≤ {one.row.max_loss:g} dB"
    before, after = one.memory
    return [
        one.row.title,
        one.quality.words,
        f"{limit}: {_verdict(one.quality.good)}",
        one.noise.describe(),
        _verdict(one.noise.median >= _MIN_NOISE),
        f"{before / 2**20:.0f} → {after / 2**20:.0f}",
        _verdict(after <= _MAX_MEMORY * before + (one.row.rewrite.memo << 20)),
    ]


def _verdict(met: bool) -> str:
    return "met" if met else "not met"


def _load(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
