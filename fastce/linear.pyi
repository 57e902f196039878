"""Types of the losses of linear maps: their methods are made at run time, with these signatures."""

from collections.abc import Iterable
from typing import (
    Any,
    Literal,
    NamedTuple,
    Protocol,
    SupportsIndex,
    TypeAlias,
    Unpack,
    type_check_only,
)

import numpy as np
from numpy.typing import ArrayLike

from fastce.losses import _Common, _Loss, _Number

__all__ = [
    "LinearGradient",
    "linear_binary_cross_entropy",
    "linear_cross_entropy",
    "linear_squared_error",
]

MANY_CLASSES: int

def rows_at_a_time(k: int, d: int, item: int, row_bytes: int = 0, chunks: int = 1) -> int: ...

# What is not asked for is None.
class LinearGradient(NamedTuple):
    x: Any
    weight: Any
    bias: Any

# A SciPy matrix in CSR format.
@type_check_only
class _CsrMatrix(Protocol):
    @property
    def indptr(self) -> Any: ...
    def tocsr(self, copy: bool = ...) -> Any: ...

_Features: TypeAlias = ArrayLike | _CsrMatrix
_Array: TypeAlias = np.ndarray | None
_Out: TypeAlias = tuple[_Array, _Array, _Array] | LinearGradient | None
_Outs: TypeAlias = tuple[_Out, _Out] | None
_Name: TypeAlias = Literal["x", "weight", "bias"]
_Wrt: TypeAlias = _Name | Iterable[_Name]
_Shared: TypeAlias = Literal["weight", "bias"]
_WrtShared: TypeAlias = _Shared | Iterable[_Shared]
_Direction: TypeAlias = tuple[ArrayLike, ArrayLike | None] | LinearGradient

@type_check_only
class _Linear(_Common, total=False):
    bias: ArrayLike | None
    chunk_rows: SupportsIndex | None

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

class LinearCrossEntropy(_Loss):
    def __call__(
        self, x: _Features, weight: ArrayLike, target: ArrayLike, **options: Unpack[_LinearCross]
    ) -> Any: ...
    def grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_LinearCross],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_LinearCross],
    ) -> tuple[Any, LinearGradient]: ...
    def grad_and_hess(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _WrtShared = ("weight", "bias"),
        out: _Outs = None,
        **options: Unpack[_LinearCross],
    ) -> tuple[LinearGradient, LinearGradient]: ...
    def hvp(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        *,
        out: _Out = None,
        **options: Unpack[_LinearCross],
    ) -> LinearGradient: ...

class LinearBinaryCrossEntropy(_Loss):
    def __call__(
        self, x: _Features, weight: ArrayLike, target: ArrayLike, **options: Unpack[_LinearBinary]
    ) -> Any: ...
    def grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_LinearBinary],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_LinearBinary],
    ) -> tuple[Any, LinearGradient]: ...
    def grad_and_hess(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _WrtShared = ("weight", "bias"),
        out: _Outs = None,
        **options: Unpack[_LinearBinary],
    ) -> tuple[LinearGradient, LinearGradient]: ...
    def hvp(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        *,
        out: _Out = None,
        **options: Unpack[_LinearBinary],
    ) -> LinearGradient: ...

class LinearSquaredError(_Loss):
    def __call__(
        self, x: _Features, weight: ArrayLike, target: ArrayLike, **options: Unpack[_Linear]
    ) -> Any: ...
    def grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_Linear],
    ) -> LinearGradient: ...
    def value_and_grad(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _Wrt = ("x", "weight", "bias"),
        out: _Out = None,
        **options: Unpack[_Linear],
    ) -> tuple[Any, LinearGradient]: ...
    def grad_and_hess(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        wrt: _WrtShared = ("weight", "bias"),
        out: _Outs = None,
        **options: Unpack[_Linear],
    ) -> tuple[LinearGradient, LinearGradient]: ...
    def hvp(
        self,
        x: _Features,
        weight: ArrayLike,
        target: ArrayLike,
        v: _Direction,
        *,
        out: _Out = None,
        **options: Unpack[_Linear],
    ) -> LinearGradient: ...

linear_cross_entropy: LinearCrossEntropy
linear_binary_cross_entropy: LinearBinaryCrossEntropy
linear_squared_error: LinearSquaredError
