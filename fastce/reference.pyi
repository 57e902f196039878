"""Types of the reference: those of fastce, but that the elementwise activations are functions."""

from typing import Any, TypeAlias

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
from fastce.linear import (
    LinearGradient,
    linear_binary_cross_entropy,
    linear_cross_entropy,
    linear_squared_error,
)
from fastce.losses import (
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

def sigmoid(x: ArrayLike, out: _Out = None) -> Any: ...
def log_sigmoid(x: ArrayLike, out: _Out = None) -> Any: ...
def softplus(x: ArrayLike, out: _Out = None) -> Any: ...
def logit(p: ArrayLike, out: _Out = None) -> Any: ...
def sigmoid_backward(grad_output: ArrayLike, output: ArrayLike, out: _Out = None) -> Any: ...
def log_sigmoid_backward(grad_output: ArrayLike, x: ArrayLike, out: _Out = None) -> Any: ...
def softplus_backward(grad_output: ArrayLike, x: ArrayLike, out: _Out = None) -> Any: ...
