"""Whether the tuner keeps its promise: the budget on held-out data, speed against the best settings chosen by hand.

    python bench/tuning.py [--rows NAME,...] [--seeds 0,1,2] [--minutes 3] [--threads 2] [--out docs/tuning.md]

For the networks of rows.toml: tunes on one part of the data, with the loss that the row allows as the budget, and
compares the result with the row's own `rewrite`. Needs DRPASS_DATA and DRPASS_MODELS. Exit status: 0 measured, 1 a
budget was broken, 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import command
import document
from measure import REPOSITORY, Workshop
from rows import Row, load_rows

from drpass.benchmark import bench
from drpass.commands.comma_lists import names, whole_numbers
from drpass.data import Preprocess, open_split
from drpass.data.split import Split
from drpass.execution import open_session
from drpass.tensors import input_specs
from drpass.tune import Budget, Tuned, Tuning

_HEADINGS = (
    "network",
    "budget",
    "seed",
    "tuned in s",
    "speed-up [quartiles]",
    "against hand-set",
    "held-out",
    "verdict",
)

#: waifu2x has no row with pictures of one archive; it is tuned on crops of these.
_CROP = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--rows", default="cifarnet-100,cifarnet-1,vgg16-1,squeezenet-1,waifu2x-sheets")
    parser.add_argument("--seeds", default="0,1,2", help="of the parts of the data, with commas between them")
    parser.add_argument("--minutes", type=float, default=3.0, help="of one run of the tuner")
    parser.add_argument("--threads", type=int, default=2)
    command.add_places(parser)
    options = parser.parse_args(arguments)

    def tune() -> int:
        rows = load_rows(Path(__file__).with_name("rows.toml"), names(options.rows))
        seeds = whole_numbers("--seeds", options.seeds)
        lines, kept = [], True
        for row in rows:
            for seed in seeds:
                line, good = _measure(row, seed, options)
                print(f"  {'; '.join(line)}", file=sys.stderr, flush=True)
                lines.append(line)
                kept = kept and good
        command.publish({"tuning": _report(lines)}, options.out)
        return 0 if kept else 1

    return command.finish(tune)


def _measure(row: Row, seed: int, options: argparse.Namespace) -> tuple[list[str], bool]:
    workshop = Workshop(options.work)
    original = workshop.original(row)
    print(f"{row.name}, seed {seed} ...", file=sys.stderr, flush=True)
    budget = Budget(max_top1_loss=row.max_loss) if row.kind == "classes" else Budget(min_sqnr=40.0)
    tuned = Tuning(
        original,
        _split(row, original, seed),
        budget,
        threads=options.threads,
        seconds=60 * options.minutes,
        say=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
    ).run()
    return _line(row, budget, seed, tuned, _against_hand(row, original, tuned, workshop, options.threads))


def _split(row: Row, original: Path, seed: int) -> Split:
    preprocess = Preprocess.from_toml(REPOSITORY / row.preprocess)
    if row.kind == "pictures":
        preprocess = preprocess.override({"crop": [_CROP, _CROP]})
    data = Path(os.environ.get("DRPASS_DATA", ""), row.data)
    specs = input_specs(open_session(original))
    return open_split(data, specs, preprocess=preprocess, batch=row.batch, seed=seed)


def _against_hand(row: Row, original: Path, tuned: Tuned, workshop: Workshop, threads: int) -> str:
    """Ratio of the times of the hand-set and the tuned model."""
    hand_set = workshop.rewritten(original, row.rewrite)
    data = _split(row, original, 0).held_out.first(4 * row.batch)
    ratio = bench(hand_set, tuned.result.to_proto(), data, threads=(threads,), runs=20).timings[0].ratio
    return ratio.describe()


def _line(row: Row, budget: Budget, seed: int, tuned: Tuned, against: str) -> tuple[list[str], bool]:
    report = tuned.report
    speed, held_out = report.speed, report.held_out
    ratio = speed.ratio.describe() if speed is not None else "1 (unchanged)"
    findings = "; ".join(finding.describe() for finding in held_out.findings) if held_out else "the original itself"
    line = [
        row.title,
        budget.describe(),
        str(seed),
        f"{report.seconds:.0f}",
        ratio,
        against,
        findings,
        report.notes[-1],
    ]
    return line, held_out is None or held_out.kept


def _report(lines: Sequence[Sequence[str]]) -> str:
    return document.measured("bench/tuning.py", _HEADINGS, lines)


if __name__ == "__main__":
    sys.exit(main())
