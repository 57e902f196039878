"""Types of the losses: their methods are made at run time, with these signatures."""

from inspect import Signature
from typing import Any, Literal, SupportsIndex, TypeAlias, TypedDict, Unpack, type_check_only

import numpy as np
from numpy.typing import ArrayLike

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

# The dtype of a result is that of the first argument, and the value is a scalar or an array as
# `reduction` says: arrays are those of any dtype, and values are Any.
_Out: TypeAlias = np.ndarray | None
_Outs: TypeAlias = tuple[_Out, _Out] | None
_Number: TypeAlias = float | np.floating[Any]

# The options of the losses.  All have a default.

@type_check_only
class _Common(TypedDict, total=False):
    reduction: Literal["mean", "sum", "none"]
    sample_weight: ArrayLike | None

@type_check_only
class _Row(_Common, total=False):
    axis: SupportsIndex

@type_check_only
class _Class(_Row, total=False):
    weight: ArrayLike | None
    ignore_index: SupportsIndex

@type_check_only
class _Smooth(_Class, total=False):
    label_smoothing: _Number

@type_check_only
class _Cross(_Smooth, total=False):
    z_loss: _Number
    temperature: _Number

@type_check_only
class _Binary(_Common, total=False):
    weight: ArrayLike | None

@type_check_only
class _Logits(_Binary, total=False):
    pos_weight: ArrayLike | None
    label_smoothing: _Number

@type_check_only
class _Focal(_Common, total=False):
    alpha: _Number
    gamma: _Number

@type_check_only
class _Loss:
    __name__: str
    __qualname__: str
    __signature__: Signature
    def __init__(self, name: str) -> None: ...
    def __reduce__(self) -> str: ...

class CrossEntropy(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Cross]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Cross]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Cross]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Cross]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Cross],
    ) -> np.ndarray: ...

class NLLLoss(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Class]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Class]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Class]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Class]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Class],
    ) -> np.ndarray: ...

class CategoricalCrossEntropy(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Smooth]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Smooth]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Smooth]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Smooth]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Smooth],
    ) -> np.ndarray: ...

class KLDivergence(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Row]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Row]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Row]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Row]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Row],
    ) -> np.ndarray: ...

class BinaryCrossEntropyWithLogits(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Logits]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Logits]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Logits]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Logits]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Logits],
    ) -> np.ndarray: ...

class BinaryCrossEntropy(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Binary]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Binary]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Binary]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Binary]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Binary],
    ) -> np.ndarray: ...

class SigmoidFocalLoss(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Focal]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Focal]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Focal]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Focal]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Focal],
    ) -> np.ndarray: ...

class SquaredError(_Loss):
    def __call__(self, logits: ArrayLike, target: ArrayLike, **options: Unpack[_Common]) -> Any: ...
    def grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Common]
    ) -> np.ndarray: ...
    def value_and_grad(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Out = None, **options: Unpack[_Common]
    ) -> tuple[Any, np.ndarray]: ...
    def grad_and_hess(
        self, logits: ArrayLike, target: ArrayLike, *, out: _Outs = None, **options: Unpack[_Common]
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def hvp(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        v: ArrayLike,
        *,
        out: _Out = None,
        **options: Unpack[_Common],
    ) -> np.ndarray: ...

cross_entropy: CrossEntropy
nll_loss: NLLLoss
categorical_cross_entropy: CategoricalCrossEntropy
kl_divergence: KLDivergence
binary_cross_entropy_with_logits: BinaryCrossEntropyWithLogits
binary_cross_entropy: BinaryCrossEntropy
sigmoid_focal_loss: SigmoidFocalLoss
squared_error: SquaredError
