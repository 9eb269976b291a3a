"""A whole tuning run: sets up, searches, judges what was found on the held-out part, and says what it did."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from drpass import model_io
from drpass.benchmark import cores, this_machine
from drpass.data import Data
from drpass.data.split import Split
from drpass.errors import DrpassError
from drpass.external_data import check_references
from drpass.model_check import require_valid
from drpass.passes import Assignment
from drpass.plan_file import Plan
from drpass.rewriting import RewriteResult, rewrite
from drpass.roofline import Device
from drpass.tune.budget import Budget
from drpass.tune.cluster import cluster
from drpass.tune.exact import Exact, find_exact
from drpass.tune.journal import Journal
from drpass.tune.judgement import Judgement, check
from drpass.tune.layers import figures, layer_reports
from drpass.tune.measured import MeasuredTimes
from drpass.tune.metric import Metric
from drpass.tune.predicted import PredictedTimes
from drpass.tune.report import Speed, TuningReport
from drpass.tune.subject import Subject
from drpass.tune.workbench import Clock, Workbench, judgement
from drpass.validation import Reference

#: Different inputs that are timed; their bytes, at most.
_TIMED_BATCHES, _TIMED_BYTES = 8, 1 << 30
#: Parts of the time given that one verdict on calibration data, and the last one on held-out data, may take.
_CALIBRATION_SHARE, _HELD_OUT_SHARE = 0.02, 0.2
#: Samples that a verdict takes in any case.
_FEWEST_SAMPLES = 32

#: Outputs of the original that are kept for further judgements, at most.
_KEPT_BYTES = 256 << 20

SLOWER = "the whole model is not faster with any replacement that was tried"


@dataclass(frozen=True)
class Tuned:
    """``result`` is the original, unchanged, where nothing that was tried is faster and keeps the budget."""

    plan: Plan
    result: RewriteResult
    report: TuningReport


class Tuning:
    """One run; `best` is the plan that would be returned if it ended now.

    Args:
        model: path of the original.
        split: data, from `open_split`, in batches as in the model's future use.
        budget: what may be lost.
        threads: of an operator, as in the model's future use; None: all cores.
        seconds: when to stop with what was found; a step that has begun is finished.
        metric: the user's own score, for a budget on it.
        journal: where measurements are kept until the run is finished; ``resume`` goes on with those that are there.
        say: prints a line for the user who waits.
        device: a GPU that is not here: times are those that the cost model predicts for it, and nothing is timed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        split: Split,
        budget: Budget,
        *,
        threads: int | None = None,
        seconds: float = 600.0,
        metric: Metric | None = None,
        journal: Path | None = None,
        resume: bool = False,
        say: Callable[[str], None] = lambda line: None,
        device: Device | None = None,
    ) -> None:
        self._path, self._split = Path(model), split
        self._proto = model_io.load_proto(model)
        require_valid(self._proto, str(model))
        if check_references(self._proto, str(model)):
            raise DrpassError(f"{model} is over 2 GB, which can't be tuned yet; rewrite it without --calibrate")
        check(budget, self._proto, split.held_out)
        clock = Clock(seconds)
        feeds, batch = _timed(split.calibration)
        threads = threads or cores()
        subject = Subject(self._proto, feeds, batch, threads)
        self._digest = hashlib.sha256(self._proto.SerializeToString(deterministic=True)).hexdigest()
        identity = {
            "model": self._digest,
            "data": split.fingerprint,
            "budget": budget.describe(),
            "batch": batch,
            "threads": threads,
            "kernels": this_machine().kernels,
            "versions": _versions(),
            "device": device.name if device else "",
        }
        samples = _samples(seconds * _CALIBRATION_SHARE, 2 * subject.call_ms, subject.batch)
        records = Journal(journal, identity, resume=resume)
        times = PredictedTimes(subject, records, device) if device else MeasuredTimes(subject, records, seconds)
        subject.keep(times.reasons_against_exact())
        self._bench = Workbench(
            subject=subject,
            reference=Reference(subject.model, threads, _KEPT_BYTES),
            times=times,
            calibration=split.calibration.first(samples),
            budget=budget,
            metric=metric,
            clock=clock,
            journal=records,
            say=say,
        )
        self._exact: Exact | None = None
        self._chosen: Assignment = self._nothing("not tuned yet")
        self._speed: Speed | None = None

    @property
    def best(self) -> Plan:
        """The plan of the fastest model found so far that keeps the budget on calibration data."""
        return self._plan(self._chosen, {})

    def run(self) -> Tuned:
        """Search, judge, and rewrite. Raises DrpassError if the model can't be run or the metric fails."""
        bench = self._bench
        bench.say(bench.times.beginning)
        exact = self._exact = find_exact(bench)
        notes = list(bench.times.notes)
        self._choose_if_faster(exact.assignment, exact.speed)
        why = "the budget allows no error"
        if bench.budget.max_rel != 0.0:
            assignment, why = cluster(bench, exact)
            if assignment != exact.assignment:
                self._choose_if_faster(assignment, bench.times.speed(assignment))
        notes.append(why)
        if self._speed is None:
            self._chosen = self._nothing(SLOWER)
            notes.append(f"{SLOWER}: {exact.speed.describe()} with exact operators")
        bench.say("judging on held-out data")
        held_out = self._judged(exact, notes)
        if bench.clock.cut_short:
            notes.append("not everything was tried in the time given; more of it (--time) may find a faster model")
        report = self._report(held_out, notes, why)
        plan = self._plan(self._chosen, self._about(report))
        result = rewrite(self._path, plan=plan)
        growth = result.report.growth
        grown = (growth.describe(),) if growth.reasons else ()
        report = replace(report, growth=growth, notes=(*report.notes, *grown))
        bench.journal.remove()
        return Tuned(plan, result, report)

    def _choose_if_faster(self, assignment: Assignment, speed: Speed) -> None:
        """Never a model that is slower than the original."""
        if speed.ratio.median > 1.0:
            self._chosen, self._speed = assignment, speed

    def _nothing(self, reason: str) -> Assignment:
        subject = self._bench.subject
        return {verdict.key: verdict.reason or reason for verdict in subject.verdicts}

    def _judged(self, exact: Exact, notes: list[str]) -> Judgement | None:
        """The verdict on held-out data, which may take back what was chosen but never chooses anything else."""
        bench = self._bench
        call_ms, quicker = bench.subject.call_ms, self._speed.ratio.median if self._speed else 1.0
        # Rounding is measured by running the original once more, without optimisations, which takes a little longer.
        calls = 1 + 1 / quicker + (1.5 if bench.budget.max_rel == 0 else 0)
        samples = _samples(bench.clock.seconds * _HELD_OUT_SHARE, call_ms * calls, bench.subject.batch)
        data = self._split.held_out.first(samples)
        while self._speed is not None:
            found = judgement(bench, bench.budget, self._chosen, data)
            if found.kept:
                if self._chosen != exact.assignment:
                    notes.extend(_doubts(found))
                return found
            what = "; ".join(finding.describe() for finding in found.findings if not finding.kept)
            if self._chosen != exact.assignment:
                notes.append(f"clustering was taken back, because it broke the budget on held-out data: {what}")
                self._chosen, self._speed = self._nothing(SLOWER), None
                self._choose_if_faster(exact.assignment, exact.speed)
            else:
                notes.append(f"even exact operators break the budget on held-out data: {what}")
                self._chosen, self._speed = self._nothing("its float rounding breaks the budget"), None
        return None

    def _plan(self, assignment: Assignment, about: dict[str, Any]) -> Plan:
        exact, predicted = self._exact, bool(self._bench.times.predicted_for)
        measured = {key: figures(exact, key, choice, predicted) for key, choice in assignment.items()} if exact else {}
        return replace(self._bench.subject.plan(assignment, measured), about=about)

    def _report(self, held_out: Judgement | None, notes: list[str], why: str) -> TuningReport:
        bench, split = self._bench, self._split
        calibration = None
        if self._speed is not None:
            calibration = judgement(bench, bench.budget, self._chosen, bench.calibration)
        return TuningReport(
            model=str(self._path),
            created=time.strftime("%Y-%m-%d %H:%M"),
            seconds=round(bench.clock.spent, 1),
            stopped_early=bench.clock.cut_short,
            machine=this_machine(),
            threads=bench.subject.threads,
            batch=bench.subject.batch,
            about_data={
                "calibration": bench.calibration.describe(),
                "held_out": held_out.data if held_out else split.held_out.describe(),
                "fingerprint": split.fingerprint,
                "seed": split.seed,
            },
            budget=bench.budget.describe(),
            speed=self._speed,
            joules=bench.times.joules(self._chosen) if self._speed is not None else None,
            calibration=calibration,
            held_out=held_out,
            verdict=_verdict(self._speed, held_out, bench.times.predicted_for),
            predicted_for=bench.times.predicted_for,
            notes=tuple(notes),
            layers=tuple(layer_reports(bench.subject, self._chosen, self._exact, why)),
        )

    def _about(self, report: TuningReport) -> dict[str, Any]:
        """The tables of the plan that say where it is from."""
        values = report.to_dict()
        return {
            "model": {"file": self._path.name, "sha256": self._digest},
            "machine": {
                **values["machine"],
                "threads": report.threads,
                "batch": report.batch,
                **({"times_predicted_for": report.predicted_for} if report.predicted_for else {}),
            },
            "data": report.about_data,
            "budget": {"limits": report.budget},
            "result": {
                "verdict": report.verdict,
                "created": report.created,
                **(report.speed.to_dict() if report.speed else {}),
                "held_out": [finding.describe() for finding in report.held_out.findings] if report.held_out else [],
            },
            "versions": _versions(),
        }


def _timed(data: Data) -> tuple[list[dict[str, Any]], int]:
    """Inputs of the first full batches, and the samples in each."""
    feeds: list[dict[str, Any]] = []
    batch = size = 0
    for entry in data.batches():
        batch = batch or entry.samples
        size += sum(array.nbytes for array in entry.feeds.values())
        if len(feeds) == _TIMED_BATCHES or entry.samples < batch or (feeds and size > _TIMED_BYTES):
            break
        feeds.append(entry.feeds)
    return feeds, batch


def _samples(seconds: float, pair_ms: float, batch: int) -> int:
    """As many as can run in that time, in full batches; ``pair_ms``: of a call of the original and of the rewritten
    model."""
    fewest = -(-_FEWEST_SAMPLES // batch)
    return max(int(1000 * seconds / pair_ms), fewest) * batch


def _doubts(found: Judgement) -> Iterator[str]:
    """Limits that clustering keeps on this data, but by chance it may not on other data of the kind."""
    for finding in found.findings:
        if not finding.certain:
            yield f"held-out data is too little to be sure of the {finding.what}; give more of it, or more --time"


def _versions() -> dict[str, str]:
    from drpass import __version__

    return {"drpass": __version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _verdict(speed: Speed | None, held_out: Judgement | None, predicted_for: str) -> str:
    how = f" (times predicted for {predicted_for}, not measured)" if predicted_for else ""
    if speed is None or held_out is None:
        return f"unchanged: nothing that was tried is faster and keeps the budget{how}"
    return f"rewritten: {speed.describe()}, budget kept on held-out data{how}"
