"""Which hash needs the least work for the same error: candidates on real activations, and what they would cost.

    python bench/hashes.py [--error 0.02] [--batch 1,8] [--out docs/performance.md]

Every candidate (candidates.py) has a ladder of settings; the coarsest whose error at the layer's output stays within
--error is taken. Error: root mean square over that of the output. Work: as a share of the layer's direct product, by
counts and the costs below. Timed with one thread, as a share of ONNX Runtime's time: the operator where it has the hash
(exact, and the grid with tables of float or of 16 bits, whichever is quicker). Needs DRPASS_DATA and DRPASS_MODELS.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import command
import document
import layer
import numpy as np
import onnx
from candidates import Candidate, Vectors, candidates
from measure import Workshop, labelled
from numpy.lib.stride_tricks import sliding_window_view
from onnx import numpy_helper
from rows import Row, load_rows

from drpass.benchmark import bench
from drpass.commands.comma_lists import whole_numbers
from drpass.data import Data
from drpass.errors import DrpassError
from drpass.operator.spec import TABLE_TYPES, ReuseParameters
from drpass.rewriting import rewrite

#: Multiply-adds of a cycle at the peak of AVX-512 on the machine of docs/performance.md, and cycles to add one row of
#: 64 outputs of 16 bits there (`make bench-stages`).
MULTIPLY_ADDS, ROW_CYCLES = 32.0, 6.0

#: Row of rows.toml, and node.
LAYERS = (
    ("cifarnet-1", "*conv2*"),
    ("vgg16-1", "conv1_1"),
    ("vgg16-1", "conv1_2"),
    ("vgg16-1", "conv3_2"),
    ("vgg16-1", "conv5_2"),
)

_HEADINGS = ("layer", "batch", "hash", "L", "setting", "r_c", "error", "products", "rows", "hashing", "work", "timed")


@dataclass(frozen=True)
class Problem:
    """A stride-1 convolution: ``inputs`` [P, C] and ``others`` [P', C] are pixels in units of σ, in NHWC order of
    ``shape`` [N, H, W], padded; ``weights`` [taps, C, M], taps in the order of ``shifts`` (rows, columns)."""

    shape: tuple[int, int, int]
    inputs: Vectors
    others: Vectors
    weights: Vectors
    shifts: tuple[tuple[int, int], ...]

    def product(self, inputs: Vectors) -> Vectors:
        """The convolution without bias, [N, OH, OW, 32]: its first outputs, which are enough to tell an error."""
        n, h, w = self.shape
        image = inputs.reshape(n, h, w, -1)
        down, right = (max(shift[axis] for shift in self.shifts) for axis in (0, 1))
        total = np.zeros((n, h - down, w - right, 32), np.float32)
        for (y, x), weights in zip(self.shifts, self.weights, strict=True):
            total += image[:, y : y + h - down, x : x + w - right] @ weights[:, :32]
        return total


@dataclass(frozen=True)
class Outcome:
    """Counts of one candidate; ``products``, ``rows``, ``hashing`` as shares of the direct product."""

    setting: float
    remaining: float
    error: float
    products: float
    rows: float
    hashing: float

    @property
    def work(self) -> float:
        return self.products + self.rows + self.hashing


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--error", type=float, default=0.02, help="what a layer's output may be off by, relative")
    parser.add_argument("--batch", default="1,8", help="pictures that share clusters, with commas between them")
    parser.add_argument("--layers", default="*", help="of this node alone, as it is called in LAYERS")
    command.add_places(parser)
    options = parser.parse_args(arguments)

    def measure() -> None:
        batches = whole_numbers("--batch", options.batch)
        text = report(Workshop(options.work), batches, options.error, options.layers)
        command.publish({"hashes": text}, options.out)

    return command.finish(measure)


def report(workshop: Workshop, batches: Sequence[int], limit: float, pattern: str) -> str:
    """The table as Markdown; progress goes to standard error."""
    rows = {row.name: row for row in load_rows(Path(__file__).with_name("rows.toml"), [])}
    lines = []
    for name, node in LAYERS:
        if pattern not in ("*", node):
            continue
        for batch in batches:
            lines += layer_lines(rows[name], node, workshop, batch, limit)
    return document.measured("bench/hashes.py", _HEADINGS, lines)


def layer_lines(row: Row, node: str, workshop: Workshop, batch: int, limit: float) -> list[list[str]]:
    """A line for each candidate, and the exact path's."""
    network = workshop.original(row)
    whole = onnx.load(network)
    found = layer.find_convolution(whole, node)
    cut = layer.cut_layer(whole, found)
    data = layer.activations(whole, found, labelled(row, network, batch, 2 * batch))
    shown, others = (next(iter(one.feeds.values())) for one in list(data.batches())[:2])
    head = [f"{node.strip('*')}, {shown.shape[1]} channels at {shown.shape[2]}²", str(batch)]
    lines = [[*head, "exact", *[""] * 8, timed(cut, data, [ReuseParameters(method="exact")])]]
    pixels = problem(found, cut, shown, others, segments=False)
    problems = [(pixels, None)]
    if shown.shape[1] < 4:
        segments = problem(found, cut, shown, others, segments=True)
        problems = [(pixels, shown.shape[1]), (segments, segments.inputs.shape[1])]
    for one, length in problems:
        for candidate in candidates(length):
            print(f"{head[0]}, batch {batch}: {candidate.name} {candidate.length} ...", file=sys.stderr, flush=True)
            outcome = coarsest(one, candidate, limit)
            settings = grids(candidate, outcome) if one is pixels else []
            lines.append([*head, *_cells(candidate, outcome), timed(cut, data, settings)])
    return lines


def grids(candidate: Candidate, found: Outcome | None) -> list[ReuseParameters]:
    """Where the candidate is the operator's grid: that in the setting found, without a guard."""
    if found is None or candidate.name != "grid":
        return []
    length, step = candidate.length, found.setting
    return [
        ReuseParameters("grid", "batch", length, step, max_remaining_ratio=1.0, table_type=table_type)
        for table_type in TABLE_TYPES
    ]


def timed(cut: onnx.ModelProto, data: Data, settings: Sequence[ReuseParameters]) -> str:
    """The quickest setting's time as a share of the original's; nothing where there is none."""

    def share(parameters: ReuseParameters) -> float:
        rewritten = rewrite(cut, parameters=parameters, include=[cut.graph.node[0].name]).to_proto()
        return 1 / bench(cut, rewritten, data, threads=[1], runs=11).timings[0].ratio.median

    return f"{min(share(parameters) for parameters in settings):.2f}" if settings else ""


def _cells(candidate: Candidate, found: Outcome | None) -> list[str]:
    if found is None:
        return [candidate.name, str(candidate.length), f"none up to {candidate.settings[-1]:g}", *[""] * 6]
    shares = [f"{value:.2f}" for value in (found.products, found.rows, found.hashing, found.work)]
    setting = f"{found.setting:g} {candidate.unit}"
    return [candidate.name, str(candidate.length), setting, f"{found.remaining:.3f}", f"{found.error:.3f}", *shares]


def problem(node: onnx.NodeProto, cut: onnx.ModelProto, shown: Vectors, others: Vectors, *, segments: bool) -> Problem:
    """The convolution on its real inputs [N, C, H, W]; with ``segments`` a sub-vector is a row of the kernel: its
    pixels side by side with all their channels, which the rows of the kernel share."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    weights = next(numpy_helper.to_array(tensor) for tensor in cut.graph.initializer if tensor.name == node.input[1])
    m, c, kh, kw = weights.shape
    if set(attributes.get("strides", [1])) != {1} or attributes.get("group", 1) != 1:
        raise DrpassError(f"{node.name} has strides or groups: only plain convolutions are compared")
    top, left, bottom, right = attributes.get("pads", [(kh - 1) // 2, (kw - 1) // 2] * 2)
    sigma = float(np.sqrt(np.mean(others.var((0, 2, 3)))))

    def pixels(images: Vectors) -> Vectors:
        padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right))) / sigma
        if segments:  # [N, C, H, OW, kw] -> [N, H, OW, kw, C]
            windows = sliding_window_view(padded, kw, axis=3).transpose(0, 2, 3, 4, 1)
            flat: Vectors = windows.reshape(*windows.shape[:3], kw * c)
            return flat
        return np.ascontiguousarray(padded.transpose(0, 2, 3, 1))

    image = pixels(shown)
    taps = weights.transpose(2, 3, 1, 0)
    if segments:
        shaped, shifts = taps.reshape(kh, kw * c, m), [(y, 0) for y in range(kh)]
    else:
        shaped, shifts = taps.reshape(kh * kw, c, m), [(y, x) for y in range(kh) for x in range(kw)]
    flat = [part.reshape(-1, part.shape[-1]) for part in (image, pixels(others))]
    return Problem(image.shape[:3], flat[0], flat[1], shaped, tuple(shifts))


def coarsest(one: Problem, candidate: Candidate, limit: float) -> Outcome | None:
    """The candidate at the first of its settings whose error is within the limit; None if none is."""
    expected = one.product(one.inputs)
    best = None
    low, high = 0, len(candidate.settings)
    while low < high:  # errors fall along the ladder
        middle = (low + high) // 2
        outcome = evaluate(one, candidate, candidate.settings[middle], expected)
        if outcome.error <= limit:
            best, high = outcome, middle
        else:
            low = middle + 1
    return best


def evaluate(one: Problem, candidate: Candidate, setting: float, expected: Vectors) -> Outcome:
    """Counts and error of one setting."""
    count, channels = one.inputs.shape
    length = candidate.length
    groups = [slice(start, start + length) for start in range(0, channels, length)]
    found = [candidate.cluster(one.inputs[:, group], one.others[:, group], setting) for group in groups]
    result = one.product(np.concatenate([each.approximation for each in found], 1))
    error = float(np.sqrt(np.mean((result - expected) ** 2) / np.mean(expected**2)))
    taps, _, outputs = one.weights.shape
    row = taps * ROW_CYCLES * outputs / 64
    dense = count * taps * channels * outputs / MULTIPLY_ADDS
    remaining = sum(each.clusters for each in found) / (count * len(groups))
    sums = 2 * sum(each.sums for each in found)
    return Outcome(
        setting,
        remaining,
        error,
        remaining,
        (sum(each.rows for each in found) + sums) * row / dense,
        count * len(groups) * candidate.cycles(setting) / dense,
    )


if __name__ == "__main__":
    sys.exit(main())
