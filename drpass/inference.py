"""Runs a model on data, and says what came out and where it ran."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drpass.data import DataSource, as_data
from drpass.errors import DrpassError
from drpass.execution import Model, Provider, open_session, run
from drpass.files import atomic_output
from drpass.ranking import are_scores, top_classes
from drpass.tensors import Array, Feeds, input_specs, output_specs


@dataclass(frozen=True)
class InferenceResult:
    """``outputs``: by name, batches joined along the first axis. ``placement``: for each provider, how many nodes of
    each operator it ran (after ONNX Runtime's own fusions). ``samples``: their names, for messages."""

    data: str
    samples: list[str]
    placement: dict[str, dict[str, int]]
    outputs: Feeds

    def top_five(self, name: str) -> list[list[int]] | None:
        """The five best classes of each sample, best first; None if the output is no class scores."""
        array = self.outputs[name]
        return top_classes(array, 5).tolist() if are_scores(array, len(self.samples)) else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: figures of the outputs, not their values."""
        outputs = [
            {"name": name, **summary(array), "top5": self.top_five(name)} for name, array in self.outputs.items()
        ]
        return {"data": self.data, "samples": self.samples, "placement": self.placement, "outputs": outputs}


def infer(
    model: Model, data: DataSource = None, *, provider: Provider = "cpu", threads: int | None = None
) -> InferenceResult:
    """Run a model on all batches of the data. Raises DrpassError if the model or the data can't be used."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, provider, threads, profile=str(Path(folder, "profile")))
        source = as_data(data, input_specs(session))
        samples: list[str] = []
        results: list[list[Array]] = []
        placement: dict[str, dict[str, int]] | None = None
        for batch in source.batches():
            samples += batch.names
            results.append(run(session, batch.feeds))
            if placement is None:  # one run tells
                placement = _placement(Path(session.end_profiling()))
    names = [spec.name for spec in output_specs(session)]
    outputs = {name: joined(name, parts) for name, parts in zip(names, zip(*results))}
    return InferenceResult(source.describe(), samples, placement or {}, outputs)


def joined(name: str, parts: Sequence[Array]) -> Array:
    """An output of several batches as one array. Raises DrpassError if their samples differ in size."""
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[1:] for part in parts}) > 1 or not parts[0].ndim:
        raise DrpassError(f"the samples give {name!r} in different sizes; run them one at a time, or give a crop")
    return np.concatenate(parts)


def _placement(profile: Path) -> dict[str, dict[str, int]]:
    """Provider -> operator -> number of nodes, from ONNX Runtime's profile of one run."""
    events = json.loads(profile.read_text(encoding="utf-8", errors="replace"))
    ran = {
        (event["args"]["provider"], event["args"].get("op_name", "?"), event["name"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    counts: dict[str, Counter[str]] = {}
    for provider, operator, _ in sorted(ran):
        counts.setdefault(provider, Counter())[operator] += 1
    return {provider: dict(operators.most_common()) for provider, operators in counts.items()}


def summary(array: Array) -> dict[str, Any]:
    """Type, shape and, over the finite values of a tensor of numbers, minimum, maximum and mean (else None)."""
    figures: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    finite = array[np.isfinite(array)] if array.dtype.kind in "fiub" else array[:0]
    numbers = finite.astype(np.float64)
    for name, of in (("min", np.min), ("max", np.max), ("mean", np.mean)):
        figures[name] = float(of(numbers)) if numbers.size else None
    return figures | {"not_finite": array.size - finite.size if array.dtype.kind in "fiub" else 0}


def save_outputs(outputs: Feeds, path: Path) -> None:
    """Write arrays to an .npz file that appears only when complete. Raises DrpassError if that can't be done."""
    for name, array in outputs.items():
        if array.dtype.hasobject:
            raise DrpassError(f"the output {name!r} holds text, which an .npz file can't; leave --output out")
    # Not numpy.savez: it takes names as keyword arguments, and an output may be called "file".
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
