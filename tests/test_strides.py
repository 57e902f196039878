"""Any memory layout gives what the contiguous copy gives, and inputs are left as they were."""

import numpy as np
import pytest
from _support import ROWS, assert_close, calls, dtypes, over


def _spaced(step):
    """Give a layout that takes every `step`-th element of each axis of a larger array."""

    def layout(array):
        large = np.zeros([n * abs(step) for n in array.shape], array.dtype)
        view = large[(slice(None, None, step),) * array.ndim]
        view[...] = array
        return view

    return layout


def _transposed(array):
    return np.ascontiguousarray(array.T).T


def _misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert array.itemsize == 1 or not view.flags.aligned or view.size == 0
    return view


def _byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def _read_only(array):
    copy = array.copy()
    copy.setflags(write=False)
    return copy


class _Subclass(np.ndarray):
    """An array of a subclass."""


def _in_a_gap(array):
    """Give an array whose rows stand apart in memory."""
    large = np.zeros((*array.shape[:-1], array.shape[-1] + 3), array.dtype)
    large[..., : array.shape[-1]] = array
    return large[..., : array.shape[-1]]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": _transposed,
    "every second": _spaced(2),
    "reversed": _spaced(-1),
    "every third from the end": _spaced(-3),
    "rows apart": _in_a_gap,
    "misaligned": _misaligned,
    "byte-swapped": _byte_swapped,
    "read-only": _read_only,
    "subclass": lambda array: array.copy().view(_Subclass),
}
SHAPES = [((6, 10), -1), ((33, 3), -1), ((3, 2, 40), 1)]


def arrays_of(arguments, options):
    """Yield every array of a call."""
    yield from arguments
    yield from (value for value in options.values() if np.ndim(value))


def lay_out(layout, options):
    """Apply a layout to the arrays among the options."""
    return {key: layout(value) if np.ndim(value) else value for key, value in options.items()}


def check(op, call, arguments, options, given, given_options, label):
    """Check a call on strange arrays against that on plain ones; nothing given may change."""
    before = [np.array(a) for a in arrays_of(given, given_options)]
    got = call(*given, **given_options)
    for a, b in zip(arrays_of(given, given_options), before, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b, err_msg=f"{label} changed its input")
    assert_close(got, call(*arguments, **options), 4, label)


@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@over("op", ROWS)
def test_layouts(op, layout, dtype):
    """All arrays of a call, options included, in each layout."""
    lay = LAYOUTS[layout]
    for shape, axis in SHAPES:
        for label, method, arguments, options in calls(
            op, shape, dtype, axis=axis, every=False, reductions=("none",)
        ):
            given = tuple(map(lay, arguments))
            check(op, op.call(method), arguments, options, given, lay_out(lay, options), label)


@pytest.mark.parametrize("layout", LAYOUTS)
@over("op", ROWS)
def test_one_at_a_time(op, layout):
    """One array in a strange layout, the others plain."""
    lay = LAYOUTS[layout]
    for label, method, arguments, options in calls(op, (6, 10), every=False, reductions=("mean",)):
        for i in range(len(arguments)):
            given = (*arguments[:i], lay(arguments[i]), *arguments[i + 1 :])
            check(op, op.call(method), arguments, options, given, options, label)


def _repeated(axis):
    """Give a layout in which the first entry along `axis` stands for all (stride 0)."""
    return lambda array: np.broadcast_to(
        array.take([0], axis=min(axis, array.ndim - 1)), array.shape
    )


@pytest.mark.parametrize("axis", [0, 1])
@over("op", ROWS)
def test_broadcast(op, axis):
    """Arrays with strides of 0, read-only as NumPy makes them."""
    lay = _repeated(axis)
    for label, method, arguments, options in calls(op, (6, 10), every=False, reductions=("none",)):
        given, given_options = tuple(map(lay, arguments)), lay_out(lay, options)
        plain = tuple(map(np.ascontiguousarray, given))
        plain_options = lay_out(np.ascontiguousarray, given_options)
        check(op, op.call(method), plain, plain_options, given, given_options, label)


@over("op", ROWS)
def test_memory_mapped(op, tmp_path):
    """Files mapped into memory, read-only."""
    for label, method, arguments, options in calls(op, (6, 10), every=False, reductions=("mean",)):
        given = []
        for i, array in enumerate(arguments):
            np.save(tmp_path / f"{i}.npy", array)
            given.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
        check(op, op.call(method), arguments, options, tuple(given), options, label)


@over("op", ROWS)
def test_plain_arrays_are_left_alone(op):
    """Inputs that could be written to are not."""
    for label, method, arguments, options in calls(op, (33, 10)):
        check(op, op.call(method), arguments, options, arguments, options, label)
