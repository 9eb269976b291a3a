"""The networks of torchvision and Keras through the pass: `python tests/zoo.py [NAME ...]` writes docs/coverage.md.

Each framework has a process of its own. What passes is kept in build/zoo, one file a network, and the table of the page
is made of all of them: without names, only what has not passed yet runs. Exit status 1 where a network does not pass.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coverage_table import PAGE

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "build" / "zoo"
BEGIN, END = "<!-- networks: written by tests/zoo.py -->\n", "<!-- end of networks -->\n"
#: Title in the page, by module.
FRAMEWORKS = {"zoo_torch": "torchvision", "zoo_keras": "Keras"}


def run(framework: str, chosen: list[str]) -> int:
    """Export and examine the networks of a framework; the number of those that do not pass."""
    from zoo_check import examine

    from drpass.export import export

    module: Any = importlib.import_module(framework)
    failures = 0
    for name in chosen or module.names():
        if chosen and name not in module.names():
            continue
        target = ROWS / f"{framework}.{name}.json"
        if target.exists() and not chosen:
            continue
        target.unlink(missing_ok=True)
        try:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                report = export(module.save(name, Path(folder)), path, opset=18)
                row = {
                    **examine(name, path, module.MEAN, module.SPREAD).to_dict(),
                    "error_of_export": report.max_relative_error,
                }
        except Exception:  # whatever it is, the others go on
            failures += 1
            print(f"{name}: does not pass\n{traceback.format_exc()}", flush=True)
            continue
        target.write_text(json.dumps(row, indent=1), encoding="utf-8")
        print(f"{name}: {row['replaced']} replaced, error {row['error']:.1e}", flush=True)
    return failures


def table() -> str:
    """The generated part of the page."""
    lines: list[str] = []
    for framework, title in FRAMEWORKS.items():
        rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROWS.glob(f"{framework}.*.json"))]
        lines += [f"### {title}: {len(rows)} networks", "", _HEADER, "| --- |" + " --- |" * 7]
        lines += [_line(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


_HEADER = (
    "| network | MB | operators | all that can be: replaced; kept | by default: replaced; kept "
    "| error | by default | restored |"
)


def _line(row: dict[str, Any]) -> str:
    operators = ", ".join(f"{count} {name}" for name, count in row["operators"].items())
    exact = _counted(row["replaced"], row["kept"])
    default = _counted(row["replaced_by_default"], row["kept_by_default"])
    errors = " | ".join(f"{row[key]:.0e}" for key in ("error", "error_by_default", "error_restored"))
    return f"| {row['name']} | {row['size']:.0f} | {operators} | {exact} | {default} | {errors} |"


def _counted(replaced: int, kept: dict[str, int]) -> str:
    """How many are replaced, how many kept, and why most of those."""
    if not kept:
        return f"{replaced}; 0"
    reason = max(kept, key=lambda text: kept[text])
    mostly = "" if len(kept) == 1 else "mostly: "
    return f"{replaced}; {sum(kept.values())} ({mostly}{reason})"


def write_page() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


def main() -> int:
    first, *others = sys.argv[1:] or [""]
    if first in FRAMEWORKS:
        return min(run(first, others), 1)
    ROWS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__]
    failed = [subprocess.run([*command, framework, *sys.argv[1:]], cwd=ROOT).returncode for framework in FRAMEWORKS]
    write_page()
    return max(failed)


if __name__ == "__main__":
    sys.exit(main())
