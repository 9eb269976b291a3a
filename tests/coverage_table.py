"""The table of docs/coverage.md: `python tests/coverage_table.py` runs all cases and writes it.

A row is made only of a case that passes: with ONNX Runtime alone, rewritten with exact nodes, and restored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from backend_cases import PRODUCTS, Arrays, Case, all_cases, products

from drpass.operator.spec import DOMAIN, ReuseParameters
from drpass.restoring import restore
from drpass.rewriting import rewrite
from drpass.runtime import session

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"
BEGIN, END = "<!-- table: written by tests/coverage_table.py -->\n", "<!-- end of table -->\n"
NOT_RUN = "not run: ONNX Runtime does not pass it"


@dataclass(frozen=True)
class Row:
    """What became of the nodes of one case."""

    name: str
    kind: str
    operators: tuple[str, ...]
    verdicts: tuple[str, ...]

    def __str__(self) -> str:
        return f"| {self.name} | {_counted(self.operators)} | {_counted(self.verdicts)} |"


@cache
def row(case: Case) -> Row:
    """Run a case in all its forms; raises AssertionError where the rewritten or restored one does not pass."""
    model, feeds, expected = case.load()
    operators = tuple(products(model))
    try:
        _check(run_plainly(model, feeds), expected, case, "original")
    except Exception:  # A type, an opset or a tolerance that ONNX Runtime does not have.
        return Row(case.name, case.kind, operators, (NOT_RUN,))
    result = rewrite(model, parameters=ReuseParameters(method="exact"))
    rewritten = result.to_proto()
    _check(session(rewritten.SerializeToString(), threads=1).run(None, feeds), expected, case, "rewritten")
    restored = restore(rewritten).to_proto()
    assert DOMAIN not in {item.domain for item in (*restored.opset_import, *restored.graph.node)}, case.name
    _check(run_plainly(restored, feeds), expected, case, "restored")
    verdicts = [
        "replaced" if v.replaced else f"kept: {v.reason}" for v in result.report.verdicts if v.op_type in PRODUCTS
    ]
    assert len(verdicts) == len(operators), case.name
    return Row(case.name, case.kind, operators, tuple(verdicts))


def table() -> str:
    """The generated part of the page."""
    rows = [row(case) for case in all_cases()]
    counts = Counter("not run" if NOT_RUN in found.verdicts else "passed" for found in rows)
    lines = [f"{counts['passed']} cases pass in all three forms; {counts['not run']} are not run.", ""]
    for kind in dict.fromkeys(found.kind for found in rows):
        lines += [f"### {_TITLES.get(kind, kind)}", "", "| case | operators | verdict |", "| --- | --- | --- |"]
        lines += [str(found) for found in rows if found.kind == kind]
        lines.append("")
    return "\n".join(lines)


_TITLES = {"node": "Node tests", "light": "Known networks (`light`)"}


def _counted(texts: tuple[str, ...]) -> str:
    counts = Counter(texts)
    if len(texts) == 1:
        return texts[0]
    return "; ".join(f"{count} {text}" for text, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def run_plainly(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]], optimized: bool = True) -> Arrays:
    """In ONNX Runtime without the operator library."""
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(opened.run(None, dict(feeds)))


def _check(found: Arrays, expected: Arrays, case: Case, form: str) -> None:
    for left, right in zip(found, expected, strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype), f"{case.name}, {form}"
        np.testing.assert_allclose(left, right, rtol=case.rtol, atol=case.atol, err_msg=f"{case.name}, {form}")


def split_page() -> tuple[str, str, str]:
    """What is before the table in the page, the table, and what is behind it."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    found, _, after = rest.partition(END)
    return before, found, after


def main() -> None:
    before, _, after = split_page()
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
