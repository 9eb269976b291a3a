"""What must hold for every network of the zoo: exported, it goes through rewriting and back and computes the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from drpass.model_check import fault
from drpass.operator.spec import DOMAIN, ReuseParameters
from drpass.passes import OP_TYPES
from drpass.restoring import restore
from drpass.rewriting import RewriteResult, rewrite
from drpass.rules import quantised
from drpass.runtime import session

Arrays = list[npt.NDArray[Any]]

#: The largest difference, as a share of the largest value of an output.
LIMIT = 1e-4
#: Images where the batch is open.
BATCH = 2
#: All that can be replaced, and the default.
_PARAMETERS = (ReuseParameters(method="exact"), None)


@dataclass(frozen=True)
class Row:
    """One network: what became of its Conv, Gemm, MatMul and ConvTranspose nodes, and how far apart outputs are."""

    name: str
    #: MB of the file.
    size: float
    operators: dict[str, int]
    #: With every node replaced that can be: how many, and why the others are kept.
    replaced: int
    kept: dict[str, int]
    #: As `drpass rewrite` does without options.
    replaced_by_default: int
    kept_by_default: dict[str, int]
    #: Relative errors of the two, and of what `drpass restore` makes of the first.
    error: float
    error_by_default: float
    error_restored: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def pictures(shape: Sequence[int], seed: int, mean: float, spread: float) -> npt.NDArray[np.float32]:
    """[N, C, *sizes]: patches of colour with some noise.

    Of noise alone all pictures look alike to deep layers; then their BatchNormalization magnifies rounding.
    """
    rng = np.random.default_rng([seed, *shape])
    array = rng.normal(size=(*shape[:2], *(4 for _ in shape[2:])))
    for axis, size in enumerate(shape[2:], 2):
        array = array.take(np.arange(size) * 4 // size, axis)
    return (mean + spread * (array + rng.normal(size=shape) / 4)).astype(np.float32)


def examine(name: str, path: Path, mean: float, spread: float) -> Row:
    """Rewrite and restore the model in all ways; raises AssertionError where something does not hold.

    ``mean`` and ``spread`` are those of the pictures that it takes.
    """
    feeds = _feeds(path, mean, spread)
    expected = _run(_plain(path.read_bytes()), feeds)
    assert all(np.isfinite(array).all() and np.abs(array).max() > 0 for array in expected), "outputs prove nothing"
    exact, default = (rewrite(path, parameters=parameters) for parameters in _PARAMETERS)
    errors = [_check(result, feeds, expected, parameters) for result, parameters in zip((exact, default), _PARAMETERS)]
    restored = restore(exact.to_proto()).to_proto()
    assert DOMAIN not in {item.domain for item in (*restored.opset_import, *restored.graph.node)}
    assert not fault(restored, strict=True)
    back = _error(_run(_plain(restored.SerializeToString()), feeds), expected)
    assert back < LIMIT, f"restored: {back:.2g}"
    verdicts = [
        [v for v in result.report.verdicts if v.op_type in (*OP_TYPES, *quantised.OP_TYPES)]
        for result in (exact, default)
    ]
    kept = [Counter(v.reason for v in found if not v.replaced) for found in verdicts]
    return Row(
        name=name,
        size=round(path.stat().st_size / 1e6, 1),
        operators=dict(Counter(v.op_type for v in verdicts[0])),
        replaced=sum(v.replaced for v in verdicts[0]),
        kept=dict(kept[0]),
        replaced_by_default=sum(v.replaced for v in verdicts[1]),
        kept_by_default=dict(kept[1]),
        error=errors[0],
        error_by_default=errors[1],
        error_restored=back,
    )


def _check(result: RewriteResult, feeds: dict[str, Any], expected: Arrays, parameters: ReuseParameters | None) -> float:
    """The error of a rewritten model that is valid, and is not changed by rewriting it so again."""
    proto = result.to_proto()
    assert not fault(proto, strict=True)
    again = rewrite(proto, parameters=parameters)
    assert not again.report.replaced, f"rewritten again: {[v.node for v in again.report.verdicts if v.replaced]}"
    assert again.to_proto() == proto
    found = _error(_run(session(proto.SerializeToString(), threads=2), feeds), expected)
    assert found < LIMIT, f"rewritten: {found:.2g}"
    return found


def _plain(content: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime without the operator library."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(opened: onnxruntime.InferenceSession, feeds: dict[str, Any]) -> Arrays:
    return list(opened.run(None, feeds))


def _feeds(path: Path, mean: float, spread: float) -> dict[str, npt.NDArray[np.float32]]:
    inputs = _plain(path.read_bytes()).get_inputs()
    shapes = {one.name: [dim if isinstance(dim, int) else BATCH for dim in one.shape] for one in inputs}
    return {name: pictures(shape, 1, mean, spread) for name, shape in shapes.items()}


def _error(found: Arrays, expected: Arrays) -> float:
    errors = [
        float(np.abs(left - right).max() / np.abs(right).max()) for left, right in zip(found, expected, strict=True)
    ]
    return max(errors)
