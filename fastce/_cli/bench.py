"""``bench``: fastce beside the NumPy reference; a wrong result's time is not reported."""

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastce import _registry
from fastce._cli.check import SEED, agreement_errors, agreement_limit, result_parts
from fastce._cli.data import UserData
from fastce._cli.output import Document, Progress, finite, marks, shape_text, table
from fastce._cli.timing import interleaved

SHAPE = (1000, 1000)


def _measure(op: Any, method: str, arguments: tuple[np.ndarray, ...], repeats: int) -> Document:
    """Check one method on these arguments, then time it."""
    import fastce.reference

    extra = op.extra(np.random.default_rng(SEED), method, arguments)
    calls = {
        name: functools.partial(op.call(method, module), *arguments, *extra)
        for name, module in (("fastce", None), ("reference", fastce.reference))
    }
    shape = op.logits_shape(arguments)
    size = max(math.prod(shape), *(array.size for array in arguments))
    entry: Document = {
        "operation": op.id,
        "method": method,
        "shape": list(shape),
        "dtype": arguments[0].dtype.name,
        "ok": False,
    }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want = calls["reference"]()
        try:
            got = calls["fastce"]()
        except Exception as error:
            # A finding to report beside the others, not a reason to stop.
            return {**entry, "problem": f"{type(error).__name__}: {error}"}
        worst = max(
            float(np.max(agreement_errors(g, w), initial=0.0))
            for (_, g), (_, w) in zip(
                *(result_parts(op, method, result) for result in (got, want)), strict=True
            )
        )
        entry["reference_ulp"] = finite(worst)
        if not worst <= agreement_limit(op, arguments):
            return {**entry, "problem": f"{worst:.3g} ULP from the reference: not timed"}
        times = {name: min(t) for name, t in interleaved(calls, repeats).items()}
    return {
        **entry,
        "ok": True,
        "fastce_ns": times["fastce"] / size * 1e9,
        "reference_ns": times["reference"] / size * 1e9,
        "ratio": times["reference"] / times["fastce"],
    }


def run(
    dtype: str = "float64",
    data: UserData | None = None,
    shape: Sequence[int] = SHAPE,
    repeats: int = 7,
    methods: Sequence[str] | None = None,
) -> Document:
    """Time every operation that fastce has beside its reference.

    Parameters
    ----------
    dtype : str
        Dtype of the random arguments.
    data : UserData, optional
        Timed instead of random arguments, by the operations that take them.
    shape : sequence of int
        Shape of the random arguments.
    repeats : int
        Rounds, of which the fastest counts.
    methods : sequence of str, optional
        Only these methods; by default all.

    Returns
    -------
    dict
        ``"rows"`` with times in ns an element, and whether all results are ``"ok"``.
    """
    jobs = []
    for op in _registry.available():
        arguments = (
            data.arguments(op)
            if data
            else op.arguments(np.random.default_rng(SEED), tuple(shape), np.dtype(dtype))
        )
        if arguments is not None:
            chosen = [m for m in op.methods if methods is None or m in methods]
            jobs += [(op, method, arguments) for method in chosen]
    rows = []
    with Progress("bench", len(jobs)) as progress:
        for op, method, arguments in jobs:
            progress.step(f"{op.id} {method}")
            rows.append(_measure(op, method, arguments, repeats))
    return {"ok": all(row["ok"] for row in rows), "repeats": repeats, "rows": rows}


def render(document: Document) -> str:
    """Write the document of `run` as a table."""
    right, wrong = marks()
    headers = ["function", "method", "shape", "dtype", "fastce", "reference", "ratio", ""]
    lines = []
    for row in document["rows"]:
        cells = [row["operation"], row["method"], shape_text(row["shape"]), row["dtype"]]
        if row["ok"]:
            cells += [f"{row['fastce_ns']:.2f}", f"{row['reference_ns']:.2f}"]
            cells += [f"{row['ratio']:.1f}", right]
        else:
            cells += ["-", "-", "-", wrong]
        lines.append(cells)
    text = [
        f"Times in ns an element, the least of {document['repeats']}; "
        "ratio: how many times as fast as fastce.reference.",
        table(headers, lines, left=4),
    ]
    text += [
        f"{wrong} {row['operation']} {row['method']}: {row['problem']}"
        for row in document["rows"]
        if not row["ok"]
    ]
    return "\n".join(text)
