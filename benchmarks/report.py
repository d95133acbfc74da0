"""A result as words, tables and a chart."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from parties import PARTIES

WITHIN = 0.01  # largest difference in the number of spikes at which times are compared
BASES = ("batched", "batched-target-cython")  # whose times the others are told in


def ratios(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the time of every party over those of ``BASES`` in the same repeat, where both did the same work."""
    found = []
    for run in result["runs"]:
        for base in BASES:
            ours = next((r for r in result["runs"] if r["party"] == base and _same(r, run) and "error" not in r), None)
            if ours is None or run["party"] == base or "error" in run:
                continue
            off = run["spikes_per_image"] / run["same_images"] - 1 if run["same_images"] else 0.0
            each = [theirs / mine for theirs, mine in zip(run["per_1000"], ours["per_1000"], strict=True)]
            found.append({**{k: run[k] for k in ("network", "n_steps", "party")}, "base": base, "spikes_off": off, "ratios": each})
    return found


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return (a["network"], a["n_steps"]) == (b["network"], b["n_steps"])


def spread(values: list[float], digits: int = 3) -> str:
    return " / ".join(f"{v:.{digits}g}" for v in (min(values), statistics.median(values), max(values)))


def markdown(result: dict[str, Any], chart: str | None) -> str:
    m = result["machine"]
    lines = [
        "# Speed of the engines",
        "",
        f"Measured on {m['processor']}, {m['cores']} cores, {result['threads']} "
        f"thread(s); Python {m['python']}, {', '.join(f'{k} {v}' for k, v in result['versions'].items())}. "
        "Parties take turns in every repeat, each after a short run that is not timed; three numbers are minimum / median / maximum of the repeats. "
        "Thresholds at the 99.9th percentile, initial potential theta/2, pixels as constant current, peers in batches of "
        f"{result['batch']}. Ratios are times over that of `batched` (NumPy code generation), and over that of the target Cython, "
        "in the same repeat; above 1 is slower than ours. They are given only where the numbers of spikes differ by less than 1 %.",
    ]
    compared = {(r["network"], r["n_steps"], r["party"], r["base"]): r for r in result["ratios"]}
    for network, n_steps in sorted({(r["network"], r["n_steps"]) for r in result["runs"]}):
        runs = [r for r in result["runs"] if (r["network"], r["n_steps"]) == (network, n_steps)]
        most = max((r["images"] for r in runs if "error" not in r), default=0)
        lines += ["", f"## {network} network, T = {n_steps}, {most:,} images", "", *_source(result, f"{network} T = {n_steps}")]
        lines += [
            "| party | s per 1,000 images | times `batched` | times target cython | spikes | accuracy [%] | synaptic operations/s | peak memory [MB] |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        for run in runs:
            title = PARTIES[run["party"]].title
            if "error" in run:
                lines.append(f"| {title} | {run['error']} | | | | | | |")
                continue
            shown = " | ".join(_ratio(run["party"], base, compared.get((network, n_steps, run["party"], base))) for base in BASES)
            rate = f"{run['operations_per_s'] / 1e9:.2f} G" if run.get("operations_per_s") else "-"
            peak = f"{run['peak_bytes'] / 1e6:.0f}" if run.get("peak_bytes") else "-"
            few = f" ({run['images']} images)" if PARTIES[run["party"]].single or PARTIES[run["party"]].slow else ""
            lines.append(
                f"| {title}{few} | {spread(run['per_1000'])} | {shown} | {run['spikes_per_image']:.0f} | {100 * run['accuracy']:.2f} | {rate} | {peak} |"
            )
        lines += _limit(result, network, n_steps, runs)
        for share in result["shares"]:
            if _same(share, runs[0]):
                whole = share["seconds"]
                parts = ", ".join(f"{name} {100 * s / whole:.0f} %" for name, s in share["parts"].items())
                rest = 100 * (1 - sum(share["parts"].values()) / whole)
                lines += [
                    "",
                    f"Where the time of `{share['party']}` goes: {parts}, overhead {rest:.0f} % (counting, read-out, Brian2, set-up).",
                ]
    lines += _sweeps(result)
    if result.get("checks"):
        lines += ["", "## Start, memory, workers", "", *_source(result, "checks")]
        lines += [f"* {name}: {value}" for name, value in result["checks"].items()]
    if chart:
        lines += ["", f"![Cost against window, width, batch and activity]({chart})"]
    return "\n".join(lines) + "\n"


def _source(result: dict[str, Any], part: str) -> list[str]:
    """Return when, and by which command, a part was measured."""
    source = result["sources"][part]
    return [f"{source['date']}, by", "", f"    {source['command']}", ""]


def _ratio(party: str, base: str, found: dict[str, Any] | None) -> str:
    if found is None:
        return "1" if party == base else "-"
    if abs(found["spikes_off"]) >= WITHIN:
        return f"not compared: {100 * found['spikes_off']:+.1f} % spikes"
    return spread(found["ratios"])


def _limit(result: dict[str, Any], network: str, n_steps: int, runs: list[dict[str, Any]]) -> list[str]:
    lines = []
    for bound in result["limits"]:
        if (bound["network"], bound["n_steps"]) != (network, n_steps):
            continue
        run = next((r for r in runs if r["party"] == bound["party"] and "error" not in r), None)
        if run is None:
            continue
        whole = bound["seconds"] / bound["images"] * 1000
        fastest = "; ".join(f"{max(r, key=r.get)} {max(r.values()) / 1e9:.1f} G/s" for r in bound["delivery_per_s"])
        lines += [
            "",
            f"Limit of the machine for `{bound['party']}`: {whole:.3g} s per 1,000 images (first layer {bound['first_layer'] / bound['seconds']:.0%} at "
            f"{bound['blas_macs_per_s'] / 1e9:.0f} GMAC/s in float32; delivery {bound['delivery'] / bound['seconds']:.0%}, fastest ways: {fastest}; neuron steps "
            f"{bound['neuron_steps'] / bound['seconds']:.0%} at {bound['cache_bytes_per_s'] / 1e9:.0f} GB/s). The engine takes "
            f"{spread(bound['times'])} times the limit measured right after it.",
        ]
    return lines


def _sweeps(result: dict[str, Any]) -> list[str]:
    if not result["sweeps"]:
        return []
    lines = ["", "## Cost against window, width, batch and activity", "", *_source(result, "sweeps")]
    lines += [
        "Synthetic network, two equally wide hidden layers; where not varied: T = {n_steps}, width {width}, batch {batch}, activity {activity:.0%}.".format(
            **result["sweep_base"]
        )
    ]
    lines += [
        "",
        "| axis | value | s per 1,000 samples | ns a sample and step | synaptic operations/s | activity reached | delivery |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["sweeps"]:
        each = [1000 * s / row["samples"] for s in row["seconds"]]
        step = 1e9 * statistics.median(row["seconds"]) / row["samples"] / row["n_steps"]
        rate = row["synaptic_operations"] / min(row["seconds"])
        lines.append(
            f"| {row['axis']} | {row['value']} | {spread(each)} | {step:.0f} | {rate / 1e9:.2f} G | {row['reached_activity']:.1%} | {row['delivery']} |"
        )
    return lines


def chart(result: dict[str, Any], path: Path) -> bool:
    """Write the sweeps as an SVG; return False where vl-convert is absent."""
    try:
        import vl_convert
    except ImportError:
        return False
    titles = {
        "n_steps": "window T [steps]",
        "width": "neurons in a hidden layer",
        "batch": "samples in a batch",
        "activity": "share of steps with a spike",
    }
    charts = []
    for axis, title in titles.items():
        rows = [
            {
                "value": r["value"],
                **dict(zip(("low", "cost", "high"), _three([s * 1000 / r["samples"] for s in r["seconds"]]), strict=True)),
            }
            for r in result["sweeps"]
            if r["axis"] == axis
        ]
        x = {"field": "value", "type": "quantitative", "scale": {"type": "log"}, "title": title}
        y = {"field": "cost", "type": "quantitative", "scale": {"type": "log"}, "title": "s per 1,000 samples"}
        charts.append(
            {
                "width": 260,
                "height": 200,
                "data": {"values": rows},
                "layer": [
                    {"mark": {"type": "line", "point": True, "color": "#0072B2"}, "encoding": {"x": x, "y": y}},
                    {
                        "mark": {"type": "rule", "color": "#0072B2"},
                        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
                    },
                ],
            }
        )
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "config": {"background": "white", "font": "sans-serif"},
        "vconcat": [{"hconcat": charts[:2]}, {"hconcat": charts[2:]}],
    }
    path.write_text(vl_convert.vegalite_to_svg(spec))
    return True


def _three(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)
