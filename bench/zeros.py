"""What skipping zeros gains: every layer that does it, on real activations, against the same layer without.

    python bench/zeros.py [--rows vgg16-1,squeezenet-1] [--threads 1] [--out docs/performance.md]

Each network is rewritten exactly; its twin is the same file with skip_zeros = 0 in every node. Original, twin and
rewritten model run under ONNX Runtime's profile. Needs DRPASS_DATA and DRPASS_MODELS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import command
import document
import onnx
from measure import Workshop, labelled
from rows import Row, load_rows

from drpass import model_io
from drpass.errors import DrpassError
from drpass.passes.places import is_reuse
from drpass.stages import NodeStages, measure_stages

_FOLDER = Path(__file__).parent
#: Batches of different pictures, and runs of each model.
_BATCHES, _RUNS = 8, 16

_HEADINGS = ("network", "layer", "zeros", "skipped in", "original ms", "not skipped ms", "ms", "gain", "speed-up")


def main() -> int | None:
    parser = command.parser_of(__doc__)
    parser.add_argument("--rows", default="vgg16-1,squeezenet-1,squeezenet-16,vgg19-cifar10-100", help="rows of *.toml")
    parser.add_argument("--threads", type=command.count, default=1)
    command.add_places(parser)
    options = parser.parse_args()
    known = {row.name: row for name in ("rows.toml", "paper.toml") for row in load_rows(_FOLDER / name)}
    missing = [name for name in options.rows.split(",") if name not in known]
    if missing:
        raise DrpassError(f"no row {missing[0]!r}; there are {', '.join(known)}")
    workshop = Workshop(options.work)
    lines = [line for name in options.rows.split(",") for line in measure(known[name], workshop, options.threads)]
    command.publish({"zeros": document.measured("bench/zeros.py", _HEADINGS, lines)}, options.out)
    return None


def measure(row: Row, workshop: Workshop, threads: int) -> list[list[str]]:
    """A line for every layer that skips zeros in some image; times are ONNX Runtime's of a call."""
    original = workshop.original(row)
    rewritten = model_io.load_proto(workshop.rewritten(original, row.rewrite))
    twin = onnx.ModelProto.FromString(rewritten.SerializeToString())
    for node in twin.graph.node:
        if is_reuse(node):
            node.attribute.append(onnx.helper.make_attribute("skip_zeros", 0))
    data = labelled(row, original, row.batch, _BATCHES * row.batch)
    proto = model_io.load_proto(original)
    found, without = (measure_stages(proto, model, data, threads=threads, runs=_RUNS) for model in (rewritten, twin))
    pairs = zip(found, without, strict=True)
    return [_line(row, node, other) for node, other in pairs if node.skipped]


def _line(row: Row, node: NodeStages, other: NodeStages) -> list[str]:
    original, before, after = node.original_ms or 0.0, other.kernel_ms or 0.0, node.kernel_ms or 0.0
    return [
        row.title,
        node.node,
        f"{node.zeros:.0%}",
        f"{node.skipped:.0%}",
        *(f"{time:.2f}" for time in (original, before, after)),
        *(f"{time / after:.2f}" for time in (before, original)),
    ]


if __name__ == "__main__":
    sys.exit(command.finish(main))
