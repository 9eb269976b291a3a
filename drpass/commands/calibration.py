"""`drpass rewrite --calibrate`: tunes, writes the model, plan and page, and prints what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from drpass import console
from drpass.commands.data_options import DataOptions
from drpass.errors import DrpassError
from drpass.files import refuse_taken_file, require_writable

if TYPE_CHECKING:
    from rich.table import Table

    from drpass.tune import Tuned, Tuning
    from drpass.tune.report import LayerReport, TuningReport

#: How long a run may take if nobody says.
_MINUTES = 10.0


@dataclass(frozen=True)
class Calibration:
    """The options of a tuning run, as the user gave them."""

    budget: list[str]
    peak: float | None
    metric: str | None
    minutes: float | None
    threads: int | None
    held_out: int | None
    resume: bool
    plan_out: Path | None
    html: Path | None
    device: str | None
    json: bool

    @property
    def is_asked_for(self) -> bool:
        """Whether one is given that nothing but a tuning run reads."""
        numbers = (self.peak, self.minutes, self.threads, self.held_out)
        given = any(number is not None for number in numbers)
        return bool(given or self.budget or self.metric or self.resume or self.html or self.device)


def calibrate(model: Path, output: Path, source: DataOptions, options: Calibration) -> int:
    """Tune and write; returns the exit status. An interruption leaves the best plan so far, and the journal."""
    from drpass import report_page

    require_writable(output)
    for path in filter(None, (options.plan_out, options.html)):
        refuse_taken_file(path, [model, output])
        require_writable(path)
    tuning = _set_up(model, output, source, options)
    plan_path = options.plan_out or output.with_name(output.name + ".plan.toml")
    try:
        tuned = tuning.run()
    except KeyboardInterrupt:
        tuning.best.write(plan_path)
        console.err.print(
            f"interrupted: the best plan so far is {plan_path} (rewrite --plan); --resume goes on", markup=False
        )
        return 130
    if options.plan_out is not None:
        tuned.plan.write(options.plan_out)
    if options.html is not None:
        report_page.write(tuned.report.to_dict(), options.html)
    tuned.result.save(output)
    if options.json:
        console.emit_json(tuned.report.to_dict())
    else:
        _print(tuned, output, options)
    return 0


def _set_up(model: Path, output: Path, source: DataOptions, options: Calibration) -> Tuning:
    from drpass.execution import open_session
    from drpass.roofline import find_device
    from drpass.tensors import input_specs
    from drpass.tune import Budget, Metric, Tuning
    from drpass.tune.judgement import gives_scores

    minutes = _MINUTES if options.minutes is None else options.minutes
    if not minutes > 0:
        raise DrpassError(f"--time must be a number of minutes above 0, not {minutes:g}")
    if options.threads is not None and options.threads < 1:
        raise DrpassError(f"--threads must be at least 1, not {options.threads}")
    device = find_device(options.device) if options.device is not None else None
    split = source.split(input_specs(open_session(model)), options.held_out)
    if options.budget:
        budget = Budget.parse(options.budget, options.peak)
    else:
        budget = Budget.default(gives_scores(model, split.calibration))
    if (options.metric is not None) != (budget.max_metric_loss is not None):
        raise DrpassError("--metric and --budget metric-loss=X go together; give both")
    if not options.budget:
        console.err.print(f"no --budget given, so it is {budget.describe()}", markup=False)
    return Tuning(
        model,
        split,
        budget,
        threads=options.threads,
        seconds=60 * minutes,
        metric=Metric.of(options.metric) if options.metric else None,
        journal=output.with_name(output.name + ".tuning"),
        resume=options.resume,
        say=lambda line: console.err.print(line, markup=False),
        device=device,
    )


def _print(tuned: Tuned, output: Path, options: Calibration) -> None:
    from rich.markup import escape

    report = tuned.report
    console.out.print(_table(report))
    for name, found in (("calibration", report.calibration), ("held-out", report.held_out)):
        if found is not None:
            console.out.print(f"{name} data: {found.data}", markup=False)
            for finding in found.findings:
                console.out.print(f"  {finding.describe()}", markup=False)
    if report.speed is not None:
        speed = report.speed
        what = f"time of a call ({report.threads} threads, batch {report.batch})"
        how = f"{speed.pairs} pairs"
        if report.predicted_for:
            what, how = f"predicted time of a call on {report.predicted_for}, batch {report.batch}", "not measured"
        console.out.print(f"{what}: {speed.original_ms:.2f} → {speed.rewritten_ms:.2f} ms, {how}", markup=False)
    if report.joules is not None:
        before, after = report.joules
        console.out.print(f"energy of a call by the processor's counters: {before:.3g} → {after:.3g} J")
    for note in report.notes:
        console.out.print(f"note: {note}", markup=False)
    console.out.print(f"[bold]{escape(report.verdict)}[/]; wrote {escape(str(output))} in {report.seconds:.0f} s")
    if options.plan_out is not None:
        console.out.print(f"  drpass rewrite {report.model} {output} --plan {options.plan_out}", markup=False)


def _table(report: TuningReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("node", "op", "before ms", "after ms", "r_c", "error", "verdict")
    for layer in report.layers:
        table.add_row(escape(layer.key[1]), layer.op_type, *_figures(layer), escape(_verdict(layer)))
    return table


def _figures(layer: LayerReport) -> list[str]:
    trial = layer.trial
    ratios = trial.remaining_ratios if trial else ()
    return [
        "" if layer.dense_milliseconds is None else f"{layer.dense_milliseconds:.3f}",
        "" if trial is None or trial.milliseconds is None else f"{trial.milliseconds:.3f}",
        f"{median(ratios):.3f}" if ratios else "",
        f"{trial.error:.2g}" if trial and trial.error else "",
    ]


def _verdict(layer: LayerReport) -> str:
    if layer.chosen is None:
        return f"kept: {layer.reason}"
    return f"{layer.chosen.describe()}: {layer.reason}" if layer.reason else layer.chosen.describe()
