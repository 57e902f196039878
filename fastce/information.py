"""Entropies and divergences."""

import math

import numpy as np

from fastce import _arrays
from fastce._dispatch import kernels

__all__ = ["entropy", "entropy_from_logits", "js_divergence"]


def _nats(base):
    """Return the number of nats in the unit that `base` stands for."""
    if base is None:
        return 1.0
    base = _arrays.number(
        "base", base, "above 0, finite and not 1", lambda b: 0 < b < math.inf and b != 1
    )
    return math.log(base)


def _information(values, rows, nats):
    if nats != 1.0:
        with np.errstate(all="ignore"):
            values = values / nats + 0.0  # never -0.0, also where nats is negative
    return rows.unsamples(values)[()]


def _rows(name, array, axis):
    rows = _arrays.Rows(name, array, _arrays.axis_tuple(axis, array.ndim))
    _arrays.at_least_one_class(name, array, rows.k)
    return rows, np.empty(rows.n, array.dtype)


def _of_probabilities(operation, rows, values, p, q=None):
    kernels.row_loss(
        kernels.ROW_LOSSES[operation], rows.view(p), None, None if q is None else rows.view(q),
        None, None, 0.0, 0.0, 1.0, 1.0, values, None, None, None,
    )  # fmt: skip


def entropy(p, axis=-1, *, base=None):
    """Return the entropy -sum(p * log(p)) along `axis`.

    Parameters
    ----------
    p : array_like
        Probabilities, used as they are; 0 log 0 is 0.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    base : float, optional
        Base of the logarithm: 2 gives bits, None nats.

    Returns
    -------
    ndarray or scalar
        In the shape of `p` without `axis`; float32 for float32 and float16, else float64. NaN
        gives NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does; a negative probability is a ValueError.

    Examples
    --------
    >>> float(fastce.entropy([0.5, 0.5, 0.0], base=2))
    1.0
    """
    nats = _nats(base)
    p = _arrays.real("p", p)
    rows, values = _rows("p", p, axis)
    _arrays.not_negative("p", p)
    _of_probabilities("entropy", rows, values, p)
    return _information(values, rows, nats)


def entropy_from_logits(logits, axis=-1, *, base=None):
    """Return the entropy of softmax(logits) along `axis`.

    Parameters
    ----------
    logits : array_like
        Real scores; a class of -inf is masked and contributes nothing.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    base : float, optional
        Base of the logarithm: 2 gives bits, None nats.

    Returns
    -------
    ndarray or scalar
        In the shape of `logits` without `axis`; float32 for float32 and float16, else float64.
        Right also where one class leads by far, and the entropy is tiny. A row of only -inf, with
        +inf or with NaN gives NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does.

    Examples
    --------
    >>> float(fastce.entropy_from_logits([0.0, 0.0], base=2))
    1.0
    """
    nats = _nats(base)
    logits = _arrays.real("logits", logits)
    rows, values = _rows("logits", logits, axis)
    operation = kernels.OPERATIONS["entropy_from_logits"]
    kernels.softmax_family(operation, rows.view(logits), None, values)
    return _information(values, rows, nats)


def js_divergence(p, q, axis=-1, *, base=None):
    """Return the Jensen-Shannon divergence of `p` and `q` along `axis`.

    It is (KL(p, m) + KL(q, m)) / 2 with m = (p + q) / 2: symmetric, and at most log 2.

    Parameters
    ----------
    p, q : array_like
        Probabilities of the same shape, used as they are.
    axis : int, tuple of int, or None
        Where the classes are; None means all elements.
    base : float, optional
        Base of the logarithm: 2 gives bits, None nats.

    Returns
    -------
    ndarray or scalar
        In the shape of `p` without `axis`, and of its dtype. NaN gives NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax` does, and if the shapes differ; a negative probability is a ValueError.

    Examples
    --------
    >>> float(fastce.js_divergence([1.0, 0.0], [0.0, 1.0], base=2))
    1.0
    """
    nats = _nats(base)
    p = _arrays.real("p", p)
    q = _arrays.real("q", q, p.dtype)
    _arrays.same_shape("q", q, p.shape, "p", p.shape)
    rows, values = _rows("p", p, axis)
    _arrays.not_negative("p", p)
    _arrays.not_negative("q", q)
    _of_probabilities("js_divergence", rows, values, p, q)
    return _information(values, rows, nats)
