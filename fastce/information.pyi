"""Types of the entropies and divergences."""

from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["entropy", "entropy_from_logits", "js_divergence"]

_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Base: TypeAlias = float | np.floating[Any] | None

def entropy(p: ArrayLike, axis: _Axis = -1, *, base: _Base = None) -> Any: ...
def entropy_from_logits(logits: ArrayLike, axis: _Axis = -1, *, base: _Base = None) -> Any: ...
def js_divergence(p: ArrayLike, q: ArrayLike, axis: _Axis = -1, *, base: _Base = None) -> Any: ...
