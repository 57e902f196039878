"""`out=`: the object itself comes back, it may overlap the input, and a wrong one is refused."""

import numpy as np
import pytest
from _support import FUNCTIONS, LOSSES, ROWS, assert_close, calls, dtypes, over, parts

import fastce
from fastce import reference

# Rows whose result is as large as the first argument, by the method that makes it.
WRITERS = [
    pytest.param(op, method, id=f"{op}.{method}")
    for op in ROWS
    for method in (("value",) if op.kind != "loss" else ("grad", "value_and_grad", "hvp"))
    if op.kind != "information" and op.name != "logsumexp"
]
writers = pytest.mark.parametrize(("op", "method"), WRITERS)
SHAPE = (5, 12)


def large(result):
    """Give the part of a result that `out` is for."""
    return parts(result)[-1]


def one_call(op, wanted, shape=SHAPE, dtype=np.float64, **given):
    """Give arguments and options for one method, with all options on."""
    every = [
        (arguments, options)
        for _, method, arguments, options in calls(
            op, shape, dtype, every=False, reductions=("mean",), **given
        )
        if method == wanted
    ]
    return every[-1]


def result_like(op, arguments):
    """Name the argument that has the result's shape: logits, or the backward's second."""
    return 1 if op.name == "logsumexp_backward" else 0


@dtypes
@writers
def test_out_is_returned(op, method, dtype):
    """The same object comes back, with the result that would have been made."""
    for shape, axis in ((SHAPE, -1), ((3, 4, 5), 1), ((40, 33), 0)):
        arguments, options = one_call(op, method, shape, dtype, axis=axis)
        want = op.call(method)(*arguments, **options)
        out = np.full(arguments[result_like(op, arguments)].shape, 7.0, dtype)
        got = op.call(method)(*arguments, **options, out=out)
        assert large(got) is out
        assert_close(got, want, 0)


class Unwilling(np.ndarray):
    """A subclass of which no NumPy function wants to know."""

    def __array_function__(self, *args, **kwargs):
        """Fail."""
        raise AssertionError("a function of NumPy was called")


STRIDED = {
    "fortran": lambda shape: np.full(shape, 7.0, order="F"),
    "every second": lambda shape: np.full((shape[0], 2 * shape[1]), 7.0)[:, ::2],
    "reversed": lambda shape: np.full(shape, 7.0)[::-1, ::-1],
    "rows apart": lambda shape: np.full((shape[0], shape[1] + 3), 7.0)[:, :-3],
    "misaligned": lambda shape: (
        np.zeros(8 * shape[0] * shape[1] + 1, np.uint8)[1:].view(float).reshape(shape)
    ),
    "subclass": lambda shape: np.full(shape, 7.0).view(type("Sub", (np.ndarray,), {})),
    "unwilling subclass": lambda shape: np.full(shape, 7.0).view(Unwilling),
    "other byte order": lambda shape: np.full(shape, 7.0, np.dtype(float).newbyteorder()),
}


@pytest.mark.parametrize("layout", STRIDED)
@writers
def test_strided_out(op, method, layout):
    """An `out` of any strides, and nothing beside it is written."""
    arguments, options = one_call(op, method)
    out = STRIDED[layout](SHAPE)
    whole = out if out.base is None else out.base
    inside = np.zeros(whole.shape, bool)
    if layout in ("every second", "rows apart"):
        inside[:, slice(None, None, 2) if layout == "every second" else slice(None, -3)] = True
    got = op.call(method)(*arguments, **options, out=out)
    assert large(got) is out
    assert_close(got, op.call(method)(*arguments, **options), 0)
    if inside.any():
        assert np.all(whole[~inside] == 7.0)
    out = STRIDED[layout](SHAPE)
    got = op.call(method, reference)(*arguments, **options, out=out)
    assert large(got) is out
    assert_close(got, op.call(method, reference)(*arguments, **options), 0)


@dtypes
@writers
def test_in_place(op, method, dtype):
    """`out` may be any argument of its shape and dtype."""
    for shape in (SHAPE, (70, 3), (3, 200)):
        arguments, options = one_call(op, method, shape, dtype)
        want = large(op.call(method)(*arguments, **options))
        for i, argument in enumerate(arguments):
            if argument.shape == shape and argument.dtype == dtype:
                given = [a.copy() for a in arguments]
                got = large(op.call(method)(*given, **options, out=given[i]))
                assert got is given[i]
                assert_close(got, want, 0, i)


def overlapping(array, shift, reverse=False):
    """Give a copy of `array` and an array of its shape, `shift` elements on in the same memory."""
    memory = np.full(array.size + abs(shift), 7.0, array.dtype)
    first, second = (memory[s : s + array.size] for s in (max(-shift, 0), max(shift, 0)))
    copy, out = first.reshape(array.shape), second.reshape(array.shape)
    copy[...] = array
    return copy, out[::-1] if reverse else out


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shift", [1, -1, 5, -5, 12, -12, 13, -13, 30, -30, 0])
@writers
def test_partial_overlap(op, method, shift, reverse):
    """`out` may overlap any argument, in both directions, and even backwards."""
    arguments, options = one_call(op, method)
    want = large(op.call(method)(*arguments, **options))
    for i, argument in enumerate(arguments):
        if argument.shape == SHAPE and argument.dtype == np.float64:
            copy, out = overlapping(argument, shift, reverse)
            given = (*arguments[:i], copy, *arguments[i + 1 :])
            assert_close(large(op.call(method)(*given, **options, out=out)), want, 0, i)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [None, (0, 2), 0])
def test_axes_with_out(name, axis):
    """`out` with several axes, and in place."""
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    want = getattr(fastce, name)(x, axis=axis)
    out = np.empty_like(x)
    assert getattr(fastce, name)(x, axis=axis, out=out) is out
    assert_close(out, want, 0)
    getattr(fastce, name)(x, axis=axis, out=x)
    assert_close(x, want, 0)


@pytest.mark.parametrize(
    ("axis", "keepdims", "shape"),
    [(-1, False, (3, 4)), (0, False, (4, 5)), (1, True, (3, 1, 5)), (None, False, ())],
)
def test_logsumexp_out(axis, keepdims, shape):
    """`logsumexp` reduces into `out`, also one that lies in its input."""
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    want = fastce.logsumexp(x, axis=axis, keepdims=keepdims)
    out = np.full(shape, 7.0)
    assert fastce.logsumexp(x, axis=axis, keepdims=keepdims, out=out) is out
    assert_close(out, want, 0)
    inside = x.ravel()[: out.size].reshape(shape)
    assert np.shares_memory(inside, x)
    fastce.logsumexp(x, axis=axis, keepdims=keepdims, out=inside)
    assert_close(inside, want, 0)


@dtypes
@over("op", LOSSES)
def test_pair(op, dtype):
    """`grad_and_hess` takes a pair, any of them the logits themselves or None."""
    arguments, options = one_call(op, "grad_and_hess", dtype=dtype)
    call = op.function.grad_and_hess
    want = call(*arguments, **options)
    pair = np.full(SHAPE, 7.0, dtype), np.full(SHAPE, 7.0, dtype)
    got = call(*arguments, **options, out=pair)
    assert got[0] is pair[0]
    assert got[1] is pair[1]
    assert_close(got, want, 0)
    for i in (0, 1):
        x = arguments[0].copy()
        outs = [np.empty_like(x), np.empty_like(x)]
        outs[i] = x
        assert_close(call(x, *arguments[1:], **options, out=tuple(outs)), want, 0)


BAD_OUT = {
    # what is wrong: (how to make it, the exception, what the message names)
    "shape": (lambda shape: np.full((shape[0] + 1, *shape[1:]), 7.0), ValueError, r"\(6, 12\)"),
    "fewer axes": (lambda shape: np.full(shape[-1], 7.0), ValueError, r"\(12,\)"),
    "would broadcast": (lambda shape: np.full((1, *shape), 7.0), ValueError, r"\(1, 5, 12\)"),
    "dtype": (lambda shape: np.full(shape, 7.0, np.float32), TypeError, "float32"),
    "integers": (lambda shape: np.full(shape, 7), TypeError, "int64"),
    "read-only": (lambda shape: np.broadcast_to(7.0, shape), ValueError, "read-only"),
    "a list": (lambda shape: np.full(shape, 7.0).tolist(), TypeError, "list"),
    "masked": (lambda shape: np.ma.masked_equal(np.full(shape, 7.0), 7), TypeError, "masked"),
}


@pytest.mark.parametrize("wrong", BAD_OUT)
@pytest.mark.parametrize(("op", "method"), [w for w in WRITERS if w.values[0] in FUNCTIONS])
def test_refused_out(op, method, wrong):
    """A wrong `out` is refused, by what was needed and what was found, and left as it was."""
    make, exception, found = BAD_OUT[wrong]
    arguments, options = one_call(op, method)
    for module in (fastce, reference):
        out = make(SHAPE)
        with pytest.raises(exception, match=rf"`out`.*{found}"):
            op.call(method, module)(*arguments, **options, out=out)
        assert np.all(np.asarray(out) == 7)


def _pair(**given):
    return lambda: tuple(np.full(given.get(name, SHAPE), 7.0) for name in ("first", "second"))


def _twice():
    out = np.full(SHAPE, 7.0)
    return out, out


def _two_views():
    memory = np.full((SHAPE[0] + 1, SHAPE[1]), 7.0)
    return memory[1:], memory[:-1]


BAD_PAIRS = {
    # what is wrong: (how to make it, the exception, what the message says)
    "one array twice": (_twice, ValueError, "`out`.*twice"),
    "two views of the same memory": (_two_views, ValueError, "`out`.*twice"),
    "one array": (lambda: np.full(SHAPE, 7.0), TypeError, "`out`.*pair.*ndarray"),
    "three": (lambda: (np.full(SHAPE, 7.0),) * 3, TypeError, "`out`.*pair.*tuple of 3"),
    "wrong first": (_pair(first=(5, 11)), ValueError, r"`out\[0\]`.*\(5, 11\)"),
    "wrong second": (_pair(second=(5, 11)), ValueError, r"`out\[1\]`.*\(5, 11\)"),
}


@pytest.mark.parametrize("wrong", BAD_PAIRS)
@over("op", LOSSES)
def test_refused_pairs(op, wrong):
    """A pair of which one is wrong, or both are the same memory: neither is written."""
    make, exception, message = BAD_PAIRS[wrong]
    arguments, options = one_call(op, "grad_and_hess")
    for module in (fastce, reference):
        out = make()
        with pytest.raises(exception, match=message):
            op.call("grad_and_hess", module)(*arguments, **options, out=out)
        assert all(np.all(part == 7) for part in out)


@over("op", LOSSES)
def test_pairs_of_a_subclass(op):
    """Nor is NumPy asked whether the two of a pair overlap by way of their class."""
    arguments, options = one_call(op, "grad_and_hess")
    pair = tuple(np.full(SHAPE, 7.0).view(Unwilling) for _ in range(2))
    got = op.function.grad_and_hess(*arguments, **options, out=pair)
    assert got[0] is pair[0]
    assert_close(got, op.function.grad_and_hess(*arguments, **options), 0)
