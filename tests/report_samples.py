"""Reports of tuning runs that the page is tested with, in the form of `TuningReport.to_dict`."""

from __future__ import annotations

from typing import Any

#: A name that would be a script, an image and an attribute, if anything took it for HTML.
HOSTILE = '</script><img src=x onerror="window.broken=1"><!--<script>&amp;\'\u2028日本語\u202e'


def trial(setting: str, ms: float | None, error: float, ratios: list[float] | None = None) -> dict[str, Any]:
    """One setting that was tried; with ``ratios`` it clusters."""
    return {
        "parameters": {"method": setting.split()[0]},
        "setting": setting,
        "ms": ms,
        "error": error,
        "effect": error / 10,
        "remaining_ratios": ratios or [],
    }


def layer(
    node: str, dense_ms: float | None, chosen: str | None, trials: list[dict[str, Any]], reason: str = "measured"
) -> dict[str, Any]:
    """One Conv of the main graph."""
    return {
        "graph": "",
        "node": node,
        "op_type": "Conv",
        "dense_ms": dense_ms,
        "chosen": chosen,
        "reason": reason,
        "trials": trials,
    }


def finding(kept: bool = True) -> dict[str, Any]:
    """One clause of a budget."""
    return {
        "what": "top-1 agreement",
        "text": "top-1 agreement 99.73 % [99.01, 99.91], limit 99.50, n 744",
        "value": 0.9973,
        "limit": 0.995,
        "interval": [0.9901, 0.9991],
        "kept": kept,
        "n": 744,
    }


def report(layers: list[dict[str, Any]], *, measured: bool = True) -> dict[str, Any]:
    """A run of 10 ms a call before and 4 ms after, or one that changed nothing."""
    speed = {"original_ms": 10.0, "rewritten_ms": 4.0, "ratio": 2.5, "ratio_quartiles": [2.44, 2.61], "pairs": 30}
    return {
        "model": "net.onnx",
        "created": "2026-11-24 13:30",
        "drpass": "0.1.0",
        "seconds": 212.3,
        "stopped_early": False,
        "machine": {"cpu": "a processor", "cores": 2, "kernels": "avx2", "load_before": None, "load_after": 0.5},
        "threads": 2,
        "batch": 1,
        "data": {"calibration": "256 pictures", "held_out": "744 pictures", "fingerprint": "9f86d0", "seed": 3},
        "budget": "top-1 agreement >= 99.5 %",
        "speed": speed if measured else None,
        "judgements": {"calibration": None, "held_out": {"findings": [finding()]} if measured else None},
        "verdict": "rewritten: 2.50x as fast" if measured else "unchanged: nothing is faster",
        "notes": ["clustering spent the budget"],
        "layers": layers,
    }


def usual_layers() -> list[dict[str, Any]]:
    """Three layers: clustered, exact with clusterings that lost, and kept without a time."""
    coarse, fine = "grid L=4 step=1σ image r_c≤0.5 int16", "grid L=4 step=0.5σ image r_c≤0.5 int16"
    return [
        layer(
            "conv2",
            5.0,
            coarse,
            [trial("exact", 3.0, 0.0), trial(coarse, 1.5, 0.02, [0.1, 0.12, 0.3]), trial(fine, None, 0.004, [0.6])],
        ),
        layer("conv10", 4.0, "exact", [trial("exact", 2.0, 0.0), trial(coarse, 6.0, 0.03, [0.81, 0.9])]),
        layer("conv1", None, None, [], "kept: depthwise (group = channels)"),
    ]


def many_layers(count: int) -> list[dict[str, Any]]:
    """As large networks have them: the times of no two are the same."""
    return [
        layer(
            f"stage{place // 10}/block{place}/Conv2D",
            1.0 + place / 1000,
            "exact",
            [trial("exact", 0.5, 0.0), *(trial(f"grid L={2**k}", 0.6 + k / 10, 0.1**k, [0.2] * 64) for k in range(6))],
        )
        for place in range(count)
    ]
