"""Measures one row: speed in turn with the original, quality on the pictures that judge, noise, memory."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import layer
import scenes
from memory import peak_bytes
from quality import Quality, judge_classes, judge_pictures
from rows import Rewriting, Row

from drpass import model_io, networks
from drpass.benchmark import BenchmarkReport, Ratio, bench
from drpass.data import Data, Preprocess, open_data
from drpass.errors import DrpassError
from drpass.execution import open_session
from drpass.export import export
from drpass.profile import kernel_times, original_names, time_of
from drpass.rewriting import rewrite
from drpass.tensors import Feeds, TensorSpec, input_specs

REPOSITORY = Path(__file__).resolve().parent.parent

#: Batches that are held and timed in turn.
_TIMED_BATCHES = 8
#: The steady state of a film begins after this many frames.
_FIRST_FRAMES = 10


@dataclass(frozen=True)
class Effort:
    """How much is run; ``quick`` is for trying out, its figures mean little."""

    threads: tuple[int, ...] = (1, 2)
    quick: bool = False

    def of(self, row: Row) -> Row:
        """The row with fewer runs and pictures where it must be quick."""
        if not self.quick:
            return row
        runs = _FIRST_FRAMES + 3 if row.kind == "film" else 3
        images = 2 if row.kind in ("pictures", "film") else 2 * max(row.batch, row.judge_batch)
        return replace(row, runs=runs, images=images)


@dataclass(frozen=True)
class Subject:
    """What is timed, on what, and how it is judged. ``notes``: more figures, made on demand."""

    original: Path
    rewritten: Path
    data: Data
    judge: Callable[[], Quality]
    notes: Callable[[], list[str]] = list


@dataclass(frozen=True)
class Measured:
    """``noise``: ratio on uniform noise, one thread; ``memory``: peak bytes of original and rewritten session."""

    row: Row
    report: BenchmarkReport
    quality: Quality
    noise: Ratio
    memory: tuple[int, int]
    notes: list[str]


class Workshop:
    """Finds or makes models in a folder, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.judge_once = functools.cache(judge_classes)

    def original(self, row: Row) -> Path:
        """Raises DrpassError if the model is not there or can't be exported."""
        if row.model not in networks.network_names():
            cached = networks.weights_cache() / row.model
            return cached if cached.is_file() else _found("DRPASS_MODELS", row.model)
        path = self._folder / f"{row.model}.onnx"
        if not path.exists() or path.stat().st_mtime < networks.weights_path(row.model).stat().st_mtime:
            export(row.model, path)
        return path

    def rewritten(self, original: Path, rewriting: Rewriting, only: str = "") -> Path:
        """The model rewritten so; ``only``: this node alone. Made anew each time: drpass may have changed."""
        result = rewrite(
            original,
            parameters=rewriting.parameters,
            include=[only] if only else rewriting.include,
            exclude=rewriting.exclude,
            op_types=rewriting.op_types,
            memo_bytes=rewriting.memo << 20,
        )
        if not result.report.replaced:
            reasons = "; ".join(sorted({verdict.reason for verdict in result.report.verdicts}))
            raise DrpassError(f"nothing was replaced: {reasons}")
        key = hashlib.sha256(f"{rewriting}{only}".encode()).hexdigest()[:8]
        path = self._folder / f"{original.stem}.{key}.onnx"
        result.save(path)
        return path

    def cut(self, original: Path, node: str) -> Path:
        """The convolution alone."""
        proto = model_io.load_proto(original)
        path = self._folder / f"{original.stem}.layer.onnx"
        model_io.save(layer.cut_layer(proto, layer.find_convolution(proto, node)), path)
        return path


def measure(row: Row, workshop: Workshop, effort: Effort) -> Measured:
    """All figures of a row. Raises DrpassError that says what is missing where it can't be measured."""
    row = effort.of(row)
    subject = _SUBJECTS[row.kind](row, workshop)
    film = row.kind == "film"
    compare = functools.partial(bench, subject.original, subject.rewritten)
    report = compare(subject.data, threads=effort.threads, runs=row.runs, warmup=0 if film else 2)
    if film:
        report = replace(report, timings=[timing.after(_FIRST_FRAMES) for timing in report.timings])
    runs = max(3, row.runs // (6 if film else 3))
    # No input comes twice, or a memo would know it.
    noise = compare(scenes.noise_like(subject.data, 1 + runs), runs=runs, warmup=1).timings[0].ratio
    feeds = [batch.feeds for batch in itertools.islice(subject.data.batches(), _TIMED_BATCHES)]
    memory = peak_bytes(subject.original, feeds, 1), peak_bytes(subject.rewritten, feeds, 1)
    return Measured(row, report, subject.judge(), noise, memory, subject.notes())


def _classes(row: Row, workshop: Workshop) -> Subject:
    original = workshop.original(row)
    rewritten = workshop.rewritten(original, row.rewrite)
    timed = labelled(row, original, row.batch, _TIMED_BATCHES * row.batch)
    return Subject(original, rewritten, timed, lambda: _judge_labelled(row, workshop, original, rewritten))


def _layer(row: Row, workshop: Workshop) -> Subject:
    network = workshop.original(row)
    proto = model_io.load_proto(network)
    node = layer.find_convolution(proto, row.node)
    original = workshop.cut(network, row.node)
    rewritten = workshop.rewritten(original, row.rewrite, only=node.name)
    data = labelled(row, network, row.batch, _TIMED_BATCHES * row.batch)
    replaced = workshop.rewritten(network, row.rewrite, only=node.name)
    whole = workshop.rewritten(network, row.rewrite)

    def notes() -> list[str]:
        feeds = [batch.feeds for batch in data.batches()]
        names = original_names(proto, node)
        before, after = (_kernel_time(model, names, feeds) for model in (network, whole))
        return [
            f"{row.title}: timed alone, as a model of one node fed with real activations in NCHW. Inside the network, "
            f"by ONNX Runtime's profile (1 thread): {before:.3f} → {after:.3f} ms, {before / after:.2f}"
        ]

    judge = functools.partial(_judge_labelled, row, workshop, network, replaced)
    return Subject(original, rewritten, layer.activations(proto, node, data), judge, notes)


def _kernel_time(model: Path, names: Sequence[str], feeds: Sequence[Feeds]) -> float:
    """Milliseconds of a node inside a network, with one thread."""
    found = time_of(kernel_times(model, feeds, 1), names)
    if found is None:
        raise DrpassError(f"ONNX Runtime's profile of {model.name} has no {names[0]!r}")
    return found


def _pictures(row: Row, workshop: Workshop) -> Subject:
    if row.data == "photographs":
        make, words = scenes.photographs, "crops of photographs that installed packages ship"
    else:
        make = functools.partial(scenes.sheets, _found("DRPASS_DATA", row.data))
        words = f"halved sheets of pictures of {row.data}"
    truths = make(row.truth, row.images)
    timed = truths if row.truth == row.side else [scenes.half(truth) for truth in truths]
    return _super_resolution(row, workshop, timed[:_TIMED_BATCHES], truths, words)


def _film(row: Row, workshop: Workshop) -> Subject:
    frames = scenes.film(row.motion, row.side, row.runs)
    truths = scenes.film(row.motion, row.truth, scenes.FRAMES)
    # The pictures that judge are spread over the film.
    step = max(1, scenes.FRAMES // max(1, row.images))
    return _super_resolution(row, workshop, frames, truths[::step][: row.images or None], "frames of a film")


def _super_resolution(row: Row, workshop: Workshop, timed: list, truths: list, words: str) -> Subject:
    original = workshop.original(row)
    rewritten = workshop.rewritten(original, row.rewrite)
    preprocess = Preprocess.from_toml(REPOSITORY / row.preprocess)
    data = scenes.picture_batches(timed, preprocess, _inputs(original)[0], words)
    judge = functools.partial(judge_pictures, original, rewritten, truths, preprocess, row.max_loss)
    return Subject(original, rewritten, data, judge)


_SUBJECTS: dict[str, Callable[[Row, Workshop], Subject]] = {
    "classes": _classes,
    "layer": _layer,
    "pictures": _pictures,
    "film": _film,
}


def _judge_labelled(row: Row, workshop: Workshop, original: Path, rewritten: Path) -> Quality:
    data = labelled(row, original, row.judge_batch or row.batch, row.images or None)
    return workshop.judge_once(original, rewritten, data, row.max_loss)


def labelled(row: Row, model: Path, batch: int, limit: int | None) -> Data:
    """The pictures of a row with their labels."""
    return _open_once(row.data, row.preprocess, model, batch, limit)


@functools.cache
def _open_once(archive: str, preprocess: str, model: Path, batch: int, limit: int | None) -> Data:
    return open_data(
        _found("DRPASS_DATA", archive),
        _inputs(model),
        preprocess=Preprocess.from_toml(REPOSITORY / preprocess),
        limit=limit,
        batch=batch,
    )


def _inputs(model: Path) -> list[TensorSpec]:
    return input_specs(open_session(model))


def _found(variable: str, name: str) -> Path:
    """A file in the folder that an environment variable names."""
    path = Path(os.environ.get(variable, ""), name)
    if variable not in os.environ or not path.is_file():
        raise DrpassError(f"{variable} names no folder with {name}")
    return path
