"""What every argument goes through: coercion, checks, layout. Every error message is here.

Kernels trust what they are given: native, aligned arrays of one floating type, whose shapes fit.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.exceptions import AxisError

from fastce._dispatch import kernels

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)
INT64_MAX = np.iinfo(np.int64).max

Array: TypeAlias = np.ndarray
Shape: TypeAlias = tuple[int, ...]


# Coercion


def asarray(name: str, value: Any) -> Array:
    """Return `value` as a base-class array; no copy is made where none is needed."""
    if type(value) is np.ndarray:
        return value
    not_masked(name, value)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # a foreign __array__ or __dlpack__ may raise anything
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(
            f"`{name}` must be convertible to an array, got {type(value).__name__}: {error}"
        ) from error


def is_real(dtype: np.dtype) -> bool:
    """Tell whether a dtype is one that is computed with."""
    return dtype.char in "efd" or dtype.kind in "biu"


def numbers(name: str, value: Any) -> Array:
    """Return `value` as an array of real numbers, of whatever dtype it has."""
    array = asarray(name, value)
    if not is_real(array.dtype):
        raise TypeError(
            f"`{name}` must be of a float16, float32, float64, integer or bool dtype, "
            f"got {array.dtype}"
        )
    return array


def floats(array: Array, dtype: np.dtype | None = None) -> Array:
    """Return real numbers as a native, aligned array of `dtype`, or of what their own leads to.

    float32 and float64 stay, float16 becomes float32, integers and bools float64.
    """
    found = array.dtype
    if dtype is None:
        dtype = FLOAT32 if found.char in "ef" else FLOAT64
    if found is not dtype:
        with np.errstate(all="ignore"):  # what is too large becomes infinite
            array = array.astype(dtype, copy=False)
    return simple(array)


def real(name: str, value: Any, dtype: np.dtype | None = None) -> Array:
    """Return `value` as `floats` does, if it is an array of real numbers."""
    return floats(numbers(name, value), dtype)


def simple(array: Array) -> Array:
    """Return an array whose elements lie where C expects them: itself if they do."""
    if array.flags.aligned and not any(stride % array.itemsize for stride in array.strides):
        return array
    return array.copy()


def scalar(value: float, dtype: np.dtype) -> np.floating[Any]:
    """Return a float as a scalar of `dtype`; what is too large for it becomes infinite."""
    with np.errstate(all="ignore"):
        result: np.floating[Any] = dtype.type(value)
    return result


def number(name: str, value: Any, need: str, holds: Callable[[float], bool]) -> float:
    """Return the option `value` as a float for which `holds`, which `need` says in words."""
    if type(value) is float:
        result = value
    elif type(value) is int:
        try:
            result = float(value)
        except OverflowError:
            result = math.inf if value > 0 else -math.inf
    else:
        array = asarray(name, value)
        if array.ndim:
            raise ValueError(f"`{name}` must be a number, got an array of shape {array.shape}")
        if not is_real(array.dtype):
            raise TypeError(f"`{name}` must be a real number, got {value!r}")
        result = float(array)
    if not holds(result):
        raise ValueError(f"`{name}` must be {need}, got {value}")
    return result


def integer(name: str, value: Any, need: str = "an integer") -> int:
    """Return an option that must be an integer, which `need` says in words; a bool is none."""
    if type(value) is int:
        return value
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"`{name}` must be {need}, got {value!r}")


def flag(name: str, value: Any) -> bool:
    """Return an option that must be a bool; 0 and 1 will do."""
    if not isinstance(value, (bool, np.bool_)):
        value = integer(name, value, "a bool")
    return bool(value)


# Checks


def same_shape(
    name: str, array: Array, need: Shape, other: str, other_shape: Shape, note: str = ""
) -> None:
    """Refuse an array that has not the shape needed to match another argument."""
    if array.shape != tuple(need):
        raise ValueError(
            f"`{name}` must have shape {tuple(need)} to match `{other}` of shape {other_shape}, "
            f"got {array.shape}{note}"
        )


def not_masked(name: str, value: object) -> None:
    """Refuse a masked array some of whose elements are masked."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"`{name}` must not have masked elements, got a masked array that has some")


def refuse(name: str, array: Array, bad: Array, need: str) -> None:
    """Raise ValueError naming the first element of `array` that is `bad`, if there is one."""
    if not np.any(bad):
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    place = f" at index {index if len(index) > 1 else index[0]}" if index else ""
    raise ValueError(f"`{name}` must {need}, got {array.item(*index)}{place}")


def product(a: Array, b: Array) -> Array:
    """Return a * b, where 0 times infinity is 0: what has no weight contributes nothing."""
    with np.errstate(all="ignore"):
        result: Array = np.where((a == 0) | (b == 0), a.dtype.type(0), a * b)
    return result


def check_range(name: str, array: Array, least: float, most: float, need: str) -> None:
    """Refuse elements outside [least, most], NaN too."""
    if array.size and not (array.min() >= least and array.max() <= most):
        refuse(name, array, ~((array >= least) & (array <= most)), need)


def weights(name: str, value: Any, dtype: np.dtype) -> Array:
    """Return weights of any kind as an array: none negative, none NaN."""
    array = numbers(name, value)
    check_range(name, array, 0, math.inf, "not be negative or NaN")
    return floats(array, dtype)


def probabilities(name: str, array: Array) -> None:
    """Refuse probabilities that are negative or NaN."""
    check_range(name, array, 0, math.inf, "hold probabilities, none negative or NaN")


def check_reduction(reduction: object) -> None:
    """Refuse what is not the name of a reduction."""
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f"`reduction` must be 'mean', 'sum' or 'none', got {reduction!r}")


def axis_index(axis: SupportsIndex, ndim: int) -> int:
    """Return `axis` counted from 0."""
    axis = integer("axis", axis)
    if not -ndim <= axis < ndim:
        raise AxisError(axis, ndim)
    return axis % ndim


def axis_tuple(axis: Any, ndim: int) -> Shape:
    """Return `axis` (an int, a tuple, or None for all) as a tuple of distinct ints from 0 on."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis_index(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` must not name an axis twice, got {axis}")
    return axes


def at_least_one_class(name: str, array: Array, k: int) -> None:
    """Refuse an array without classes."""
    if k == 0:
        raise ValueError(f"`{name}` must have at least one class, got shape {array.shape}")


def check_out(out: Any, shape: Shape, dtype: np.dtype, name: str = "out") -> None:
    """Refuse an `out` that the result does not fit, before anything is written."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"`{name}` must be a NumPy array, got {type(out).__name__}")
    not_masked(name, out)
    if out.shape != tuple(shape):
        raise ValueError(f"`{name}` must have the result's shape {tuple(shape)}, got {out.shape}")
    if out.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"`{name}` must have the result's dtype {dtype}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"`{name}` must be writeable, got a read-only array")


def check_out_pair(out: Any, shape: Shape, dtype: np.dtype) -> tuple[Any, Any]:
    """Return `out` as a pair of arrays (or None), each checked, that share no memory."""
    if out is None:
        return None, None
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        size = f" of {len(out)}" if isinstance(out, (tuple, list)) else ""
        raise TypeError(f"`out` must be a pair of arrays, got {type(out).__name__}{size}")
    for i, one in enumerate(out):
        check_out(one, shape, dtype, f"out[{i}]")
    first, second = (None if one is None else np.asarray(one) for one in out)
    if first is not None and second is not None and np.shares_memory(first, second):
        raise ValueError("`out` must be two separate arrays, got the same memory twice")
    return tuple(out)


# Labels


def refuse_outside(name: str, array: Array, k: int) -> None:
    """Refuse labels that are no classes."""
    refuse(name, array, (array < 0) | (array >= k), f"hold classes in [0, {k})")


def labels(
    name: str,
    value: Any,
    array: Array,
    k: int,
    ignore_index: int,
    need_shape: Shape,
    other: str,
    other_shape: Shape,
) -> tuple[Array, int]:
    """Return class indices as contiguous int64, with those to be ignored as -1, and their count.

    `array` is what asarray() made of `value`. No label is converted before it is known to fit.
    """
    note = "; integers are class indices"
    same_shape(name, array, need_shape, other, other_shape, note)
    usual = array.dtype == INT64 and array.flags.carray and -INT64_MAX <= ignore_index < 0
    if usual and kernels.labels_are_plain(array, k):
        return array, 0
    limits = np.iinfo(array.dtype)
    fits = limits.min <= ignore_index <= limits.max
    ignored = array == array.dtype.type(ignore_index) if fits else np.False_
    count = int(np.count_nonzero(ignored))
    if array.size:
        if count:
            array = np.where(ignored, array.dtype.type(0), array)
        if array.min() < 0 or array.max() >= k:
            refuse_outside(name, array, k)
    array = simple(np.asarray(array, dtype=INT64, order="C"))
    if count:
        array = np.where(ignored, np.int64(-1), array)
    return array, count


# Layout


def as_three(array: Array, axis: int) -> Array:
    """Return an array as (outer, k, inner), `axis` being k: a view if there is one."""
    shape = array.shape
    return array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def in_place(out: Array, array: Array) -> bool:
    """Tell whether `out` is `array` itself, element for element."""
    return (
        out.ctypes.data == array.ctypes.data
        and out.strides == array.strides
        and out.shape == array.shape
        and out.dtype == array.dtype
    )


class Output:
    """Where a kernel writes a result the size of its input, and how it reaches the user's `out`.

    `array` is native and aligned, of the input's shape; it is `out` itself if that will do.
    """

    def __init__(self, out: Array | None, like: Array) -> None:
        self.out = out
        self.array: Array
        self.base: Array
        if out is None:
            self.array = self.base = np.empty_like(like, order="K")
            return
        self.base = np.asarray(out)
        self.array = self.base
        if out.dtype != like.dtype or simple(self.base) is not self.base or overlaps_itself(out):
            self.array = np.empty_like(like, order="K")

    def apart_from(self, array: Array | None, same_is_fine: bool = False) -> Any:
        """Return `array`, or a copy if writing here would change it while it is still needed."""
        if array is None or not np.may_share_memory(self.array, array):
            return array
        if same_is_fine and in_place(self.array, array):
            return array
        return array.copy()

    def finish(self) -> Array:
        """Return the result: `out`, or the new array."""
        if self.out is None:
            return self.array[()]
        if self.array is not self.base:
            self.base[...] = self.array
        return self.out


def overlaps_itself(array: Array) -> bool:
    """Tell whether two elements may share memory (as in a broadcast array)."""
    reach = 0
    for stride, size in sorted(
        (abs(stride), size)
        for stride, size in zip(array.strides, array.shape, strict=True)
        if size > 1
    ):
        if stride < reach + array.itemsize:
            return True
        reach += stride * (size - 1)
    return False


class Rows:
    """An array's layout as rows of classes, and the same layout for the arrays that go with it.

    Kernels take (outer, k, inner). The axes `axes` become k, all before and after it outer and
    inner; if they are several, or the array is in Fortran order, it is seen from another side
    first, so that as few arrays as possible need to be copied.
    """

    def __init__(self, name: str, array: Array, axes: Shape) -> None:
        self.shape = array.shape
        self.k = math.prod(array.shape[a] for a in axes)
        self.batch = tuple(s for a, s in enumerate(array.shape) if a not in axes)
        self.n = math.prod(self.batch)
        order = None
        if len(axes) != 1:
            order = tuple(a for a in range(array.ndim) if a not in axes) + axes
        elif array.ndim > 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
            order = tuple(range(array.ndim - 1, -1, -1))
        self.order = order
        self.merged = len(axes) != 1
        if order is None:
            self.axis = axes[0]
        elif self.merged:
            self.axis = len(self.batch)
        else:
            self.axis = array.ndim - 1 - axes[0]

    def view(self, array: Array) -> Array:
        """Return an array of the full shape as (outer, k, inner)."""
        if self.order is not None:
            array = array.transpose(self.order)
        if self.merged:
            return array.reshape(self.n, self.k, 1)
        return as_three(array, self.axis)

    def samples(self, array: Array) -> Array:
        """Return an array of the batch's shape in the order of the rows, contiguous."""
        if self.order is not None and not self.merged:
            array = array.transpose()
        return np.ascontiguousarray(array).reshape(-1)

    def unsamples(self, values: Array) -> Array:
        """Return one value a row in the batch's shape: the inverse of `samples`."""
        if self.order is not None and not self.merged:
            return values.reshape(self.batch[::-1]).transpose()
        return values.reshape(self.batch)

    def write(self, outputs: Sequence[Output | None], kernel: Callable[..., object]) -> None:
        """Call `kernel` with (outer, k, inner) views of the outputs, and copy back if need be."""
        views: list[Any] = [None if o is None else self.view(o.array) for o in outputs]
        kernel(*views)
        for output, view in zip(outputs, views, strict=True):
            if output is not None and not np.may_share_memory(view, output.array):
                if self.order is not None:
                    array = output.array.transpose(self.order)
                else:
                    array = output.array
                array[...] = view.reshape(array.shape)


def write_flat(
    inputs: Sequence[Array | None], outputs: Sequence[Output | None], kernel: Callable[..., Any]
) -> Any:
    """Call `kernel` with inputs and outputs as (rows, columns), and return what it returns.

    The inputs are arrays of one shape, the outputs Outputs; either may be None. `kernel` gets
    views wherever two strides are enough for each of the arrays.
    """
    arrays: list[Any] = [*inputs, *(None if o is None else o.array for o in outputs)]
    shape = arrays[0].shape
    given = [a for a in arrays if a is not None]
    if all(a.flags.c_contiguous for a in given):
        flat = [None if a is None else a.reshape(1, -1) for a in arrays]
        return kernel(flat[: len(inputs)], flat[len(inputs) :])
    order = sorted(range(len(shape)), key=lambda axis: -abs(arrays[0].strides[axis]))
    turned = [None if a is None else a.transpose(order) for a in arrays]
    columns = common_run([a for a in turned if a is not None])
    views: list[Any] = [
        None if a is None else a.reshape(-1, columns) if a.size else a.reshape(0, 1) for a in turned
    ]
    result = kernel(views[: len(inputs)], views[len(inputs) :])
    for a, view in zip(turned[len(inputs) :], views[len(inputs) :], strict=True):
        if a is not None and not np.may_share_memory(a, view):
            a[...] = view.reshape(a.shape)
    return result


def common_run(arrays: Sequence[Array]) -> int:
    """Return how many elements, counted over the last axes, lie evenly in all arrays."""
    shape = arrays[0].shape
    axis = len(shape) - 1
    run: int = shape[axis]
    while axis > 0 and all(
        shape[axis - 1] == 1 or a.strides[axis - 1] == a.strides[axis] * shape[axis] for a in arrays
    ):
        axis -= 1
        run *= shape[axis]
    return max(run, 1)


def not_negative(name: str, array: Array, rows_used: Array | None = None) -> None:
    """Refuse negative elements, but for those in rows that are not looked at; NaN may pass."""
    if array.size and array.min() >= 0:
        return
    bad = array < 0
    if rows_used is not None:
        bad &= rows_used
    refuse(name, array, bad, "hold probabilities, none negative")
