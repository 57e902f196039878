"""Sigmoid, softmax, log-sum-exp, their logarithms and their backward functions."""

from inspect import cleandoc

import numpy as np

from fastce import _arrays
from fastce._dispatch import kernels

__all__ = [
    "log_sigmoid",
    "log_sigmoid_backward",
    "log_softmax",
    "log_softmax_backward",
    "logit",
    "logsumexp",
    "logsumexp_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
]

_UFUNC_NOTES = """

    Parameters
    ----------
    {parameters}
    out, where, casting, ... :
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        float32 for a float32 or float16 first argument, float64 for float64, integers and bools.
        Errors are below 2 ULP, subnormal results included; no warning is ever emitted.

    Raises
    ------
    TypeError
        For longdouble, complex and other dtypes.

    Notes
    -----
    {notes}

    Examples
    --------
    {examples}
    """

_X = """x : array_like
        Real numbers of any shape."""
_G_X = """grad_output : array_like
        Gradient with respect to the activation's output.
    x : array_like
        The activation's input, broadcast against `grad_output`."""
_G_Y = """grad_output : array_like
        Gradient with respect to the activation's output.
    output : array_like
        ``sigmoid(x)``, already computed, broadcast against `grad_output`."""


def _ufunc(name, summary, parameters, notes, examples):
    text = summary + _UFUNC_NOTES.format(parameters=parameters, notes=notes, examples=examples)
    return kernels.ufunc(name, cleandoc(text))


sigmoid = _ufunc(
    "sigmoid",
    "Return the logistic function 1 / (1 + exp(-x)), elementwise.",
    _X,
    "1 at +inf, 0 at -inf. It is computed as e / (1 + e) or 1 / (1 + e) with e = exp(-abs(x)).",
    """>>> float(fastce.sigmoid(0.0))
    0.5
    >>> float(fastce.sigmoid(-740.0))
    4.2e-322""",
)
log_sigmoid = _ufunc(
    "log_sigmoid",
    "Return log(sigmoid(x)) = -log1p(exp(-x)), elementwise.",
    _X,
    "0 at +inf, -inf at -inf.",
    """>>> float(fastce.log_sigmoid(40.0))
    -4.248354255291589e-18""",
)
softplus = _ufunc(
    "softplus",
    "Return log1p(exp(x)), elementwise.",
    _X,
    "+inf at +inf, 0 at -inf. It is computed as max(x, 0) + log1p(exp(-abs(x))).",
    """>>> float(fastce.softplus(-40.0))
    4.248354255291589e-18""",
)
logit = _ufunc(
    "logit",
    "Return log(p / (1 - p)), the inverse of the sigmoid, elementwise.",
    """p : array_like
        Probabilities of any shape.""",
    "+inf at 1, -inf at 0, NaN outside [0, 1].",
    """>>> float(fastce.logit(0.5))
    0.0""",
)
sigmoid_backward = _ufunc(
    "sigmoid_backward",
    "Return grad_output * output * (1 - output), elementwise.",
    _G_Y,
    "Written in the value already computed, so it costs no exponential.",
    """>>> float(fastce.sigmoid_backward(1.0, 0.5))
    0.25""",
)
log_sigmoid_backward = _ufunc(
    "log_sigmoid_backward",
    "Return grad_output * sigmoid(-x), elementwise.",
    _G_X,
    "The gradient of `log_sigmoid`.",
    """>>> float(fastce.log_sigmoid_backward(1.0, 0.0))
    0.5""",
)
softplus_backward = _ufunc(
    "softplus_backward",
    "Return grad_output * sigmoid(x), elementwise.",
    _G_X,
    "The gradient of `softplus`.",
    """>>> float(fastce.softplus_backward(1.0, 0.0))
    0.5""",
)


def _along_axis(operation, x, axis, out):
    plain = kernels.plain_softmax_family(operation, x, axis, out)
    if plain is not None:
        return plain
    x = _arrays.real("x", x)
    rows = _arrays.Rows("x", x, _arrays.axis_tuple(axis, x.ndim))
    _arrays.at_least_one_class("x", x, rows.k)
    _arrays.check_out(out, x.shape, x.dtype)
    output = _arrays.Output(out, x)
    x = output.apart_from(x, same_is_fine=True)
    rows.write([output], lambda y: kernels.softmax_family(operation, rows.view(x), y, None))
    return output.finish()


def softmax(x, axis=-1, *, out=None):
    """Return exp(x) / sum(exp(x)) along `axis`.

    Parameters
    ----------
    x : array_like
        Logits, real numbers of any shape; a class of -inf is masked: its probability is 0.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    out : ndarray, optional
        Where to put the result, of its shape and dtype; may be `x` itself.

    Returns
    -------
    ndarray
        Of the shape of `x`; float32 for float32 and float16, else float64. Within 4 ULP.

    Raises
    ------
    TypeError
        If the dtype of `x` or `out` does not fit.
    ValueError
        If there is no class, or the shape of `out` does not fit.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Rows of only -inf, and rows with +inf or NaN, are NaN. Exponentials are shifted by a power of
    two, which is exact, as in [1]_; see [2]_ for the error analysis of the usual shift.

    References
    ----------
    .. [1] M. Dukhan and A. Ablavatski, "Two-Pass Softmax Algorithm", 2020,
       https://doi.org/10.1109/IPDPSW50202.2020.00074
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA J. Numer. Anal. 41, 2021, https://doi.org/10.1093/imanum/draa038

    Examples
    --------
    >>> fastce.softmax([0.0, 0.0, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    return _along_axis(kernels.OPERATIONS["softmax"], x, axis, out)


def log_softmax(x, axis=-1, *, out=None):
    """Return x - logsumexp(x) along `axis`.

    Parameters
    ----------
    x : array_like
        Logits, real numbers of any shape.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    out : ndarray, optional
        Where to put the result, of its shape and dtype; may be `x` itself.

    Returns
    -------
    ndarray
        Log-probabilities in nats, of the shape of `x`; float32 for float32 and float16, else
        float64. Within 4 ULP, also for a class that leads by far.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does.

    Notes
    -----
    A masked class (-inf) stays -inf. Rows of only -inf and rows with NaN are NaN; in a row with
    +inf those are NaN and the others -inf. The value of a class that leads is computed as
    -log1p(sum of the others / its own).

    Examples
    --------
    >>> fastce.log_softmax([40.0, 0.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _along_axis(kernels.OPERATIONS["log_softmax"], x, axis, out)


def logsumexp(x, axis=-1, *, b=None, keepdims=False, return_sign=False, out=None):
    """Return log(sum(b * exp(x))) along `axis`.

    Parameters
    ----------
    x : array_like
        Exponents, real numbers of any shape.
    axis : int, tuple of int, or None
        What to sum over; None means all elements.
    b : array_like, optional
        Factors of any sign, broadcast against `x`. Where b is 0, x is not looked at.
    keepdims : bool
        Keep what was summed over as axes of length 1.
    return_sign : bool
        Return ``(log(abs(sum)), sign of the sum)``. Without it, a negative sum gives NaN.
    out : ndarray, optional
        Where to put the logarithm; the sign, if asked for, is always a new array.

    Returns
    -------
    ndarray or scalar, or a pair of them
        float32 for float32 and float16, else float64. Within 2 ULP of the larger of
        abs(max(x)) and abs(result).

    Raises
    ------
    TypeError
        If a dtype does not fit.
    ValueError
        If the shape of `b` or `out` does not fit.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Over nothing, and over only -inf, the result is -inf (with sign 0); with a +inf it is +inf.
    `b` and `return_sign` mean what they do in ``scipy.special.logsumexp``.

    Examples
    --------
    >>> float(fastce.logsumexp([0.0, -40.0]))
    4.248354255291589e-18
    """
    if b is None and keepdims is False and return_sign is False:
        plain = kernels.plain_softmax_family(kernels.OPERATIONS["logsumexp"], x, axis, out)
        if plain is not None:
            return plain
    keepdims = _arrays.flag("keepdims", keepdims)
    return_sign = _arrays.flag("return_sign", return_sign)
    x = _arrays.real("x", x)
    if b is not None:
        b = _arrays.real("b", b, x.dtype)
        try:
            x, b = np.broadcast_arrays(x, b)
        except ValueError:
            raise ValueError(
                f"`b` must have a shape that broadcasts against `x` of shape {x.shape}, "
                f"got {b.shape}"
            ) from None
    axes = _arrays.axis_tuple(axis, x.ndim)
    shape = tuple(size for a, size in enumerate(x.shape) if a not in axes)
    if keepdims:
        shape = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    _arrays.check_out(out, shape, x.dtype)
    if b is None:
        logs = _logsumexp(x, axes)
        signs = _sign_of_positive(logs)
    else:
        logs, signs = _signed_logsumexp(x, b, axes)
    if not return_sign:
        logs = np.where(signs < 0, x.dtype.type(np.nan), logs)
    logs = logs.reshape(shape)
    if out is not None:
        out[...] = logs
        logs = out
    else:
        logs = logs[()]
    return (logs, signs.reshape(shape).astype(x.dtype)[()]) if return_sign else logs


def _logsumexp(x, axes):
    rows = _arrays.Rows("x", x, axes)
    if rows.k == 0:
        return np.full(rows.batch, -np.inf, x.dtype)
    result = np.empty(rows.n, x.dtype)
    kernels.softmax_family(kernels.OPERATIONS["logsumexp"], rows.view(x), None, result)
    return rows.unsamples(result)


def _sign_of_positive(logs):
    """Return the sign of a sum that is not negative: 1, 0 where it is 0, or NaN."""
    return np.where(np.isnan(logs), logs, logs != -np.inf).astype(logs.dtype)


def _signed_logsumexp(x, b, axes):
    """Return log(abs(s)) and the sign of s, adding the terms of either sign apart."""
    with np.errstate(all="ignore"):
        terms = np.where(b == 0, -np.inf, x + np.log(np.abs(b))).astype(x.dtype, copy=False)
        positive = _logsumexp(np.where(b < 0, x.dtype.type(-np.inf), terms), axes)
        if not np.any(b < 0):
            return positive, _sign_of_positive(positive)
        negative = _logsumexp(np.where(b < 0, terms, x.dtype.type(-np.inf)), axes)
        larger = np.maximum(positive, negative)
        smaller = np.minimum(positive, negative)
        logs = np.where(smaller == -np.inf, larger, larger + np.log1p(-np.exp(smaller - larger)))
        tie = np.where(larger == np.inf, x.dtype.type(np.nan), x.dtype.type(0))
        return logs, np.sign(np.where(positive == negative, tie, positive - negative))


def _backward(logarithm, grad_output, output, axis, out):
    plain = kernels.plain_softmax_backward(logarithm, grad_output, output, axis, out)
    if plain is not None:
        return plain
    grad_output = _arrays.real("grad_output", grad_output)
    y = _arrays.real("output", output, grad_output.dtype)
    _arrays.same_shape("output", y, grad_output.shape, "grad_output", grad_output.shape)
    rows = _arrays.Rows("output", y, _arrays.axis_tuple(axis, y.ndim))
    _arrays.at_least_one_class("grad_output", y, rows.k)
    _arrays.check_out(out, y.shape, y.dtype)
    result = _arrays.Output(out, y)
    y = result.apart_from(y, same_is_fine=True)
    grad_output = result.apart_from(grad_output, same_is_fine=True)
    rows.write(
        [result],
        lambda to: kernels.softmax_backward(logarithm, rows.view(grad_output), rows.view(y), to),
    )
    return result.finish()


def softmax_backward(grad_output, output, axis=-1, *, out=None):
    """Return the vector-Jacobian product of softmax, y * (g - sum(g * y)).

    Parameters
    ----------
    grad_output : array_like
        g, the gradient with respect to the softmax; its dtype decides the result's.
    output : array_like
        y, the softmax already computed, of the same shape.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    out : ndarray, optional
        Where to put the result; may be one of the inputs.

    Returns
    -------
    ndarray
        Gradient with respect to the logits. Where y is 0 it is exactly 0, also for an infinite g.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does, and if the shapes differ.

    Examples
    --------
    >>> fastce.softmax_backward([1.0, 0.0], [0.5, 0.5])
    array([ 0.25, -0.25])
    """
    return _backward(False, grad_output, output, axis, out)


def log_softmax_backward(grad_output, output, axis=-1, *, out=None):
    """Return the vector-Jacobian product of log_softmax, g - exp(y) * sum(g).

    Parameters
    ----------
    grad_output : array_like
        g, the gradient with respect to the log_softmax; its dtype decides the result's.
    output : array_like
        y, the log_softmax already computed, of the same shape: no number in it is above 0.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    out : ndarray, optional
        Where to put the result; may be one of the inputs.

    Returns
    -------
    ndarray
        Gradient with respect to the logits. Where y is -inf it is exactly 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does, and if the shapes differ.

    Examples
    --------
    >>> fastce.log_softmax_backward([1.0, 0.0], [0.0, -np.inf])
    array([0., 0.])
    """
    return _backward(True, grad_output, output, axis, out)


def logsumexp_backward(grad_output, x, axis=-1, *, out=None):
    """Return the vector-Jacobian product of logsumexp, grad_output * softmax(x).

    Parameters
    ----------
    grad_output : array_like
        Gradient with respect to ``logsumexp(x, axis)``, of its shape, with or without
        ``keepdims``; its dtype decides the result's.
    x : array_like
        The exponents.
    axis : int, tuple of int, or None
        What was summed over; None means all elements.
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Gradient with respect to `x`, of its shape.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does, and if the shapes do not fit.

    Examples
    --------
    >>> fastce.logsumexp_backward(2.0, [0.0, 0.0])
    array([1., 1.])
    """
    grad_output = _arrays.real("grad_output", grad_output)
    x = _arrays.real("x", x, grad_output.dtype)
    axes = _arrays.axis_tuple(axis, x.ndim)
    rows = _arrays.Rows("x", x, axes)
    _arrays.at_least_one_class("x", x, rows.k)
    kept = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    if grad_output.shape == kept:
        grad_output = grad_output.reshape(rows.batch)
    _arrays.same_shape("grad_output", grad_output, rows.batch, "x", x.shape)
    _arrays.check_out(out, x.shape, x.dtype)
    output = _arrays.Output(out, x)
    x = output.apart_from(x, same_is_fine=True)
    grad_output = rows.samples(output.apart_from(grad_output))
    operation = kernels.OPERATIONS["logsumexp_backward"]
    rows.write([output], lambda y: kernels.softmax_family(operation, rows.view(x), y, grad_output))
    return output.finish()
