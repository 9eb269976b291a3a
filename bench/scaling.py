"""How the speed-up grows with the batch, the image, and the channels of a layer.

    python bench/scaling.py [--quick] [--threads 1,2] [--out docs/performance.md]

Batches: CifarNet on CIFAR-10 test images. Images: waifu2x on photographs. Channels: conv3_2 of VGG-16 with its trained
weights and real activations, of which the first channels are taken. Needs DRPASS_DATA and DRPASS_MODELS.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import command
import document
import layer
import numpy as np
import onnx
import scenes
from measure import REPOSITORY, Workshop, labelled
from onnx import numpy_helper
from rows import Row, load_rows

from drpass.benchmark import Timing, bench
from drpass.commands.comma_lists import whole_numbers
from drpass.data import Batch, Data, Preprocess
from drpass.execution import Model, open_session
from drpass.operator.spec import ReuseParameters
from drpass.rewriting import rewrite
from drpass.tensors import input_specs

EXACT = ReuseParameters(method="exact")
GRID = ReuseParameters(method="grid", sub_vector_length=4, step=0.5)

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SIDES = (64, 128, 256, 512, 1024)
CHANNELS = (16, 32, 64, 128, 256)

_HEADINGS = ("what", "size", "threads", "method", "original ms", "rewritten ms", "speed-up [quartiles]")

#: Pairs of calls: as many as this time allows.
_SECONDS, _FEWEST, _MOST = 6.0, 3, 60


@dataclass(frozen=True)
class Case:
    """One point of a curve."""

    what: str
    size: str
    model: Model
    data: Data
    methods: tuple[ReuseParameters, ...] = (EXACT,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the document if asked to."""
    parser = command.parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest two sizes: to try out, not to report")
    parser.add_argument("--threads", default="1,2", help="threads of an operator, with commas between them")
    command.add_places(parser)
    options = parser.parse_args(arguments)

    def measure() -> None:
        threads = whole_numbers("--threads", options.threads)
        text = report(cases(Workshop(options.work), 2 if options.quick else None), threads)
        command.publish({"scaling": text}, options.out)

    return command.finish(measure)


def cases(workshop: Workshop, count: int | None) -> Iterator[Case]:
    """All points, or the first ``count`` of every curve."""
    rows = {row.name: row for row in load_rows(Path(__file__).with_name("rows.toml"), [])}
    cifarnet = workshop.original(rows["cifarnet-1"])
    for batch in BATCHES[:count]:
        yield Case("CifarNet, batch", str(batch), cifarnet, labelled(rows["cifarnet-1"], cifarnet, batch, 4 * batch))
    upscaler = workshop.original(rows["waifu2x"])
    for side in SIDES[:count]:
        yield Case("waifu2x, side of the image", str(side), upscaler, _photographs(rows["waifu2x"], upscaler, side))
    yield from _channel_cases(rows["vgg16-1"], workshop, count)


def _photographs(row: Row, model: Path, side: int) -> Data:
    preprocess = Preprocess.from_toml(REPOSITORY / row.preprocess)
    spec = input_specs(open_session(model))[0]
    return scenes.picture_batches(scenes.photographs(side, 3), preprocess, spec, "photographs")


def _channel_cases(row: Row, workshop: Workshop, count: int | None) -> Iterator[Case]:
    network = workshop.original(row)
    whole = onnx.load(network)
    node = layer.find_convolution(whole, "conv3_2")
    cut = layer.cut_layer(whole, node)
    data = layer.activations(whole, node, labelled(row, network, 1, 4))
    most = CHANNELS[-1]
    for channels in CHANNELS[:count]:
        model, some = sliced(cut, most, channels), _first_channels(data, channels)
        yield Case("conv3_2 of VGG-16, input channels (K / 9)", str(channels), model, some, (EXACT, GRID))
    for channels in CHANNELS[:count]:
        yield Case("conv3_2, output channels (M)", str(channels), sliced(cut, channels, most), data, (EXACT, GRID))


def sliced(cut: onnx.ModelProto, outputs: int, inputs: int) -> onnx.ModelProto:
    """The model of one convolution with the first channels of its weights."""
    model = onnx.ModelProto()
    model.CopyFrom(cut)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        part = array[:outputs, :inputs] if tensor.name == node.input[1] else array[:outputs]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(part), tensor.name))
    for value, channels in ((model.graph.input[0], inputs), (model.graph.output[0], outputs)):
        value.type.tensor_type.shape.dim[1].dim_value = channels
    del model.graph.value_info[:]
    return model


def _first_channels(data: Data, channels: int) -> Data:
    def batches() -> Iterator[Batch]:
        for batch in data.batches():
            feeds = {name: np.ascontiguousarray(array[:, :channels]) for name, array in batch.feeds.items()}
            yield Batch(feeds, None, batch.names)

    return Data(data.n, data.describe(), False, batches)


def report(points: Iterator[Case], threads: Sequence[int]) -> str:
    """The curves as Markdown; progress goes to standard error."""
    lines = []
    for case in points:
        print(f"{case.what} {case.size} ...", file=sys.stderr, flush=True)
        for method in case.methods:
            rewritten = rewrite(case.model, parameters=method).to_proto()
            timings = _timings(case, rewritten, threads)
            lines += [_line(case, method, timing) for timing in timings]
    return document.measured("bench/scaling.py", _HEADINGS, lines)


def _timings(case: Case, rewritten: onnx.ModelProto, threads: Sequence[int]) -> list[Timing]:
    compare = functools.partial(bench, case.model, rewritten, case.data, warmup=1)
    pilot = compare(threads=threads[:1], runs=1).timings[0]
    pair_ms = pilot.original_ms[0] + pilot.rewritten_ms[0]
    runs = min(_MOST, max(_FEWEST, int(1000 * _SECONDS / pair_ms)))
    return compare(threads=threads, runs=runs).timings


def _line(case: Case, method: ReuseParameters, timing: Timing) -> list[str]:
    figures = timing.to_dict()
    return [
        case.what,
        case.size,
        str(timing.threads),
        method.describe(),
        f"{figures['original_median_ms']:.2f}",
        f"{figures['rewritten_median_ms']:.2f}",
        timing.ratio.describe(),
    ]


if __name__ == "__main__":
    sys.exit(main())
