"""Types of the activations."""

from typing import Any, Literal, SupportsIndex, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

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

_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Out: TypeAlias = np.ndarray | None

log_sigmoid: np.ufunc
log_sigmoid_backward: np.ufunc
logit: np.ufunc
sigmoid: np.ufunc
sigmoid_backward: np.ufunc
softplus: np.ufunc
softplus_backward: np.ufunc

def softmax(x: ArrayLike, axis: _Axis = -1, *, out: _Out = None) -> np.ndarray: ...
def log_softmax(x: ArrayLike, axis: _Axis = -1, *, out: _Out = None) -> np.ndarray: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: _Axis = -1,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[False] = False,
    out: _Out = None,
) -> Any: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: _Axis = -1,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: Literal[True],
    out: _Out = None,
) -> tuple[Any, Any]: ...
def softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, axis: _Axis = -1, *, out: _Out = None
) -> np.ndarray: ...
def log_softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, axis: _Axis = -1, *, out: _Out = None
) -> np.ndarray: ...
def logsumexp_backward(
    grad_output: ArrayLike, x: ArrayLike, axis: _Axis = -1, *, out: _Out = None
) -> np.ndarray: ...
