"""The registry: one row per public operation, from which tests, `check` and `bench` draw.

`OPERATIONS` is a tuple of `Operation` rows; `available()` lists those whose function `fastce`
has.  Nothing here is imported by `fastce` itself, and this module imports only NumPy: `fastce`,
`fastce.reference` and mpmath are looked up when a row is used.

>>> from fastce import _registry
>>> rng = numpy.random.default_rng(0)
>>> for op in _registry.available():
...     arguments = op.arguments(rng, (32, 10), numpy.float64, spread=8.0)
...     for options in op.option_sets(rng, (32, 10), numpy.float64):
...         for method in op.methods:
...             extra = op.extra(rng, method, arguments)      # (v,) for "hvp", () otherwise
...             got = op.call(method)(*arguments, *extra, **options)
...             want = op.call(method, fastce.reference)(*arguments, *extra, **options)

What a row knows:

`name`, `id`      name in `fastce`, and a unique one: `cross_entropy[index]`
`kind`            elementwise, elementwise_backward, axis, axis_backward, loss, linear (a loss of
                  a linear map's logits), information
`target`          of a loss: index, probability, binary (0 or 1), soft (in [0, 1]) or real
`methods`         ("value",), for a loss also grad, value_and_grad, grad_and_hess, hvp
`features`        how many a linear row's arguments have
`has_axis`        whether it takes `axis` (if not, every element is a sample)
`function`, `reference`     the callable of `fastce` and its twin
`call(method)`              the function itself for "value", or its method of that name
`arguments(rng, shape, dtype, spread=4.0, axis=-1)`
                  valid positional arguments.  `shape` is (..., k); `axis` says where the
                  classes go; for a linear row it is that of the logits.  Logits are uniform in
                  [-spread, spread]; probabilities are made of such logits, of spread at most 15, so
                  that none is 0 or 1.
`option_sets(rng, shape, dtype, axis=-1)`
                  a tuple of dicts of keyword arguments, the empty one first; `reduction` and
                  `axis` are left to the caller
`bound(method, options)`
                  error bound in ULP, the same for float64 and float32, or None if none is stated
`exact(method, arguments, options)`
                  where `bound` is not None: `(values, scales)`, object arrays of mpmath numbers
                  in the shape of the result with `reduction="none"` and the classes last
`ulp_errors(got, values, scales)`
                  errors of `got` in ULP (of its dtype) of `scales`, to compare with the bound

`weight`, `sample_weight` and `label_smoothing` are part of `exact`; `bound` is None with others.
"""

import functools
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

PRECISION = 160  # bits of mpmath's numbers: no formula below cancels
LOSS_METHODS = ("value", "grad", "value_and_grad", "grad_and_hess", "hvp")
NO_OPTIONS: Mapping[str, Any] = {}


# ---------------------------------------------------------------- arguments, (rng, shape, spread)


def _logits(rng, shape, spread):
    return rng.uniform(-spread, spread, shape)


def _log_probabilities(rng, shape, spread):
    x = _logits(rng, shape, min(spread, 15.0))
    return x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))


def _probabilities(rng, shape, spread):
    return np.exp(_log_probabilities(rng, shape, spread))


def _fractions(rng, shape, spread):
    return 1 / (1 + np.exp(-_logits(rng, shape, min(spread, 15.0))))


def _classes(rng, shape, spread):
    return rng.integers(shape[-1], size=shape[:-1])


def _zero_or_one(rng, shape, spread):
    return rng.integers(2, size=shape).astype(float)


def _normal(rng, shape, spread):
    return rng.normal(size=shape)


def _normal_row(rng, shape, spread):
    return rng.normal(size=shape[:-1])


# Of linear rows: the shape is that of the logits, and d.


def _matrix_features(rng, shape, spread):
    return rng.normal(size=(*shape[:-2], shape[-1]))


def _matrix(rng, shape, spread):
    return _logits(rng, shape[-2:], spread) / math.sqrt(max(1, shape[-1]))


def _vector(rng, shape, spread):
    return _logits(rng, shape[-1:], spread) / math.sqrt(max(1, shape[-1]))


def _of_logits(draw):
    """Make a target for the logits of a linear map."""
    return lambda rng, shape, spread: draw(rng, shape[:-1], spread)


# ----------------------------------------------------------------- options, (rng, shape, has_axis)


def _class_weight(rng, shape, has_axis):
    return rng.uniform(0.25, 2.0, shape[-1])


def _sample_weight(rng, shape, has_axis):
    weight = rng.uniform(0.25, 2.0, shape[:-1] if has_axis else shape)
    return np.where(rng.random(weight.shape) < 0.1, 0.0, weight)


def _factor(rng, shape, has_axis):
    return rng.uniform(0.25, 2.0, shape)


def _negative_factor(rng, shape, has_axis):
    # of one sign, so that the sum does not cancel; and some are 0
    return rng.uniform(-2.0, -0.25, shape) * (rng.random(shape) < 0.9)


def _bias(rng, shape, has_axis):
    return rng.normal(size=shape[-2])


def _intercept(rng, shape, has_axis):
    return np.float64(rng.normal())


def _of_classes(rng, shape, has_axis):
    return _class_weight(rng, shape[:-1], has_axis)


def _of_samples(rng, shape, has_axis):
    return _sample_weight(rng, shape[:-2], False)


def _of_elements(rng, shape, has_axis):
    return _sample_weight(rng, shape[:-1], False)


# ---------------------------------------------------------- exact values: one row or one element
# Each returns (values, scales): lists of mpmath numbers, or numbers for an elementwise operation.
# The error bound is in ULP of the scale.


def _others(values):
    """Sum the others for each value, by sums from both ends: nothing is subtracted."""
    before, after = [0], [0]
    for v in values[:-1]:
        before.append(before[-1] + v)
    for v in values[:0:-1]:
        after.append(after[-1] + v)
    return [b + a for b, a in zip(before, reversed(after), strict=True)]


def _softmax_parts(x):
    """Give p_j, log p_j and 1 - p_j, the last two without subtracting."""
    from mpmath import mp

    m = max(x)
    if not all(mp.isfinite(v) or v == -mp.inf for v in x) or m == -mp.inf:
        return ([mp.nan] * len(x),) * 3
    e = [mp.exp(v - m) if v != -mp.inf else mp.mpf(0) for v in x]
    rest = _others(e)
    s = e[0] + rest[0]
    log_p = [-mp.log1p(r / v) if v else -mp.inf for r, v in zip(rest, e, strict=True)]
    return [v / s for v in e], log_p, [r / s for r in rest]


def _exact_sigmoid(x):
    from mpmath import mp

    value = 1 / (1 + mp.exp(-x))
    return value, value


def _exact_softplus(x):
    from mpmath import mp

    value = mp.log1p(mp.exp(-abs(x))) + max(x, 0)
    return value, value


def _exact_log_sigmoid(x):
    value, scale = _exact_softplus(-x)
    return -value, scale


def _exact_logit(p):
    from mpmath import mp

    # log(p / (1 - p)) is small where p is near a half: there it is 2 atanh(2 p - 1)
    value = 2 * mp.atanh(2 * p - 1) if abs(p - 0.5) < 0.25 else mp.log(p) - mp.log1p(-p)
    return value, value


def _exact_softmax(x):
    p = _softmax_parts(x)[0]
    return p, p


def _exact_log_softmax(x):
    log_p = _softmax_parts(x)[1]
    return log_p, log_p


def _exact_logsumexp(x):
    from mpmath import mp

    m = max(x)
    if not mp.isfinite(m):
        return m, m
    top = x.index(m)
    rest = mp.fsum(mp.exp(v - m) for v in x[:top] + x[top + 1 :] if v != -mp.inf)
    value = m + mp.log1p(rest)
    return value, max(abs(m), abs(value))


def _class_target(x, target, weight, label_smoothing):
    """Give c, by which the loss is sum(c · -log p); none (None) for an ignored row."""
    from mpmath import mp

    k = len(x)
    if isinstance(target, int):
        if not 0 <= target < k:
            return None
        target = [mp.mpf(j == target) for j in range(k)]
    masked = [v == -mp.inf for v in x]
    share = mp.mpf(label_smoothing) / max(1, k - sum(masked))
    keep = 1 - mp.mpf(label_smoothing)
    c = [keep * t + (0 if off else share) for t, off in zip(target, masked, strict=True)]
    return c if weight is None else [w * v for w, v in zip(weight, c, strict=True)]


def _exact_cross_entropy(x, target, weight=None, label_smoothing=0.0, sample_weight=1):
    from mpmath import mp

    c = _class_target(x, target, weight, label_smoothing)
    if c is None:
        return mp.mpf(0), mp.mpf(0)
    log_p = _softmax_parts(x)[1]
    value = sample_weight * mp.fsum(-a * b for a, b in zip(c, log_p, strict=True) if a)
    return value, value


def _exact_cross_entropy_grad(x, target, weight=None, label_smoothing=0.0, sample_weight=1):
    from mpmath import mp

    c = _class_target(x, target, weight, label_smoothing)
    if c is None:
        return [mp.mpf(0)] * len(x), [mp.mpf(0)] * len(x)
    p, _, rest = _softmax_parts(x)
    grad, scale = [], []
    for cj, others, pj, rj in zip(c, _others(c), p, rest, strict=True):
        grad.append(sample_weight * (pj * others - cj * rj))  # C p - c, with 1 - p as the rest
        scale.append(sample_weight * (pj * (others + cj) + cj))
    if isinstance(target, int) and not label_smoothing:
        return grad, [abs(g) for g in grad]
    return grad, scale


def _exact_logistic(x, t, weight=1, label_smoothing=0.0, sample_weight=1):
    t = t * (1 - label_smoothing) + label_smoothing / 2
    factor = weight * sample_weight
    terms = [a * _exact_softplus(z)[0] for a, z in ((t, -x), (1 - t, x)) if a]
    return factor * sum(terms), factor * sum(terms)


def _exact_logistic_grad(x, t, weight=1, label_smoothing=0.0, sample_weight=1):
    t = t * (1 - label_smoothing) + label_smoothing / 2
    factor = weight * sample_weight
    p, q = _exact_sigmoid(x)[0], _exact_sigmoid(-x)[0]
    grad = factor * ((1 - t) * p - t * q)
    return grad, abs(grad) if t in (0, 1) else factor * (p + t)


def _exact_bernoulli(p, t, weight=1, sample_weight=1):
    from mpmath import mp

    terms = [-a * f for a, f in ((t, mp.log(p)), (1 - t, mp.log1p(-p))) if a]
    return weight * sample_weight * sum(terms), weight * sample_weight * sum(terms)


def _exact_bernoulli_grad(p, t, weight=1, sample_weight=1):
    a, b = (1 - t) / (1 - p) if t != 1 else 0, t / p if t else 0
    factor = weight * sample_weight
    return factor * (a - b), factor * (a + b)


# -------------------------------------------------------------------------------------- the rows


@dataclass(frozen=True, eq=False)
class Operation:
    """One public operation: what it takes, how it is called, how exact it must be."""

    name: str
    kind: str
    draws: tuple[Callable, ...]
    target: str | None = None
    options: tuple[dict, ...] = ({},)
    bounds: dict[str, int] = field(default_factory=dict)  # method -> ULP
    formulas: dict[str, Callable] = field(default_factory=dict)  # method -> exact row or element
    has_axis: bool = True
    features: int = 0

    def __repr__(self):
        """Give the row's id, which is also what pytest shows."""
        return self.id

    @property
    def id(self) -> str:
        """The name, with the kind of target: `cross_entropy[index]`."""
        return f"{self.name}[{self.target}]" if self.target else self.name

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be called: `value`, and the four methods of a loss."""
        return LOSS_METHODS if self.kind in ("loss", "linear") else ("value",)

    @property
    def function(self) -> Any:
        """The function of `fastce`."""
        return getattr(importlib.import_module("fastce"), self.name)

    @property
    def reference(self) -> Any:
        """The function of `fastce.reference`."""
        return getattr(importlib.import_module("fastce.reference"), self.name)

    def call(self, method: str = "value", module: Any = None) -> Any:
        """Give the function (of `module`, else of `fastce`) or its method of that name."""
        function = self.function if module is None else getattr(module, self.name)
        return function if method == "value" else getattr(function, method)

    def arguments(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.float64,
        spread: float = 4.0,
        axis: int = -1,
    ) -> tuple[np.ndarray, ...]:
        """Make valid positional arguments for a batch of shape (..., k), classes on `axis`."""
        drawn = self._drawn(shape)
        arrays = (np.asarray(draw(rng, drawn, spread)) for draw in self.draws)
        return tuple(self._place(array, shape, dtype, axis) for array in arrays)

    def _drawn(self, shape):
        """Give the shape that is drawn: that of the logits, with that of the features."""
        return (*shape, self.features) if self.kind == "linear" else shape

    def _place(self, array, shape, dtype, axis):
        """Give floats their dtype, and what is as large as the logits its axis."""
        if array.dtype.kind == "f":
            array = array.astype(dtype)
        if self.has_axis and array.ndim == len(shape):
            array = np.ascontiguousarray(np.moveaxis(array, -1, axis))
        return array

    def extra(
        self, rng: np.random.Generator, method: str, arguments: tuple[np.ndarray, ...]
    ) -> tuple[Any, ...]:
        """Make the further positional arguments of a method: the vector of `hvp`."""
        if method != "hvp":
            return ()
        if self.kind == "linear":
            weight = arguments[1]
            return ((rng.normal(size=weight.shape).astype(weight.dtype), None),)
        return (rng.normal(size=arguments[0].shape).astype(arguments[0].dtype),)

    def option_sets(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.float64,
        axis: int = -1,
    ) -> tuple[dict[str, Any], ...]:
        """Make the keyword arguments worth trying, for a batch of shape (..., k)."""

        def make(value):
            if not callable(value):
                return value
            return self._place(value(rng, self._drawn(shape), self.has_axis), shape, dtype, axis)

        return tuple({key: make(value) for key, value in row.items()} for row in self.options)

    def logits_shape(self, arguments: tuple[np.ndarray, ...]) -> tuple[int, ...]:
        """Give the shape of the first argument, or of the logits of a linear map."""
        shape: tuple[int, ...] = arguments[0].shape
        return shape if self.kind != "linear" else shape[:-1] + arguments[1].shape[:-1]

    def slack(self, arguments: tuple[np.ndarray, ...]) -> float:
        """Give the ULP of the largest result that two good ways to compute it may differ by.

        That is the largest exponent, whose rounding the exponential takes over: of a linear map,
        the terms that it is a sum of. There derivatives are sums over samples too.
        """
        x, samples = np.abs(arguments[0]), 0
        if self.kind == "linear":
            x, samples = x @ np.abs(arguments[1]).T, math.prod(x.shape[:-1])
        return float(np.max(x, initial=0.0, where=np.isfinite(x))) + math.sqrt(samples)

    def bound(self, method: str = "value", options: Mapping[str, Any] = NO_OPTIONS) -> int | None:
        """Give the error bound in ULP of the scale, or None where there is none."""
        if method not in self.bounds or not set(options) <= {
            "weight",
            "sample_weight",
            "label_smoothing",
        }:
            return None
        bound = self.bounds[method]
        if options.get("label_smoothing"):
            bound = max(bound, 8)
        return bound + ("weight" in options) + ("sample_weight" in options)

    def exact(
        self,
        method: str,
        arguments: tuple[np.ndarray, ...],
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate in high precision: (values, scales), object arrays, classes last."""
        from mpmath import mp

        first = np.asarray(arguments[0])
        shape = first.shape[:-1] if self.has_axis else first.shape
        given, each = {}, {}  # for all rows alike, and one a row
        for key, value in options.items():
            if key == "label_smoothing":
                given[key] = value
            elif key == "weight" and self.has_axis:
                given[key] = _numbers(np.asarray(value))
            else:
                each[key] = np.broadcast_to(value, shape)
        formula = self.formulas[method]
        with mp.workprec(PRECISION):
            values, scales = [], []
            for i in np.ndindex(*shape):
                row = [_numbers(np.asarray(array)[i]) for array in arguments]
                further = {key: _numbers(array[i]) for key, array in each.items()}
                value, scale = formula(*row, **given, **further)
                values.append(value)
                scales.append(scale)
        width = (len(values[0]),) if values and isinstance(values[0], list) else ()
        return tuple(_object_array(part, shape + width) for part in (values, scales))


def _numbers(array):
    """Turn a float (or an array of them) into mpmath numbers, an integer into an int."""
    from mpmath import mp

    if np.ndim(array):
        return [mp.mpf(float(v)) for v in array]
    return int(array) if np.asarray(array).dtype.kind in "iu" else mp.mpf(float(array))


def _object_array(values, shape):
    """Give an object array of `shape`, without NumPy looking into the values."""
    array = np.empty(math.prod(shape), dtype=object)
    array[:] = (
        [v for row in values for v in row] if values and isinstance(values[0], list) else values
    )
    return array.reshape(shape)


def ulp_errors(got: Any, values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Give errors of `got` in ULP of `scales`: 0 where both are the same infinity or NaN."""
    from mpmath import mp

    got = np.asarray(got)
    info = np.finfo(got.dtype)
    lowest = info.minexp - info.nmant  # exponent of the smallest subnormal
    errors = np.empty(got.shape)
    with mp.workprec(PRECISION):
        for i in np.ndindex(*got.shape):
            g, value, scale = float(got[i]), values[i], scales[i]
            if not (math.isfinite(g) and mp.isfinite(value)):
                # a result beyond the largest number is rightly an infinity
                over = mp.isfinite(value) and abs(value) > float(info.max)
                want = math.copysign(math.inf, value) if over else float(value)
                errors[i] = 0.0 if g == want or (math.isnan(g) and math.isnan(want)) else math.inf
                continue
            exponent = int(mp.frexp(scale)[1]) - 1 - info.nmant if scale else lowest
            errors[i] = float(mp.ldexp(abs(g - value), -max(exponent, lowest)))
    return errors


_row = functools.partial(Operation, kind="axis")
_elementwise = functools.partial(Operation, kind="elementwise", has_axis=False)
_elementwise_backward = functools.partial(Operation, kind="elementwise_backward", has_axis=False)
_row_backward = functools.partial(Operation, kind="axis_backward")
_loss = functools.partial(Operation, kind="loss")
_linear = functools.partial(Operation, kind="linear", has_axis=False, features=8)
_information = functools.partial(Operation, kind="information", options=({}, {"base": 2}))

_WEIGHT = {"weight": _class_weight}
_SAMPLE = {"sample_weight": _sample_weight}
_SMOOTH = {"label_smoothing": 0.125}
_FIRST = {"ignore_index": 0}
_LOGITS = {"z_loss": 0.0625, "temperature": 2.0}
_CLASSES: tuple[dict, ...] = ({}, _WEIGHT, _SAMPLE, _FIRST, _WEIGHT | _SAMPLE | _FIRST)
_DENSE: tuple[dict, ...] = ({}, _WEIGHT, _SAMPLE, _SMOOTH, _WEIGHT | _SMOOTH | _SAMPLE)
_POSITIVE = {"pos_weight": _class_weight}
_LOGISTIC = (*_DENSE, _POSITIVE, _DENSE[-1] | _POSITIVE)
_CROSS_ENTROPY = {"value": _exact_cross_entropy, "grad": _exact_cross_entropy_grad}
_BINARY = {"value": _exact_logistic, "grad": _exact_logistic_grad}
_BERNOULLI = {"value": _exact_bernoulli, "grad": _exact_bernoulli_grad}
_FOCAL: tuple[dict, ...] = (
    {},
    {"alpha": -1.0},
    {"gamma": 0.0},
    {"alpha": 0.75, "gamma": 1.5},
    {"gamma": 1.0} | _SAMPLE,
)
_BIAS = {"bias": _bias}
_CHUNKS = {"chunk_rows": 3, "bias": _bias}
_LINEAR_ALL = _CHUNKS | {"class_weight": _of_classes, "sample_weight": _of_samples} | _SMOOTH
_INTERCEPT = {"bias": _intercept}
_ELEMENTS = {"sample_weight": _of_elements} | _INTERCEPT


def _both(ulp):
    """Give the same bound to the value and the gradient."""
    return {"value": ulp, "grad": ulp}


def _value(ulp, formula):
    """Give the bound and the formula of an operation that has only a value."""
    return {"bounds": {"value": ulp}, "formulas": {"value": formula}}


OPERATIONS = (
    # activations
    _elementwise("sigmoid", draws=(_logits,), **_value(2, _exact_sigmoid)),
    _elementwise("log_sigmoid", draws=(_logits,), **_value(2, _exact_log_sigmoid)),
    _elementwise("softplus", draws=(_logits,), **_value(2, _exact_softplus)),
    _elementwise("logit", draws=(_fractions,), **_value(2, _exact_logit)),
    _elementwise_backward("sigmoid_backward", draws=(_normal, _fractions)),
    _elementwise_backward("log_sigmoid_backward", draws=(_normal, _logits)),
    _elementwise_backward("softplus_backward", draws=(_normal, _logits)),
    _row("softmax", draws=(_logits,), **_value(4, _exact_softmax)),
    _row("log_softmax", draws=(_logits,), **_value(4, _exact_log_softmax)),
    _row(
        "logsumexp",
        draws=(_logits,),
        options=(
            {},
            {"keepdims": True},
            {"b": _factor},
            {"b": _negative_factor, "return_sign": True},
        ),
        **_value(2, _exact_logsumexp),
    ),
    _row_backward("softmax_backward", draws=(_normal, _probabilities)),
    _row_backward("log_softmax_backward", draws=(_normal, _log_probabilities)),
    _row_backward("logsumexp_backward", draws=(_normal_row, _logits)),
    # losses over classes
    _loss(
        "cross_entropy",
        target="index",
        draws=(_logits, _classes),
        options=(*_CLASSES, *_DENSE[3:], _LOGITS, _CLASSES[-1] | _SMOOTH | _LOGITS),
        bounds=_both(4),
        formulas=_CROSS_ENTROPY,
    ),
    _loss(
        "cross_entropy",
        target="probability",
        draws=(_logits, _probabilities),
        options=(*_DENSE, _LOGITS, _DENSE[-1] | _LOGITS),
        bounds=_both(8),
        formulas=_CROSS_ENTROPY,
    ),
    _loss(
        "nll_loss",
        target="index",
        draws=(_log_probabilities, _classes),
        options=_CLASSES,
    ),
    _loss(
        "categorical_cross_entropy",
        target="index",
        draws=(_probabilities, _classes),
        options=(*_CLASSES, *_DENSE[3:], _CLASSES[-1] | _SMOOTH),
    ),
    _loss(
        "categorical_cross_entropy",
        target="probability",
        draws=(_probabilities, _probabilities),
        options=_DENSE,
    ),
    _loss(
        "kl_divergence",
        target="probability",
        draws=(_log_probabilities, _probabilities),
        options=({}, _SAMPLE),
    ),
    # losses over elements
    _loss(
        "binary_cross_entropy_with_logits",
        target="binary",
        draws=(_logits, _zero_or_one),
        options=_LOGISTIC,
        bounds=_both(2),
        formulas=_BINARY,
        has_axis=False,
    ),
    _loss(
        "binary_cross_entropy_with_logits",
        target="soft",
        draws=(_logits, _fractions),
        options=_LOGISTIC,
        bounds=_both(8),
        formulas=_BINARY,
        has_axis=False,
    ),
    _loss(
        "binary_cross_entropy",
        target="binary",
        draws=(_fractions, _zero_or_one),
        options=({}, _WEIGHT, _WEIGHT | _SAMPLE),
        bounds=_both(2),
        formulas=_BERNOULLI,
        has_axis=False,
    ),
    _loss(
        "binary_cross_entropy",
        target="soft",
        draws=(_fractions, _fractions),
        options=({}, _WEIGHT, _WEIGHT | _SAMPLE),
        bounds=_both(8),
        formulas=_BERNOULLI,
        has_axis=False,
    ),
    _loss(
        "sigmoid_focal_loss",
        target="binary",
        draws=(_logits, _zero_or_one),
        options=_FOCAL,
        has_axis=False,
    ),
    _loss(
        "sigmoid_focal_loss",
        target="soft",
        draws=(_logits, _fractions),
        options=_FOCAL,
        has_axis=False,
    ),
    _loss(
        "squared_error",
        target="real",
        draws=(_logits, _logits),
        options=({}, _SAMPLE),
        has_axis=False,
    ),
    # losses of linear maps
    _linear(
        "linear_cross_entropy",
        target="index",
        draws=(_matrix_features, _matrix, _of_logits(_classes)),
        options=({}, _BIAS, _LINEAR_ALL, _LINEAR_ALL | _FIRST | _LOGITS),
    ),
    _linear(
        "linear_cross_entropy",
        target="probability",
        draws=(_matrix_features, _matrix, _of_logits(_probabilities)),
        options=({}, _CHUNKS, _LINEAR_ALL, _LINEAR_ALL | _LOGITS),
    ),
    _linear(
        "linear_binary_cross_entropy",
        target="binary",
        draws=(_normal, _vector, _of_logits(_zero_or_one)),
        options=({}, _INTERCEPT, {"pos_weight": _of_elements} | _ELEMENTS | _SMOOTH),
    ),
    _linear(
        "linear_binary_cross_entropy",
        target="soft",
        draws=(_normal, _vector, _of_logits(_fractions)),
        options=({}, _ELEMENTS | {"chunk_rows": 3}),
    ),
    _linear(
        "linear_squared_error",
        target="real",
        draws=(_normal, _vector, _of_logits(_logits)),
        options=({}, _INTERCEPT, _ELEMENTS | {"chunk_rows": 3}),
    ),
    # information
    _information("entropy", draws=(_probabilities,)),
    _information("entropy_from_logits", draws=(_logits,)),
    _information("js_divergence", draws=(_probabilities, _probabilities)),
)


def available(module: Any = None) -> tuple[Operation, ...]:
    """List the rows whose function `module` (`fastce`, unless given) has."""
    module = module or importlib.import_module("fastce")
    return tuple(op for op in OPERATIONS if hasattr(module, op.name))


def find(name: str) -> tuple[Operation, ...]:
    """Give the rows of that name or id."""
    return tuple(op for op in OPERATIONS if name in (op.name, op.id))
