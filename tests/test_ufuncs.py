"""The elementwise functions are NumPy ufuncs, with all that comes with that."""

import warnings

import numpy as np
import pytest
from _support import UFUNCS, assert_same_bits, over, seeded

import fastce
from fastce import reference

SHAPE = (4, 5)


def arguments_of(op, *words, dtype=np.float64, shape=SHAPE):
    """Make arguments, differently for other words."""
    return op.arguments(seeded(op.id, *words), shape, dtype)


@over("op", UFUNCS)
def test_is_a_ufunc(op):
    """It is one, of the right name and numbers of arguments."""
    assert isinstance(op.function, np.ufunc)
    assert op.function.__name__ == op.name
    assert (op.function.nin, op.function.nout) == (len(op.draws), 1)
    assert op.function.signature is None


@over("op", UFUNCS)
def test_where(op):
    """`where=` leaves the others alone, masks of any stride."""
    arguments = arguments_of(op)
    for where in (arguments[0] > np.median(arguments[0]), np.array([1, 0, 0, 1, 1], bool)):
        out = np.full(SHAPE, 7.0)
        assert op.function(*arguments, where=where, out=out) is out
        want = np.where(where, op.function(*arguments), 7.0)
        assert_same_bits(out, want)


@over("op", UFUNCS)
def test_broadcasting(op):
    """Arguments broadcast against each other and into `out`."""
    arguments = arguments_of(op)
    if op.function.nin == 2:
        column, row = arguments[0][:, :1], arguments[1][:1]
        full = map(np.ascontiguousarray, np.broadcast_arrays(column, row))
        assert_same_bits(op.function(column, row), op.function(*full))
        with pytest.raises(ValueError, match=r"could not be broadcast.*\(4,5\).*\(3,5\)"):
            op.function(arguments[0], arguments[1][:3])
    out = np.empty((3, *SHAPE))
    op.function(*arguments, out=out)
    assert_same_bits(out[2], op.function(*arguments))


@over("op", UFUNCS)
def test_out(op):
    """`out` is what comes back, by keyword, by position and in a tuple; in place too."""
    arguments = arguments_of(op)
    want = op.function(*arguments)
    for place in ("keyword", "tuple", "position"):
        out = np.empty(SHAPE)
        if place == "position":
            got = op.function(*arguments, out)
        else:
            got = op.function(*arguments, out=out if place == "keyword" else (out,))
        assert got is out
        assert_same_bits(out, want)
    for i in range(len(arguments)):
        given = [a.copy() for a in arguments]
        op.function(*given, out=given[i])
        assert_same_bits(given[i], want)


@over("op", UFUNCS)
def test_casting(op):
    """`casting=` and `dtype=` mean what they mean for NumPy's own."""
    arguments = arguments_of(op)
    single = [a.astype(np.float32) for a in arguments]
    with pytest.raises(TypeError, match="Cannot cast"):
        op.function(*arguments, out=np.empty(SHAPE, int))
    out = np.empty(SHAPE, np.float32)
    op.function(*arguments, out=out, casting="same_kind")
    assert_same_bits(out, op.function(*arguments).astype(np.float32))
    with pytest.raises(TypeError, match="Cannot cast"):
        op.function(*arguments, out=out, casting="safe")
    assert_same_bits(
        op.function(*single, dtype=np.float64), op.function(*(a.astype(np.float64) for a in single))
    )


NO_LOOP = "not supported for the input types|did not contain a loop"
ERRORS = [
    # first argument, keywords, exception, message
    ("a", {}, TypeError, NO_LOOP),
    (1j, {}, TypeError, NO_LOOP),
    (None, {}, TypeError, NO_LOOP),
    (np.longdouble(1), {}, TypeError, NO_LOOP),
    (1.0, {"out": [1.0]}, TypeError, "return arrays must be of ArrayType"),
    (1.0, {"wrong": 1}, TypeError, "wrong"),
    ([1.0, 2.0], {"out": np.empty(3)}, ValueError, "broadcast"),
]


@pytest.mark.parametrize(("first", "keywords", "exception", "message"), ERRORS)
@over("op", UFUNCS)
def test_errors(op, first, keywords, exception, message):
    """NumPy's own error messages."""
    with pytest.raises(exception, match=message):
        op.function(first, *[1.0] * (op.function.nin - 1), **keywords)


@over("op", UFUNCS)
def test_read_only_out(op):
    """A read-only `out` is refused and left alone."""
    out = np.full(SHAPE, 7.0)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        op.function(*arguments_of(op), out=out)
    assert np.all(out == 7)


SIZES = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 1000, 8191, 8193)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@over("op", UFUNCS)
def test_lengths_and_positions(op, dtype):
    """An element's value depends neither on where it stands, nor on the length, nor the strides."""
    arguments = arguments_of(op, dtype=dtype, shape=(8193,))
    whole = op.function(*arguments)
    one_by_one = np.array([op.function(*row) for row in zip(*arguments, strict=True)][:100], dtype)
    assert_same_bits(whole[:100], one_by_one)
    for size in SIZES:
        assert_same_bits(op.function(*(a[:size] for a in arguments)), whole[:size], size)
        assert_same_bits(op.function(*(a[-size:] for a in arguments)), whole[-size:], size)
    for step in (2, 3, -1, -5):
        assert_same_bits(op.function(*(a[::step] for a in arguments)), whole[::step], step)
        out = np.full((8193 * abs(step),), 7.0, dtype)
        op.function(*arguments, out=out[::step])
        assert_same_bits(out[::step], whole, step)


@over("op", UFUNCS)
def test_no_floating_point_errors(op):
    """Far, infinite and NaN arguments raise no floating-point warning, by a user's errstate too."""
    far = np.array([0.0, -0.0, 1e-320, -1e-320, 1.0, 800.0, -800.0, 1e300, np.inf, -np.inf, np.nan])
    far = np.clip(far, 0, 1) if op.name == "logit" else far
    with np.errstate(over="raise", invalid="raise", divide="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        op.function(*[np.ones(len(far))] * (op.function.nin - 1), far)
        op.function(*[np.ones(2 * len(far))] * (op.function.nin - 1), np.repeat(far, 2)[::-1])


@over("op", UFUNCS)
def test_methods(op):
    """`at` and, with two arguments, `outer` work as for any ufunc."""
    arguments = arguments_of(op, shape=(5,))
    if op.function.nin == 2:
        outer = op.function.outer(*arguments)
        assert_same_bits(outer[3], op.function(arguments[0][3], arguments[1]))
    else:
        given = arguments[0].copy()
        op.function.at(given, [1, 3])
        want = arguments[0].copy()
        want[[1, 3]] = op.function(want[[1, 3]])
        assert_same_bits(given, want)


class Logged(np.ndarray):
    """An array that knows which ufunc it went through."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """Name the ufunc."""
        return ufunc.__name__, method


@over("op", UFUNCS)
def test_array_ufunc(op):
    """`__array_ufunc__` takes over."""
    arguments = [a.view(Logged) for a in arguments_of(op)]
    assert op.function(*arguments) == (op.name, "__call__")


def _dask(array):
    return pytest.importorskip("dask.array").from_array(array, chunks=2)


def _xarray(array):
    return pytest.importorskip("xarray").DataArray(array, dims=("a", "b"))


def _pandas(array):
    return pytest.importorskip("pandas").DataFrame(array, columns=list("abcde"))


@pytest.mark.parametrize("wrap", [_dask, _xarray, _pandas])
@over("op", UFUNCS)
def test_containers(op, wrap):
    """Dask, xarray and pandas objects come out as what they were."""
    arguments = arguments_of(op)
    wrapped = [wrap(a) for a in arguments]
    got = op.function(*wrapped)
    assert type(got) is type(wrapped[0])
    assert_same_bits(np.asarray(got), op.function(*arguments))


@over("op", UFUNCS)
def test_the_reference_takes_out(op):
    """The twin has `out` as well."""
    arguments = arguments_of(op)
    out = np.empty(SHAPE)
    assert getattr(reference, op.name)(*arguments, out=out) is out
    np.testing.assert_allclose(out, getattr(fastce, op.name)(*arguments), rtol=1e-14)
