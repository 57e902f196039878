"""Every public function of fastce in plain NumPy, written to be read.

The compiled functions are checked against this module, and it has the same names, signatures and
refusals. It imports nothing but NumPy.

Four habits make it accurate:

- The exponentials of a row are taken relative to its largest entry, the *top*, whose own is then
  exactly 1. The sum is kept as 1 + rest, rest being the sum of all the others, so log(sum) is
  log1p(rest): that is right also where rest is 1e-40.
- -log p_j is (top - x_j) + log1p(rest): neither term is negative, so nothing cancels.
- 1 - p of the top is rest / (1 + rest), never a difference from 1.
- A gradient C p_j - c_j, with C the sum of the c, is written p_j (C - c_j) - c_j (1 - p_j). For a
  target that is one class it has only one term that is not 0.

The exponent x - top is rounded once, so for a spread of several hundred the probabilities of this
module are off by as many units in the last place; the compiled kernels do better.

All arithmetic along classes is done on tables of shape (n, k): a sample is a row, a class is a
column. `_Table` brings arrays of any shape and axis into that form and back.
"""

import functools
import inspect
import itertools
import math
import operator
from collections import namedtuple
from collections.abc import Iterable

import numpy as np

__all__ = [
    "LinearGradient",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "entropy",
    "entropy_from_logits",
    "js_divergence",
    "kl_divergence",
    "linear_binary_cross_entropy",
    "linear_cross_entropy",
    "linear_squared_error",
    "log_sigmoid",
    "log_sigmoid_backward",
    "log_softmax",
    "log_softmax_backward",
    "logit",
    "logsumexp",
    "logsumexp_backward",
    "nll_loss",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "squared_error",
]


def _quiet(function):
    """Run `function` without floating-point warnings: inf and NaN are answers here."""

    @functools.wraps(function)
    def quiet(*args, **kwargs):
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return quiet


# ---------------------------------------------------------------------------------------------
# Arrays in, arrays out
# ---------------------------------------------------------------------------------------------


def _asarray(value, name):
    _check_unmasked(value, name)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # a foreign __array__ or __dlpack__ may raise anything
        kind = ValueError if isinstance(error, ValueError) else TypeError
        found = type(value).__name__
        raise kind(f"`{name}` must be convertible to an array, got {found}: {error}") from error


def _check_unmasked(value, name):
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"`{name}` must not have masked elements, got a masked array that has some")


def _is_real(array):
    return array.dtype.kind in "biu" or array.dtype.char in "efd"


def _numbers(value, name):
    """Return `value` as an array of real numbers."""
    array = _asarray(value, name)
    if not _is_real(array):
        raise TypeError(
            f"`{name}` must be of a float16, float32, float64, integer or bool dtype, "
            f"got {array.dtype}"
        )
    return array


def _floats(value, name, dtype=None):
    """Return `value` as native floats: of `dtype`, or of the type that its own type leads to."""
    array = _numbers(value, name)
    if dtype is None:
        dtype = np.float32 if array.dtype.char in "ef" else np.float64
    return array.astype(dtype, copy=False)


def _number(value, name, need, holds):
    """Return the option `value` as a float for which `holds`, which `need` says in words."""
    if type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            number = np.inf if value > 0 else -np.inf
    else:
        array = _asarray(value, name)
        if array.ndim:
            raise ValueError(f"`{name}` must be a number, got an array of shape {array.shape}")
        if not _is_real(array):
            raise TypeError(f"`{name}` must be a real number, got {value!r}")
        number = float(array)
    if not holds(number):
        raise ValueError(f"`{name}` must be {need}, got {value}")
    return number


def _integer(value, name, need="an integer"):
    """Return the option `value` as an int; a bool is none."""
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"`{name}` must be {need}, got {value!r}")


def _flag(value, name):
    """Return the option `value`, a bool or an int, as a bool."""
    return bool(value if isinstance(value, (bool, np.bool_)) else _integer(value, name, "a bool"))


def _refuse(bad, array, name, need):
    """Raise ValueError naming the first entry of `array` that is `bad`."""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" at index {index if len(index) > 1 else index[0]}" if index else ""
        raise ValueError(f"`{name}` must {need}, got {array.item(*index)}{place}")


def _check_shape(array, name, need, other, other_shape, note=""):
    if array.shape != need:
        raise ValueError(
            f"`{name}` must have shape {need} to match `{other}` of shape {other_shape}, "
            f"got {array.shape}{note}"
        )


def _check_out(out, shape, dtype, name="out"):
    """Refuse an `out` that the result does not fit, before anything is written."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"`{name}` must be a NumPy array, got {type(out).__name__}")
    _check_unmasked(out, name)
    if out.shape != tuple(shape):
        raise ValueError(f"`{name}` must have the result's shape {tuple(shape)}, got {out.shape}")
    if out.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"`{name}` must have the result's dtype {np.dtype(dtype)}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"`{name}` must be writeable, got a read-only array")


def _deliver(result, dtype, out=None):
    """Return `result` as `dtype`, in `out` if there is one; a 0-d result becomes a scalar."""
    result = np.asarray(result + 0.0).astype(dtype, copy=False)  # -0.0 + 0.0 is 0.0
    if out is None:
        return result[()]
    np.asarray(out)[...] = result
    return out


def _axis(axis, ndim):
    axis = _integer(axis, "axis")
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def _axes(axis, ndim):
    """Return `axis` (an int, a tuple, or None for all) as a tuple of distinct ints from 0 on."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(_axis(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` must not name an axis twice, got {axis}")
    return axes


class _Table:
    """An array `x` as a table (n, k): the classes, all that is on `axes`, as columns."""

    def __init__(self, x, name, axis, dtype=None, allow_empty=False):
        x = _floats(x, name, dtype)
        self.name, self.dtype, self.shape = name, x.dtype, x.shape
        self.axes = _axes(axis, x.ndim)
        self.batch = tuple(size for a, size in enumerate(x.shape) if a not in self.axes)
        self.classes = tuple(x.shape[a] for a in self.axes)
        self.n, self.k = math.prod(self.batch), math.prod(self.classes)
        if self.k == 0 and not allow_empty:
            raise ValueError(f"`{name}` must have at least one class, got shape {x.shape}")
        self.x = self.rows(x)

    @property
    def _last(self):
        return tuple(range(-len(self.axes), 0))

    def rows(self, array):
        """Return an array of x's shape as a table; contiguous, so that NumPy sums it pairwise."""
        moved = np.moveaxis(array, self.axes, self._last)
        return np.ascontiguousarray(moved.reshape(self.n, self.k))

    def restore(self, rows):
        """Return a table in x's shape."""
        return np.moveaxis(rows.reshape(self.batch + self.classes), self._last, self.axes)

    def like(self, array, name):
        """Return another array of x's shape as a table of x's dtype."""
        array = _floats(array, name, self.dtype)
        _check_shape(array, name, self.shape, self.name, self.shape)
        return self.rows(array)


# ---------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------


def _times(a, b):
    """Return a b, where 0 times an infinity is 0: what has no weight contributes nothing."""
    product = a * b
    nan = np.isnan(product)
    return np.where(nan & ~np.isnan(a) & ~np.isnan(b), 0.0, product) if nan.any() else product


def _over(a, b):
    """Return a / b, where an `a` of exactly 0 gives 0, whatever b is."""
    return np.where(a == 0, 0.0, a / b)


def _column(samples):
    return samples.reshape(-1, 1)


def _total(rows):
    return rows.sum(axis=1, keepdims=True)


class _Softmax:
    """What the functions of a table of logits x (n, k) have in common; m is the top of each row.

    ``exponent`` (n, k) is (x - m) / temperature, ``top`` (n, 1) is the column of m, and ``lse``
    (n, 1) is the log of the sum of exp(x / temperature).
    """

    def __init__(self, x, temperature=1.0):
        self.top = x.argmax(axis=1, keepdims=True)
        m = np.take_along_axis(x, self.top, axis=1)
        self.exponent = x - m if temperature == 1 else (x - m) / temperature
        self.e = np.exp(self.exponent)
        np.put_along_axis(self.e, self.top, 0.0, axis=1)
        # A row of only -inf has no probabilities, nor has one with +inf or NaN.
        self.rest = np.where(np.isfinite(m), _total(self.e), np.nan)
        np.put_along_axis(self.e, self.top, 1.0, axis=1)
        self.log_sum = np.log1p(self.rest)
        self.lse = m / temperature + np.where(np.isposinf(m), 0.0, self.log_sum)

    @functools.cached_property
    def p(self):
        """The probabilities."""
        return self.e / (1 + self.rest)

    @functools.cached_property
    def one_less_p(self):
        """1 - p. Away from the top p is at most 1/2, and the difference loses nothing."""
        one_less_p = 1 - self.p
        np.put_along_axis(one_less_p, self.top, self.rest / (1 + self.rest), axis=1)
        return one_less_p

    @functools.cached_property
    def minus_log_p(self):
        """-log p, as two terms of which neither is negative."""
        return self.log_sum - self.exponent


class _Logistic:
    """The same for two classes, p = sigmoid(x) and q = 1 - p, elementwise."""

    def __init__(self, x):
        self.x = x
        self.e = np.exp(-np.abs(x))  # at most 1

    @functools.cached_property
    def p(self):
        return np.where(self.x >= 0, 1.0, self.e) / (1 + self.e)

    @functools.cached_property
    def q(self):
        return np.where(self.x >= 0, self.e, 1.0) / (1 + self.e)

    @functools.cached_property
    def log_sum(self):
        return np.log1p(self.e)

    @property
    def minus_log_p(self):
        return np.maximum(-self.x, 0) + self.log_sum

    @property
    def minus_log_q(self):
        return np.maximum(self.x, 0) + self.log_sum


# ---------------------------------------------------------------------------------------------
# Activations, elementwise
# ---------------------------------------------------------------------------------------------


def _elementwise(function, out, **arrays):
    """Return function(*arrays) after broadcasting, in the dtype that NumPy promotes them to."""
    # A Python number does not decide the dtype where there is an array.
    kinds = [
        a if type(a) in (bool, int, float) else _floats(a, name).dtype for name, a in arrays.items()
    ]
    dtype = np.result_type(*kinds)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    inputs = [_floats(a, name, dtype) for name, a in arrays.items()]
    _check_out(out, np.broadcast_shapes(*(a.shape for a in inputs)), dtype)
    return _deliver(function(*inputs), dtype, out)


@_quiet
def sigmoid(x, out=None):
    """Return 1 / (1 + exp(-x)), elementwise.

    Examples
    --------
    >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return _elementwise(lambda x: _Logistic(x).p, out, x=x)


@_quiet
def log_sigmoid(x, out=None):
    """Return log(sigmoid(x)) = min(x, 0) - log1p(exp(-abs(x))), elementwise.

    Examples
    --------
    >>> float(log_sigmoid(40.0))
    -4.248354255291589e-18
    """
    return _elementwise(lambda x: -_Logistic(x).minus_log_p, out, x=x)


@_quiet
def softplus(x, out=None):
    """Return log(1 + exp(x)) = max(x, 0) + log1p(exp(-abs(x))), elementwise.

    Examples
    --------
    >>> float(softplus(-40.0))
    4.248354255291589e-18
    """
    return _elementwise(lambda x: _Logistic(x).minus_log_q, out, x=x)


@_quiet
def logit(p, out=None):
    """Return log(p / (1 - p)), elementwise: -inf at 0, inf at 1, NaN outside [0, 1].

    Near 1/2, where the quotient is near 1, it is log1p((2p - 1) / (1 - p)), in which both
    differences are exact or nearly so.

    Examples
    --------
    >>> logit([0.0, 0.5, 1.0]).tolist()
    [-inf, 0.0, inf]
    """

    def near_and_far(p):
        near = np.abs(p - 0.5) < 0.25
        far = np.where(p < 0.5, np.log(p) - np.log1p(-p), np.log(p / (1 - p)))
        return np.where(near, np.log1p((2 * p - 1) / (1 - p)), far)

    return _elementwise(near_and_far, out, p=p)


@_quiet
def sigmoid_backward(grad_output, output, out=None):
    """Return grad_output y (1 - y), elementwise, y being the sigmoid already computed.

    Examples
    --------
    >>> float(sigmoid_backward(2.0, 0.5))
    0.5
    """
    return _elementwise(lambda g, y: g * y * (1 - y), out, grad_output=grad_output, output=output)


@_quiet
def log_sigmoid_backward(grad_output, x, out=None):
    """Return grad_output sigmoid(-x), elementwise.

    Examples
    --------
    >>> log_sigmoid_backward(2.0, [0.0, 1000.0]).tolist()
    [1.0, 0.0]
    """
    return _elementwise(lambda g, x: g * _Logistic(x).q, out, grad_output=grad_output, x=x)


@_quiet
def softplus_backward(grad_output, x, out=None):
    """Return grad_output sigmoid(x), elementwise.

    Examples
    --------
    >>> softplus_backward(3.0, [0.0, 1000.0]).tolist()
    [1.5, 3.0]
    """
    return _elementwise(lambda g, x: g * _Logistic(x).p, out, grad_output=grad_output, x=x)


# ---------------------------------------------------------------------------------------------
# Activations along an axis
# ---------------------------------------------------------------------------------------------


@_quiet
def softmax(x, axis=-1, *, out=None):
    """Return exp(x) / sum(exp(x)) along `axis` (an int, a tuple, or None for all elements).

    An entry of -inf gives exactly 0. A row of only -inf, or with a +inf or NaN, gives NaN.

    Examples
    --------
    >>> softmax([[0.0, 0.0, -float("inf")]]).tolist()
    [[0.5, 0.5, 0.0]]
    """
    t = _Table(x, "x", axis)
    _check_out(out, t.shape, t.dtype)
    return _deliver(t.restore(_Softmax(t.x).p), t.dtype, out)


@_quiet
def log_softmax(x, axis=-1, *, out=None):
    """Return x - logsumexp(x) along `axis` (an int, a tuple, or None for all elements).

    An entry of -inf gives -inf. A row of only -inf, or with NaN, gives NaN; in a row with +inf
    those give NaN and the others -inf.

    Examples
    --------
    >>> log_softmax([40.0, 0.0]).tolist()
    [-4.248354255291589e-18, -40.0]
    """
    t = _Table(x, "x", axis)
    _check_out(out, t.shape, t.dtype)
    soft = _Softmax(t.x)
    logs = np.where(np.isposinf(soft.lse), soft.exponent, -soft.minus_log_p)
    return _deliver(t.restore(logs), t.dtype, out)


@_quiet
def logsumexp(x, axis=-1, *, b=None, keepdims=False, return_sign=False, out=None):
    """Return log(sum(b exp(x))) along `axis` (an int, a tuple, or None for all elements).

    Parameters
    ----------
    x : array_like
        Exponents. Over nothing, and over only -inf, the result is -inf; with a +inf it is +inf.
    axis : int, tuple of int or None
        What to sum over.
    b : array_like, optional
        Factors of any sign, broadcast against `x`. Where b is 0, x is not looked at.
    keepdims : bool
        Keep what was summed over as axes of length 1.
    return_sign : bool
        Return ``(log(abs(sum)), sign of the sum)``. Without it, a negative sum gives NaN.
    out : ndarray, optional
        Where to put the logarithm; the sign, if asked for, is always a new array.

    Examples
    --------
    >>> float(logsumexp([0.0, -40.0]))
    4.248354255291589e-18
    """
    keepdims, return_sign = _flag(keepdims, "keepdims"), _flag(return_sign, "return_sign")
    x = _floats(x, "x")
    if b is not None:
        b = _floats(b, "b", x.dtype)
        try:
            x, b = np.broadcast_arrays(x, b)
        except ValueError:
            raise ValueError(
                f"`b` must have a shape that broadcasts against `x` of shape {x.shape}, "
                f"got {b.shape}"
            ) from None
        x = np.where(b == 0, -np.inf, x)
    t = _Table(x, "x", axis, allow_empty=True)
    shape = t.batch
    if keepdims:
        shape = tuple(1 if a in t.axes else size for a, size in enumerate(t.shape))
    _check_out(out, shape, t.dtype)
    if t.k:
        logs, signs = _signed_logsumexp(t.x, None if b is None else t.rows(b))
    else:
        logs, signs = np.full(t.n, -np.inf), np.zeros(t.n)
    if not return_sign:
        logs = np.where(signs < 0, np.nan, logs)
    logs = _deliver(logs.reshape(shape), t.dtype, out)
    return (logs, _deliver(signs.reshape(shape), t.dtype)) if return_sign else logs


def _signed_logsumexp(x, b):
    """Return log(abs(s)) and the sign of s = sum(b exp(x)), x and b (n, k), results (n,)."""
    m = x.max(axis=1, keepdims=True)
    m = np.where(np.isfinite(m), m, 0.0)
    terms = np.exp(x - m)
    if b is not None:
        terms = np.where(b == 0, 0.0, b * terms)
    # The largest term leads; where the others do not cancel half of it, s is lead (1 + ratio).
    leads = np.arange(x.shape[1]) == _column(np.abs(terms).argmax(axis=1))
    lead = np.where(leads, terms, 0.0).sum(axis=1)
    rest = np.where(leads, 0.0, terms).sum(axis=1)
    ratio = rest / lead
    logs = np.where(
        ratio > -0.5, np.log(np.abs(lead)) + np.log1p(ratio), np.log(np.abs(lead + rest))
    )
    return m[:, 0] + logs, np.sign(lead + rest)


@_quiet
def softmax_backward(grad_output, output, axis=-1, *, out=None):
    """Return y (g - sum(g y)), g being `grad_output` and y the softmax already computed.

    Where y is 0 the result is exactly 0, also for an infinite g.

    Examples
    --------
    >>> softmax_backward([1.0, 0.0], [0.5, 0.5]).tolist()
    [0.25, -0.25]
    """
    t = _Table(grad_output, "grad_output", axis)
    y = t.like(output, "output")
    _check_out(out, t.shape, t.dtype)
    grad = _times(y, t.x - _total(_times(y, t.x)))
    return _deliver(t.restore(grad), t.dtype, out)


@_quiet
def log_softmax_backward(grad_output, output, axis=-1, *, out=None):
    """Return g - exp(y) sum(g), g being `grad_output` and y the log_softmax already computed.

    A masked class, of y = -inf, has a gradient of exactly 0, whatever its g.

    Examples
    --------
    >>> log_softmax_backward([1.0, 3.0], [0.0, -np.inf]).tolist()
    [-3.0, 0.0]
    """
    t = _Table(grad_output, "grad_output", axis)
    y = t.like(output, "output")
    _check_out(out, t.shape, t.dtype)
    grad = np.where(y == -np.inf, 0.0, t.x - _times(np.exp(y), _total(t.x)))
    return _deliver(t.restore(grad), t.dtype, out)


@_quiet
def logsumexp_backward(grad_output, x, axis=-1, *, out=None):
    """Return g softmax(x), g being `grad_output`, of the shape of ``logsumexp(x, axis)``.

    The shape that ``keepdims=True`` gives will do as well.

    Examples
    --------
    >>> logsumexp_backward(2.0, [0.0, 0.0]).tolist()
    [1.0, 1.0]
    """
    g = _floats(grad_output, "grad_output")
    t = _Table(x, "x", axis, g.dtype)
    kept = tuple(1 if a in t.axes else size for a, size in enumerate(t.shape))
    if g.shape != kept:
        _check_shape(g, "grad_output", t.batch, "x", t.shape)
    _check_out(out, t.shape, t.dtype)
    grad = _times(_column(g), _Softmax(t.x).p)
    return _deliver(t.restore(grad), t.dtype, out)


# ---------------------------------------------------------------------------------------------
# The protocol of the losses
# ---------------------------------------------------------------------------------------------


METHODS = ("__call__", "grad", "value_and_grad", "grad_and_hess", "hvp")


def _show_options(cls, base, options):
    """Give `cls` the methods of `base` once more, with `options` in their signatures."""

    def shown(method):
        @functools.wraps(method)
        def same(*args, **kwargs):
            return method(*args, **kwargs)

        given = list(inspect.signature(method).parameters.values())[:-1]  # without **options
        at = next(i for i, parameter in enumerate(given) if parameter.name == "reduction")
        same.__signature__ = inspect.Signature([*given[:at], *options, *given[at:]])
        return same

    for name in METHODS:
        if hasattr(base, name):
            setattr(cls, name, shown(getattr(base, name)))


class Loss:
    """A loss: a callable object whose methods give its derivatives too.

    A subclass states its meaning on a table `t` of rows, one a sample:

    - ``_setup(logits, target, **options)`` checks the arguments and makes the table. ``t.x``
      (n, k) is the first argument, ``t.share`` (n,) what each sample counts in the mean's
      divisor, and ``t.ignored`` (n,) is True for samples not to look at.
    - ``_value(t)`` (n,), ``_grad(t)`` (n, k), ``_hess(t)`` (n, k) (the diagonal) and
      ``_hvp(t, v)`` (n, k).

    Weights of samples, reduction, NaN, ignored samples and ``out=`` are dealt with here.

    Every loss has the options ``reduction="mean" | "sum" | "none"`` and ``sample_weight=None``,
    one non-negative number a sample. The mean divides by the sum of the sample weights; where
    that is 0 it is NaN, and its gradient 0. A NaN makes its own row NaN and no other.
    """

    def __init_subclass__(cls):
        """Show the options of a loss in the signatures of its methods."""
        _show_options(cls, Loss, list(inspect.signature(cls._setup).parameters.values())[3:])

    def __init__(self, name):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = type(self).__doc__

    def __repr__(self):
        return f"<loss {self.__name__}>"

    @_quiet
    def __call__(self, logits, target, *, reduction="mean", sample_weight=None, **options):
        """Return the value: a number, or one a sample with ``reduction="none"``.

        Examples
        --------
        >>> float(squared_error([3.0], [1.0]))
        2.0
        """
        t = self._setup(logits, target, **options)
        reduced = _Reduction(t, reduction, sample_weight)
        return reduced.value(self._value(t))

    @_quiet
    def grad(self, logits, target, *, reduction="mean", sample_weight=None, out=None, **options):
        """Return the gradient with respect to the first argument, in its shape.

        With ``reduction="none"`` it is the gradient of each sample's own value.

        Examples
        --------
        >>> squared_error.grad([3.0, 1.0], [1.0, 1.0]).tolist()
        [1.0, 0.0]
        """
        t = self._setup(logits, target, **options)
        reduced = _Reduction(t, reduction, sample_weight)
        _check_out(out, t.shape, t.dtype)
        return reduced.slope(self._grad(t), out)

    @_quiet
    def value_and_grad(
        self, logits, target, *, reduction="mean", sample_weight=None, out=None, **options
    ):
        """Return ``(value, gradient)``; `out` is for the gradient.

        Examples
        --------
        >>> value, grad = squared_error.value_and_grad([3.0], [1.0])
        >>> grad.tolist()
        [2.0]
        """
        t = self._setup(logits, target, **options)
        reduced = _Reduction(t, reduction, sample_weight)
        _check_out(out, t.shape, t.dtype)
        return reduced.value(self._value(t)), reduced.slope(self._grad(t), out)

    @_quiet
    def grad_and_hess(
        self, logits, target, *, reduction="mean", sample_weight=None, out=None, **options
    ):
        """Return ``(gradient, diagonal of the Hessian)``; `out` is a pair of arrays.

        Examples
        --------
        >>> grad, hess = squared_error.grad_and_hess([3.0], [1.0])
        >>> hess.tolist()
        [1.0]
        """
        t = self._setup(logits, target, **options)
        reduced = _Reduction(t, reduction, sample_weight)
        first, second = _check_pair(out, t.shape, t.dtype)
        grad, hess = self._grad(t), self._hess(t)
        return reduced.slope(grad, first), reduced.slope(hess, second)

    @_quiet
    def hvp(self, logits, target, v, *, reduction="mean", sample_weight=None, out=None, **options):
        """Return the product of the Hessian with `v`, an array of the first argument's shape.

        Examples
        --------
        >>> cross_entropy.hvp([0.0, 0.0], 0, [4.0, 0.0]).tolist()
        [1.0, -1.0]
        """
        t = self._setup(logits, target, **options)
        reduced = _Reduction(t, reduction, sample_weight)
        v = t.like(v, "v")
        _check_out(out, t.shape, t.dtype)
        return reduced.slope(self._hvp(t, v), out)

    def _hvp(self, t, v):
        return _times(self._hess(t), v)  # right where the Hessian has nothing but its diagonal


def _check_pair(out, shape, dtype):
    if out is None:
        return None, None
    _check_tuple(out, "out", 2, "a pair of arrays")
    for i, one in enumerate(out):
        _check_out(one, shape, dtype, f"out[{i}]")
    _check_separate(out)
    return out


def _check_tuple(value, name, size, need):
    if not isinstance(value, (tuple, list)) or len(value) != size:
        found = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise TypeError(f"`{name}` must be {need}, got {type(value).__name__}{found}")


def _check_separate(outs):
    arrays = [np.asarray(one) for one in outs if one is not None]
    if any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2)):
        raise ValueError("`out` must be separate arrays, got the same memory twice")


class _Reduction:
    """Samples' values and slopes, weighted and reduced."""

    def __init__(self, t, reduction, sample_weight):
        if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
            raise ValueError(f"`reduction` must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.t, self.reduction = t, reduction
        self.nan = np.isnan(t.x.max(axis=1))  # anywhere in the row
        self.weight = None
        share = t.share
        if sample_weight is not None:
            self.weight = _weights(sample_weight, "sample_weight", t.dtype)
            _check_shape(self.weight, "sample_weight", t.batch, t.name, t.shape)
            self.weight = self.weight.reshape(t.n)
            share = _times(self.weight, share)
        # Sums over samples are taken in float64 for float32 too.
        self.divisor = 1.0
        if reduction == "mean":
            self.divisor = share[~t.ignored].sum(dtype=np.float64)

    def value(self, values):
        """Return values (n,) reduced."""
        values = self._weighted(values)
        if self.reduction == "none":
            return _deliver(values.reshape(self.t.batch), self.t.dtype)
        total = values.sum(dtype=np.float64)
        return _deliver(total / self.divisor if self.divisor else np.nan, self.t.dtype)

    def slope(self, rows, out):
        """Return derivatives (n, k), scaled as the value is, in the first argument's shape."""
        # A mean over nothing is flat.
        rows = self._weighted(rows, self.divisor) if self.divisor else np.zeros_like(rows)
        return _deliver(self.t.restore(rows), self.t.dtype, out)

    def _weighted(self, samples, divisor=1.0):
        """Return samples (n,) or (n, k) weighted, divided, and with NaN and ignored ones set."""
        if self.weight is not None:
            weight = self.weight if samples.ndim == 1 else _column(self.weight)
            samples = _times(weight, samples)
        samples = samples / divisor
        samples[self.nan] = np.nan
        samples[self.t.ignored] = 0.0
        return samples


def _weights(weight, name, dtype):
    """Return weights of any kind: neither negative nor NaN."""
    weight = _numbers(weight, name)
    _refuse(~(weight >= 0), weight, name, "not be negative or NaN")
    return _floats(weight, name, dtype)


# ---------------------------------------------------------------------------------------------
# Losses over classes
# ---------------------------------------------------------------------------------------------


def _class_table(logits, axis):
    """Return a first argument with classes on `axis` as a table, with no target yet."""
    t = _Table(logits, "logits", _integer(axis, "axis"))
    t.ignored = np.zeros(t.n, bool)
    t.share = np.ones(t.n, t.dtype)
    return t


def _set_target(t, target, weight, ignore_index, probabilities=True):
    """Set t.labels (n, 1) or t.target (n, k), t.weight (k,) or None, t.ignored and t.share."""
    t.labels = t.target = None
    t.weight = None
    if weight is not None:
        t.weight = _weights(weight, "weight", t.dtype)
        _check_shape(t.weight, "weight", (t.k,), t.name, t.shape)
    ignore_index = _integer(ignore_index, "ignore_index")
    untyped = isinstance(target, (list, tuple))
    target = _asarray(target, "target")
    if untyped and target.size == 0 and target.shape == t.batch:
        target = target.astype(np.intp)  # an empty list has no type of its own
    if target.dtype.kind in "iu":
        _set_indices(t, target, ignore_index)
    elif target.dtype.char in "efd" and probabilities:
        if ignore_index >= 0:
            raise ValueError(
                "`ignore_index` must be negative where `target` holds probabilities, "
                f"got {ignore_index}"
            )
        note = "; floating numbers are probabilities"
        t.target = _probabilities(t, target, "target", note)
    else:
        if target.dtype == object and all(type(label) is int for label in target.flat):
            _refuse_outside(t, target, True)  # too large for any integer dtype
        floats = " or probabilities (float16, float32, float64)" if probabilities else ""
        raise TypeError(
            f"`target` must hold class indices (integers){floats}, got dtype {target.dtype}"
        )


def _set_indices(t, target, ignore_index):
    _check_shape(target, "target", t.batch, t.name, t.shape, "; integers are class indices")
    # No integer is converted before it is known to fit: a label's dtype must not matter.
    limits = np.iinfo(target.dtype)
    ignored = np.zeros(target.shape, bool)
    if limits.min <= ignore_index <= limits.max:
        ignored = target == target.dtype.type(ignore_index)
    _refuse_outside(t, target, ~ignored)
    labels = np.where(ignored, 0, target).astype(np.intp).reshape(t.n)
    t.labels, t.ignored = _column(labels), ignored.reshape(t.n)
    if t.weight is not None:
        t.share = t.weight[labels]


def _refuse_outside(t, target, used):
    outside = used & ((target < 0) | (target >= t.k))
    _refuse(outside, target, "target", f"hold classes in [0, {t.k})")


def _probabilities(t, target, name, note=""):
    """Return probabilities of t's shape as a table; they need not sum to 1."""
    target = _numbers(target, name)
    _check_shape(target, name, t.shape, t.name, t.shape, note)
    _refuse(~(target >= 0), target, name, "hold probabilities, none negative or NaN")
    return t.like(target, name)


def _coefficients(t, eps=0.0, unmasked=True):
    """Return the factors c (n, k) of -log p: the target, smoothed over `unmasked`, weighted."""
    c = t.target
    if t.labels is not None:
        c = (np.arange(t.k) == t.labels).astype(t.dtype)  # one-hot
    if eps:
        unmasked = np.broadcast_to(unmasked, c.shape).astype(t.dtype)
        c = c * (1 - eps) + eps * (unmasked / _total(unmasked))
    return c if t.weight is None else t.weight * c


def _smoothing(label_smoothing):
    return _number(label_smoothing, "label_smoothing", "in [0, 1]", lambda e: 0 <= e <= 1)


class _CrossEntropy(Loss):
    """Cross-entropy of logits with a class, or with probabilities.

    With p = softmax(logits / temperature), the value of a sample is ::

        sum_j c_j (-log p_j) + z_loss lse^2,    c_j = weight_j (t_j (1 - eps) + eps u_j)

    where t is the target (one-hot for an index), eps the label smoothing, u_j = 1 / K' for the K'
    classes that are not masked by -inf and 0 for the others, and lse the logsumexp of
    logits / temperature. With C = sum_j c_j its gradient is ::

        (C p_j - c_j + 2 z_loss lse p_j) / temperature

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Scores. A class of -inf is masked: probability and gradient are exactly 0. If it is the
        target, the value is inf. A row of only -inf, or with +inf, gives NaN.
    target : array_like
        Classes (an integer dtype, the logits' shape without `axis`) or probabilities (a floating
        dtype, the logits' shape).
    axis : int
        Where the classes are.
    weight : array_like, (k,), optional
        Weights of the classes. With indices the mean divides by the sum of the targets' weights.
    ignore_index : int
        Samples with this target count for nothing.
    label_smoothing, z_loss, temperature : float
        See above. `z_loss` is not multiplied by `weight`.

    Examples
    --------
    >>> float(cross_entropy([[40.0, 0.0]], [0]))
    4.248354255291589e-18
    """

    def _setup(
        self,
        logits,
        target,
        *,
        axis=-1,
        weight=None,
        ignore_index=-100,
        label_smoothing=0.0,
        z_loss=0.0,
        temperature=1.0,
    ):
        eps = _smoothing(label_smoothing)
        t = _class_table(logits, axis)
        t.z = _number(z_loss, "z_loss", "finite and not negative", lambda z: 0 <= z < np.inf)
        t.temperature = _number(
            temperature, "temperature", "finite and above 0", lambda c: 0 < c < np.inf
        )
        _set_target(t, target, weight, ignore_index)
        if t.labels is not None and not eps:
            t.c, t.total = None, _column(t.share)  # one class has all of it
        else:
            t.c = _coefficients(t, eps, unmasked=t.x != -np.inf)
            t.total = _total(t.c)
        t.soft = _Softmax(t.x, t.temperature)
        return t

    def _value(self, t):
        if t.c is None:
            minus_log_p = np.take_along_axis(t.soft.minus_log_p, t.labels, axis=1)
            value = _times(t.total, minus_log_p)
        else:
            value = _total(_times(t.c, t.soft.minus_log_p))
        if t.z:
            value = value + t.z * t.soft.lse**2
        return value[:, 0]

    def _grad(self, t):
        # C p - c = p (C - c) - c (1 - p): for one class with c = C, either term is 0.
        p, q = t.soft.p, t.soft.one_less_p
        if t.c is None:
            grad = p * t.total
            at_label = -t.total * np.take_along_axis(q, t.labels, axis=1)
            np.put_along_axis(grad, t.labels, at_label, axis=1)
        else:
            grad = p * (t.total - t.c) - t.c * q
        if t.z:
            grad = grad + 2 * t.z * t.soft.lse * p
        return grad / t.temperature

    def _hess(self, t):
        # The derivative of p is p (1 - p), that of lse^2 p is 2 lse p^2 + lse^2 p (1 - p).
        p, q = t.soft.p, t.soft.one_less_p
        hess = t.total * p * q
        if t.z:
            hess = hess + 2 * t.z * (p * p + t.soft.lse * p * q)
        return hess / t.temperature / t.temperature

    def _hvp(self, t, v):
        # The Hessian of lse is diag(p) - p p'. It takes constants to 0, so v may be measured
        # from its entry at the top: nothing large cancels then.
        p = t.soft.p
        u = v - np.take_along_axis(v, t.soft.top, axis=1)
        spread = _times(p, u - _total(_times(p, u)))
        hv = t.total * spread
        if t.z:
            mean = _total(_times(p, v))
            hv = hv + 2 * t.z * (p * mean + t.soft.lse * spread)
        return hv / t.temperature / t.temperature


class _NLLLoss(Loss):
    """Negative log-likelihood: -weight_t log p_t, for log-probabilities and a class t.

    It is linear: its gradient is -weight_t at the target and 0 elsewhere, its Hessian 0. `axis`,
    `weight` and `ignore_index` mean what they do in `cross_entropy`.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Log-probabilities, used as they are.
    target : array_like
        Classes, in an integer dtype and of the first argument's shape without `axis`.
    axis : int
        Where the classes are.
    weight : array_like, (k,), optional
        Weights of the classes.
    ignore_index : int
        Samples with this target count for nothing.

    Examples
    --------
    >>> float(nll_loss([[-1.0, -2.0]], [1]))
    2.0
    """

    def _setup(self, logits, target, *, axis=-1, weight=None, ignore_index=-100):
        t = _class_table(logits, axis)
        _set_target(t, target, weight, ignore_index, probabilities=False)
        t.c = _coefficients(t)
        return t

    def _value(self, t):
        return _times(t.c, -t.x).sum(axis=1)

    def _grad(self, t):
        return -t.c

    def _hess(self, t):
        return np.zeros_like(t.x)


class _CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities: sum_j c_j (-log p_j), c_j = weight_j (t_j (1 - eps) + eps/k).

    Its gradient is -c_j / p_j and its Hessian's diagonal c_j / p_j^2, both 0 where c_j is 0. The
    probabilities are not renormalised, nor are they clipped: p = 0 costs inf where c > 0.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Probabilities. A negative one, if not in an ignored sample, is a ValueError.
    target : array_like
        Classes or probabilities, as in `cross_entropy`.
    axis : int
        Where the classes are.
    weight : array_like, (k,), optional
        Weights of the classes.
    ignore_index : int
        Samples with this target count for nothing.
    label_smoothing : float
        The eps above.

    Examples
    --------
    >>> float(categorical_cross_entropy([[0.5, 0.5], [1.0, 0.0]], [1, 0], reduction="sum"))
    0.6931471805599453
    """

    def _setup(
        self, logits, target, *, axis=-1, weight=None, ignore_index=-100, label_smoothing=0.0
    ):
        eps = _smoothing(label_smoothing)
        t = _class_table(logits, axis)
        _set_target(t, target, weight, ignore_index)
        negative = t.restore((t.x < 0) & _column(~t.ignored))
        _refuse(negative, t.restore(t.x), "logits", "hold probabilities, none negative")
        t.c = _coefficients(t, eps)
        t.p = np.abs(t.x)  # -0.0 is 0
        return t

    def _value(self, t):
        return _times(t.c, -np.log(t.p)).sum(axis=1)

    def _grad(self, t):
        return -_over(t.c, t.p)

    def _hess(self, t):
        return _over(_over(t.c, t.p), t.p)


class _KLDivergence(Loss):
    """Kullback-Leibler divergence sum_j p_j (log p_j - log q_j), for log q and the target p.

    Its gradient with respect to log q is -p, its Hessian 0. Samples are rows, so the mean is what
    PyTorch calls "batchmean". Terms with p = 0 are 0, also where log q is -inf.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        The log-probabilities log q, used as they are.
    target : array_like
        The probabilities p, of the same shape. A negative or NaN one is a ValueError.
    axis : int
        Where the classes are.

    Examples
    --------
    >>> float(kl_divergence([[0.0, -np.inf]], [[1.0, 0.0]]))
    0.0
    """

    def _setup(self, logits, target, *, axis=-1):
        t = _class_table(logits, axis)
        t.p = _probabilities(t, target, "target")
        return t

    def _value(self, t):
        return np.where(t.p == 0, 0.0, t.p * (np.log(t.p) - t.x)).sum(axis=1)

    def _grad(self, t):
        return -t.p

    def _hess(self, t):
        return np.zeros_like(t.x)


# ---------------------------------------------------------------------------------------------
# Losses of single elements
# ---------------------------------------------------------------------------------------------


def _element_table(logits):
    """Return a first argument as a table with a row for each element: k is 1."""
    t = _Table(logits, "logits", ())
    t.ignored = np.zeros(t.n, bool)
    t.share = np.ones(t.n, t.dtype)
    return t


def _unit_target(t, target):
    """Return targets in [0, 1] as a table."""
    target = _numbers(target, "target")
    _check_shape(target, "target", t.shape, t.name, t.shape)
    _refuse(~((target >= 0) & (target <= 1)), target, "target", "be in [0, 1]")
    return t.like(target, "target")


def _element_weight(t, weight, name):
    """Return weights that broadcast to t's shape as a table."""
    weight = _weights(weight, name, t.dtype)
    try:
        return t.rows(np.broadcast_to(weight, t.shape))
    except ValueError:
        raise ValueError(
            f"`{name}` must have a shape that broadcasts to that of `{t.name}`, {t.shape}, "
            f"got {weight.shape}"
        ) from None


class _BinaryCrossEntropyWithLogits(Loss):
    """Binary cross-entropy of logits z with targets t in [0, 1], each element a sample.

    The value, its gradient and its Hessian are ::

        a softplus(-z) + b softplus(z),    b sigmoid(z) - a sigmoid(-z)
        (a + b) sigmoid(z) sigmoid(-z)

    where a = weight pos_weight s and b = weight (1 - s), with s = t (1 - eps) + eps / 2 for the
    label smoothing eps.

    Parameters
    ----------
    logits : array_like
        Scores.
    target : array_like
        Targets of the same shape; integers and bools are taken as 0 and 1.
    weight, pos_weight : array_like, optional
        Weights of all elements and of the positive part; they broadcast to the logits' shape. The
        mean divides by the count, as in PyTorch.
    label_smoothing : float
        The eps above.

    Examples
    --------
    >>> float(binary_cross_entropy_with_logits([1000.0], [0.0]))
    1000.0
    """

    def _setup(self, logits, target, *, weight=None, pos_weight=None, label_smoothing=0.0):
        eps = _smoothing(label_smoothing)
        t = _element_table(logits)
        t.a = _unit_target(t, target)
        t.b = 1 - t.a
        if eps:
            t.a, t.b = t.a * (1 - eps) + eps / 2, t.b * (1 - eps) + eps / 2
        if pos_weight is not None:
            t.a = _times(_element_weight(t, pos_weight, "pos_weight"), t.a)
        if weight is not None:
            weight = _element_weight(t, weight, "weight")
            t.a, t.b = _times(weight, t.a), _times(weight, t.b)
        t.two = _Logistic(t.x)
        return t

    def _value(self, t):
        return (_times(t.a, t.two.minus_log_p) + _times(t.b, t.two.minus_log_q))[:, 0]

    def _grad(self, t):
        return t.b * t.two.p - t.a * t.two.q

    def _hess(self, t):
        return (t.a + t.b) * t.two.p * t.two.q


class _BinaryCrossEntropy(Loss):
    """Binary cross-entropy of probabilities p with targets t in [0, 1], each element a sample.

    The value, its gradient and its Hessian are, times weight, ::

        -t log(p) - (1 - t) log(1 - p),    (1 - t) / (1 - p) - t / p
        t / p^2 + (1 - t) / (1 - p)^2

    A term whose t or 1 - t is 0 is 0. Nothing is clamped: p = 0 with target 1 costs inf.

    Parameters
    ----------
    logits : array_like
        Probabilities. One outside [0, 1] is a ValueError; NaN gives NaN.
    target : array_like
        Targets of the same shape; integers and bools are taken as 0 and 1.
    weight : array_like, optional
        Weights, which broadcast to the first argument's shape. The mean divides by the count.

    Examples
    --------
    >>> binary_cross_entropy([0.0, 0.0], [0, 1], reduction="none").tolist()
    [0.0, inf]
    """

    def _setup(self, logits, target, *, weight=None):
        t = _element_table(logits)
        outside = t.restore((t.x < 0) | (t.x > 1))
        _refuse(outside, t.restore(t.x), "logits", "be in [0, 1]")
        t.a = _unit_target(t, target)
        t.b = 1 - t.a
        if weight is not None:
            weight = _element_weight(t, weight, "weight")
            t.a, t.b = _times(weight, t.a), _times(weight, t.b)
        t.p = np.abs(t.x)  # -0.0 is 0
        return t

    def _value(self, t):
        return (_times(t.a, -np.log(t.p)) + _times(t.b, -np.log1p(-t.p)))[:, 0]

    def _grad(self, t):
        return _over(t.b, 1 - t.p) - _over(t.a, t.p)

    def _hess(self, t):
        return _over(_over(t.a, t.p), t.p) + _over(_over(t.b, 1 - t.p), 1 - t.p)


class _SigmoidFocalLoss(Loss):
    """Focal loss of logits z with targets t in [0, 1], each element a sample, as in torchvision.

    With p = sigmoid(z), q = 1 - p and f = t softplus(-z) + (1 - t) softplus(z), the value is ::

        a d^gamma f,    d = t q + (1 - t) p,    a = alpha t + (1 - alpha)(1 - t)

    and a = 1 for alpha < 0. As d' = (1 - 2t) p q and d'' = d' (q - p), with r = d' / d its
    gradient and Hessian are ::

        a d^gamma (gamma r f + f')
        a d^gamma (gamma (r f ((gamma - 1) r + q - p) + 2 r f') + p q)

    where f' = (1 - t) p - t q, and r = (1 - 2t) / (t / p + (1 - t) / q) lies within [-1, 1].

    Parameters
    ----------
    logits : array_like
        Scores.
    target : array_like
        Targets of the same shape; integers and bools are taken as 0 and 1.
    alpha : float
        Balance of positive against negative targets, at most 1; below 0 turns it off.
    gamma : float
        The focus, not negative; 0 gives the binary cross-entropy.

    References
    ----------
    Lin et al.: Focal loss for dense object detection (2017), doi:10.1109/ICCV.2017.324.

    Examples
    --------
    >>> float(sigmoid_focal_loss([0.0], [1.0], alpha=-1.0, gamma=1.0))
    0.34657359027997264
    """

    def _setup(self, logits, target, *, alpha=0.25, gamma=2.0):
        alpha = _number(alpha, "alpha", "at most 1", lambda a: a <= 1)
        t = _element_table(logits)
        t.gamma = _number(gamma, "gamma", "finite and not negative", lambda g: 0 <= g < np.inf)
        t.t = _unit_target(t, target)
        two = _Logistic(t.x)
        t.p, t.q = two.p, two.q
        t.f = _times(t.t, two.minus_log_p) + _times(1 - t.t, two.minus_log_q)
        t.slope = (1 - t.t) * t.p - t.t * t.q
        t.r = (1 - 2 * t.t) / (_over(t.t, t.p) + _over(1 - t.t, t.q))
        balance = alpha * t.t + (1 - alpha) * (1 - t.t) if alpha >= 0 else 1.0
        t.factor = balance * (t.t * t.q + (1 - t.t) * t.p) ** t.gamma
        return t

    def _value(self, t):
        return _times(t.factor, t.f)[:, 0]

    def _grad(self, t):
        return _times(t.factor, t.gamma * _times(t.r, t.f) + t.slope)

    def _hess(self, t):
        bend = _times(_times(t.r, t.f), (t.gamma - 1) * t.r + t.q - t.p) + 2 * t.r * t.slope
        return _times(t.factor, t.gamma * bend + t.p * t.q)


class _SquaredError(Loss):
    """Half the squared error (x - y)^2 / 2, each element a sample.

    Its gradient with respect to the prediction x is x - y, its Hessian 1.

    Parameters
    ----------
    logits : array_like
        Predictions.
    target : array_like
        Real targets of the same shape.

    Examples
    --------
    >>> float(squared_error([3.0], [1.0]))
    2.0
    """

    def _setup(self, logits, target):
        t = _element_table(logits)
        t.residual = t.x - t.like(target, "target")
        return t

    def _value(self, t):
        return (t.residual * (t.residual / 2))[:, 0]

    def _grad(self, t):
        return t.residual

    def _hess(self, t):
        return np.ones_like(t.x)


cross_entropy = _CrossEntropy("cross_entropy")
nll_loss = _NLLLoss("nll_loss")
categorical_cross_entropy = _CategoricalCrossEntropy("categorical_cross_entropy")
kl_divergence = _KLDivergence("kl_divergence")
binary_cross_entropy_with_logits = _BinaryCrossEntropyWithLogits("binary_cross_entropy_with_logits")
binary_cross_entropy = _BinaryCrossEntropy("binary_cross_entropy")
sigmoid_focal_loss = _SigmoidFocalLoss("sigmoid_focal_loss")
squared_error = _SquaredError("squared_error")


# ---------------------------------------------------------------------------------------------
# Losses of linear maps
# ---------------------------------------------------------------------------------------------

LinearGradient = namedtuple("LinearGradient", ["x", "weight", "bias"])
LinearGradient.__doc__ = """Derivatives with respect to x, weight and bias; None if not asked for.

Examples
--------
>>> LinearGradient(x=None, weight=[1.0, 2.0], bias=3.0).bias
3.0
"""


class LinearLoss:
    """A loss of the logits ``x @ weight.T + bias``, which are made all at once here.

    The options are those of the loss it is made from. The gradient G with respect to the logits
    gives G @ weight for x, G.T @ x for the weight, and the sum of G's rows for the bias. As each
    logit depends on its own row of the weight only, the diagonal H of the Hessian with respect to
    the logits gives H.T @ x**2 for the weight's, and the sum of H's rows for the bias's.

    `wrt` is a tuple of those of "x", "weight", "bias" that are wanted; the others are None, and so
    is the bias's where there is no bias. The gradients for weight and bias are sums over samples,
    so ``reduction="none"`` has them refused: ask for ``wrt="x"``. `out` is a triple like the result
    (for `grad_and_hess` a pair of them), of arrays or None. A SciPy matrix `x` is made dense.
    `chunk_rows` is checked, and changes nothing.
    """

    _loss = None  # the loss of the logits
    _weight_ndim = 1  # (d,), or 2 for (k, d)

    def __init_subclass__(cls):
        """Show the options of a loss in the signatures of its methods."""
        _show_options(
            cls, LinearLoss, list(inspect.signature(cls._options).parameters.values())[1:]
        )

    def __init__(self, name):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = type(self).__doc__

    def __repr__(self):
        return f"<loss {self.__name__}>"

    def _options(self):
        """Return the options of `_loss`, given those of this loss."""
        return {}

    @_quiet
    def __call__(
        self,
        x,
        weight,
        target,
        *,
        bias=None,
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        **options,
    ):
        """Return the value.

        Examples
        --------
        >>> float(linear_squared_error([[1.0, 2.0]], [1.0, 1.0], [1.0]))
        2.0
        """
        m = _Map(self, x, weight, bias, chunk_rows)
        return self._loss(
            m.logits(m.weight, m.bias),
            target,
            reduction=reduction,
            sample_weight=sample_weight,
            **m.options(self._options(**options)),
        )

    def grad(
        self,
        x,
        weight,
        target,
        *,
        bias=None,
        wrt=("x", "weight", "bias"),
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        out=None,
        **options,
    ):
        """Return the gradients with respect to `wrt` as a `LinearGradient`.

        Examples
        --------
        >>> linear_squared_error.grad([[1.0, 2.0]], [1.0, 1.0], [1.0]).weight.tolist()
        [2.0, 4.0]
        """
        options |= {"bias": bias, "reduction": reduction, "sample_weight": sample_weight}
        options |= {"wrt": wrt, "chunk_rows": chunk_rows, "out": out}
        return self.value_and_grad(x, weight, target, **options)[1]

    @_quiet
    def value_and_grad(
        self,
        x,
        weight,
        target,
        *,
        bias=None,
        wrt=("x", "weight", "bias"),
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        out=None,
        **options,
    ):
        """Return the value, and the gradients with respect to `wrt` as a `LinearGradient`.

        Examples
        --------
        >>> loss = linear_squared_error
        >>> value, grad = loss.value_and_grad([[1.0, 2.0]], [1.0, 1.0], [1.0], wrt="x")
        >>> grad.x.tolist()
        [[2.0, 2.0]]
        """
        wrt = _check_wrt(wrt, reduction)
        m = _Map(self, x, weight, bias, chunk_rows)
        value, grad = self._loss.value_and_grad(
            m.logits(m.weight, m.bias),
            target,
            reduction=reduction,
            sample_weight=sample_weight,
            **m.options(self._options(**options)),
        )
        return value, *m.deliver([m.pull_back(grad)], wrt, out)

    @_quiet
    def grad_and_hess(
        self,
        x,
        weight,
        target,
        *,
        bias=None,
        wrt=("weight", "bias"),
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        out=None,
        **options,
    ):
        """Return the gradients, and the diagonals of the Hessian, with respect to `wrt`.

        That is "weight", "bias" or both: the logits of a sample share its x.

        Examples
        --------
        >>> grad, hess = linear_squared_error.grad_and_hess([[1.0, 2.0]], [1.0, 1.0], [1.0])
        >>> hess.weight.tolist()
        [1.0, 4.0]
        """
        wrt = _check_wrt(wrt, reduction, ("weight", "bias"))
        m = _Map(self, x, weight, bias, chunk_rows)
        grad, hess = self._loss.grad_and_hess(
            m.logits(m.weight, m.bias),
            target,
            reduction=reduction,
            sample_weight=sample_weight,
            **m.options(self._options(**options)),
        )
        return m.deliver([m.pull_back(grad), m.pull_back(hess, power=2)], wrt, out)

    @_quiet
    def hvp(
        self,
        x,
        weight,
        target,
        v,
        *,
        bias=None,
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        out=None,
        **options,
    ):
        """Return the product of the Hessian with respect to weight and bias with `v`.

        `v` is a pair ``(weight, bias)``, or a `LinearGradient` whose x is None; its bias may be
        None, for 0, and must be where there is no bias. The result is a `LinearGradient`, of
        which x is None.

        Examples
        --------
        >>> v = ([1.0, 0.0], None)
        >>> linear_squared_error.hvp([[1.0, 2.0]], [1.0, 1.0], [1.0], v).weight.tolist()
        [1.0, 2.0]
        """
        wrt = _check_wrt(("weight", "bias"), reduction, ("weight", "bias"))
        m = _Map(self, x, weight, bias, chunk_rows)
        # The logits are linear in weight and bias: along v they move by x @ v.weight.T + v.bias.
        product = self._loss.hvp(
            m.logits(m.weight, m.bias),
            target,
            m.logits(*m.direction(v)),
            reduction=reduction,
            sample_weight=sample_weight,
            **m.options(self._options(**options)),
        )
        return m.deliver([m.pull_back(product)], wrt, out)[0]


class _Map:
    """A linear map: x (..., d), weight (k, d) or (d,), bias (k,) or (), in x's dtype."""

    def __init__(self, loss, x, weight, bias, chunk_rows):
        self.x = x = _floats(x.toarray() if hasattr(x, "toarray") else x, "x")
        _axis(-1, x.ndim)
        self.weight = weight = _floats(weight, "weight", x.dtype)
        need = (*weight.shape[: loss._weight_ndim - 1], x.shape[-1])
        if weight.ndim != loss._weight_ndim or weight.shape != need:
            words = "(k, {})" if loss._weight_ndim == 2 else "({},)"
            raise ValueError(
                f"`weight` must have shape {words.format(x.shape[-1])} to match `x` of shape "
                f"{x.shape}, got {weight.shape}"
            )
        if weight.shape[:-1] == (0,):
            raise ValueError(f"`weight` must have at least one class, got shape {weight.shape}")
        self.bias = bias
        if bias is not None:
            self.bias = _floats(bias, "bias", x.dtype)
            _check_shape(self.bias, "bias", weight.shape[:-1], "weight", weight.shape)
        if chunk_rows is not None and _integer(chunk_rows, "chunk_rows") < 1:
            raise ValueError(f"`chunk_rows` must be at least 1, got {chunk_rows}")

    def options(self, options):
        """Return the options of the loss of the logits, whose weight is called class_weight."""
        if options.get("weight") is not None:
            weight = _weights(options["weight"], "class_weight", self.x.dtype)
            _check_shape(weight, "class_weight", self.weight.shape[:1], "weight", self.weight.shape)
        return options

    def logits(self, weight, bias):
        logits = np.asarray(self.x @ weight.T)
        return logits if bias is None else np.asarray(logits + bias, self.x.dtype)

    def direction(self, v):
        if not isinstance(v, (tuple, list)) or len(v) not in (2, 3):
            raise TypeError(
                f"`v` must be a pair (weight, bias) or a LinearGradient, got {type(v).__name__}"
            )
        v = LinearGradient(None, *v) if len(v) == 2 else LinearGradient(*v)
        if v.x is not None:
            raise ValueError("`v.x` must be None: the Hessian is that of weight and bias")
        if v.bias is not None and self.bias is None:
            raise ValueError("`v.bias` must be None where there is no `bias`")
        v_weight = _floats(v.weight, "v.weight", self.x.dtype)
        _check_shape(v_weight, "v.weight", self.weight.shape, "weight", self.weight.shape)
        v_bias = None
        if v.bias is not None:
            v_bias = _floats(v.bias, "v.bias", self.x.dtype)
            _check_shape(v_bias, "v.bias", self.bias.shape, "bias", self.bias.shape)
        return v_weight, v_bias

    def pull_back(self, slopes, power=1):
        """Return derivatives with respect to the logits as those for x, weight and bias."""
        d = self.x.shape[-1]
        n = math.prod(self.x.shape[:-1])
        weights = self.weight.reshape(
            math.prod(self.weight.shape[:-1]), d
        )  # (k, d), k = 1 for (d,)
        rows = np.reshape(slopes, (n, weights.shape[0]))  # (n, k)
        # A sample without slope adds nothing, whatever its x: ignored ones may hold NaN.
        used = (rows != 0).any(axis=1, keepdims=True)
        samples = np.where(used, self.x.reshape(n, d), 0.0)
        return LinearGradient(
            np.where(used, rows @ weights, 0.0).reshape(self.x.shape),
            (rows.T @ samples**power).reshape(self.weight.shape),
            None if self.bias is None else rows.sum(axis=0).reshape(self.bias.shape),
        )

    def deliver(self, derivatives, wrt, out):
        """Return what is wanted of each of the derivatives, in `out` if there is one.

        `out` is a triple, and for two derivatives a pair of them. All is checked before anything
        is written.
        """
        wanted = [
            LinearGradient(*(part if name in wrt else None for name, part in one._asdict().items()))
            for one in derivatives
        ]
        if len(wanted) == 1:
            outs, names = [out], ["out"]
        else:
            outs, names = out if out is not None else (None, None), ["out[0]", "out[1]"]
            _check_tuple(outs, "out", 2, "a pair of triples")
        outs = [self.check_out(*of_one) for of_one in zip(outs, wanted, names, strict=True)]
        _check_separate(given for triple in outs for given in triple)
        return tuple(
            LinearGradient(
                *(
                    None if part is None else _deliver(part, self.x.dtype, given)
                    for part, given in zip(parts, triple, strict=True)
                )
            )
            for parts, triple in zip(wanted, outs, strict=True)
        )

    def check_out(self, out, parts, name):
        """Return `out` as a triple, of arrays that `parts` fit, and None where there is none."""
        if out is None:
            return None, None, None
        _check_tuple(out, name, 3, "three arrays or None")
        for field, given, part in zip(LinearGradient._fields, out, parts, strict=True):
            if part is not None:
                _check_out(given, np.shape(part), self.x.dtype, f"{name}.{field}")
            elif given is not None:
                raise ValueError(f"`{name}.{field}` must be None, for that is not wanted")
        return out


def _check_wrt(wrt, reduction, choice=("x", "weight", "bias")):
    if not isinstance(wrt, Iterable):
        raise TypeError(f"`wrt` must be a name or a tuple of names, got {wrt!r}")
    wrt = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in wrt:
        if name not in choice:
            words = ", ".join(map(repr, choice[:-1])) + f" or {choice[-1]!r}"
            raise ValueError(f"`wrt` must name {words}, got {name!r}")
    if reduction == "none" and set(wrt) != {"x"}:
        raise ValueError(
            "`reduction` must be 'mean' or 'sum' for derivatives with respect to weight and bias, "
            "which all samples share, got 'none'"
        )
    return wrt


class _LinearCrossEntropy(LinearLoss):
    """Cross-entropy of a linear map: ``cross_entropy(x @ weight.T + bias, target)``.

    Parameters
    ----------
    x : array_like, (..., d)
        Features.
    weight : array_like, (k, d)
        The map, a row for each class.
    target : array_like
        Classes (...) or probabilities (..., k).
    bias : array_like, (k,), optional
        A class of bias -inf is masked.
    class_weight : array_like, (k,), optional
        The `weight` of `cross_entropy`; its other options have their names.

    Examples
    --------
    >>> float(linear_cross_entropy([[1.0]], [[0.0], [0.0]], [1]))
    0.6931471805599453
    """

    _loss = cross_entropy
    _weight_ndim = 2

    def _options(
        self,
        *,
        class_weight=None,
        ignore_index=-100,
        label_smoothing=0.0,
        z_loss=0.0,
        temperature=1.0,
    ):
        return {
            "weight": class_weight,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "z_loss": z_loss,
            "temperature": temperature,
        }


class _LinearBinaryCrossEntropy(LinearLoss):
    """Logistic regression's cost: the binary cross-entropy of ``x @ weight + bias``.

    Parameters
    ----------
    x : array_like, (..., d)
        Features.
    weight : array_like, (d,)
        Coefficients.
    target : array_like, (...)
        Targets in [0, 1].
    bias : float, optional
        The intercept.
    pos_weight, label_smoothing : optional
        As in `binary_cross_entropy_with_logits`.

    Examples
    --------
    >>> float(linear_binary_cross_entropy([[1.0, 1.0]], [0.0, 0.0], [0], bias=1000.0))
    1000.0
    """

    _loss = binary_cross_entropy_with_logits

    def _options(self, *, pos_weight=None, label_smoothing=0.0):
        return {"pos_weight": pos_weight, "label_smoothing": label_smoothing}


class _LinearSquaredError(LinearLoss):
    """Linear regression's cost: half the squared error of ``x @ weight + bias``.

    Parameters
    ----------
    x : array_like, (..., d)
        Features.
    weight : array_like, (d,)
        Coefficients.
    target : array_like, (...)
        Real targets.
    bias : float, optional
        The intercept.

    Examples
    --------
    >>> float(linear_squared_error([[1.0, 2.0]], [1.0, 1.0], [1.0]))
    2.0
    """

    _loss = squared_error


linear_cross_entropy = _LinearCrossEntropy("linear_cross_entropy")
linear_binary_cross_entropy = _LinearBinaryCrossEntropy("linear_binary_cross_entropy")
linear_squared_error = _LinearSquaredError("linear_squared_error")


# ---------------------------------------------------------------------------------------------
# Information
# ---------------------------------------------------------------------------------------------


def _unit(base):
    """Return the number of nats in the unit of information that `base` stands for."""
    if base is None:
        return 1.0
    need = "above 0, finite and not 1"
    base = _number(base, "base", need, lambda b: 0 < b < np.inf and b != 1)
    return math.log(base)


def _information(t, terms, unit):
    return _deliver(terms.sum(axis=1).reshape(t.batch) / unit, t.dtype)


@_quiet
def entropy(p, axis=-1, *, base=None):
    """Return -sum(p log p) along `axis`, with 0 log 0 = 0; in nats, or in bits with ``base=2``.

    Probabilities are not renormalised; a negative one is a ValueError, NaN gives NaN.

    Examples
    --------
    >>> float(entropy([0.5, 0.5, 0.0], base=2))
    1.0
    """
    unit = _unit(base)
    t = _Table(p, "p", axis)
    _refuse(t.restore(t.x < 0), t.restore(t.x), "p", "hold probabilities, none negative")
    return _information(t, _times(t.x, -np.log(np.abs(t.x))), unit)


@_quiet
def entropy_from_logits(logits, axis=-1, *, base=None):
    """Return the entropy of softmax(logits) along `axis`; in nats, or in bits with ``base=2``.

    It is sum(p (-log p)), where no term is negative: that of a confident row, 1e-20, is right.

    Examples
    --------
    >>> float(entropy_from_logits([0.0, 0.0], base=2))
    1.0
    """
    unit = _unit(base)
    t = _Table(logits, "logits", axis)
    soft = _Softmax(t.x)
    return _information(t, _times(soft.p, soft.minus_log_p), unit)


@_quiet
def js_divergence(p, q, axis=-1, *, base=None):
    """Return the Jensen-Shannon divergence (KL(p, m) + KL(q, m)) / 2 along `axis`, m = (p + q) / 2.

    With d = (p - q) / (p + q) it is the sum of m / 2 times ::

        (1 + d) log(1 + d) + (1 - d) log(1 - d) = 2 d atanh(d) + log(1 - d^2)

    The left side serves large d. Its terms cancel for small d; those of the right side do not, so
    the divergence of nearly equal p and q is right too. Probabilities are not renormalised; a
    negative one is a ValueError, NaN gives NaN.

    Examples
    --------
    >>> float(js_divergence([1.0, 0.0], [0.0, 1.0], base=2))
    1.0
    """
    unit = _unit(base)
    t = _Table(p, "p", axis)
    p, q = t.x, t.like(q, "q")
    for array, name in ((p, "p"), (q, "q")):
        rows = t.restore(array)
        _refuse(rows < 0, rows, name, "hold probabilities, none negative")
    m = (p + q) / 2
    d = _over((p - q) / 2, m)
    large = _times(1 + d, np.log1p(d)) + _times(1 - d, np.log1p(-d))
    small = 2 * d * np.arctanh(d) + np.log1p(-d * d)
    return _information(t, _times(m / 2, np.where(np.abs(d) < 0.5, small, large)), unit)
