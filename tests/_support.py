"""What the test modules share: rows of the registry, seeds, comparison, calls."""

import inspect
import itertools
import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest

import fastce
from fastce import _registry, reference

DTYPES = (np.float64, np.float32)
REDUCTIONS = ("none", "sum", "mean")
EVERY_ROW = _registry.available()
LINEAR = tuple(op for op in EVERY_ROW if op.kind == "linear")  # with three arguments
ROWS = tuple(op for op in EVERY_ROW if op not in LINEAR)
LOSSES = tuple(op for op in ROWS if op.kind == "loss")
AXIS_ROWS = tuple(op for op in ROWS if op.has_axis)
UFUNCS = tuple(op for op in ROWS if op.kind.startswith("elementwise"))
FUNCTIONS = tuple(op for op in ROWS if op not in UFUNCS)


def over(name, rows):
    """Parametrize a test over rows of the registry, shown by their id."""
    return pytest.mark.parametrize(name, [pytest.param(row, id=str(row)) for row in rows])


dtypes = pytest.mark.parametrize("dtype", [pytest.param(t, id=t.__name__) for t in DTYPES])


def seeded(*words):
    """Give a generator whose seed is made of `words`."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def parts(result):
    """Give a flat tuple of the arrays of a result, also of a single one, without any None."""
    if not isinstance(result, tuple):
        return (result,)
    return tuple(part for one in result if one is not None for part in parts(one))


def parameter_names(op):
    """Name the parameters of a function of `fastce`, in order."""
    return tuple(inspect.signature(op.function).parameters)


def assert_close(got, want, ulps, label="", *, least=0.0):
    """Check shapes and values: within `ulps` eps of the largest number wanted, NaN and inf alike.

    `least` is what the largest number is taken to be at least, where terms cancel.  `label` says
    what was called; it is formatted only where the check fails.
    """
    assert len(parts(got)) == len(parts(want)), str(label)
    for g, w in zip(parts(got), parts(want), strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert g.shape == w.shape, str(label)
        assert g.dtype.kind == "f", str(label)
        largest = np.max(np.abs(w), initial=least, where=np.isfinite(w))
        with np.errstate(invalid="ignore"):
            near = np.abs(g - w) <= ulps * float(np.finfo(g.dtype).eps) * largest
        wrong = np.argwhere(~(near | (g == w) | (np.isnan(g) & np.isnan(w))))
        if len(wrong):
            i = tuple(int(j) for j in wrong[0])
            error = abs(float(g[i]) - float(w[i])) / float(np.finfo(g.dtype).eps) / (largest or 1)
            raise AssertionError(
                f"{len(wrong)} of {w.size} differ, the first at {i}: got {g[i]!r}, "
                f"wanted {w[i]!r}, {error:.1f} eps of the largest: {label}"
            )


def assert_same_bits(got, want, label=""):
    """Check that results are the same to the last bit (0.0 is not -0.0), whatever NaN's bits."""
    for g, w in zip(parts(got), parts(want), strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape), str(label)
        if g.dtype.kind == "f":
            g, w = (np.where(np.isnan(a), a.dtype.type(np.nan), a) for a in (g, w))
        assert g.tobytes() == w.tobytes(), str(label)


def exactly(array, dtype=np.float64):
    """Convert floats and leave the rest: what the reference is given, to be nearly exact."""
    if isinstance(array, tuple):
        return tuple(exactly(one, dtype) for one in array)
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return array.astype(dtype)
    return array


def calls(op, shape, dtype=np.float64, *, axis=-1, spread=4.0, every=True, reductions=REDUCTIONS):
    """Yield (label, method, arguments, options) for each way to call a row worth trying.

    Not `every`: only without options and with all of them.
    """
    rng = seeded(op.id, shape, axis)
    arguments = op.arguments(rng, shape, dtype, spread=spread, axis=axis)
    option_sets = op.option_sets(rng, shape, dtype, axis=axis)
    if not every:
        option_sets = option_sets[:1] + option_sets[1:][-1:]
    where = {"axis": axis} if op.has_axis else {}
    how = [{"reduction": r} for r in reductions] if op.kind in ("loss", "linear") else [{}]
    for options, reduction, method in itertools.product(option_sets, how, op.methods):
        extra = op.extra(rng, method, arguments)
        given = options | where | reduction
        yield (op, method, given), method, arguments + extra, given


def in_reference(op, method, arguments, options):
    """Compute a call by the reference, in float64."""
    return op.call(method, reference)(
        *map(exactly, arguments), **{key: exactly(value) for key, value in options.items()}
    )


def run_python(code, *, timeout=60, environment=None, arguments=()):
    """Run code in a fresh interpreter that finds this `fastce`; give the finished process.

    A variable of `environment` that is None is removed.
    """
    root = pathlib.Path(fastce.__file__).parent.parent
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    return subprocess.run(
        [sys.executable, *(("-c", code) if code else ()), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={key: value for key, value in variables.items() if value is not None},
        check=False,
    )
