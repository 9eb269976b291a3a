"""Networks on 8-bit integers: the speed of ONNX Runtime's own, and how many of their sub-vectors are equal.

    python bench/quantised.py [--threads 1] [--pictures 8] [--out docs/quantised.md]

Quantises VGG-16 and SqueezeNet statically (QDQ, activations in uint8, weights in int8 with a scale a channel) and times
them and the float network as exact nodes, each in pairs with the float original. Needs DRPASS_DATA and DRPASS_MODELS.
Exit status: 0 measured, 2 bad input.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import command
import document
import numpy as np
import numpy.typing as npt
import onnx
from measure import Workshop, labelled
from rows import Row, load_rows

from drpass.benchmark import bench
from drpass.commands.comma_lists import whole_numbers
from drpass.data import Data
from drpass.execution import open_session, run
from drpass.quantisation import quantise

_ROWS = "vgg16-1", "squeezenet-1"
_CALIBRATION_PICTURES = 16
#: Channels of a sub-vector.
_LENGTHS = 2, 4, 8
#: Layers of the table: the first ones, where values repeat most.
_LAYERS = 8

_SPEED = "network", "threads", "float ms", "QDQ ms", "QDQ [quartiles]", "exact nodes ms", "exact nodes [quartiles]"
_EQUAL = "network", "layer", "channels", "side", *(f"L = {length}" for length in _LENGTHS), "a pixel's C", "k×k×C"

Bytes = npt.NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--threads", default="1", help="of an operator, with commas between them")
    parser.add_argument("--pictures", type=int, default=8, help="whose sub-vectors are counted")
    command.add_places(parser, "Markdown file whose sections are replaced")
    options = parser.parse_args(arguments)

    def measure() -> None:
        threads = whole_numbers("--threads", options.threads)
        speed: list[list[str]] = []
        equal: list[list[str]] = []
        for row in load_rows(Path(__file__).with_name("rows.toml"), _ROWS):
            print(f"{row.name} ...", file=sys.stderr, flush=True)
            workshop = Workshop(options.work)
            original = workshop.original(row)
            data = labelled(row, original, 1, _CALIBRATION_PICTURES + options.pictures)
            quantised = _quantise(original, data, options.work)
            exact = workshop.rewritten(original, row.rewrite)
            speed += _speed_lines(row, original, quantised, exact, data.first(options.pictures), threads)
            equal += _equal_lines(row, quantised, data)
        sections = {
            "speed": document.measured("bench/quantised.py", _SPEED, speed),
            "equal": document.table(_EQUAL, equal),
        }
        command.publish(sections, options.out)

    return command.finish(measure)


def _quantise(original: Path, data: Data, folder: Path) -> Path:
    """Beside the original; the first pictures give the ranges."""
    path = folder / f"{original.stem}.qdq.onnx"
    quantise(original, path, (batch.feeds for batch in itertools.islice(data.batches(), _CALIBRATION_PICTURES)))
    return path


def _speed_lines(
    row: Row, original: Path, quantised: Path, exact: Path, data: Data, threads: Sequence[int]
) -> Iterator[list[str]]:
    reports = [bench(original, other, data, threads=threads, runs=row.runs) for other in (quantised, exact)]
    for timings in zip(*(report.timings for report in reports), strict=True):
        line = [row.title, str(timings[0].threads), f"{statistics.median(timings[0].original_ms):.2f}"]
        for timing in timings:
            line += [f"{statistics.median(timing.rewritten_ms):.2f}", timing.ratio.describe()]
        yield line


def _equal_lines(row: Row, quantised: Path, data: Data) -> Iterator[list[str]]:
    """Distinct vectors as a share of all, in the inputs of the first convolutions; mean of the pictures."""
    proto = onnx.load(quantised)
    made = {node.output[0]: node for node in proto.graph.node}
    layers = [(node, made[node.input[0]].input[0]) for node in proto.graph.node if node.op_type == "Conv"][:_LAYERS]
    names = list(dict.fromkeys(name for _, name in layers))
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in names)
    session = open_session(proto, optimized=False)
    pictures = itertools.islice(data.batches(), _CALIBRATION_PICTURES, None)
    values = [dict(zip(names, run(session, batch.feeds, names))) for batch in pictures]
    for node, name in layers:
        side = next(list(item.ints) for item in node.attribute if item.name == "kernel_shape")[0]
        shares = np.mean([_shares(found[name][0], side) for found in values], axis=0)
        channels, height = values[0][name].shape[1:3]
        yield [row.title, node.name, str(channels), str(height), *(f"{share:.3f}" for share in shares)]


def _shares(planes: Bytes, side: int) -> list[float]:
    """Of sub-vectors of each length, whole pixels and whole patches of ``side``² pixels, in [C, H, W]."""
    pixels = planes.reshape(len(planes), -1).T
    shares = []
    for length in _LENGTHS:
        starts = range(0, len(planes) - length + 1, length)
        shares.append(float(np.mean([_distinct(pixels[:, start : start + length]) for start in starts or [0]])))
    patches = np.lib.stride_tricks.sliding_window_view(planes, (side, side), axis=(1, 2))
    return [
        *shares,
        _distinct(pixels),
        _distinct(patches.transpose(1, 2, 0, 3, 4).reshape(-1, planes.shape[0] * side**2)),
    ]


def _distinct(rows: Bytes) -> float:
    return len(np.unique(np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))))) / len(rows)


if __name__ == "__main__":
    sys.exit(main())
