"""Is `drpass rewrite` without options ever slower? Known architectures against their rewritten selves, batch 1.

    python bench/zoo_speed.py [--rows NAME,...] [--threads 1,2] [--runs 20] [--out docs/performance.md]

zoo_speed.toml says which; each is made and exported once, in a process of its own (needs the extras export and torch,
and torchvision). A network of which nothing is replaced is not timed: its file is the original, to the byte.
Exit status: 0 measured, 2 bad input.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import command
import document
import numpy as np
from measure import REPOSITORY

from drpass.benchmark import bench
from drpass.commands.comma_lists import names, whole_numbers
from drpass.data import Data, Preprocess, open_data
from drpass.data.sources import PHOTOGRAPHS
from drpass.errors import DrpassError
from drpass.execution import open_session, run
from drpass.files import read_tables, values_of
from drpass.rewriting import rewrite
from drpass.tensors import input_specs

_ROWS = Path(__file__).with_name("zoo_speed.toml")
_PICTURES = 8
#: Medians of two equal models are this close in most measurements.
_NEVER_SLOWER = 0.97
_HEADINGS = "network", "replaced", "threads", "original ms", "rewritten ms", "speed-up [quartiles]", "≥ 0.97", "error"
_EXPORT = """
import importlib, sys
from pathlib import Path
from drpass.export import export
zoo, network, side, folder, path = sys.argv[1:]
export(importlib.import_module(zoo).save(network, Path(folder), int(side)), path, opset=18, check=False)
"""


@dataclass(frozen=True)
class Row:
    """One network; the fields are the keys that zoo_speed.toml explains."""

    title: str
    zoo: str
    network: str
    side: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--rows", default="", help="only these, with commas between them")
    parser.add_argument("--threads", default="1,2", help="of an operator, with commas between them")
    parser.add_argument("--runs", type=int, default=20, help="timed pairs")
    command.add_places(parser, "Markdown file whose section 'zoo' is replaced")
    options = parser.parse_args(arguments)

    def measure() -> None:
        threads = whole_numbers("--threads", options.threads)
        lines: list[list[str]] = []
        for name, row in _rows(names(options.rows)).items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            lines += _measured(row, _exported(name, row, options.work), threads, options.runs)
        text = document.measured("bench/zoo_speed.py", _HEADINGS, lines)
        command.publish({"zoo": text}, options.out)

    return command.finish(measure)


def _rows(wanted: Sequence[str]) -> dict[str, Row]:
    return read_tables(_ROWS, lambda _, table: Row(**values_of(table, Row)), wanted=wanted)


def _exported(name: str, row: Row, folder: Path) -> Path:
    """The network as an ONNX file, made where it is not there."""
    path = folder / f"zoo.{name}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    with TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", _EXPORT, row.zoo, row.network, str(row.side), scratch, str(path)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True
        )
    if done.returncode:
        raise DrpassError(f"{row.title} can't be made: {done.stderr.strip().splitlines()[-1]}")
    return path


def _measured(row: Row, original: Path, threads: Sequence[int], runs: int) -> Iterator[list[str]]:
    result = rewrite(original)
    count = str(result.report.replaced)
    if not result.report.replaced:
        yield [row.title, count, ", ".join(map(str, threads)), "-", "-", "1: the same file", "met", "0"]
        return
    rewritten = original.with_suffix(".default.onnx")
    result.save(rewritten)
    specs = input_specs(open_session(original))
    data = open_data(PHOTOGRAPHS, specs, preprocess=Preprocess(scale=1 / 255), limit=_PICTURES, batch=1)
    error = f"{_error(original, rewritten, data):.0e}"
    for timing in bench(original, rewritten, data, threads=threads, runs=runs).timings:
        medians = [f"{statistics.median(times):.2f}" for times in (timing.original_ms, timing.rewritten_ms)]
        verdict = "met" if timing.ratio.median >= _NEVER_SLOWER else "not met"
        yield [row.title, count, str(timing.threads), *medians, timing.ratio.describe(), verdict, error]


def _error(original: Path, rewritten: Path, data: Data) -> float:
    """The largest difference on a picture, as a share of the largest output."""
    feeds = next(iter(data.batches())).feeds
    pairs = zip(*(run(open_session(model), feeds) for model in (original, rewritten)), strict=True)
    return max(float(np.abs(found - expected).max() / np.abs(expected).max()) for expected, found in pairs)


if __name__ == "__main__":
    sys.exit(main())
