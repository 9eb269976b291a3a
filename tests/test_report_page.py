"""The page of a tuning run as text: what is there without JavaScript, and what is embedded for the plots."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, finding, layer, many_layers, report, trial, usual_layers

from drpass.benchmark import Machine, Ratio
from drpass.errors import DrpassError
from drpass.operator.spec import ReuseParameters
from drpass.passes import EXACT
from drpass.report_page import render, write
from drpass.report_page.rows import BINS, LARGEST_STEPS, Row, waterfall
from drpass.tune.judgement import Finding, Judgement
from drpass.tune.report import LayerReport, Speed, Trial, TuningReport


class Page(HTMLParser):
    """Elements by name with their attributes, the cells of the first table's body, and the embedded data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._embedded = ""
        self._inside: list[str] = []
        self.feed(text)
        self.data: dict[str, Any] = json.loads(self._embedded)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "tr" and dict(attrs).get("data-layer") is not None:
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        last = self.elements[-1] if self.elements else ("", {})
        if last[0] == "script" and last[1].get("type") == "application/json":
            self._embedded += data
        elif last[0] not in ("script", "style"):
            self.text += data
            if self.rows and {"td", "th"} & set(self._inside):
                self.rows[-1][-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def test_headline_and_table_are_there_without_javascript() -> None:
    page = Page(render(report(usual_layers())))
    for text in ("2.50×", "quartiles 2.44 to 2.61 of 30 pairs", "10.000 → 4.000 ms", "rewritten: 2.50x as fast"):
        assert text in page.text
    for text in ("top-1 agreement 99.73 % [99.01, 99.91], limit 99.50, n 744", "top-1 agreement >= 99.5 %"):
        assert text in page.text
    for text in ("a processor, 2 cores, avx2 kernels", "2 threads, batch 1", "744 pictures", "9f86d0, seed 3"):
        assert text in page.text
    setting = "grid L=4 step=1σ image r_c≤0.5 int16"
    assert page.rows == [
        ["conv2", "Conv", "5.000", "1.500", "+3.500", "0.120", "2.0e-02", setting, "measured"],
        ["conv10", "Conv", "4.000", "2.000", "+2.000", "(0.855)", "0", "exact", "measured"],
        ["conv1", "Conv", "–", "–", "–", "–", "–", "kept", "kept: depthwise (group = channels)"],
    ]


def test_size_of_the_constants_is_a_fact() -> None:
    sizes = {"before": 1 << 20, "after": 4 << 20, "reasons": []}
    page = Page(render({**report(usual_layers()), "constants": sizes}))
    assert "1.0 MiB → 4.0 MiB" in page.text


def test_report_of_a_tuning_run_is_shown() -> None:
    coarse = ReuseParameters("grid", "image", 4, 1.0)
    trials = (Trial(EXACT, 3.0, 0.0, 0.0), Trial(coarse, 1.5, 0.02, 0.002, (0.1, 0.12, 0.3)))
    layers = (
        LayerReport(("", "conv"), "Conv", 5.0, trials, coarse, "saves 1.50 ms"),
        LayerReport(("branch", "conv"), "Conv", None, (), None, "depthwise"),
    )
    kept = Finding("top-1 agreement", 0.9973, 0.995, (0.99, 0.999), True, 744, "%")
    source = TuningReport(
        model="net.onnx",
        created="2026-11-24 13:30",
        seconds=9.5,
        stopped_early=False,
        machine=Machine("a processor", 2, "avx2", None, 0.5),
        threads=2,
        batch=1,
        about_data={"calibration": "256 pictures", "held_out": "744 pictures", "fingerprint": "9f86d0", "seed": 3},
        budget="top-1 agreement >= 99.5 %",
        speed=Speed(10.0, 4.0, Ratio(2.5, 2.44, 2.61), 2.4, 30),
        calibration=None,
        held_out=Judgement((kept,), True, "744 pictures", 744, 0.01),
        verdict="rewritten",
        notes=(),
        layers=layers,
    )
    page = Page(render(source.to_dict()))
    assert page.rows == [
        ["conv", "Conv", "5.000", "1.500", "+3.500", "0.120", "2.0e-02", coarse.describe(), "saves 1.50 ms"],
        ["branch › conv", "Conv", "–", "–", "–", "–", "–", "kept", "depthwise"],
    ]
    assert kept.describe() in page.text
    assert "quartiles 2.44 to 2.61 of 30 pairs" in page.text


def test_unchanged_model_says_so_instead_of_a_speed() -> None:
    page = Page(render(report(usual_layers(), measured=False)))
    assert "the original model is the result" in page.text
    assert "×" not in page.text


def test_budget_that_broke_on_a_part_is_shown_as_broken() -> None:
    source = report(usual_layers())
    source["judgements"]["calibration"] = {"findings": [finding(kept=False)]}
    page = Page(render(source))
    classes = [attributes.get("class") for tag, attributes in page.elements if tag == "div"]
    assert classes.count("figure kept") == 1
    assert classes.count("figure broken") == 1
    assert "top-1 agreement, calibration data" in page.text


def test_run_that_time_cut_short_says_so() -> None:
    assert "stopped by the time limit" not in render(report(usual_layers()))
    assert "stopped by the time limit" in render(report(usual_layers()) | {"stopped_early": True})


def test_names_that_look_like_html_stay_text() -> None:
    usual = Page(render(report(usual_layers())))
    hostile = report([layer(HOSTILE, 2.0, HOSTILE, [trial(HOSTILE, 1.0, 0.1, [0.5])], HOSTILE)])
    hostile |= dict.fromkeys(("model", "created", "drpass", "budget", "verdict"), HOSTILE)
    hostile["notes"] = [HOSTILE]
    hostile["machine"] |= {"cpu": HOSTILE, "kernels": HOSTILE}
    hostile["data"] = dict.fromkeys(("calibration", "held_out", "fingerprint", "seed"), HOSTILE)
    hostile["judgements"]["held_out"]["findings"][0] |= {"what": HOSTILE, "text": HOSTILE}
    hostile["layers"][0] |= {"graph": HOSTILE, "op_type": HOSTILE}
    text = render(hostile)
    page = Page(text)
    assert text.count("</script") == text.count("<script") == 2
    assert page.count("script") == usual.count("script")
    assert page.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.rows[0][8] == HOSTILE
    assert page.data["layers"][0]["name"] == f"{HOSTILE} › {HOSTILE}"


@given(name=st.text(st.characters(codec=None), max_size=60))
def test_any_name_comes_through_the_embedded_data_unchanged(name: str) -> None:
    text = render(report([layer(name, 2.0, None, [])]))
    start = text.index(">", text.index('<script type="application/json"')) + 1
    embedded = text[start : text.index("</script>", start)]
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert json.loads(embedded)["layers"][0]["name"] == name


def test_page_names_nothing_outside_itself() -> None:
    page = Page(render(report(usual_layers())))
    sources = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "data")
    ]
    policies = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in str(policies[0])
    assert sources == ["data:,"]  # the empty icon, so that a browser asks for none


def test_name_of_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    write(report([layer("conv\ud800", 1.0, None, [])]), tmp_path / "page.html")
    assert "conv?" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_page_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DrpassError, match="can't write"):
        write(report(usual_layers()), tmp_path / "no such folder" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_report_without_layers_is_a_page() -> None:
    page = Page(render(report([])))
    assert page.rows == []
    assert "0 layers" in page.text


def test_unknown_numbers_become_null_for_the_plots() -> None:
    source = layer("conv", math.nan, "exact", [trial("exact", math.inf, math.nan, [math.nan])])
    page = Page(render(report([source])))
    assert page.rows[0][2:7] == ["–"] * 5
    assert page.data["layers"][0]["trials"] == [
        {"setting": "exact", "ms": None, "error": None, "effect": None, "ratio": None}
    ]


def test_ratios_of_an_exact_layer_are_those_of_its_fastest_clustering() -> None:
    trials = [
        trial("exact", 1.0, 0.0),
        trial("slow", 4.0, 0.01, [0.9]),
        trial("fast", 2.0, 0.1, [0.0, 0.3, 1.0]),
        trial("not timed", None, 0.001, [0.5]),
    ]
    row = Row.of(layer("conv", 3.0, "exact", trials))
    assert row.ratios is not None
    assert (row.ratios.setting, row.ratios.chosen, row.ratios.median) == ("fast", False, 0.3)
    assert [place for place, count in enumerate(row.ratios.counts) if count] == [0, 6, BINS - 1]


def test_setting_that_was_chosen_but_not_tried_has_no_time() -> None:
    row = Row.of(layer("conv", 3.0, "exact", []))
    assert (row.setting, row.chosen, row.chosen_ms, row.saved_ms) == ("exact", None, None, None)


def test_waterfall_leads_from_the_original_to_the_rewritten_time() -> None:
    source = report(usual_layers())
    steps = waterfall([Row.of(entry) for entry in source["layers"]], source["speed"])
    assert [(step["name"], step["saved"]) for step in steps["steps"]] == [
        ("conv2", 3.5),
        ("conv10", 2.0),
        ("everything else", 0.5),
    ]


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("count", [0, 1, LARGEST_STEPS + 1, 500])
def test_waterfall_of_any_number_of_layers_ends_where_it_says(count: int, measured: bool) -> None:
    source = report(many_layers(count), measured=measured)
    steps = waterfall([Row.of(entry) for entry in source["layers"]], source["speed"])
    assert steps["start"] - math.fsum(step["saved"] for step in steps["steps"]) == pytest.approx(steps["end"], abs=1e-9)
    assert len(steps["steps"]) == min(count, LARGEST_STEPS) + (count > LARGEST_STEPS) + measured
