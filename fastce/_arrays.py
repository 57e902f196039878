"""What every argument goes through: coercion, checks, layout. Every error message is here.

Kernels trust what they are given: native, aligned arrays of one floating type, whose shapes fit.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.exceptions import AxisError

from fastce._dispatch import kernels

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)
ZERO = bytes(FLOAT64.itemsize)
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


def check_dtype(name: str, found: np.dtype) -> None:
    """Refuse a dtype that is not one of real numbers."""
    if not is_real(found):
        raise TypeError(
            f"`{name}` must be of a float16, float32, float64, integer or bool dtype, got {found}"
        )


def numbers(name: str, value: Any) -> Array:
    """Return `value` as an array of real numbers, of whatever dtype it has."""
    array = asarray(name, value)
    check_dtype(name, array.dtype)
    return array


def computed_in(found: np.dtype) -> np.dtype:
    """Return the dtype in which numbers of another are computed with.

    float32 and float64 stay, float16 becomes float32, integers and bools float64.
    """
    return FLOAT32 if found.char in "ef" else FLOAT64


def floats(array: Array, dtype: np.dtype | None = None) -> Array:
    """Return real numbers as a native, aligned array of `dtype`, or of what they are computed in.

    What is such an array is returned itself.
    """
    if dtype is None:
        dtype = computed_in(array.dtype)
    if array.dtype is not dtype:
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


def at_least_one(name: str, value: Any) -> int:
    """Return an option that must be an integer of at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"`{name}` must be at least 1, got {number}")
    return number


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


def refuse(
    name: str, array: Array, bad: Array, need: str, start: int = 0, shape: Shape | None = None
) -> None:
    """Raise ValueError naming the first element of `array` that is `bad`, if there is one.

    `array` may be a part of an argument of that `shape`, from its element `start` on.
    """
    if not np.any(bad):
        return
    first = int(np.argmax(bad))
    index = np.unravel_index(start + first, array.shape if shape is None else shape)
    place = f" at index {tuple(map(int, index)) if len(index) > 1 else index[0]}" if index else ""
    raise ValueError(f"`{name}` must {need}, got {array.item(first)}{place}")


def product(a: Array, b: Array) -> Array:
    """Return a * b, where 0 times infinity is 0: what has no weight contributes nothing."""
    with np.errstate(all="ignore"):
        result: Array = np.where((a == 0) | (b == 0), a.dtype.type(0), a * b)
    return result


def check_range(name: str, array: Array, least: float, most: float, need: str) -> None:
    """Refuse elements outside [least, most], NaN too."""
    if least <= 0 and most >= 1 and kernels.in_unit_interval(array):
        return
    if array.size and not (array.min() >= least and array.max() <= most):
        for start, block in blocks(array):
            bad = ~((block >= least) & (block <= most))
            refuse(name, block, bad, need, start, array.shape)


def given_weights(name: str, value: Any) -> Array:
    """Return weights of any kind as an array, of whatever dtype: none negative, none NaN."""
    array = numbers(name, value)
    check_range(name, array, 0, math.inf, "not be negative or NaN")
    return array


def weights(name: str, value: Any, dtype: np.dtype) -> Array:
    """Return such weights as an array of `dtype`."""
    return floats(given_weights(name, value), dtype)


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
    check_tuple("out", out, 2, "a pair of arrays")
    for i, one in enumerate(out):
        check_out(one, shape, dtype, f"out[{i}]")
    check_separate(out)
    return tuple(out)


def check_tuple(name: str, value: Any, size: int, need: str) -> None:
    """Refuse what is no tuple or list of a size; `need` says in words what it must be."""
    if not isinstance(value, (tuple, list)) or len(value) != size:
        found = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise TypeError(f"`{name}` must be {need}, got {type(value).__name__}{found}")


def check_separate(outs: Iterable[Any]) -> None:
    """Refuse arrays (or None) of which two share memory, as the parts of `out`."""
    arrays = [np.asarray(one) for one in outs if one is not None]
    if any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i]):
        raise ValueError("`out` must be separate arrays, got the same memory twice")


# Labels


def refuse_outside(
    name: str,
    array: Array,
    k: int,
    used: Any = np.True_,
    start: int = 0,
    shape: Shape | None = None,
) -> None:
    """Refuse labels that are `used` and no classes; as for `refuse`, `array` may be a part."""
    bad = ((array < 0) | (array >= k)) & used
    refuse(name, array, bad, f"hold classes in [0, {k})", start, shape)


def check_labels(
    name: str,
    array: Array,
    k: int,
    ignore_index: int,
    need_shape: Shape,
    other: str,
    other_shape: Shape,
) -> int:
    """Refuse class indices that are outside [0, k) and not to be ignored; count those that are.

    No label is converted before it is known to fit, and no copy of all of them is made.
    """
    note = "; integers are class indices"
    same_shape(name, array, need_shape, other, other_shape, note)
    usual = array.dtype == INT64 and array.flags.carray and -INT64_MAX <= ignore_index < 0
    if usual and kernels.labels_are_plain(array, k):
        return 0
    count = 0
    for start, block in blocks(array):
        ignored = ignored_labels(block, ignore_index)
        count += int(np.count_nonzero(ignored))
        if block.min() < 0 or block.max() >= k:
            refuse_outside(name, block, k, ~ignored, start, array.shape)
    return count


def ignored_labels(array: Array, ignore_index: int) -> Any:
    """Tell which labels are `ignore_index`, whatever their dtype."""
    limits = np.iinfo(array.dtype)
    fits = limits.min <= ignore_index <= limits.max
    return array == array.dtype.type(ignore_index) if fits else np.False_


def plain_labels(array: Array, ignore_index: int, count: int) -> Array:
    """Return labels that fit as contiguous int64, with the `count` to be ignored as -1."""
    plain = simple(np.asarray(array, dtype=INT64, order="C"))
    if count:
        plain = np.where(ignored_labels(array, ignore_index), np.int64(-1), plain)
    return plain


# Linear maps


def stand_in(shape: Shape, dtype: np.dtype) -> Array:
    """Return an array of zeros that takes no memory, for checks that look at shape and dtype."""
    return np.ndarray(shape, dtype, ZERO, 0, (0,) * len(shape))


def features(x: Any) -> Any:
    """Return x (..., d): an array in the dtype that it has, or a SciPy matrix in CSR format."""
    if hasattr(x, "tocsr"):
        if x.format != "csr":
            raise TypeError(
                f"`x` must be an array or a SciPy matrix in CSR format, got one in {x.format!r} "
                "format: its method tocsr() converts it"
            )
        if x.ndim != 2:
            raise ValueError(f"`x` must have two axes where it is sparse, got shape {x.shape}")
        check_dtype("x", x.dtype)
        return x
    array = numbers("x", x)
    axis_index(-1, array.ndim)
    return array


def linear_map(
    weight: Any, bias: Any, x_shape: Shape, dtype: np.dtype, classes: bool
) -> tuple[Array, Array | None]:
    """Return weight (k, d) and bias (k,), or without `classes` weight (d,) and bias ()."""
    weight = real("weight", weight, dtype)
    d = x_shape[-1]
    if weight.ndim != 1 + classes or weight.shape[-1] != d:
        need = f"(k, {d})" if classes else f"({d},)"
        raise ValueError(
            f"`weight` must have shape {need} to match `x` of shape {x_shape}, got {weight.shape}"
        )
    if classes:
        at_least_one_class("weight", weight, weight.shape[0])
    if bias is not None:
        bias = real("bias", bias, dtype)
        same_shape("bias", bias, weight.shape[:-1], "weight", weight.shape)
    return weight, bias


def direction(v: Any, weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
    """Return the (weight, bias) of `v`, which is that pair or a named tuple with an x of None."""
    if not isinstance(v, (tuple, list)) or len(v) not in (2, 3):
        raise TypeError(
            f"`v` must be a pair (weight, bias) or a LinearGradient, got {type(v).__name__}"
        )
    if len(v) == 3 and v[0] is not None:
        raise ValueError("`v.x` must be None: the Hessian is that of weight and bias")
    v_weight, v_bias = v[-2:]
    v_weight = real("v.weight", v_weight, weight.dtype)
    same_shape("v.weight", v_weight, weight.shape, "weight", weight.shape)
    if v_bias is not None:
        if bias is None:
            raise ValueError("`v.bias` must be None where there is no `bias`")
        v_bias = real("v.bias", v_bias, weight.dtype)
        same_shape("v.bias", v_bias, bias.shape, "bias", bias.shape)
    return v_weight, v_bias


def wanted(wrt: Any, choice: Sequence[str], reduction: str, sparse: bool) -> frozenset[str]:
    """Return the names in `wrt` (one, or several), each of them one of `choice`."""
    names = (wrt,) if isinstance(wrt, str) else wrt
    if not isinstance(names, Iterable):
        raise TypeError(f"`wrt` must be a name or a tuple of names, got {wrt!r}")
    found = []
    for name in names:
        if not isinstance(name, str) or name not in choice:
            words = ", ".join(map(repr, choice[:-1])) + f" or {choice[-1]!r}"
            raise ValueError(f"`wrt` must name {words}, got {name!r}")
        found.append(name)
    if reduction == "none" and set(found) != {"x"}:
        raise ValueError(
            "`reduction` must be 'mean' or 'sum' for derivatives with respect to weight and bias, "
            "which all samples share, got 'none'"
        )
    if sparse and "x" in found:
        raise ValueError(
            "`wrt` must not name 'x' where `x` is sparse, for its gradient is not: ask for "
            "wrt=('weight', 'bias')"
        )
    return frozenset(found)


def check_linear_out(
    out: Any, shapes: Sequence[Shape | None], dtype: np.dtype, name: str = "out"
) -> tuple[Any, ...]:
    """Return `out` as (x, weight, bias), each an array or None, None where no shape is wanted."""
    if out is None:
        return (None,) * 3
    check_tuple(name, out, 3, "three arrays or None")
    for part, one, shape in zip(("x", "weight", "bias"), out, shapes, strict=True):
        if shape is not None:
            check_out(one, shape, dtype, f"{name}.{part}")
        elif one is not None:
            raise ValueError(f"`{name}.{part}` must be None, for that is not wanted")
    return tuple(out)


def check_linear_outs(
    out: Any, pair: bool, shapes: Sequence[Shape | None], dtype: np.dtype
) -> list[tuple[Any, ...]]:
    """Return `out`, such a triple or a pair of them, as a list; no two arrays share memory."""
    if pair:
        check_tuple("out", out, 2, "a pair of triples")
    triples = (
        [check_linear_out(one, shapes, dtype, f"out[{i}]") for i, one in enumerate(out)]
        if pair
        else [check_linear_out(out, shapes, dtype)]
    )
    check_separate(one for triple in triples for one in triple)
    return triples


def chunk_rows(value: Any) -> int | None:
    """Return how many rows to take at a time, None if that is not said."""
    if value is None:
        return None
    return at_least_one("chunk_rows", value)


def for_products(matrix: Array) -> Array:
    """Return a matrix with rows or columns that lie as BLAS takes them: itself if they do."""
    (m, n), (row, column), item = matrix.shape, matrix.strides, matrix.itemsize
    if (column == item and row >= n * item) or (row == item and column >= m * item):
        return matrix
    return np.ascontiguousarray(matrix)


# Layout


def samples(array: Array, ndim: int, start: int, stop: int) -> Array:
    """Return samples `start` to `stop` of an array whose first `ndim` axes count samples.

    They are counted along one axis in the result: a view if there is one, else a copy of these.
    """
    if ndim == 1:
        return array[start:stop]
    batch, sample = array.shape[:ndim], array.shape[ndim:]
    n = math.prod(batch)
    first: tuple[Any, ...] = (..., *(0,) * len(sample))
    if array.size and ndim and common_run([array[first]]) < n:
        return array[np.unravel_index(np.arange(start, min(stop, n)), batch)]
    return array.reshape(n, *sample)[start:stop]


def put_samples(array: Array, ndim: int, start: int, stop: int, values: Array) -> None:
    """Write `values` where `samples` reads."""
    view = samples(array, ndim, start, stop)
    if np.may_share_memory(view, array):
        view[...] = values
    else:
        array[np.unravel_index(np.arange(start, stop), array.shape[:ndim])] = values


def blocks(array: Array, size: int = 1 << 18) -> Iterator[tuple[int, Array]]:
    """Yield an array flat, in blocks of at most `size` elements, each with where it starts."""
    for start in range(0, array.size, size):
        yield start, samples(array, array.ndim, start, start + size)


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

    @classmethod
    def around(cls, array: Array) -> "Output":
        """Return an output that is written to a native, aligned array, and is not the user's."""
        output = cls.__new__(cls)
        output.out, output.array, output.base = None, array, array
        return output

    def keep_off(self, arrays: Iterable[Array], itself: Array | None = None) -> None:
        """Write elsewhere first if `out` shares memory with `arrays` that are still to be read.

        It may be `itself`, element for element, of which only what is overwritten has been read.
        """
        shared = any(np.may_share_memory(self.array, array) for array in arrays)
        if itself is not None and np.may_share_memory(self.array, itself):
            shared = shared or not in_place(self.array, itself)
        if shared:
            self.array = np.empty_like(self.array, order="C")

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
    if kernels.in_unit_interval(array) or (array.size and array.min() >= 0):
        return
    bad = array < 0
    if rows_used is not None:
        bad &= rows_used
    refuse(name, array, bad, "hold probabilities, none negative")
