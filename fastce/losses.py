"""The losses: callable objects that give their derivatives as well.

`Loss` is the protocol, written once. `RowLoss` and `ElementLoss` bring arrays into the kernels'
layout, for losses of rows of classes and for those in which every element is a sample. A loss
itself is a class whose `_prepare` checks its own arguments, and whose docstring says what it means.
"""

import functools
import inspect
import math
from types import FunctionType

import numpy as np

from fastce import _arrays
from fastce._dispatch import kernels

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "kl_divergence",
    "nll_loss",
    "sigmoid_focal_loss",
    "squared_error",
]

VALUE, GRAD, HESS, PRODUCT = 1, 2, 4, 8
SHORT_WAYS = (
    (kernels.plain_row_loss, kernels.ROW_LOSSES),
    (kernels.plain_element_loss, kernels.POINTWISE_LOSSES),
)


class Loss:
    """A loss: call it for its value, or one of its methods for derivatives.

    All take the same arguments and options. Derivatives are with respect to the first argument.
    """

    _own_options = frozenset()

    def __init_subclass__(cls, **kwargs):
        """Give the methods of a loss, which all share one body, its own signature."""
        super().__init_subclass__(**kwargs)
        if "_prepare" not in cls.__dict__:
            return
        own = keyword_parameters(cls._prepare)
        cls._own_options = frozenset(p.name for p in own)
        options = [*own, *keyword_parameters(cls._evaluate)]
        for name in METHODS:
            base = getattr(super(cls, cls), name)
            method = FunctionType(
                base.__code__, base.__globals__, name, base.__defaults__, base.__closure__
            )
            method.__kwdefaults__ = base.__kwdefaults__
            method.__qualname__ = f"{cls.__qualname__}.{name}"
            method.__doc__ = base.__doc__
            given = inspect.signature(base).parameters.values()
            positional = [p for p in given if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
            method.__signature__ = inspect.Signature(
                [*positional, *options, *keyword_parameters(base)]
            )
            setattr(cls, name, method)
        # help() shows a loss by its class: with how it is called, not how it was made.
        call = inspect.signature(cls.__call__)
        cls.__signature__ = call.replace(parameters=list(call.parameters.values())[1:])

    def __init__(self, name):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = type(self).__doc__
        self.__module__ = type(self).__module__
        for short_way, codes in SHORT_WAYS:
            if name in codes:
                self._plain = functools.partial(short_way, codes[name], self._own_options)

    def __repr__(self):
        return f"<loss {self.__name__}>"

    def __reduce__(self):
        return self.__name__

    def __call__(self, logits, target, **options):
        """Return the value.

        Parameters
        ----------
        logits, target : array_like
            As the loss's own documentation says; so are the options.

        Returns
        -------
        scalar, or ndarray for ``reduction="none"``
            In the dtype of the first argument.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As the loss's own documentation says.

        Examples
        --------
        >>> float(fastce.cross_entropy([[0.0, 0.0]], [1]))
        0.6931471805599453
        """
        plain = self._plain(logits, target, VALUE, None, options)
        if plain is not None:
            return plain
        return self._evaluate(VALUE, logits, target, None, None, **options)[0]

    def grad(self, logits, target, *, out=None, **options):
        """Return the gradient with respect to the first argument.

        Parameters
        ----------
        logits, target : array_like
            As for the loss itself; so are the options.
        out : ndarray, optional
            Where to put the result, of its shape and dtype; may be the first argument itself.

        Returns
        -------
        ndarray
            In the shape of the first argument. With ``reduction="none"`` it is the gradient of each
            sample's own value.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As the loss itself does, and if `out` does not fit.

        Examples
        --------
        >>> fastce.cross_entropy.grad([[0.0, 0.0]], [1])
        array([[ 0.5, -0.5]])
        """
        plain = self._plain(logits, target, GRAD, out, options)
        if plain is not None:
            return plain
        return self._evaluate(GRAD, logits, target, None, (out,), **options)[1]

    def value_and_grad(self, logits, target, *, out=None, **options):
        """Return the value and the gradient, from one pass.

        Parameters
        ----------
        logits, target : array_like
            As for the loss itself; so are the options.
        out : ndarray, optional
            Where to put the gradient; may be the first argument itself.

        Returns
        -------
        value : scalar or ndarray
            As the loss itself gives.
        grad : ndarray
            As `grad` gives.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does.

        Examples
        --------
        >>> value, grad = fastce.cross_entropy.value_and_grad([[0.0, 0.0]], [1])
        >>> float(value)
        0.6931471805599453
        >>> grad
        array([[ 0.5, -0.5]])
        """
        plain = self._plain(logits, target, VALUE | GRAD, out, options)
        if plain is not None:
            return plain
        value, grad, _ = self._evaluate(VALUE | GRAD, logits, target, None, (out,), **options)
        return value, grad

    def grad_and_hess(self, logits, target, *, out=None, **options):
        """Return the gradient and the diagonal of the Hessian, from one pass.

        Parameters
        ----------
        logits, target : array_like
            As for the loss itself; so are the options.
        out : pair of ndarray, optional
            Where to put the two; one of them may be the first argument itself.

        Returns
        -------
        grad, hess : ndarray
            In the shape of the first argument.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does; two arrays of `out` that share memory are a ValueError.

        Examples
        --------
        >>> grad, hess = fastce.cross_entropy.grad_and_hess([[0.0, 0.0]], [1])
        >>> hess
        array([[0.25, 0.25]])
        """
        plain = self._plain(logits, target, GRAD | HESS, out, options)
        if plain is not None:
            return plain
        _, grad, hess = self._evaluate(GRAD | HESS, logits, target, None, out, **options)
        return grad, hess

    def hvp(self, logits, target, v, *, out=None, **options):
        """Return the product of the Hessian with `v`, without forming the Hessian.

        Parameters
        ----------
        logits, target : array_like
            As for the loss itself; so are the options.
        v : array_like
            A vector, in the shape of the first argument.
        out : ndarray, optional
            Where to put the result; may be the first argument itself.

        Returns
        -------
        ndarray
            In the shape of the first argument.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does, and if `v` does not fit.

        Examples
        --------
        >>> fastce.cross_entropy.hvp([[0.0, 0.0]], [1], [[4.0, 0.0]])
        array([[ 1., -1.]])
        """
        plain = self._plain(logits, target, PRODUCT, out, options, v)
        if plain is not None:
            return plain
        return self._evaluate(PRODUCT, logits, target, v, (out,), **options)[1]

    def _plain(self, logits, target, want, out, options, v=None):
        """Return the result of a call, if there is a short way for it; else None."""

    def _check_options(self, options):
        unknown = options.keys() - self._own_options
        if unknown:
            raise TypeError(f"{self.__name__}() got an unknown option `{min(unknown)}`")

    def _evaluate(
        self, want, logits, target, v, out, /, *, reduction="mean", sample_weight=None, **options
    ):
        """Return (value, gradient or product, Hessian), None for what is not wanted."""
        _arrays.check_reduction(reduction)
        self._check_options(options)
        job = self._prepare(logits, target, **options)
        x = job.x
        if sample_weight is not None:
            sample_weight = _arrays.weights("sample_weight", sample_weight, x.dtype)
            _arrays.same_shape("sample_weight", sample_weight, job.samples, "logits", x.shape)
        if v is not None or want & PRODUCT:
            v = _arrays.real("v", v, x.dtype)
            _arrays.same_shape("v", v, x.shape, "logits", x.shape)
        grad_out = hess_out = None
        if want & HESS:
            grad_out, hess_out = _arrays.check_out_pair(out, x.shape, x.dtype)
        elif want & (GRAD | PRODUCT):
            (grad_out,) = out
            _arrays.check_out(grad_out, x.shape, x.dtype)
        grad = _arrays.Output(grad_out, x) if want & (GRAD | PRODUCT) else None
        hess = _arrays.Output(hess_out, x) if want & HESS else None
        divisor = job.divisor(sample_weight) if reduction == "mean" else 1.0
        if divisor == 0:
            value = x.dtype.type(np.nan)
            for output in (grad, hess):
                if output is not None:
                    output.array[...] = 0
        else:
            job.protect(grad, hess)
            if v is not None:
                v = grad.apart_from(v)
            if sample_weight is not None:
                for output in (grad, hess):
                    if output is not None:
                        sample_weight = output.apart_from(sample_weight)
            value = job.run(
                reduction, sample_weight, 1.0 / divisor, bool(want & VALUE), grad, hess, v
            )
            if want & VALUE and reduction == "mean":
                value = _arrays.scalar(value / divisor, x.dtype)
        return (
            value if want & VALUE else None,
            None if grad is None else grad.finish(),
            None if hess is None else hess.finish(),
        )


def keyword_parameters(function):
    """List the parameters that are given by keyword only."""
    given = inspect.signature(function).parameters.values()
    return [p for p in given if p.kind is inspect.Parameter.KEYWORD_ONLY]


METHODS = ("__call__", "grad", "value_and_grad", "grad_and_hess", "hvp")


class _RowJob:
    """A call of a loss over rows of classes: its arrays, checked."""

    def __init__(self, loss, logits, axis):
        self.operation = kernels.ROW_LOSSES[loss]
        self.x = x = _arrays.real("logits", logits)
        axis = _arrays.axis_index(axis, x.ndim)
        self.rows = _arrays.Rows("logits", x, (axis,))
        _arrays.at_least_one_class("logits", x, self.rows.k)
        self.samples = self.rows.batch
        self.classes = self.given = self.weight = None
        self.ignore_index, self.ignored = -100, 0
        self.smoothing, self.z_loss, self.temperature = 0.0, 0.0, 1.0

    @functools.cached_property
    def labels(self):
        """The class of each sample, -1 where it is ignored; None if there are probabilities."""
        if self.classes is None:
            return None
        return _arrays.plain_labels(self.classes, self.ignore_index, self.ignored)

    @functools.cached_property
    def probabilities(self):
        """The target probabilities, or None."""
        return None if self.given is None else _arrays.floats(self.given, self.x.dtype)

    def set_target(self, target, weight, ignore_index, allow_probabilities=True):
        """Take class indices or probabilities, and the classes' weights."""
        x, rows = self.x, self.rows
        if weight is not None:
            self.weight = np.asarray(_arrays.weights("weight", weight, x.dtype), order="C")
            _arrays.same_shape("weight", self.weight, (rows.k,), "logits", x.shape)
        ignore_index = _arrays.integer("ignore_index", ignore_index)
        array = _arrays.asarray("target", target)
        if array.size == 0 and array.shape == rows.batch and isinstance(target, (list, tuple)):
            array = array.astype(np.int64)  # an empty list has no type of its own
        if array.dtype.kind in "iu":
            self.ignored = _arrays.check_labels(
                "target", array, rows.k, ignore_index, rows.batch, "logits", x.shape
            )
            self.classes, self.ignore_index = array, ignore_index
        elif array.dtype.char in "efd" and allow_probabilities:
            if ignore_index >= 0:
                raise ValueError(
                    "`ignore_index` must be negative where `target` holds probabilities, "
                    f"got {ignore_index}"
                )
            self.set_probabilities(array, "; floating numbers are probabilities")
        else:
            if array.dtype == object and all(type(label) is int for label in array.flat):
                _arrays.refuse_outside("target", array, rows.k)  # too large for any dtype
            floats = " or probabilities (float16, float32, float64)" if allow_probabilities else ""
            raise TypeError(
                f"`target` must hold class indices (integers){floats}, got dtype {array.dtype}"
            )

    def set_probabilities(self, target, note=""):
        """Take target probabilities in the shape of the logits."""
        self.given = _arrays.numbers("target", target)
        _arrays.same_shape("target", self.given, self.x.shape, "logits", self.x.shape, note)
        _arrays.probabilities("target", self.given)

    def divisor(self, sample_weight):
        """Return what the mean divides by."""
        if self.classes is None or (self.weight is None and self.ignored == 0):
            return self.rows.n if sample_weight is None else kernels.total(_flat(sample_weight))
        if self.weight is None and sample_weight is None:
            return self.rows.n - self.ignored
        counts = self.labels >= 0
        shares = np.ones(1, self.x.dtype) if self.weight is None else self.weight
        shares = np.where(counts, shares[np.where(counts, self.labels, 0) % shares.size], 0)
        if sample_weight is not None:
            shares = _arrays.product(shares, sample_weight)
        return kernels.total(_flat(shares.astype(self.x.dtype, copy=False)))

    def part(self, start, stop, logits):
        """Return the job of samples `start` to `stop`, counted along one axis.

        `logits` is (samples, k); the job of all samples had the classes last.
        """
        job, ndim = _copy(self), len(self.samples)
        job.turned = logits.strides[0] < logits.strides[1]
        job.x = job.turn(logits)
        job.rows = _arrays.Rows("logits", job.x, (0 if job.turned else 1,))
        job.samples = job.rows.batch
        if self.classes is not None:
            job.classes = _arrays.samples(self.classes, ndim, start, stop)
        if self.given is not None:
            job.given = job.turn(_arrays.samples(self.given, ndim, start, stop))
        return job

    def turn(self, matrix):
        """Return a matrix like that of the logits of a part as the part has it.

        Where the values of one class lie together, the classes are the first axis.
        """
        return matrix.T if self.turned else matrix

    def protect(self, *outputs):
        """Copy what writing the outputs would destroy before it is read."""
        for output in outputs:
            if output is not None:
                self.x = output.apart_from(self.x, same_is_fine=True)
                self.probabilities = output.apart_from(self.probabilities)
                self.labels = output.apart_from(self.labels)
                self.weight = output.apart_from(self.weight)

    def run(self, reduction, sample_weight, scale, want_value, grad, hess, v):
        """Call the kernel; return the values, or their sum."""
        rows = self.rows
        values = np.empty(rows.n, self.x.dtype) if want_value else None
        x = rows.view(self.x)
        labels = None if self.labels is None else rows.samples(self.labels)
        probabilities = None if self.probabilities is None else rows.view(self.probabilities)
        row_weight = None if sample_weight is None else rows.samples(sample_weight)
        v = None if v is None else rows.view(v)
        rows.write(
            [grad, hess],
            lambda g, h: kernels.row_loss(
                self.operation, x, labels, probabilities, self.weight, row_weight, self.smoothing,
                self.z_loss, self.temperature, scale, values, g, h, v,
            ),
        )  # fmt: skip
        if not want_value:
            return None
        if reduction == "none":
            return rows.unsamples(values)[()]
        total = kernels.total(values)
        return total if reduction == "mean" else _arrays.scalar(total, self.x.dtype)


def _copy(job):
    """Return a job with the same attributes, as copy.copy does, but at once."""
    other = object.__new__(type(job))
    other.__dict__.update(job.__dict__)
    return other


def _flat(array):
    return np.ascontiguousarray(array).reshape(-1)


def _label_smoothing(value):
    return _arrays.number("label_smoothing", value, "in [0, 1]", lambda e: 0 <= e <= 1)


class CrossEntropy(Loss):
    """Cross-entropy of logits with a class, or with probabilities.

    With p = softmax(logits / temperature), the value of a sample is ::

        sum_j c_j (-log p_j) + z_loss * lse**2,    c_j = weight_j (t_j (1 - eps) + eps u_j)

    where t is the target (one-hot for an index), eps the label smoothing, u_j = 1/K' for the K'
    classes that are not masked by -inf and 0 for the others, and lse the logsumexp of
    logits / temperature. With C = sum_j c_j its gradient is ::

        (C p_j - c_j + 2 z_loss lse p_j) / temperature

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Real scores. A class of -inf is masked: its probability and gradient are exactly 0; if it
        is the target, the value is inf. A row of only -inf, with +inf or with NaN gives NaN.
    target : array_like
        Class indices (any integer dtype, the logits' shape without `axis`), or probabilities (a
        floating dtype, the logits' shape), which need not sum to 1. A probability of exactly 0
        contributes exactly 0.
    axis : int
        Where the classes are.
    weight : array_like, (k,), optional
        Weights of the classes. With indices, the mean divides by the sum of the targets' weights.
    ignore_index : int
        Samples with this target are not looked at: value and gradient 0, left out of the mean.
    label_smoothing : float
        eps, in [0, 1].
    z_loss : float
        Factor of lse**2, not multiplied by `weight`.
    temperature : float
        Above 0; divides the logits first.
    reduction : {"mean", "sum", "none"}
        How the samples' values are put together.
    sample_weight : array_like, optional
        One number a sample, not negative; the mean divides by their sum.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError
        If a dtype does not fit: bools and complex targets, longdouble logits, ...
    ValueError
        If shapes do not fit, there is no class, a label is outside [0, k), a probability or
        weight is negative or NaN, or an option is out of its range.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    The options mean what they do in
    ``torch.nn.functional.cross_entropy``, where that has them. A value is within 4 ULP, however
    small: log1p(rest / e_t), where rest sums the exponentials of all classes but the target's.

    Examples
    --------
    >>> float(fastce.cross_entropy([[40.0, 0.0]], [0]))
    4.248354255291589e-18
    >>> value, grad = fastce.cross_entropy.value_and_grad([[0.0, 0.0]], [1])
    >>> grad
    array([[ 0.5, -0.5]])
    """

    def _prepare(
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
        job = _RowJob("cross_entropy", logits, axis)
        job.smoothing = _label_smoothing(label_smoothing)
        job.z_loss = _arrays.number(
            "z_loss", z_loss, "finite and not negative", lambda z: 0 <= z < math.inf
        )
        job.temperature = _arrays.number(
            "temperature", temperature, "finite and above 0", lambda t: 0 < t < math.inf
        )
        job.set_target(target, weight, ignore_index)
        return job


class NLLLoss(Loss):
    """Negative log-likelihood: -weight_t log p_t, for log-probabilities and a class t.

    It is linear: its gradient is -weight_t at the target and 0 elsewhere, its Hessian 0.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Log-probabilities, used as they are. A row with NaN gives NaN.
    target : array_like
        Class indices: any integer dtype, the first argument's shape without `axis`.
    axis, weight, ignore_index, reduction, sample_weight
        As for `cross_entropy`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy` does.

    Examples
    --------
    >>> float(fastce.nll_loss(np.log([[0.5, 0.5]]), [0]))
    0.6931471805599453
    """

    def _prepare(self, logits, target, *, axis=-1, weight=None, ignore_index=-100):
        job = _RowJob("nll_loss", logits, axis)
        job.set_target(target, weight, ignore_index, allow_probabilities=False)
        return job


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities: -sum_j c_j log p_j.

    c_j = weight_j (t_j (1 - eps) + eps / k), t being the target (one-hot for an index) and eps the
    label smoothing. Its gradient is -c_j / p_j, the diagonal of its Hessian c_j / p_j**2; where
    c_j is 0 all three are 0.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Probabilities, used as they are: neither clipped nor renormalised. A row with NaN gives
        NaN; a probability of 0 for a target gives inf.
    target : array_like
        Class indices or probabilities, as for `cross_entropy`.
    axis, weight, ignore_index, label_smoothing, reduction, sample_weight
        As for `cross_entropy`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy` does; a negative probability is a ValueError.

    Examples
    --------
    >>> float(fastce.categorical_cross_entropy([[0.5, 0.5]], [0]))
    0.6931471805599453
    """

    def _prepare(
        self, logits, target, *, axis=-1, weight=None, ignore_index=-100, label_smoothing=0.0
    ):
        job = _RowJob("categorical_cross_entropy", logits, axis)
        job.smoothing = _label_smoothing(label_smoothing)
        job.set_target(target, weight, ignore_index)
        used = None if job.ignored == 0 else np.expand_dims(job.labels >= 0, axis)
        _arrays.not_negative("logits", job.x, used)
        return job


class KLDivergence(Loss):
    """Kullback-Leibler divergence sum_j p_j (log p_j - log q_j) of probabilities p from q.

    The gradient with respect to log q is -p_j, the Hessian 0. Where p_j is 0 the term is 0.

    Parameters
    ----------
    logits : array_like, (..., k) for axis=-1
        Log-probabilities log q, used as they are. A row with NaN gives NaN.
    target : array_like
        Probabilities p of the same shape, used as they are.
    axis : int
        Where the classes are. A sample is a row: the mean is what PyTorch calls "batchmean".
    reduction, sample_weight
        As for `cross_entropy`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy` does.

    Examples
    --------
    >>> float(fastce.kl_divergence(np.log([0.5, 0.5]), [1.0, 0.0]))
    0.6931471805599453
    """

    def _prepare(self, logits, target, *, axis=-1):
        job = _RowJob("kl_divergence", logits, axis)
        job.set_probabilities(target)
        return job


class _ElementJob:
    """A call of a loss whose samples are the elements: its arrays, checked."""

    ignored = 0  # of the samples

    def __init__(self, loss, logits):
        self.operation = kernels.POINTWISE_LOSSES[loss]
        self.x = _arrays.real("logits", logits)
        self.samples = self.x.shape
        self.weight = self.pos_weight = None
        self.smoothing, self.alpha, self.gamma = 0.0, -1.0, 0.0

    def set_target(self, target, unit=True):
        """Take the targets, of the shape of the logits, which must be in [0, 1] if `unit`."""
        self.given = _arrays.numbers("target", target)
        _arrays.same_shape("target", self.given, self.x.shape, "logits", self.x.shape)
        if unit:
            _arrays.check_range("target", self.given, 0, 1, "be in [0, 1]")

    @functools.cached_property
    def target(self):
        """The targets, in the dtype of the logits."""
        return _arrays.floats(self.given, self.x.dtype)

    def broadcast(self, name, value):
        """Return weights broadcast to the shape of the logits."""
        if value is None:
            return None
        array = _arrays.weights(name, value, self.x.dtype)
        try:
            return np.broadcast_to(array, self.x.shape)
        except ValueError:
            raise ValueError(
                f"`{name}` must have a shape that broadcasts to that of `logits`, "
                f"{self.x.shape}, got {array.shape}"
            ) from None

    def divisor(self, sample_weight):
        """Return what the mean divides by."""
        return self.x.size if sample_weight is None else kernels.total(_flat(sample_weight))

    def part(self, start, stop, logits):
        """Return the job of samples `start` to `stop`, counted along one axis.

        `logits` is (samples, 1).
        """
        job, ndim = _copy(self), len(self.samples)
        job.x = job.turn(logits)
        job.samples = job.x.shape
        for name in ("given", "weight", "pos_weight"):
            array = getattr(self, name)
            if array is not None:
                setattr(job, name, _arrays.samples(array, ndim, start, stop))
        return job

    def turn(self, matrix):
        """Return a matrix like that of the logits of a part as the part has it."""
        return matrix[:, 0]

    def protect(self, *outputs):
        """Copy what writing the outputs would destroy before it is read."""
        for output in outputs:
            if output is not None:
                self.x = output.apart_from(self.x, same_is_fine=True)
                self.target = output.apart_from(self.target, same_is_fine=True)
                self.weight = output.apart_from(self.weight)
                self.pos_weight = output.apart_from(self.pos_weight)

    def run(self, reduction, sample_weight, scale, want_value, grad, hess, v):
        """Call the kernel; return the values, or their sum."""
        weight = self.weight
        if sample_weight is not None:
            weight = sample_weight if weight is None else _arrays.product(weight, sample_weight)
        values = None
        if want_value and reduction == "none":
            values = _arrays.Output(None, self.x)
        outputs = [values, grad, hess]
        arrays = [self.x, self.target, weight, self.pos_weight, v]
        summed = want_value and values is None
        total = _arrays.write_flat(
            arrays,
            outputs,
            lambda inputs, results: kernels.pointwise_loss(
                self.operation, *inputs, *results, summed, self.smoothing, self.alpha, self.gamma,
                scale,
            ),
        )  # fmt: skip
        if not want_value:
            return None
        if values is not None:
            return values.finish()
        return total if reduction == "mean" else _arrays.scalar(total, self.x.dtype)


class BinaryCrossEntropyWithLogits(Loss):
    """Cross-entropy of the sigmoid of logits with targets in [0, 1], every element a sample.

    With s = sigmoid(x), the value of an element is ::

        weight * (-t * pos_weight * log(s) - (1 - t) * log(1 - s))

    and its gradient ``weight * ((1 - t) * s - t * pos_weight * (1 - s))``.

    Parameters
    ----------
    logits : array_like
        Real scores of any shape. NaN gives NaN.
    target : array_like
        Numbers in [0, 1] (bools and integers as well), in the shape of the logits.
    weight : array_like, optional
        Broadcast to the logits; multiplies. The mean does not divide by it.
    pos_weight : array_like, optional
        Broadcast to the logits; multiplies the term of t.
    label_smoothing : float
        eps in [0, 1]: t becomes t (1 - eps) + eps / 2.
    reduction : {"mean", "sum", "none"}
        How the elements' values are put together.
    sample_weight : array_like, optional
        In the shape of the logits; the mean divides by its sum.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError
        If a dtype does not fit.
    ValueError
        If shapes do not fit, a target is outside [0, 1], or a weight negative or NaN.

    Notes
    -----
    Values and gradients are within 2 ULP for targets of 0 and 1.

    Examples
    --------
    >>> float(fastce.binary_cross_entropy_with_logits([40.0], [1.0]))
    4.248354255291589e-18
    """

    def _prepare(self, logits, target, *, weight=None, pos_weight=None, label_smoothing=0.0):
        job = _ElementJob("binary_cross_entropy_with_logits", logits)
        job.smoothing = _label_smoothing(label_smoothing)
        job.set_target(target)
        job.weight = job.broadcast("weight", weight)
        job.pos_weight = job.broadcast("pos_weight", pos_weight)
        return job


class BinaryCrossEntropy(Loss):
    """Cross-entropy of probabilities with targets in [0, 1], every element a sample.

    The value of an element is ``weight * (-t * log(p) - (1 - t) * log(1 - p))``, its gradient
    ``weight * ((1 - t) / (1 - p) - t / p)``; a term whose factor is 0 is 0.

    Parameters
    ----------
    logits : array_like
        Probabilities in [0, 1] of any shape, not clamped: p = 0 with target 1 costs inf. NaN
        gives NaN.
    target : array_like
        Numbers in [0, 1] (bools and integers as well), of the same shape.
    weight : array_like, optional
        Broadcast to the first argument; multiplies. The mean does not divide by it.
    reduction, sample_weight
        As for `binary_cross_entropy_with_logits`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits` does; a probability outside [0, 1] is a ValueError.

    Examples
    --------
    >>> float(fastce.binary_cross_entropy([0.5], [1.0]))
    0.6931471805599453
    """

    def _prepare(self, logits, target, *, weight=None):
        job = _ElementJob("binary_cross_entropy", logits)
        job.set_target(target)
        if job.x.size and not (job.x.min() >= 0 and job.x.max() <= 1):
            _arrays.refuse("logits", job.x, (job.x < 0) | (job.x > 1), "be in [0, 1]")
        job.weight = job.broadcast("weight", weight)
        return job


class SigmoidFocalLoss(Loss):
    """Focal loss of the sigmoid of logits, every element a sample.

    With L the binary cross-entropy, s = sigmoid(x) and p_t = s t + (1 - s)(1 - t), the value is ::

        (alpha t + (1 - alpha)(1 - t)) * (1 - p_t)**gamma * L

    Parameters
    ----------
    logits : array_like
        Real scores of any shape. NaN gives NaN.
    target : array_like
        Numbers in [0, 1] (bools and integers as well), in the shape of the logits.
    alpha : float
        Balance between the classes, at most 1; a negative number turns it off.
    gamma : float
        Focus on hard samples, finite and not negative.
    reduction, sample_weight
        As for `binary_cross_entropy_with_logits`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits` does.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017,
       https://doi.org/10.1109/ICCV.2017.324

    Examples
    --------
    >>> float(fastce.sigmoid_focal_loss([0.0], [1.0], alpha=-1.0, gamma=0.0))
    0.6931471805599453
    """

    def _prepare(self, logits, target, *, alpha=0.25, gamma=2.0):
        job = _ElementJob("sigmoid_focal_loss", logits)
        job.alpha = _arrays.number("alpha", alpha, "at most 1", lambda a: a <= 1)
        job.gamma = _arrays.number(
            "gamma", gamma, "finite and not negative", lambda g: 0 <= g < math.inf
        )
        job.set_target(target)
        return job


class SquaredError(Loss):
    """Half the squared error, (prediction - target)**2 / 2, every element a sample.

    Its gradient is prediction - target, its Hessian 1.

    Parameters
    ----------
    logits : array_like
        Predictions, real numbers of any shape. NaN gives NaN.
    target : array_like
        Real numbers of the same shape.
    reduction, sample_weight
        As for `binary_cross_entropy_with_logits`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in the dtype of the first argument.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape does not fit.

    Examples
    --------
    >>> float(fastce.squared_error([3.0], [1.0]))
    2.0
    """

    def _prepare(self, logits, target):
        job = _ElementJob("squared_error", logits)
        job.set_target(target, unit=False)
        return job


cross_entropy = CrossEntropy("cross_entropy")
nll_loss = NLLLoss("nll_loss")
categorical_cross_entropy = CategoricalCrossEntropy("categorical_cross_entropy")
kl_divergence = KLDivergence("kl_divergence")
binary_cross_entropy_with_logits = BinaryCrossEntropyWithLogits("binary_cross_entropy_with_logits")
binary_cross_entropy = BinaryCrossEntropy("binary_cross_entropy")
sigmoid_focal_loss = SigmoidFocalLoss("sigmoid_focal_loss")
squared_error = SquaredError("squared_error")
