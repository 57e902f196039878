"""A table of what is refused: by which exception, in which words, and with `out` untouched.

A row is (label, changes, exception, texts): `changes` replaces positional arguments (by number)
and options (by name); each of `texts` is a regular expression that the message must contain.  The
table is made for every operation, and tried with every method of it.
"""

import numpy as np
import pytest
from _support import FUNCTIONS, LOSSES, parameter_names, seeded
from numpy.exceptions import AxisError

import fastce

SHAPE = (4, 5)
NUMBERS = (ValueError, TypeError)
OTHER_DTYPES = (
    "complex128",
    "longdouble",
    "object",
    "<U3",
    "|S3",
    "datetime64[s]",
    "timedelta64[s]",
)


def quoted(name):
    """Match the name of an argument as messages quote it."""
    return f"`{name}`"


def literal(shape):
    """Match a shape, or anything else with brackets, as it is printed."""
    return str(shape).replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")


def changed(array, index, value):
    """Give a copy of `array` with one entry changed."""
    array = array.copy()
    array[index] = value
    return array


def of_first(op, arguments):
    """Yield refusals of the first argument and of the axis."""
    first = parameter_names(op)[0]
    x = arguments[0]
    for dtype in OTHER_DTYPES:
        bad = np.ones(x.shape, "i8").astype(dtype)
        yield f"{first} {dtype}", {0: bad}, TypeError, (quoted(first), literal(bad.dtype))
    yield f"{first} None", {0: None}, TypeError, (quoted(first),)
    if not op.has_axis:
        return
    scores = parameter_names(op)[1] if op.name == "logsumexp_backward" else first
    for axis in (2, -3, 100):
        yield f"axis {axis}", {"axis": axis}, AxisError, (str(axis), r"\b2\b")
    yield "axis 1.5", {"axis": 1.5}, TypeError, ("axis", "integer", r"1\.5")
    yield "axis of str", {"axis": "1"}, TypeError, ("axis", "integer", "'1'")
    if op.kind in ("axis", "axis_backward"):
        yield "axis twice", {"axis": (1, -1)}, ValueError, ("axis", r"\(1, -1\)|twice|repeated")
        yield "axis in a tuple", {"axis": (0, 2)}, AxisError, (r"\b2\b",)
    if op.name != "logsumexp":
        empty = [np.empty((4, 0)) if a.shape == SHAPE else a for a in arguments]
        yield "no classes", dict(enumerate(empty)), ValueError, (quoted(scores), literal((4, 0)))
    scalars = [a[0, 0] if a.shape == SHAPE else a[0] for a in arguments]
    yield "0-d", dict(enumerate(scalars)), AxisError, (r"-1", r"\b0\b")


def of_other_shapes(op, arguments):
    """Yield refusals of the second argument's shape and dtype."""
    second = parameter_names(op)[1]
    x, y = arguments[:2]
    wrong = {
        (4, 4): y[:, :4] if y.ndim == 2 else np.zeros((4, 4), y.dtype),
        (1, 5): np.zeros((1, 5), y.dtype),
        (4, 1): np.zeros((4, 1), y.dtype),
        (3,): np.zeros(3, y.dtype),
        (5, 4): np.zeros((5, 4), y.dtype),
        (): y.dtype.type(0),
    }
    for shape, bad in wrong.items():
        texts = (literal(shape), literal(x.shape), quoted(second))
        yield f"{second} of shape {shape}", {1: bad}, ValueError, texts
    if y.dtype.kind == "f":
        for dtype in OTHER_DTYPES:
            bad = np.ones(y.shape, "i8").astype(dtype)
            yield f"{second} {dtype}", {1: bad}, TypeError, (quoted(second), literal(bad.dtype))


def of_weights(op, arguments):
    """Yield refusals of each kind of weight."""
    x = arguments[0]
    every = set().union(*op.options) | {"sample_weight"}
    for name in sorted(every & {"weight", "pos_weight", "sample_weight"}):
        samples = x.shape[:1] if op.has_axis else x.shape
        shape = samples if name == "sample_weight" else (5,)
        good = np.ones(shape)
        last = tuple(n - 1 for n in shape)
        at = rf"index {last[0] if len(last) == 1 else literal(last)}"
        yield (
            f"{name} negative",
            {name: changed(good, last, -0.5)},
            ValueError,
            (quoted(name), r"-0\.5", at),
        )
        yield f"{name} NaN", {name: changed(good, last, np.nan)}, ValueError, (quoted(name), "nan")
        for dtype in ("complex128", "<U3", "object"):
            bad = good.astype("i8").astype(dtype)
            yield f"{name} {dtype}", {name: bad}, TypeError, (quoted(name), literal(bad.dtype))
        for shape in ((7,), (4, 2), (2, 4, 5)):
            texts = (quoted(name), literal(shape), literal(x.shape))
            yield f"{name} of shape {shape}", {name: np.ones(shape)}, ValueError, texts


def of_numbers(op):
    """Yield refusals of the options that are numbers."""
    every = set().union(*op.options)
    bad = {
        "label_smoothing": (-0.1, 1.5, float("nan"), float("inf")),
        "temperature": (0.0, -1.0, float("nan")),
    }
    for name in sorted(every & set(bad)):
        for value in bad[name]:
            texts = (quoted(name), str(value).replace(".", r"\.") + r"\b")
            yield f"{name} {value}", {name: value}, ValueError, texts
        yield f"{name} of str", {name: "much"}, NUMBERS, (quoted(name),)
        yield f"{name} None", {name: None}, NUMBERS, (quoted(name),)
        yield f"{name} of two", {name: [0.5, 0.5]}, NUMBERS, (quoted(name),)


def of_indices(op, arguments):
    """Yield refusals of class indices."""
    second = parameter_names(op)[1]
    x, y = arguments
    for value in (5, -1, 2**31, -(2**63), -99):
        bad = changed(y.astype("i8"), 2, value)
        texts = (quoted(second), r"\[0, 5\)", rf"{value}\b", r"index 2\b")
        yield f"class {value}", {1: bad}, ValueError, texts
    table = y.reshape(2, 2), x.reshape(2, 2, 5)
    bad = {1: changed(table[0], (1, 0), 7), 0: table[1]}
    yield "class in a table", bad, ValueError, (quoted(second), r"\b7\b", r"index \(1, 0\)")
    bad = changed(y.astype("u8"), 3, 2**63)
    yield "class of uint64", {1: bad}, ValueError, (quoted(second), str(2**63), r"index 3\b")
    yield "classes of bool", {1: y > 1}, TypeError, (quoted(second), "bool")
    yield "classes of str", {1: y.astype(str)}, TypeError, (quoted(second), "<U")
    yield "one-hot integers", {1: np.eye(5, dtype=int)[y]}, ValueError, (literal(SHAPE), second)
    for value in (1.5, "1", None, [1]):
        kind = type(value).__name__
        found = rf"{kind}|{literal(repr(value))}"
        yield f"ignore_index {value}", {"ignore_index": value}, NUMBERS, ("ignore_index", found)
    if op.name == "nll_loss":
        yield "float classes", {1: y.astype(float)}, TypeError, (quoted(second), "float64")
    else:
        texts = (quoted(second), literal((4,)), literal(SHAPE))
        yield "float classes", {1: y.astype(float)}, ValueError, texts


def of_probabilities(op, arguments):
    """Yield refusals of targets that are probabilities, or fractions for the binary losses."""
    second = parameter_names(op)[1]
    y = arguments[1]
    bad = [-0.25, -1e-300, float("nan"), float("-inf")]
    if op.target in ("binary", "soft"):
        bad += [1.5, float("inf"), 1 + 2**-52]
    for value in bad:
        texts = (quoted(second), str(value).replace(".", r"\."), r"index \(2, 3\)")
        yield f"{second} {value}", {1: changed(y, (2, 3), value)}, ValueError, texts
    if op.target == "probability" and op.name != "kl_divergence":
        for value in (0, 3):
            yield f"ignore_index {value}", {"ignore_index": value}, ValueError, ("ignore_index",)
        yield "bool table", {1: y > 0.2}, TypeError, (quoted(second), "bool")


def of_first_as_probabilities(op, arguments):
    """Yield refusals of a first argument that must hold probabilities."""
    first = parameter_names(op)[0]
    bad = [-0.25, float("-inf")] + ([1.5] if op.name == "binary_cross_entropy" else [])
    for value in bad:
        texts = (quoted(first), str(value).replace(".", r"\."), r"index \(2, 3\)")
        yield f"{first} {value}", {0: changed(arguments[0], (2, 3), value)}, ValueError, texts


def of_loss(op, arguments):
    """Yield refusals that every loss has."""
    for value in ("avg", "Mean", "", None, 1, ["mean"]):
        texts = ("reduction", "mean", "sum", "none", literal(repr(value)))
        yield f"reduction {value!r}", {"reduction": value}, NUMBERS, texts
    yield "an unknown option", {"wieght": 1.0}, TypeError, ("wieght",)
    yield "reduction by position", {2: "mean", 3: "mean"}, TypeError, ("positional",)


def refusals(op):
    """Yield every refusal of an operation."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    yield from of_first(op, arguments)
    if len(arguments) > 1 and op.name != "logsumexp_backward":
        yield from of_other_shapes(op, arguments)
    if op.kind == "loss":
        yield from of_loss(op, arguments)
        yield from of_weights(op, arguments)
        yield from of_numbers(op)
    if op.target == "index":
        yield from of_indices(op, arguments)
    if op.target in ("probability", "binary", "soft"):
        yield from of_probabilities(op, arguments)
    if op.name in ("categorical_cross_entropy", "binary_cross_entropy", "entropy", "js_divergence"):
        yield from of_first_as_probabilities(op, arguments)
    if op.kind == "information":
        for base in (0, 1, -2, float("nan")):
            yield f"base {base}", {"base": base}, ValueError, (quoted("base"), str(base))
    if op.name == "js_divergence":
        bad = changed(arguments[1], (2, 3), -0.25)
        yield "q negative", {1: bad}, ValueError, (quoted("q"), r"-0\.25", r"index \(2, 3\)")
    if op.name == "logsumexp":
        for shape in ((4, 4), (3, 1), (7,)):
            texts = (quoted("b"), literal(shape), literal(SHAPE))
            yield f"b of shape {shape}", {"b": np.ones(shape)}, ValueError, texts
        yield "b complex", {"b": np.ones(5, complex)}, TypeError, (quoted("b"), "complex128")
    if op.name == "logsumexp_backward":
        for shape in ((5,), (4, 5), (3,), ()):
            texts = (quoted("grad_output"), literal(shape), literal((4,)))
            yield f"grad_output of shape {shape}", {0: np.ones(shape)}, ValueError, texts


TABLE = [
    pytest.param(op, *row[1:], id=f"{op}-{row[0]}") for op in FUNCTIONS for row in refusals(op)
]


def outs(op, method):
    """Give the arrays that `out` is to be, filled with 7."""
    if op.kind == "information" or (op.kind == "loss" and method == "value"):
        return {}, ()
    arrays = tuple(np.full(SHAPE, 7.0) for _ in range(2 if method == "grad_and_hess" else 1))
    if op.name == "logsumexp":
        arrays = (np.full(SHAPE[:1], 7.0),)
    return {"out": arrays if len(arrays) > 1 else arrays[0]}, arrays


@pytest.mark.parametrize(("op", "changes", "exception", "texts"), TABLE)
def test_refused(op, changes, exception, texts):
    """Each row of the table, by every method of the operation."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    for method in op.methods:
        options, arrays = outs(op, method)
        given = dict(enumerate(arguments + op.extra(seeded(method), method, arguments)))
        given |= {key: value for key, value in changes.items() if isinstance(key, int)}
        options |= {key: value for key, value in changes.items() if isinstance(key, str)}
        with pytest.raises(exception) as caught:
            op.call(method)(*given.values(), **options)
        for text in texts:
            caught.match(text)
        assert all(np.all(array == 7) for array in arrays), "`out` was written to"


def test_the_table_is_large():
    """At least two hundred refused inputs are tried."""
    assert len(TABLE) >= 200


VECTORS = [
    # v of hvp, the exception, what its message contains
    (np.ones((4, 4)), ValueError, r"`v`.*\(4, 5\).*\(4, 4\)"),
    (np.ones(5), ValueError, r"`v`.*\(4, 5\).*\(5,\)"),
    (np.ones((1, 4, 5)), ValueError, r"`v`.*\(4, 5\).*\(1, 4, 5\)"),
    (np.ones((4, 5), complex), TypeError, r"`v`.*complex128"),
    (np.full((4, 5), "a"), TypeError, r"`v`.*<U1"),
    (None, TypeError, r"`v`"),
]


@pytest.mark.parametrize(("v", "exception", "message"), VECTORS)
@pytest.mark.parametrize("op", LOSSES, ids=str)
def test_refused_vectors(op, v, exception, message):
    """The vector of `hvp` has the first argument's shape, exactly."""
    out = np.full(SHAPE, 7.0)
    with pytest.raises(exception, match=message):
        op.function.hvp(*op.arguments(seeded(op.id), SHAPE), v, out=out)
    assert np.all(out == 7)


THREADS = [0, -1, 1.5, "2", None, float("nan"), [2], True]


@pytest.mark.parametrize("count", THREADS, ids=repr)
@pytest.mark.skipif(not hasattr(fastce, "set_num_threads"), reason="no threads yet")
def test_refused_number_of_threads(count):
    """Only a positive integer is a number of threads."""
    before = fastce.get_num_threads()
    with pytest.raises(NUMBERS, match="positive integer"):
        fastce.set_num_threads(count)
    assert fastce.get_num_threads() == before
