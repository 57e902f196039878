"""Types of the reference: those of fastce, but that the elementwise activations are functions."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, SupportsIndex, TypeAlias, Unpack, type_check_only

import numpy as np
from numpy.typing import ArrayLike

from fastce.activations import (
    log_softmax,
    log_softmax_backward,
    logsumexp,
    logsumexp_backward,
    softmax,
    softmax_backward,
)
from fastce.information import entropy, entropy_from_logits, js_divergence
from fastce.losses import (
    _Common,
    _Number,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    nll_loss,
    sigmoid_focal_loss,
    squared_error,
)

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

_Out: TypeAlias = np.ndarray | None
_Name: TypeAlias = Literal["x", "weight", "bias"]
_Wrt: TypeAlias = _Name | Iterable[_Name]
_Direction: TypeAlias = tuple[ArrayLike, ArrayLike | None] | LinearGradient

def sigmoid(x: ArrayLike, out: _Out = None) -> Any: ...
def log_sigmoid(x: ArrayLike, out: _Out = None) -> Any: ...
def softplus(x: ArrayLike, out: _Out = None) -> Any: ...
def logit(p: ArrayLike, out: _Out = None) -> Any: ...
def sigmoid_backward(grad_output: ArrayLike, output: ArrayLike, out: _Out = None) -> Any: ...
def log_sigmoid_backward(grad_output: ArrayLike, x: ArrayLike, out: _Out = None) -> Any: ...
def softplus_backward(grad_output: ArrayLike, x: ArrayLike, out: _Out = None) -> Any: ...

# What is not asked for is None.
class LinearGradient(NamedTuple):
    x: Any
    weight: Any
    bias: Any

@type_check_only
class _Linear(_Common, total=False):
    bias: ArrayLike | None

@type_check_only
class _LinearCross(_Linear, total=False):
    class_weight: ArrayLike | None
    ignore_index: SupportsIndex
    label_smoothing: _Number
    z_loss: _Number
    temperature: _Number

@type_check_only
class _LinearBinary(_Linear, total=False):
    pos_weight: ArrayLike | None
    label_smoothing: _Number

@type_check_only
class _LinearLoss:
    __name__: str
    __qualname__: str
    def __init__(self, name: str) -> None: ...

class _LinearCrossEntropy(_LinearLoss):
    def __call__(
        self, x: ArrayLike, weight: ArrayLike, target: ArrayLike, **options: Unpack[_LinearCross]
    ) -> Any: ...
    def grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_LinearCross],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_LinearCross],
    ) -> tuple[Any, LinearGradient]: ...
    def hvp(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        **options: Unpack[_LinearCross],
    ) -> LinearGradient: ...

class _LinearBinaryCrossEntropy(_LinearLoss):
    def __call__(
        self, x: ArrayLike, weight: ArrayLike, target: ArrayLike, **options: Unpack[_LinearBinary]
    ) -> Any: ...
    def grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_LinearBinary],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_LinearBinary],
    ) -> tuple[Any, LinearGradient]: ...
    def hvp(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        **options: Unpack[_LinearBinary],
    ) -> LinearGradient: ...

class _LinearSquaredError(_LinearLoss):
    def __call__(
        self, x: ArrayLike, weight: ArrayLike, target: ArrayLike, **options: Unpack[_Linear]
    ) -> Any: ...
    def grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_Linear],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        **options: Unpack[_Linear],
    ) -> tuple[Any, LinearGradient]: ...
    def hvp(
        self,
        x: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        **options: Unpack[_Linear],
    ) -> LinearGradient: ...

linear_cross_entropy: _LinearCrossEntropy
linear_binary_cross_entropy: _LinearBinaryCrossEntropy
linear_squared_error: _LinearSquaredError
