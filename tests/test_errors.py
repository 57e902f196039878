"""A table of what is refused: by which exception, in which words, and with `out` untouched.

A row is (label, changes, exception, texts): `changes` replaces positional arguments (by number)
and options (by name); each of `texts` is a regular expression that the message must contain.  The
table is made for every operation, and tried with every method of it, of fastce and of its twin.
"""

import itertools

import numpy as np
import pytest
from _support import FUNCTIONS, LOSSES, parameter_names, seeded
from numpy.exceptions import AxisError

import fastce
from fastce import reference

SHAPE = (4, 5)
NUMBERS = (ValueError, TypeError)
MODULES = (None, reference)
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


class Unwilling:
    """An object whose conversion fails, as that of a tensor that requires a gradient does."""

    def __array__(self, dtype=None, copy=None):
        """Fail."""
        raise RuntimeError("not now")


class Exporter:
    """An object that speaks DLPack, but not for this memory."""

    def __dlpack__(self, **options):
        """Fail."""
        raise BufferError("not here")

    def __dlpack_device__(self):
        """Give a device that is not the CPU."""
        return 2, 0


UNCONVERTIBLE = {
    "an object that fails": (Unwilling(), TypeError, ("convertible", "Unwilling", "not now")),
    "memory of another device": (Exporter(), TypeError, ("convertible", "Exporter", "not here")),
    "a ragged list": ([[1.0], [1.0, 2.0]], ValueError, ("convertible", "list", "inhomogeneous")),
    "masked elements": (np.ma.array([1.0, 2.0], mask=[0, 1]), TypeError, ("masked",)),
}


def of_conversion(op, arguments):
    """Yield refusals of what cannot be made an array, at every place of an array."""
    names = parameter_names(op)
    places = dict(enumerate(names[: len(arguments)]))
    places |= {name: name for name in names if name.endswith("weight") or name == "b"}
    for place, name in places.items():
        for label, (value, exception, texts) in UNCONVERTIBLE.items():
            yield f"{name}: {label}", {place: value}, exception, (quoted(name), *texts)


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
    for axis in ("1", True, np.array(0.5), np.array([0]), [0]):
        texts = (quoted("axis"), "integer", literal(repr(axis)))
        yield f"axis {axis!r}", {"axis": axis}, TypeError, texts
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
        scalar = ((),) if op.has_axis or name == "sample_weight" else ()
        for shape in ((7,), (4, 2), (2, 4, 5), *scalar):
            texts = (quoted(name), f"got {literal(shape)}", literal(x.shape))
            yield f"{name} of shape {shape}", {name: np.ones(shape)}, ValueError, texts


def of_numbers(op):
    """Yield refusals of the options that are numbers."""
    every = set().union(*op.options)
    bad = {
        "label_smoothing": (-0.1, 1.5, float("nan"), float("inf"), 10**400),
        "temperature": (0.0, -1.0, float("nan"), 2**1024, -(10**400)),
        "z_loss": (-1e-9, float("nan"), float("inf")),
        "alpha": (1.5, float("nan"), 2**64),
        "gamma": (-0.5, float("nan"), float("inf")),
    }
    for name in sorted(every & set(bad)):
        for value in bad[name]:
            texts = (quoted(name), str(value).replace(".", r"\.") + r"\b")
            yield f"{name} {value!s:.8}", {name: value}, ValueError, texts
        for value in ("much", None, 1j):
            texts = (quoted(name), "number", literal(repr(value)))
            yield f"{name} {value!r}", {name: value}, TypeError, texts
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
    for value in (2**70, -(2**70)):
        bad = [*y[:3].tolist(), value]
        yield f"class {value}", {1: bad}, ValueError, (quoted(second), f"{value}", r"index 3\b")
    bad = changed(y.astype("u8"), 3, 2**63)
    yield "class of uint64", {1: bad}, ValueError, (quoted(second), str(2**63), r"index 3\b")
    yield "classes of bool", {1: y > 1}, TypeError, (quoted(second), "bool")
    yield "classes of str", {1: y.astype(str)}, TypeError, (quoted(second), "<U")
    texts = (quoted(second), literal((4,)), f"got {literal(SHAPE)}", "integers are class indices")
    yield "one-hot integers", {1: np.eye(5, dtype=int)[y]}, ValueError, texts
    for value in (1.5, "1", None, [1], True, np.array(1.5)):
        texts = (quoted("ignore_index"), "integer", literal(repr(value)))
        yield f"ignore_index {value!r}", {"ignore_index": value}, TypeError, texts
    if op.name == "nll_loss":
        yield "float classes", {1: y.astype(float)}, TypeError, (quoted(second), "float64")
    else:
        texts = (quoted(second), f"got {literal((4,))}", literal(SHAPE), "are probabilities")
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
    single = arguments[0].astype(np.float32)
    given = {0: single, 1: changed(y, (2, 3), -1e-60)}
    yield f"{second} of another dtype", given, ValueError, (quoted(second), "-1e-60")
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
    for name in ("wieght", "want"):
        yield f"unknown option {name}", {name: 1.0}, TypeError, (name, "option|keyword argument")
    yield "reduction by position", {2: "mean", 3: "mean"}, TypeError, ("positional",)


def refusals(op):
    """Yield every refusal of an operation."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    yield from of_first(op, arguments)
    yield from of_conversion(op, arguments)
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
        yield "base of str", {"base": "2"}, TypeError, (quoted("base"), "number", "'2'")
    if op.name == "js_divergence":
        bad = changed(arguments[1], (2, 3), -0.25)
        yield "q negative", {1: bad}, ValueError, (quoted("q"), r"-0\.25", r"index \(2, 3\)")
    if op.name == "logsumexp":
        for shape in ((4, 4), (3, 1), (7,)):
            texts = (quoted("b"), literal(shape), literal(SHAPE))
            yield f"b of shape {shape}", {"b": np.ones(shape)}, ValueError, texts
        for name in ("keepdims", "return_sign"):
            yield f"{name} of str", {name: "no"}, TypeError, (quoted(name), "bool", "'no'")
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
    for module, method in itertools.product(MODULES, op.methods):
        options, arrays = outs(op, method)
        given = dict(enumerate(arguments + op.extra(seeded(method), method, arguments)))
        given |= {key: value for key, value in changes.items() if isinstance(key, int)}
        options |= {key: value for key, value in changes.items() if isinstance(key, str)}
        with pytest.raises(exception) as caught:
            op.call(method, module)(*given.values(), **options)
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


def test_empty_lists_are_labels():
    """A list of nothing has no dtype: where there are no samples, it holds no labels."""
    for module, name in itertools.product((fastce, reference), ("cross_entropy", "nll_loss")):
        loss = getattr(module, name)
        assert np.isnan(loss(np.zeros((0, 3)), []))
        assert loss(np.zeros((2, 0, 3)), [[], []], reduction="none").shape == (2, 0)


class WithArray:
    """An empty array of some dtype behind `__array__`."""

    def __array__(self, dtype=None, copy=None):
        """Give it."""
        return np.zeros((0, 3))


def test_empty_probabilities_are_no_labels():
    """What has a dtype is taken for what it is, also where it is empty."""
    for loss in (fastce.cross_entropy, reference.cross_entropy):
        assert loss(np.zeros((0, 3)), WithArray(), reduction="sum") == 0
        with pytest.raises(ValueError, match="floating numbers are probabilities"):
            loss(np.zeros((0, 3)), np.zeros(0))


@pytest.mark.parametrize("label", [-100, np.int8(-100), np.array(-100, ">i2")], ids=repr)
def test_one_ignored_sample(label):
    """A single row that is not looked at may hold what is no probability."""
    for loss in (fastce.categorical_cross_entropy, reference.categorical_cross_entropy):
        assert loss([-0.5, 0.5], label, reduction="sum") == 0
        assert not loss.grad([-0.5, 0.5], label).any()


THREADS = [0, -1, 1.5, "2", None, float("nan"), [2], True, np.array(1.5), 2**31]


@pytest.mark.parametrize("count", THREADS, ids=repr)
def test_refused_number_of_threads(count):
    """Only a positive integer is a number of threads."""
    before = fastce.get_num_threads()
    with pytest.raises(NUMBERS, match="positive integer"):
        fastce.set_num_threads(count)
    assert fastce.get_num_threads() == before
