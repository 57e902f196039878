"""``check``: every function against the reference, and against mpmath where it is installed.

Two comparisons, for they see different things.  The reference has every function, method, option
and kind of input, but is itself computed in the working precision: errors against it are measured
in units in the last place (ULP) of the largest result of the call, up to `agreement_limit`.  The
exact values of mpmath exist where the contract states a bound; there errors are measured as the
contract says, and the bound itself is the limit.
"""

import importlib.util
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastce import _registry
from fastce._cli.data import UserData
from fastce._cli.output import Document, Progress, finite, marks, table

AGREEMENT = 64  # ULP of the largest result that fastce and the reference may differ by
SHAPES = ((24, 2), (12, 10), (1, 400))
SPREADS = (4.0, 40.0, 700.0)
EXACT_ELEMENTS = 4000  # of a user's data that go through mpmath, which is slow
SEED = 20260101

# What each method returns; an error is booked under the part, whichever method it came from.
PARTS = {
    "value": ("value",),
    "grad": ("grad",),
    "value_and_grad": ("value", "grad"),
    "grad_and_hess": ("grad", "hess"),
    "hvp": ("hvp",),
}


def agreement_limit(op: Any, arguments: tuple[np.ndarray, ...]) -> float:
    """Give the ULP that fastce and the reference may differ by, for these arguments.

    The reference takes exp(x - max(x)), and the difference is rounded once: its results are off by
    up to half as many ULP as the difference is large, wherever all of them are small.
    """
    return AGREEMENT + float(op.slack(arguments))


def result_parts(op: Any, method: str, result: Any) -> list[tuple[str, Any]]:
    """List a result's arrays, each with the name of the part that it belongs to."""
    if op.kind not in ("loss", "linear"):
        return [("value", one) for one in (result if isinstance(result, tuple) else (result,))]
    names = PARTS[method]
    parts = zip(names, result if len(names) > 1 else (result,), strict=True)
    if op.kind == "loss":
        return list(parts)
    return [
        (name, one)
        for name, part in parts
        for one in (part if isinstance(part, tuple) else (part,))
        if one is not None
    ]


def agreement_errors(got: Any, want: Any) -> np.ndarray:
    """Give errors in ULP of the largest number of `want`.

    Equal infinities, and NaN where NaN is wanted, are no error; different ones are an infinite
    error, as are a wrong shape and a wrong dtype.
    """
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        return np.array([np.inf])
    number = np.isfinite(want) & np.isfinite(got)
    unit = float(np.spacing(np.max(np.abs(want), initial=0, where=number)))
    with np.errstate(all="ignore"):
        errors = np.abs(got.astype(np.float64) - want.astype(np.float64)) / unit
        same = (got == want) | (np.isnan(got) & np.isnan(want))
    return np.where(same, 0.0, np.where(number, errors, np.inf))


@dataclass
class Row:
    """The largest errors of one part of one operation."""

    operation: str
    part: str
    reference: dict[str, float] = field(default_factory=dict)  # dtype -> ULP
    # dtype -> ULP and its bound, of the case that comes closest to its bound (options have other
    # bounds than the plain call)
    exact: dict[str, tuple[float, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    cases: int = 0

    @property
    def ok(self) -> bool:
        """Whether every error is within its limit and nothing was raised."""
        return not self.problems

    def note(self, problem: str) -> None:
        """Keep the first few problems: they tend to repeat."""
        if problem not in self.problems and len(self.problems) < 3:
            self.problems.append(problem)

    def document(self) -> Document:
        """Give the row for JSON."""
        return {
            "operation": self.operation,
            "part": self.part,
            "cases": self.cases,
            "exact": {
                key: {"ulp": finite(ulp), "bound": bound}
                for key, (ulp, bound) in self.exact.items()
            },
            "reference_ulp": {key: finite(value) for key, value in self.reference.items()},
            "ok": self.ok,
            "problems": self.problems,
        }


@dataclass(frozen=True, eq=False)
class Case:
    """One call's input."""

    arguments: tuple[np.ndarray, ...]
    options: dict[str, Any]
    label: str


def _text(options: dict[str, Any]) -> str:
    return ", ".join(
        f"{key}={value}" if np.ndim(value) == 0 else f"{key}=array"
        for key, value in options.items()
    )


def _cases(op: Any, dtype: str, rng: np.random.Generator) -> Iterator[Case]:
    """Draw cases of every shape, spread and set of options."""
    for shape, spread in itertools.product(SHAPES, SPREADS):
        arguments = op.arguments(rng, shape, np.dtype(dtype), spread=spread)
        for options in op.option_sets(rng, shape, np.dtype(dtype)):
            yield Case(arguments, options, f"shape {shape}, spread {spread:g}")


def _user_cases(op: Any, data: UserData, rng: np.random.Generator) -> Iterator[Case]:
    arguments = data.arguments(op)
    if arguments is not None:
        for options in op.option_sets(rng, data.logits.shape, data.logits.dtype):
            yield Case(arguments, options, "your data")


def _layouts(op: Any, case: Case) -> Iterator[dict[str, Any]]:
    """Give the keywords under which a case is compared with the reference."""
    if op.kind == "loss":
        for reduction in ("none", "mean", "sum"):
            yield {**case.options, "reduction": reduction}
    elif op.kind == "linear":
        for reduction in ("mean", "sum"):
            yield {**case.options, "reduction": reduction}
    else:
        yield case.options


def _sample(op: Any, case: Case) -> Case:
    """Cut a case down to the leading rows that mpmath can do in reasonable time."""
    x = case.arguments[0]
    if x.size <= EXACT_ELEMENTS:
        return case
    if not op.has_axis:
        flat = [np.broadcast_to(a, x.shape).ravel()[:EXACT_ELEMENTS] for a in case.arguments]
        options = {
            key: np.broadcast_to(v, x.shape).ravel()[:EXACT_ELEMENTS] if np.ndim(v) else v
            for key, v in case.options.items()
        }
        return Case(tuple(flat), options, case.label)
    k = x.shape[-1]
    rows = max(1, EXACT_ELEMENTS // k)

    def cut(array: np.ndarray) -> np.ndarray:
        per_row = array.shape[: x.ndim - 1] == x.shape[:-1]
        tail = array.shape[x.ndim - 1 :] if per_row else ()
        return array.reshape(-1, *tail)[:rows] if per_row and x.ndim > 1 else array

    options = {
        key: cut(np.asarray(v)) if key == "sample_weight" else v for key, v in case.options.items()
    }
    return Case(tuple(cut(a) for a in case.arguments), options, case.label)


def _check_reference(op: Any, case: Case, dtype: str, rows: dict[str, Row]) -> None:
    """Compare every method of a case with the reference."""
    import fastce.reference

    extra_rng = np.random.default_rng(SEED)
    for method in op.methods:
        extra = op.extra(extra_rng, method, case.arguments)
        for options in _layouts(op, case):
            label = f"{method}({_text(options)}), {case.label}"
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                want = op.call(method, fastce.reference)(*case.arguments, *extra, **options)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    got = op.call(method)(*case.arguments, *extra, **options)
            except Exception as error:
                # Whatever is raised here is a finding to report, not a reason to stop.
                rows[PARTS[method][0]].note(f"{label}: {type(error).__name__}: {error}")
                continue
            pairs = (result_parts(op, method, result) for result in (got, want))
            for (name, g), (_, w) in zip(*pairs, strict=True):
                row, error_ulp = rows[name], float(np.max(agreement_errors(g, w), initial=0.0))
                row.cases += 1
                row.reference[dtype] = max(row.reference.get(dtype, 0.0), error_ulp)
                if not error_ulp <= agreement_limit(op, case.arguments):
                    row.note(f"{label}: {error_ulp:.3g} ULP from the reference")


def _check_exact(op: Any, case: Case, dtype: str, rows: dict[str, Row]) -> None:
    """Compare value and gradient with exact ones, where a bound is stated."""
    if not op.bounds:
        return
    if op.has_axis and case.arguments[0].shape[-1] > EXACT_ELEMENTS and case.options:
        return  # one long row takes mpmath seconds: the plain call is enough
    case = _sample(op, case)
    options = {**case.options, "reduction": "none"} if op.kind == "loss" else case.options
    for part in op.bounds:
        bound = op.bound(part, case.options)
        if bound is None:
            continue
        values, scales = op.exact(part, case.arguments, case.options)
        for method in op.methods:
            if part not in PARTS[method]:
                continue
            label = f"{method}({_text(options)}), {case.label}"
            try:
                results = op.call(method)(*case.arguments, **options)
            except Exception as error:
                rows[part].note(f"{label}: {type(error).__name__}: {error}")
                continue
            got = dict(result_parts(op, method, results))[part]
            row = rows[part]
            worst = float(np.max(_registry.ulp_errors(got, values, scales), initial=0.0))
            before = row.exact.get(dtype, (0.0, bound))
            row.exact[dtype] = max(before, (worst, bound), key=lambda pair: pair[0] / pair[1])
            if not worst <= bound:
                row.note(f"{label}: {worst:.3g} ULP, the bound is {bound}")


def run(dtypes: Sequence[str], data: UserData | None = None) -> Document:
    """Check every operation that fastce has.

    Parameters
    ----------
    dtypes : sequence of str
        "float32", "float64" or both; a user's data come in their own.
    data : UserData, optional
        Checked instead of random arguments, by the operations that take them.

    Returns
    -------
    dict
        ``"rows"``, and whether all is ``"ok"``.
    """
    exact = importlib.util.find_spec("mpmath") is not None
    if data is not None:
        dtypes = [data.logits.dtype.name]
    operations = [op for op in _registry.available() if not data or data.arguments(op)]
    finished: list[Row] = []
    with Progress("check", len(operations) * len(dtypes)) as progress:
        for op in operations:
            names = dict.fromkeys(name for method in op.methods for name in PARTS[method])
            rows = {name: Row(op.id, name) for name in names}
            for dtype in dtypes:
                progress.step(f"{op.id} {dtype}")
                rng = np.random.default_rng(SEED)
                cases = _user_cases(op, data, rng) if data else _cases(op, dtype, rng)
                for case in cases:
                    _check_reference(op, case, dtype, rows)
                    if exact:
                        _check_exact(op, case, dtype, rows)
            finished += rows.values()
    return {
        "ok": all(row.ok for row in finished),
        "dtypes": list(dtypes),
        "mpmath": exact,
        "agreement_ulp": AGREEMENT,
        "rows": [row.document() for row in finished],
    }


def _ulp(value: float | None) -> str:
    """Write an error in ULP; one that has no number is infinite."""
    return "inf" if value is None else f"{value:.2f}" if value < 1000 else f"{value:.1e}"


def _exact_cell(row: Document, dtype: str) -> str:
    entry = row["exact"].get(dtype)
    return f"{_ulp(entry['ulp'])} of {entry['bound']}" if entry else "-"


def _reference_cell(row: Document, dtype: str) -> str:
    return _ulp(row["reference_ulp"][dtype]) if dtype in row["reference_ulp"] else "-"


def render(document: Document) -> str:
    """Write the document of `run` as a table."""
    right, wrong = marks()
    dtypes = document["dtypes"]
    headers = ["function", "part", *(f"{d} exact" for d in dtypes)]
    headers += [*(f"{d} ref." for d in dtypes), ""]
    lines = [
        [row["operation"], row["part"]]
        + [_exact_cell(row, d) for d in dtypes]
        + [_reference_cell(row, d) for d in dtypes]
        + [right if row["ok"] else wrong]
        for row in document["rows"]
    ]
    text = [
        "Largest errors in ULP: from exact values (mpmath), with the bound promised; and from",
        f"fastce.reference, in ULP of the largest result, up to {document['agreement_ulp']} + |x|.",
        table(headers, lines, left=2),
    ]
    if not document["mpmath"]:
        text.append("No exact values without mpmath: pip install 'fastce[test]' brings it.")
    for row in document["rows"]:
        text += [f"{wrong} {row['operation']} {row['part']}: {p}" for p in row["problems"]]
    failed = sum(not row["ok"] for row in document["rows"])
    cases = sum(row["cases"] for row in document["rows"])
    text.append(
        f"{wrong} {failed} of {len(document['rows'])} rows have an error beyond its limit"
        if failed
        else f"{right} all {len(document['rows'])} rows within their limits ({cases} comparisons)"
    )
    return "\n".join(text)
