"""What comes out at the edges: each row of docs/edge_cases.csv, which the docs show as a table.

Both `fastce` and its reference must give it. Infinities, NaN and zeros (their sign too) are exact;
other numbers are within 2 ULP. Warnings are errors in this suite, so no row may give one.
"""

import csv
import pathlib

import numpy as np
import pytest
from _support import LINEAR, LOSSES, dtypes, parts

import fastce
from fastce import reference

pytestmark = pytest.mark.core

TABLE = pathlib.Path(__file__).parent.parent / "docs" / "edge_cases.csv"
NAMES = {"__builtins__": {}, "nan": np.nan, "inf": np.inf, "np": np, "dict": dict}
# Which argument of a function may be classes.
CLASSES_AT = {
    "cross_entropy": 1,
    "nll_loss": 1,
    "categorical_cross_entropy": 1,
    "linear_cross_entropy": 2,
}


def read():
    """Read the table: (function, arguments, options, what it gives), evaluated."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield (
                row["function"],
                eval(f"({row['arguments']},)", NAMES),
                eval(f"dict({row['options']})", NAMES),
                eval(row["gives"], NAMES),
            )


ROWS = tuple(read())


def with_dtype(name, position, value, dtype):
    """Give an argument as an array: integers stay where they are classes, the rest is `dtype`."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(with_dtype(name, None, one, dtype) for one in value)
    array = np.asarray(value)
    if CLASSES_AT.get(name) == position and array.dtype.kind == "i":
        return array
    return array.astype(dtype)


def assert_exactly(got, want, dtype):
    """Check the shape, the dtype, infinities, NaN and zeros exactly, the rest to 2 ULP."""
    want = np.asarray(want, dtype)
    got = np.asarray(got)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    special = ~np.isfinite(want) | (want == 0)
    np.testing.assert_array_equal(got[special], want[special])
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), "sign of zero")
    if not special.all():
        np.testing.assert_array_max_ulp(got[~special], want[~special], 2)


@dtypes
@pytest.mark.parametrize("module", [fastce, reference], ids=["fastce", "reference"])
@pytest.mark.parametrize(
    ("function", "arguments", "options", "want"),
    [pytest.param(*row, id=f"line{i}-{row[0]}") for i, row in enumerate(ROWS, 2)],
)
def test_edge(function, arguments, options, want, module, dtype):
    """Each row of the table gives what it says, in either dtype."""
    name, _, method = function.partition(".")
    call = getattr(module, name)
    call = getattr(call, method) if method else call
    given = [with_dtype(name, i, value, dtype) for i, value in enumerate(arguments)]
    got = call(*given, **options)
    for g, w in zip(parts(got), parts(want), strict=True):
        assert_exactly(g, w, dtype)


def test_every_function_is_in_the_table():
    """Whatever computes has a row, and each loss one with its gradient, Hessian and product."""
    functions = {row[0] for row in ROWS}
    assert set(fastce.__all__) & set(reference.__all__) <= {f.partition(".")[0] for f in functions}
    for op in LOSSES + LINEAR:
        assert {f"{op.name}.grad_and_hess", f"{op.name}.hvp"} <= functions
        assert functions & {f"{op.name}.grad", f"{op.name}.value_and_grad"}
