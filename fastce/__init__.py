"""Fast and accurate classification losses for NumPy arrays on a CPU.

Activations     sigmoid, log_sigmoid, softplus, logit, softmax, log_softmax, logsumexp, and a
                ``..._backward`` function of each
Losses          cross_entropy, nll_loss, categorical_cross_entropy, kl_divergence,
                binary_cross_entropy_with_logits, binary_cross_entropy, sigmoid_focal_loss,
                squared_error; each with methods grad, value_and_grad, grad_and_hess, hvp
Of a linear map linear_cross_entropy, linear_binary_cross_entropy, linear_squared_error, with the
                same methods: the logits of all samples are never held
Information     entropy, entropy_from_logits, js_divergence
Running         set_num_threads, get_num_threads, show_config

``fastce.reference`` has the same functions in plain NumPy.
"""

from typing import TYPE_CHECKING

from fastce._config import __version__, show_config
from fastce._threads import get_num_threads, set_num_threads
from fastce.activations import (
    log_sigmoid,
    log_sigmoid_backward,
    log_softmax,
    log_softmax_backward,
    logit,
    logsumexp,
    logsumexp_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
)
from fastce.information import entropy, entropy_from_logits, js_divergence
from fastce.linear import (
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
    "__version__",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "entropy",
    "entropy_from_logits",
    "get_num_threads",
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
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "squared_error",
]


if TYPE_CHECKING:
    from fastce import reference as reference
else:

    def __getattr__(name):
        """Import `fastce.reference` when it is first asked for."""
        if name == "reference":
            import importlib

            return importlib.import_module("fastce.reference")
        raise AttributeError(f"module 'fastce' has no attribute {name!r}")
