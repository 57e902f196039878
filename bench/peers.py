"""The peers: one table, `PEERS`, of who can do which computation, and how it is written there.

A *maker* takes a `Case` and returns a call without arguments.  Whatever a user would do once
(converting arrays, compiling, allocating what `out=` is given) is done by the maker; the call is
what is timed.  A peer's library is imported by its makers only.

The keys are those of `Workload.key`: the registry's id of the operation and the method.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.workloads import Workload


class Unsupported(Exception):
    """A layout that a peer does not have."""


@dataclass(frozen=True, eq=False)
class Case:
    """A workload with its arguments."""

    workload: Workload
    arguments: tuple[np.ndarray, ...]

    @property
    def x(self) -> np.ndarray:
        """The first argument."""
        return self.arguments[0]

    @property
    def axis(self) -> int:
        """Where the classes are."""
        return self.workload.axis

    @property
    def samples(self) -> int:
        """How many samples a mean divides by."""
        row = self.workload.row()
        return self.x.size // self.x.shape[self.axis] if row.has_axis else self.x.size

    def buffer(self) -> np.ndarray | None:
        """Give an array for `out=`, if the workload has one."""
        return np.empty_like(self.x) if self.workload.out else None


Call = Callable[[], Any]
Maker = Callable[[Case], Call]


@dataclass(frozen=True, eq=False)
class Peer:
    """A library, and its makers by computation."""

    name: str
    module: str
    makers: Mapping[str, Maker]
    # turns one part of a result into what numpy.asarray takes
    part: Callable[[Any], Any] = np.asarray

    def installed(self) -> bool:
        """Tell whether the library is there, without importing it."""
        return importlib.util.find_spec(self.module) is not None

    def has(self, key: str) -> bool:
        """Tell whether the library has this computation."""
        return key in self.makers

    def bind(self, case: Case) -> Call:
        """Give the call to be timed."""
        return self.makers[case.workload.key](case)

    def arrays(self, result: Any) -> list[Any]:
        """Turn a result into arrays."""
        return [self.part(part) for part in (result if isinstance(result, tuple) else (result,))]


# ------------------------------------------------------------------- NumPy, as users write it


def _numpy(function: Callable[..., Any]) -> Maker:
    """Make calls of `function(*arguments, out)`; without `out=` it gets a fresh array each time."""

    def maker(case: Case) -> Call:
        out = case.buffer()
        return lambda: function(*case.arguments, np.empty_like(case.x) if out is None else out)

    return maker


def _numpy_axis(function: Callable[..., Any]) -> Maker:
    """Make calls of `function(*arguments, axis, out)`."""

    def maker(case: Case) -> Call:
        out, axis = case.buffer(), case.axis
        return lambda: function(
            *case.arguments, axis, np.empty_like(case.x) if out is None else out
        )

    return maker


def _np_sigmoid(x: Any, out: Any) -> Any:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def _np_softmax(x: Any, axis: int, out: Any) -> Any:
    np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=axis, keepdims=True)
    return out


def _np_log_softmax(x: Any, axis: int, out: Any) -> Any:
    np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    out -= np.log(np.exp(out).sum(axis=axis, keepdims=True))
    return out


def _np_logsumexp(x: Any, axis: int, out: Any) -> Any:
    m = x.max(axis=axis, keepdims=True)
    np.subtract(x, m, out=out)
    np.exp(out, out=out)
    return np.log(out.sum(axis=axis)) + np.squeeze(m, axis)


def _np_cross_entropy(x: Any, target: Any, axis: int, out: Any) -> Any:
    picked = np.take_along_axis(x, np.expand_dims(target, axis), axis)
    return np.mean(_np_logsumexp(x, axis, out) - np.squeeze(picked, axis))


def _np_cross_entropy_grad(x: Any, target: Any, axis: int, out: Any) -> Any:
    index = np.expand_dims(target, axis)
    m = x.max(axis=axis, keepdims=True)
    np.subtract(x, m, out=out)
    np.exp(out, out=out)
    s = out.sum(axis=axis, keepdims=True)
    out /= s
    loss = np.mean(np.log(s) + m - np.take_along_axis(x, index, axis))
    np.put_along_axis(out, index, np.take_along_axis(out, index, axis) - 1, axis)
    out /= target.size
    return loss, out


def _np_soft_cross_entropy_grad(x: Any, target: Any, axis: int, out: Any) -> Any:
    log_p = _np_log_softmax(x, axis, np.empty_like(x))
    n = x.size // x.shape[axis]
    loss = -np.vdot(target, log_p) / n
    np.exp(log_p, out=out)
    out *= target.sum(axis=axis, keepdims=True)
    out -= target
    out /= n
    return loss, out


def _np_binary_grad(x: Any, target: Any, out: Any) -> Any:
    e = np.exp(-np.abs(x))
    loss = np.mean(np.maximum(x, 0) - x * target + np.log1p(e))
    np.divide(np.where(x >= 0, 1.0, e), 1 + e, out=out, dtype=x.dtype)
    out -= target
    out /= x.size
    return loss, out


NUMPY = {
    "sigmoid.value": _numpy(_np_sigmoid),
    "log_sigmoid.value": _numpy(lambda x, out: -np.logaddexp(0, -x)),
    "softplus.value": _numpy(lambda x, out: np.logaddexp(0, x, out=out)),
    "logit.value": _numpy(lambda p, out: np.log(p / (1 - p))),
    "sigmoid_backward.value": _numpy(lambda g, y, out: g * y * (1 - y)),
    "softmax.value": _numpy_axis(_np_softmax),
    "log_softmax.value": _numpy_axis(_np_log_softmax),
    "logsumexp.value": _numpy_axis(_np_logsumexp),
    "softmax_backward.value": _numpy_axis(
        lambda g, y, axis, out: y * (g - np.sum(g * y, axis=axis, keepdims=True))
    ),
    "log_softmax_backward.value": _numpy_axis(
        lambda g, y, axis, out: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)
    ),
    "cross_entropy[index].value": _numpy_axis(_np_cross_entropy),
    "cross_entropy[index].value_and_grad": _numpy_axis(_np_cross_entropy_grad),
    "cross_entropy[probability].value_and_grad": _numpy_axis(_np_soft_cross_entropy_grad),
    "binary_cross_entropy_with_logits[binary].value_and_grad": _numpy(_np_binary_grad),
    "binary_cross_entropy_with_logits[soft].value_and_grad": _numpy(_np_binary_grad),
    "entropy.value": _numpy_axis(lambda p, axis, out: -np.sum(p * np.log(p), axis=axis)),
}


# ------------------------------------------------------------------------------------- SciPy


def _scipy_ufunc(name: str) -> Maker:
    def maker(case: Case) -> Call:
        from scipy import special

        out, function = case.buffer(), getattr(special, name)
        return functools.partial(function, *case.arguments, **({} if out is None else {"out": out}))

    return maker


def _scipy_axis(name: str) -> Maker:
    def maker(case: Case) -> Call:
        from scipy import special

        return functools.partial(getattr(special, name), *case.arguments, axis=case.axis)

    return maker


def _scipy_entropy(case: Case) -> Call:
    from scipy import special

    return lambda: special.entr(case.x).sum(axis=case.axis)


SCIPY = {
    "sigmoid.value": _scipy_ufunc("expit"),
    "log_sigmoid.value": _scipy_ufunc("log_expit"),
    "logit.value": _scipy_ufunc("logit"),
    "softmax.value": _scipy_axis("softmax"),
    "log_softmax.value": _scipy_axis("log_softmax"),
    "logsumexp.value": _scipy_axis("logsumexp"),
    "entropy.value": _scipy_entropy,
}


# ----------------------------------------------------------------------------------- PyTorch


def _torch_call(function: Callable[..., Any], takes_out: bool = False) -> Maker:
    """Make calls of `function(torch, dim, *tensors)`, with `out=` if it has that."""

    def maker(case: Case) -> Call:
        import torch

        tensors = [torch.from_numpy(a) for a in case.arguments]
        keywords = {"out": torch.empty_like(tensors[0])} if case.workload.out and takes_out else {}

        def call() -> Any:
            with torch.no_grad():
                return function(torch, case.axis, *tensors, **keywords)

        return call

    return maker


def _torch_gradient(loss: Callable[..., Any]) -> Maker:
    """Make calls of a loss with its gradient, by autograd."""

    def maker(case: Case) -> Call:
        import torch

        x, target = (torch.from_numpy(a) for a in case.arguments)
        x.requires_grad_()

        def call() -> Any:
            value = loss(torch, case.axis, x, target)
            (grad,) = torch.autograd.grad(value, x)
            return value.detach(), grad

        return call

    return maker


_TORCH_LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy[index]": lambda t, d, x, y: t.nn.functional.cross_entropy(x, y),
    "cross_entropy[probability]": lambda t, d, x, y: t.nn.functional.cross_entropy(x, y),
    "nll_loss[index]": lambda t, d, x, y: t.nn.functional.nll_loss(x, y),
    "kl_divergence[probability]": lambda t, d, x, y: t.nn.functional.kl_div(
        x, y, reduction="batchmean"
    ),
    "binary_cross_entropy_with_logits[binary]": lambda t, d, x, y: (
        t.nn.functional.binary_cross_entropy_with_logits(x, y)
    ),
    "binary_cross_entropy_with_logits[soft]": lambda t, d, x, y: (
        t.nn.functional.binary_cross_entropy_with_logits(x, y)
    ),
    "binary_cross_entropy[binary]": lambda t, d, x, y: t.nn.functional.binary_cross_entropy(x, y),
    "binary_cross_entropy[soft]": lambda t, d, x, y: t.nn.functional.binary_cross_entropy(x, y),
    "squared_error[real]": lambda t, d, x, y: t.nn.functional.mse_loss(x, y) / 2,
}

TORCH = {
    "sigmoid.value": _torch_call(lambda t, d, x, **out: t.sigmoid(x, **out), takes_out=True),
    "log_sigmoid.value": _torch_call(lambda t, d, x: t.nn.functional.logsigmoid(x)),
    "softplus.value": _torch_call(lambda t, d, x: t.nn.functional.softplus(x)),
    "logit.value": _torch_call(lambda t, d, x: t.logit(x)),
    "sigmoid_backward.value": _torch_call(lambda t, d, g, y: t.ops.aten.sigmoid_backward(g, y)),
    "softplus_backward.value": _torch_call(
        lambda t, d, g, x: t.ops.aten.softplus_backward(g, x, 1, 20)
    ),
    "softmax.value": _torch_call(lambda t, d, x, **out: t.softmax(x, d, **out), takes_out=True),
    "log_softmax.value": _torch_call(lambda t, d, x: t.log_softmax(x, d)),
    "logsumexp.value": _torch_call(lambda t, d, x: t.logsumexp(x, d)),
    "softmax_backward.value": _torch_call(
        lambda t, d, g, y: t.ops.aten._softmax_backward_data(g, y, d, y.dtype)
    ),
    "log_softmax_backward.value": _torch_call(
        lambda t, d, g, y: t.ops.aten._log_softmax_backward_data(g, y, d, y.dtype)
    ),
    "entropy.value": _torch_call(lambda t, d, p: t.special.entr(p).sum(d)),
    "entropy_from_logits.value": _torch_call(
        lambda t, d, x: t.distributions.Categorical(logits=x, validate_args=False).entropy()
    ),
    **{f"{name}.value": _torch_call(loss) for name, loss in _TORCH_LOSSES.items()},
    **{f"{name}.value_and_grad": _torch_gradient(loss) for name, loss in _TORCH_LOSSES.items()},
}


# --------------------------------------------------------------------------------------- JAX


def _jax_call(function: Callable[..., Any], gradient: bool = False) -> Maker:
    """Make calls of `function(jax, axis, *arrays)`, compiled, waiting for the result."""

    def maker(case: Case) -> Call:
        import jax

        def plain(*arrays: Any) -> Any:
            return function(jax, case.axis, *arrays)

        compiled = jax.jit(jax.value_and_grad(plain) if gradient else plain)
        arrays = [jax.device_put(a) for a in case.arguments]
        return lambda: jax.block_until_ready(compiled(*arrays))

    return maker


def _jax_cross_entropy(jax: Any, axis: int, x: Any, target: Any) -> Any:
    index = jax.numpy.expand_dims(target, axis)
    picked = jax.numpy.take_along_axis(x, index, axis).squeeze(axis)
    return (jax.nn.logsumexp(x, axis=axis) - picked).mean()


def _jax_binary(jax: Any, axis: int, x: Any, target: Any) -> Any:
    log_sigmoid = jax.nn.log_sigmoid
    return -(target * log_sigmoid(x) + (1 - target) * log_sigmoid(-x)).mean()


def _jax_bernoulli(jax: Any, axis: int, p: Any, target: Any) -> Any:
    np_ = jax.numpy
    return -(target * np_.log(p) + (1 - target) * np_.log1p(-p)).mean()


_JAX_LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy[index]": _jax_cross_entropy,
    "cross_entropy[probability]": lambda j, a, x, y: -(y * j.nn.log_softmax(x, a)).sum(a).mean(),
    "kl_divergence[probability]": lambda j, a, x, y: (y * (j.numpy.log(y) - x)).sum(a).mean(),
    "binary_cross_entropy_with_logits[binary]": _jax_binary,
    "binary_cross_entropy_with_logits[soft]": _jax_binary,
    "binary_cross_entropy[binary]": _jax_bernoulli,
    "binary_cross_entropy[soft]": _jax_bernoulli,
    "squared_error[real]": lambda j, a, x, y: ((x - y) ** 2).mean() / 2,
}

JAX = {
    "sigmoid.value": _jax_call(lambda j, a, x: j.nn.sigmoid(x)),
    "log_sigmoid.value": _jax_call(lambda j, a, x: j.nn.log_sigmoid(x)),
    "softplus.value": _jax_call(lambda j, a, x: j.nn.softplus(x)),
    "logit.value": _jax_call(lambda j, a, x: j.scipy.special.logit(x)),
    "sigmoid_backward.value": _jax_call(lambda j, a, g, y: g * y * (1 - y)),
    "softmax.value": _jax_call(lambda j, a, x: j.nn.softmax(x, a)),
    "log_softmax.value": _jax_call(lambda j, a, x: j.nn.log_softmax(x, a)),
    "logsumexp.value": _jax_call(lambda j, a, x: j.nn.logsumexp(x, a)),
    "softmax_backward.value": _jax_call(lambda j, a, g, y: y * (g - (g * y).sum(a, keepdims=True))),
    "log_softmax_backward.value": _jax_call(
        lambda j, a, g, y: g - j.numpy.exp(y) * g.sum(a, keepdims=True)
    ),
    "entropy.value": _jax_call(lambda j, a, p: j.scipy.special.entr(p).sum(a)),
    **{f"{name}.value": _jax_call(loss) for name, loss in _JAX_LOSSES.items()},
    **{f"{name}.value_and_grad": _jax_call(loss, True) for name, loss in _JAX_LOSSES.items()},
}


# ------------------------------------------------------------- scikit-learn's private losses


def _sklearn_loss(name: str, gradient: bool) -> Maker:
    """Make calls of a loss of `sklearn._loss`; weights of 1/n turn its sums into means."""

    def maker(case: Case) -> Call:
        from sklearn._loss import loss as losses

        x, target = case.arguments
        if case.axis != -1:
            raise Unsupported("the classes must be last")
        raw = x.reshape(-1, x.shape[-1]) if name == "HalfMultinomialLoss" else x
        loss = getattr(losses, name)(
            **({"n_classes": x.shape[-1]} if name == "HalfMultinomialLoss" else {})
        )
        y = np.ascontiguousarray(target.reshape(-1), dtype=x.dtype)
        weight = np.full(case.samples, 1 / case.samples, dtype=x.dtype)
        out = case.buffer()
        if not gradient:
            return lambda: loss.loss(y, raw, sample_weight=weight).sum()

        def call() -> Any:
            value, grad = loss.loss_gradient(y, raw, sample_weight=weight, gradient_out=out)
            return value.sum(), grad

        return call

    return maker


def _sklearn_softmax(case: Case) -> Call:
    from sklearn.utils.extmath import softmax

    return lambda: softmax(case.x, copy=True)


SKLEARN = {
    "softmax.value": _sklearn_softmax,
    "cross_entropy[index].value": _sklearn_loss("HalfMultinomialLoss", False),
    "cross_entropy[index].value_and_grad": _sklearn_loss("HalfMultinomialLoss", True),
    "binary_cross_entropy_with_logits[binary].value_and_grad": _sklearn_loss(
        "HalfBinomialLoss", True
    ),
    "binary_cross_entropy_with_logits[soft].value_and_grad": _sklearn_loss(
        "HalfBinomialLoss", True
    ),
}


# ------------------------------------------------------------------------------ Numba, plain


@functools.cache
def _numba_functions() -> dict[str, Callable[..., Any]]:
    """Compile the loops that one writes without thinking of vectors."""
    from math import exp, log, log1p

    from numba import njit

    @njit
    def sigmoid(x: Any, out: Any) -> Any:
        for i in range(x.size):
            out[i] = 1 / (1 + exp(-x[i]))
        return out

    @njit
    def softmax(x: Any, out: Any) -> Any:
        for i in range(x.shape[0]):
            m, s = x[i].max(), 0.0
            for j in range(x.shape[1]):
                out[i, j] = exp(x[i, j] - m)
                s += out[i, j]
            for j in range(x.shape[1]):
                out[i, j] /= s
        return out

    @njit
    def logsumexp(x: Any, out: Any) -> Any:
        values = np.empty(x.shape[0], x.dtype)
        for i in range(x.shape[0]):
            m, s = x[i].max(), 0.0
            for j in range(x.shape[1]):
                s += exp(x[i, j] - m)
            values[i] = m + log(s)
        return values

    @njit
    def cross_entropy(x: Any, target: Any, out: Any) -> Any:
        total = 0.0
        for i in range(x.shape[0]):
            m, s = x[i].max(), 0.0
            for j in range(x.shape[1]):
                s += exp(x[i, j] - m)
            total += m + log(s) - x[i, target[i]]
        return total / x.shape[0]

    @njit
    def cross_entropy_grad(x: Any, target: Any, out: Any) -> Any:
        total, n = 0.0, x.shape[0]
        for i in range(n):
            m, s = x[i].max(), 0.0
            for j in range(x.shape[1]):
                out[i, j] = exp(x[i, j] - m)
                s += out[i, j]
            for j in range(x.shape[1]):
                out[i, j] /= s * n
            out[i, target[i]] -= 1 / n
            total += m + log(s) - x[i, target[i]]
        return total / n, out

    @njit
    def binary_grad(x: Any, target: Any, out: Any) -> Any:
        total, n = 0.0, x.size
        for i in range(n):
            e = exp(-abs(x[i]))
            total += max(x[i], 0.0) - x[i] * target[i] + log1p(e)
            p = 1 / (1 + e) if x[i] >= 0 else e / (1 + e)
            out[i] = (p - target[i]) / n
        return total / n, out

    return {
        "sigmoid": sigmoid,
        "softmax": softmax,
        "logsumexp": logsumexp,
        "cross_entropy": cross_entropy,
        "cross_entropy_grad": cross_entropy_grad,
        "binary_grad": binary_grad,
    }


def _numba(name: str, rows: bool) -> Maker:
    def maker(case: Case) -> Call:
        if case.axis != -1:
            raise Unsupported("written for classes last")
        function = _numba_functions()[name]
        x = case.x.reshape(-1, case.x.shape[-1]) if rows else case.x.reshape(-1)
        others = [a.reshape(-1) for a in case.arguments[1:]]
        kept = np.empty_like(x) if case.workload.out else None
        return lambda: function(x, *others, np.empty_like(x) if kept is None else kept)

    return maker


NUMBA = {
    "sigmoid.value": _numba("sigmoid", rows=False),
    "softmax.value": _numba("softmax", rows=True),
    "logsumexp.value": _numba("logsumexp", rows=True),
    "cross_entropy[index].value": _numba("cross_entropy", rows=True),
    "cross_entropy[index].value_and_grad": _numba("cross_entropy_grad", rows=True),
    "binary_cross_entropy_with_logits[binary].value_and_grad": _numba("binary_grad", rows=False),
    "binary_cross_entropy_with_logits[soft].value_and_grad": _numba("binary_grad", rows=False),
}


PEERS = (
    Peer("NumPy", "numpy", NUMPY),
    Peer("SciPy", "scipy", SCIPY),
    Peer("scikit-learn", "sklearn", SKLEARN),
    Peer("PyTorch", "torch", TORCH, part=lambda part: part.numpy()),
    Peer("JAX", "jax", JAX),
    Peer("Numba", "numba", NUMBA),
)
