"""drpass bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drpass import console
from drpass.commands import data_options as options
from drpass.commands.comma_lists import whole_numbers
from drpass.errors import DrpassError

if TYPE_CHECKING:
    from drpass.benchmark import BenchmarkReport
    from drpass.stages import NodeStages

EXAMPLES = """
**Examples**

`drpass bench net.onnx fast.onnx`

`drpass bench net.onnx fast.onnx --data photos/ --preprocess net.toml --threads 1,2 --runs 50`

`drpass bench net.onnx fast.onnx --data val.tar.xz --batch 8 --json`

`drpass bench net.onnx fast.onnx --rivals`

`drpass bench net.onnx fast.onnx --data photos/ --stages`
"""

#: Without --limit; different inputs are timed in turn.
_BATCHES = 8


@options.with_data_options
def command(
    original: Annotated[Path, typer.Argument(help="The ONNX file before rewriting.", show_default=False)],
    rewritten: Annotated[Path, typer.Argument(help="The ONNX file after rewriting.", show_default=False)],
    threads: Annotated[str, typer.Option(help="Threads an operator; with commas: one series each.")] = "1",
    runs: Annotated[int, typer.Option(help="Pairs of runs.")] = 30,
    warmup: Annotated[int, typer.Option(help="Pairs before that, not counted.")] = 3,
    provider: Annotated[str, typer.Option(help="Where both run: cpu or cuda.")] = "cpu",
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Also time the original under ncnn, OpenVINO and LiteRT, where installed.")
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Also say where the time of every DeepReuseGemm goes (cpu only).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with every time.")] = False,
    *,
    source: options.DataOptions,
) -> int | None:
    """Time a rewritten model against its original: paired runs in turn, on the same inputs and threads."""
    from functools import partial

    from drpass.benchmark import bench
    from drpass.execution import Provider
    from drpass.rivals import RIVALS
    from drpass.stages import measure_stages

    counts, data = whole_numbers("--threads", threads), partial(source.open, default_batches=_BATCHES)
    if stages and provider != "cpu":
        raise DrpassError("--stages measures the operator on the CPU; leave --provider out")
    report = bench(
        original,
        rewritten,
        data,
        threads=counts,
        runs=runs,
        warmup=warmup,
        provider=options.parse_choice("--provider", provider, Provider),
        rivals=RIVALS if rivals else (),
        show_progress=True,
    )
    found = {count: measure_stages(original, rewritten, data, threads=count) for count in counts if stages}
    if json:
        per_threads = [
            {"threads": count, "nodes": [node.to_dict() for node in nodes]} for count, nodes in found.items()
        ]
        console.emit_json(report.to_dict() | ({"stages": per_threads} if stages else {}))
    else:
        _print(report)
        for count, nodes in found.items():
            _print_stages(count, nodes)
    return 0


def _print(report: BenchmarkReport) -> None:
    from statistics import median

    from rich.markup import escape
    from rich.table import Table

    machine = report.machine
    console.out.print(f"Data: {escape(report.data)}")
    console.out.print(
        f"Machine: {escape(machine.cpu)}, {machine.cores} cores, kernels {machine.kernels}, load "
        f"{_load(machine.load_before)} before, {_load(machine.load_after)} after"
    )
    rivals = [name for name in report.timings[0].rivals_ms if name not in report.rivals_left_out]
    headings = ["threads", "batch", "original ms", "rewritten ms", "ratio", "quartiles", "pairs"]
    table = Table(box=None, header_style="bold")
    for heading in headings + [f"{name} {what}" for name in rivals for what in ("ms", "ratio")]:
        table.add_column(heading, justify="right", no_wrap=True)
    for timing in report.timings:
        ratio = timing.ratio
        table.add_row(
            str(timing.threads),
            str(report.batch),
            f"{median(timing.original_ms):.3f}",
            f"{median(timing.rewritten_ms):.3f}",
            f"[bold]{ratio.median:.3f}[/]",
            f"{ratio.first:.3f} to {ratio.third:.3f}",
            str(len(timing.original_ms)),
            *(
                figure
                for name in rivals
                for figure in (f"{median(timing.rivals_ms[name]):.3f}", f"{timing.rival_ratio(name).median:.3f}")
            ),
        )
    console.out.print(table)
    console.out.print("ratio: original over the other, median of the pairs; above 1 the other is faster")
    for name, reason in report.rivals_left_out.items():
        console.out.print(f"{name}: left out: {escape(reason)}")
    if machine.load_before is not None and machine.load_before > machine.cores / 2:
        console.err.print("[yellow]note:[/] the machine was busy, so these times are uncertain")


def _print_stages(threads: int, nodes: list[NodeStages]) -> None:
    """Stages that no node has are left out."""
    from rich.markup import escape
    from rich.table import Table

    stages = [stage for stage in nodes[0].stages_ms if any(node.stages_ms[stage] for node in nodes)]
    clustered = any(node.remaining_ratios for node in nodes)
    table = Table(box=None, header_style="bold")
    table.add_column("node", no_wrap=True)
    looked_at = any(node.zeros is not None for node in nodes)
    headings = [*(["r_c", "guarded"] if clustered else []), *(["zeros", "skipped"] if looked_at else [])]
    for heading in ["original ms", "kernel ms", *headings, "thread ms", *stages]:
        table.add_column(heading, justify="right", no_wrap=True)
    for node in nodes:
        clusters = [_figure(node.remaining_ratio, ".3f"), _figure(node.guarded, ".0%")] if clustered else []
        zeros = [_figure(node.zeros, ".0%"), _figure(node.skipped, ".0%")] if looked_at else []
        table.add_row(
            escape(node.node),
            _figure(node.original_ms, ".3f"),
            _figure(node.kernel_ms, ".3f"),
            *clusters,
            *zeros,
            f"{node.thread_ms:.3f}",
            *(
                f"{node.stages_ms[stage]:.2f} {node.share(stage):.0%}" if node.stages_ms[stage] else "-"
                for stage in stages
            ),
        )
    console.out.print(f"Stages, {threads} thread{'s' if threads > 1 else ''}:")
    # Wider than the terminal rather than cut: its figures are what one asked for.
    table.width = table.__rich_measure__(console.out, console.out.options.update(max_width=1000)).maximum
    console.out.print(table, crop=False, soft_wrap=True)
    console.out.print(
        "original, kernel: by ONNX Runtime's profile; stages: summed over threads, with their shares of the thread time"
    )
    if looked_at:
        console.out.print("zeros: their share in a sample of X; skipped: the share of images computed without them")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _load(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
