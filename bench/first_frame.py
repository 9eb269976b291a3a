"""What a film's first frame takes with a cold memo, and with one prefilled from the frames before it.

    python bench/first_frame.py film-still --prefill 4 64 --frames 8 --runs 5 --threads 1

The row is one of films.toml. Frames 1 to N give the windows; the frame after them is the first that a new session sees.
Exit status: 0 measured, 2 bad input.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import command
import scenes
from measure import REPOSITORY, Workshop
from rows import Row, load_rows

from drpass import console
from drpass.data import Batch, Data, Preprocess
from drpass.execution import open_session, run
from drpass.prefilling import prefill
from drpass.rewriting import rewrite
from drpass.stages import collected, collecting
from drpass.tensors import input_specs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table: seconds to create a session, of its first call, and of one more, medians of sessions in turn."""
    parser = command.parser_of(__doc__)
    parser.add_argument("row")
    parser.add_argument("--prefill", type=command.count, nargs="*", default=[4, 64], metavar="MIB")
    parser.add_argument("--frames", type=command.count, default=8, help="before the first one that is timed")
    parser.add_argument("--side", type=command.count, help="of a frame; default: the row's")
    parser.add_argument("--runs", type=command.count, default=5)
    parser.add_argument("--threads", type=command.count, default=1)
    options = parser.parse_args(arguments)

    def measure() -> None:
        (row,) = load_rows(Path(__file__).with_name("films.toml"), [options.row])
        with tempfile.TemporaryDirectory() as folder:
            original = Workshop(Path(folder)).original(row)
            *before, frame = _frames(row, original, options)
            _print(_models(row, original, before, options.prefill, Path(folder)), frame, options.runs, options.threads)

    return command.finish(measure)


def _frames(row: Row, original: Path, options: argparse.Namespace) -> list[Batch]:
    frames = scenes.film(row.motion, options.side or row.side, options.frames + 1)
    inputs = input_specs(open_session(original))[0]
    preprocess = Preprocess.from_toml(REPOSITORY / row.preprocess)
    return list(scenes.picture_batches(frames, preprocess, inputs, "frames").batches())


def _models(row: Row, original: Path, before: list[Batch], prefills: Sequence[int], folder: Path) -> dict[str, Path]:
    """Files of the original and of its rewritten forms, by what they are."""
    memo = row.rewrite.memo or 1024
    results = {
        "no memo": rewrite(original, parameters=row.rewrite.parameters),
        f"memo {memo}": (cold := rewrite(original, parameters=row.rewrite.parameters, memo_bytes=memo << 20)),
    }
    for mib in prefills:
        warm = prefill(cold, _data(before), mib << 20)
        results[f"memo {memo}, prefilled with {mib}"] = warm
        console.out.print(warm.report.notes[0], markup=False)
    models = {"original": original}
    for number, (name, result) in enumerate(results.items()):
        models[name] = folder / f"rewritten{number}.onnx"
        result.save(models[name])
    return models


def _data(batches: list[Batch]) -> Data:
    return Data(len(batches), f"{len(batches)} frames before", False, lambda: iter(batches))


def _print(models: dict[str, Path], frame: Batch, runs: int, threads: int) -> None:
    from rich.table import Table

    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in models}
    for _ in range(runs):
        for name, path in models.items():
            times[name].append(_seconds(path, frame, threads))
    table = Table("model (MiB)", "create s", "first frame s", "again s", "tiles found")
    for name, path in models.items():
        medians = [f"{statistics.median(column):.3f}" for column in zip(*times[name])]
        table.add_row(name, *medians, _found(path, frame, threads))
    console.out.print(table)


def _seconds(path: Path, frame: Batch, threads: int) -> tuple[float, float, float]:
    clock = [time.perf_counter()]
    session = open_session(path, threads=threads)
    clock.append(time.perf_counter())
    for _ in range(2):
        run(session, frame.feeds)
        clock.append(time.perf_counter())
    return clock[1] - clock[0], clock[2] - clock[1], clock[3] - clock[2]


def _found(path: Path, frame: Batch, threads: int) -> str:
    """By the first frame of a session, of all tiles of nodes with a memo."""
    session = open_session(path, threads=threads)
    with collecting() as library:
        run(session, frame.feeds)
        entries = collected(library)
    tiles = sum(entry["tiles"] for entry in entries)
    return f"{100 * sum(entry['recalled'] for entry in entries) / tiles:.1f} %" if tiles else ""


if __name__ == "__main__":
    sys.exit(main())
