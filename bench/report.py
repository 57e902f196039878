"""Turn a run's JSON into tables and plots: ``python -m bench.report FILE``.

Written are `results.json` (the figures alone), `report.md`, and three pictures; with ``--readme``
the block between two markers in README.md as well.  No figure is typed by hand anywhere.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
OURS, REFERENCE, COPY = "fastce", "reference", "np.copyto"

# Okabe and Ito's colours, which everybody can tell apart.
COLOURS = {
    OURS: "#D55E00",
    "NumPy": "#0072B2",
    "SciPy": "#56B4E9",
    "scikit-learn": "#009E73",
    "PyTorch": "#CC79A7",
    "JAX": "#E69F00",
    "Numba": "#7F7F7F",
    REFERENCE: "#BFBFBF",
}

Results = dict[str, Any]
Row = dict[str, Any]


def condense(raw: dict[str, Any]) -> Results:
    """Keep of pytest-benchmark's JSON what the report needs.

    Parameters
    ----------
    raw : dict
        The document that ``--benchmark-json`` wrote.

    Returns
    -------
    dict
        ``"machine"``, and ``"rows"``: one a workload, in the order of the table, with the least
        seconds a call of each candidate.
    """
    rows: dict[tuple[str, str], Row] = {}
    for entry in raw["benchmarks"]:
        extra = entry["extra_info"]
        row = rows.setdefault(
            (extra["suite"], extra["workload"]),
            {key: value for key, value in extra.items() if key != "candidate"}
            | {"rounds": entry["stats"]["rounds"], "seconds": {}},
        )
        row["seconds"][extra["candidate"]] = entry["stats"]["min"]
    return {"machine": raw["machine_info"], "rows": list(rows.values())}


def best_peer(row: Row) -> str | None:
    """Name the fastest candidate that is neither fastce nor a yardstick of its own."""
    yardsticks = {OURS, REFERENCE, COPY}
    if row["whole_call"]:
        # Where checking the arguments is most of the call, a loop that checks nothing is a limit
        # to look at, not a library that does the same.
        yardsticks.add("Numba")
    peers = {name: s for name, s in row["seconds"].items() if name not in yardsticks}
    return min(peers, key=peers.__getitem__) if peers else None


def ratio(row: Row, name: str | None) -> float | None:
    """Tell how many times as long `name` takes as fastce."""
    seconds = row["seconds"]
    return seconds[name] / seconds[OURS] if name in seconds and OURS in seconds else None


def reached(row: Row) -> bool | None:
    """Tell whether the goal is reached, None if there is none or it cannot be told."""
    goal = row["goal"]
    if goal is None:
        return None
    if goal["beside"] == "copy":
        times = ratio(row, COPY)
        return None if times is None else 1 / times <= goal["factor"]
    times = ratio(row, best_peer(row))
    return None if times is None else times >= goal["factor"]


def time_text(row: Row, name: str | None) -> str:
    """Write a time in ns an element, or in µs a call where the call is what counts."""
    seconds = row["seconds"].get(name)
    if seconds is None:
        return ""
    if row["whole_call"]:
        return f"{seconds * 1e6:.2f} µs"
    return f"{seconds / row['elements'] * 1e9:.2f}"


def times_text(times: float | None) -> str:
    """Write a ratio."""
    return "" if times is None else f"{times:.2f}"


def goal_text(row: Row) -> str:
    """Write the goal, and whether it is reached."""
    goal = row["goal"]
    if goal is None:
        return ""
    text = f"≥ {goal['factor']:g}" if goal["beside"] == "peer" else f"copy x {goal['factor']:g}"
    return text + {True: " ✓", False: " ✗", None: ""}[reached(row)]


def caption(results: Results) -> str:
    """Say what the figures were measured on."""
    machine = results["machine"]
    ours = machine["fastce"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rounds = sorted({row["rounds"] for row in results["rows"]})
    threads = machine["threads"]
    return (
        f"Nanoseconds an element, the least of {'/'.join(map(str, rounds))} rounds in turns, "
        f"{threads} thread{'s' if threads > 1 else ''}, float64 unless said. "
        f"CPU {machine['cpu']}, instruction set {ours['target']}, "
        f"fastce {ours['version']} compiled with {ours['compiler']}, "
        f"Python {machine['python_version']}; {versions}."
    )


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, the first column flush left."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def of_suite(results: Results, *suites: str) -> list[Row]:
    """Give the rows of some suites."""
    return [row for row in results["rows"] if row["suite"] in suites]


def full_table(rows: Sequence[Row]) -> str:
    """Write all candidates side by side."""
    present = {name for row in rows for name in row["seconds"]}
    names = [name for name in (*COLOURS, COPY) if name in present]
    goals = any(row["goal"] for row in rows)
    headers = ["workload", *names, "best peer / fastce", *(["goal"] if goals else [])]
    lines = []
    for row in rows:
        best = best_peer(row)
        cells = [f"**{time_text(row, n)}**" if n == best else time_text(row, n) for n in names]
        line = [f"`{row['workload']}`", *cells, times_text(ratio(row, best))]
        lines.append([*line, goal_text(row)] if goals else line)
    return markdown_table(headers, lines)


def short_table(rows: Sequence[Row]) -> str:
    """Write fastce beside the fastest peer only, for the README."""
    lines = []
    for row in rows:
        best = best_peer(row)
        copy = ratio(row, COPY)
        lines.append(
            [
                f"`{row['workload']}`",
                time_text(row, OURS),
                f"{best} {time_text(row, best)}" if best else "",
                times_text(ratio(row, best)),
                times_text(None if copy is None else 1 / copy),
            ]
        )
    headers = ["workload", "fastce", "best peer", "best peer / fastce", "fastce / np.copyto"]
    return markdown_table(headers, lines)


def report(results: Results) -> str:
    """Write the whole report."""
    parts = ["# Benchmarks", caption(results), "Best peer in bold."]
    goals, others = of_suite(results, "goals"), of_suite(results, "operations")
    if goals:
        parts += ["## Workloads", full_table(goals), "![bars per workload](workloads.png)"]
    if of_suite(results, "classes"):
        parts += ["## Cost against the number of classes", "![ns an element](classes.png)"]
    if of_suite(results, "sizes"):
        parts += ["## Cost against the size", "![ns an element](sizes.png)"]
    if others:
        parts += ["## Every operation", full_table(others)]
    return "\n\n".join(parts) + "\n"


def readme_block(results: Results, pictures: str) -> str:
    """Write what stands between the README's markers."""
    rows = of_suite(results, "goals")
    parts = [
        f"![bars per workload]({pictures}/workloads.png)",
        short_table(rows),
        caption(results),
    ]
    if of_suite(results, "classes"):
        parts.append(f"![ns an element against the number of classes]({pictures}/classes.png)")
    return "\n\n".join(parts)


def rewrite(path: Path, block: str) -> None:
    """Put `block` between the markers of a file.

    Raises
    ------
    ValueError
        If the markers are not there once each, in order.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{path} must hold {BEGIN} and {END}, once each, in this order")
    path.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")


def _ns(row: Row, name: str) -> float:
    return float(row["seconds"][name]) / float(row["elements"]) * 1e9


def plot_bars(rows: Sequence[Row], path: Path) -> None:
    """Draw one panel of bars a workload, the shortest first."""
    import matplotlib.pyplot as plt

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.4 * columns, 1.95 * lines), layout="constrained", squeeze=False
    )
    for panel in axes.flat[len(rows) :]:
        panel.set_axis_off()
    for panel, row in zip(axes.flat, rows, strict=False):
        shown = [name for name in row["seconds"] if name not in (REFERENCE, COPY)]
        shown.sort(key=row["seconds"].__getitem__, reverse=True)
        # of a whole call, microseconds
        scale = row["elements"] / 1e3 if row["whole_call"] else 1
        values = [_ns(row, name) * scale for name in shown]
        bars = panel.barh(shown, values, color=[COLOURS[name] for name in shown], height=0.75)
        texts = [time_text(row, name) for name in shown]
        panel.bar_label(bars, texts, padding=3, fontsize=7)
        if COPY in row["seconds"]:
            panel.axvline(_ns(row, COPY), color="black", linewidth=0.8, linestyle=":")
            panel.annotate(
                "copy",
                (_ns(row, COPY), 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                fontsize=6,
            )
        operation, _, details = row["workload"].partition(", ")
        panel.set_title(f"{operation}\n{details}", fontsize=8)
        panel.set_xlim(0, max(values) * 1.2)
        panel.tick_params(labelsize=7)
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right"]].set_visible(False)
        for label in panel.get_yticklabels():
            if label.get_text() == OURS:
                label.set_fontweight("bold")
    figure.suptitle("ns an element, less is better", fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _sparse(value: float, position: float) -> str:
    """Label a logarithmic axis at 2 and 5 between the powers of ten."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def plot_lines(rows: Sequence[Row], path: Path, title: str, xlabel: str, last_axis: bool) -> None:
    """Draw ns an element against the number of classes (or elements), one line a candidate."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for name, colour in COLOURS.items():
        points = [
            (row["shape"][-1] if last_axis else row["elements"], _ns(row, name))
            for row in rows
            if name in row["seconds"]
        ]
        if points:
            ours = name == OURS
            axes.plot(
                *zip(*sorted(points), strict=True),
                label=name,
                color=colour,
                linewidth=2.5 if ours else 1.3,
                marker="o",
                markersize=4 if ours else 3,
                linestyle="--" if name == REFERENCE else "-",
                zorder=3 if ours else 2,
            )
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="ns an element", title=title)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(_sparse)
    axes.grid(True, which="major", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=2, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def plot_all(results: Results, folder: Path) -> None:
    """Draw the pictures that the results have rows for."""
    import matplotlib

    matplotlib.use("Agg")  # to files only: no display is needed
    if goals := of_suite(results, "goals"):
        plot_bars(goals, folder / "workloads.png")
    if classes := of_suite(results, "classes"):
        plot_lines(
            classes,
            folder / "classes.png",
            "cross_entropy.value_and_grad, about 10⁶ logits",
            "classes k",
            last_axis=True,
        )
    if sizes := of_suite(results, "sizes"):
        plot_lines(sizes, folder / "sizes.png", "sigmoid, out=", "elements", last_axis=False)


def write(raw: Path, folder: Path = RESULTS, readme: Path | None = None) -> str:
    """Write everything from the JSON file of a run.

    Parameters
    ----------
    raw : Path
        What ``--benchmark-json`` wrote, or a ``results.json`` of before.
    folder : Path
        Where the report goes.
    readme : Path, optional
        A file whose marked block is rewritten.

    Returns
    -------
    str
        The report, Markdown.
    """
    document = json.loads(raw.read_text(encoding="utf-8"))
    results = condense(document) if "benchmarks" in document else document
    folder.mkdir(parents=True, exist_ok=True)
    text = report(results)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(text, encoding="utf-8")
    plot_all(results, folder)
    if readme is not None:
        pictures = folder.resolve().relative_to(readme.resolve().parent).as_posix()
        rewrite(readme, readme_block(results, pictures))
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("file", type=Path, help="what --benchmark-json wrote, or a results.json")
    parser.add_argument(
        "--folder", type=Path, default=RESULTS, help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--readme",
        type=Path,
        nargs="?",
        const=ROOT / "README.md",
        help="rewrite the marked block of this file (default: the project's README.md)",
    )
    arguments = parser.parse_args(argv)
    print(write(arguments.file, arguments.folder, arguments.readme))
    return 0


if __name__ == "__main__":
    sys.exit(main())
