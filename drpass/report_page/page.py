"""The page's HTML: everything but the plots is text already, so that it can be read without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from drpass.console import size_text
from drpass.files import atomic_output
from drpass.report_page.rows import Row, waterfall
from drpass.report_page.table import table

_SCRIPTS = ("svg.js", "plots.js", "page.js")


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write `render` of ``report`` to ``path``, complete or not at all. Raises DrpassError if that can't be done."""
    # A name from a broken model may hold half a surrogate pair, which UTF-8 has no bytes for.
    data = render(report).encode("utf-8", errors="replace")
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)


def render(report: Mapping[str, Any]) -> str:
    """One self-contained HTML document.

    Args:
        report: of a tuning run, as `TuningReport.to_dict` gives it. Its texts may be anything: they are shown, never
            interpreted.
    """
    rows = [Row.of(layer) for layer in report["layers"]]
    style = _resource("page.css")
    script = "\n".join(_resource(name) for name in _SCRIPTS)
    data = {"layers": [row.to_dict() for row in rows], "waterfall": waterfall(rows, report["speed"])}
    return Template(_resource("page.html")).substitute(
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        model=escape(report["model"]),
        verdict=escape(report["verdict"]),
        figures="".join(_figures(report)),
        notes="".join(f"<li>{escape(note)}</li>" for note in report["notes"]),
        facts="".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(report)),
        count=f"{len(rows)} layer{'s' if len(rows) != 1 else ''}",
        table=table(rows),
        data=_embedded(data),
    )


def _resource(name: str) -> str:
    return (resources.files("drpass.report_page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """For the page's content security policy: only this very text may run or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON for a script element: nothing in it can end the element or begin another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _figures(report: Mapping[str, Any]) -> Iterable[str]:
    """The headline: speed, then every clause of the budget on each part of the data."""
    speed = report["speed"]
    if speed is None:
        yield _figure("speed", "unchanged", "the original model is the result")
    else:
        first, third = speed["ratio_quartiles"]
        original, rewritten = speed["original_ms"], speed["rewritten_ms"]
        device = report.get("predicted_for", "")
        how = f"quartiles {first:.2f} to {third:.2f} of {speed['pairs']} pairs"
        how = f"predicted for {device}, not measured" if device else how
        small = f"{how}; {original:.3f} → {rewritten:.3f} ms"
        yield _figure("speed, original over rewritten", f"{speed['ratio']:.2f}×", small)
    for part, name in (("held_out", "held-out data"), ("calibration", "calibration data")):
        judgement = report["judgements"][part]
        for finding in judgement["findings"] if judgement else ():
            kept = "kept" if finding["kept"] else "broken"
            yield _figure(f"{finding['what']}, {name}", kept, finding["text"], kept)


def _figure(label: str, value: str, small: str, kind: str = "speed") -> str:
    return (
        f'<div class="figure {kind}"><span class="label">{escape(label)}</span>'
        f'<strong>{escape(value)}</strong><span class="small">{escape(small)}</span></div>'
    )


def _facts(report: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    machine, data = report["machine"], report["data"]
    early = ", stopped by the time limit" if report["stopped_early"] else ""
    size = report.get("constants")
    bytes_ = f"{size_text(size['before'])} → {size_text(size['after'])}" if size else ""
    joules = report.get("joules")
    words = f"{joules[0]:.3g} → {joules[1]:.3g} J, by the processor's counters" if joules else ""
    return (
        ("budget", report["budget"]),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['kernels']} kernels"),
        ("run with", f"{report['threads']} threads, batch {report['batch']}"),
        ("calibration data", data["calibration"]),
        ("held-out data", data["held_out"]),
        ("data fingerprint", f"{data['fingerprint']}, seed {data['seed']}"),
        ("tuned", f"{report['created']} in {report['seconds']:.1f} s{early}, drpass {report['drpass']}"),
        *((("energy of a call", words),) if joules else ()),
        *((("size of constants", bytes_),) if size else ()),
    )
