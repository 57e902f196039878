"""What softmax regression minimises: a function of one flat vector, as optimizers want it.

The losses of fastce check their arguments at each call. Here all that stays the same from step to
step (the samples, their targets and weights) is checked and cut into chunks once, and a step brings
the chunks to BLAS and to the kernels and does nothing else: on a few hundred samples the checks
would take several times as long as the work. The mathematics is that of `fastce.linear`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastce import _arrays
from fastce._dispatch import kernels
from fastce.integrations.sklearn._common import Array
from fastce.linear import MANY_CLASSES, rows_at_a_time

SOFTMAX = kernels.ROW_LOSSES["cross_entropy"]
ACTIVATION = kernels.OPERATIONS["softmax"]
SIGMOID = kernels.POINTWISE_LOSSES["binary_cross_entropy_with_logits"]

# Up to so many bytes of probabilities are kept while the Hessian at one point is applied again and
# again: its products then need no exponentials, and one product with X less.
KEPT_BYTES = 64 << 20


class Objective:
    """The mean cross-entropy of the logits X W' + b, plus a quadratic penalty.

    Of the parameters w = (W, b), one flat vector, with S the sum of the sample weights s_i, and
    the penalty's strength q and centre m::

        scale (1/S sum_i s_i loss_i + 1/2 sum_j q_j (w_j - m_j)**2)

    Two classes have one row of parameters, and a sample's loss is that of the sigmoid; k classes
    have k rows, and the loss is that of the softmax.

    Parameters
    ----------
    X : ndarray or SciPy matrix in CSR format, (n, d)
        float32 or float64. Parameters, value and derivatives are float64 for both.
    target : ndarray
        Classes (n,), or probabilities (n, k) in the dtype of X, which need not sum to 1.
    k : int
        How many classes there are.
    sample_weight : ndarray (n,), optional
        In the dtype of X.
    fit_intercept : bool
        Whether there is a b.
    """

    def __init__(
        self, X: Any, target: Array, k: int, sample_weight: Array | None, fit_intercept: bool
    ) -> None:
        (self.n, self.d), self.dtype = X.shape, X.dtype
        self.rows = 1 if k == 2 else k
        self.fit_intercept = fit_intercept
        self.in_weight = self.rows * self.d  # of the parameters
        self.size = self.in_weight + self.rows * fit_intercept
        self.total = float(self.n if sample_weight is None else sample_weight.sum(dtype=float))
        self.scale = 1.0
        self.strength: Array = np.zeros(self.size)
        self.centre: Array | None = None
        self.keeping = self.n * self.rows * self.dtype.itemsize <= KEPT_BYTES
        self.kept_at: Array | None = None
        self.chunks = list(self._chunks(X, *self._targets(target, k, sample_weight)))

    def _targets(self, target: Array, k: int, weight: Array | None) -> Any:
        """Return (labels, probabilities, sample weights) as the kernels take them."""
        labels = shares = None
        if k > 2:
            if target.ndim == 1:
                labels = np.ascontiguousarray(target, np.int64)
            else:
                shares = target
        elif target.ndim == 1:
            shares = target.astype(self.dtype)
        else:
            # t1 L(z) + t0 L(-z) is (t0 + t1) times the loss with the target t1 / (t0 + t1).
            both = target.sum(axis=1)
            shares = np.divide(target[:, 1], both, out=np.zeros_like(both), where=both > 0)
            weight = both if weight is None else both * weight
        return labels, shares, None if weight is None else np.ascontiguousarray(weight, self.dtype)

    def _chunks(
        self, X: Any, labels: Array | None, shares: Array | None, weight: Array | None
    ) -> Iterator["_Chunk"]:
        sparse = hasattr(X, "tocsr")
        row_bytes = 2 * X.data.nbytes // self.n if sparse else 0
        rows = min(self.n, rows_at_a_time(self.rows, self.d, self.dtype.itemsize, row_bytes))
        if not sparse:
            X = _arrays.for_products(X)
        buffers = [np.empty(rows * self.rows, self.dtype) for _ in range(2)]
        values = np.empty(rows, self.dtype)
        for start in range(0, self.n, rows):
            part = slice(start, min(start + rows, self.n))
            given = [None if a is None else a[part] for a in (labels, shares, weight)]
            features = _csr_rows(X, part) if sparse else X[part]
            yield (_SparseChunk if sparse else _Chunk)(features, self.rows, buffers, values, *given)

    def split(self, vector: Array) -> tuple[Array, Array | None]:
        """Return W (rows, d) and b (rows, 1), or None, of a flat vector: views of it."""
        weight = vector[: self.in_weight].reshape(self.rows, self.d)
        return weight, vector[self.in_weight :, None] if self.fit_intercept else None

    def value_and_grad(self, vector: Array) -> tuple[float, Array]:
        """Return the value and the gradient."""
        point = self.split(vector.astype(self.dtype, copy=False))
        grad, value = np.zeros(self.size), 0.0
        parts = self.split(grad)
        for chunk in self.chunks:
            chunk.set_logits(*point)
            value += chunk.slope()
            chunk.pull_back(*parts)
        away = vector if self.centre is None else vector - self.centre
        pull = self.strength * away
        grad *= 1 / self.total
        grad += pull
        grad *= self.scale
        return self.scale * (value / self.total + 0.5 * float(pull @ away)), grad

    def hvp(self, vector: Array, v: Array) -> Array:
        """Return the product of the Hessian at `vector` with `v`."""
        point = self.split(vector.astype(self.dtype, copy=False))
        direction = self.split(v.astype(self.dtype, copy=False))
        product = np.zeros(self.size)
        parts = self.split(product)
        kept = self.kept_at is not None and np.array_equal(self.kept_at, vector)
        if self.keeping and not kept:
            for chunk in self.chunks:
                chunk.set_logits(*point)
                chunk.keep()
            self.kept_at = vector.copy()
        for chunk in self.chunks:
            if self.keeping:
                chunk.set_logits(*direction)
                chunk.bend_as_kept()
            else:
                chunk.set_logits(*point)
                chunk.set_logits(*direction, number=1)
                chunk.bend()
            chunk.pull_back(*parts)
        product *= 1 / self.total
        product += self.strength * v
        product *= self.scale
        return product

    def curvature(self, vector: Array) -> Array:
        """Return the diagonal of the Hessian of the sum of the losses, not their mean."""
        point = self.split(vector.astype(self.dtype, copy=False))
        diagonal = np.zeros(self.size)
        parts = self.split(diagonal)
        for chunk in self.chunks:
            chunk.set_logits(*point)
            chunk.curve()
            chunk.pull_back(*parts, squared=True)
        return diagonal


class _Chunk:
    """Some rows of X with their targets, and where their logits and values go.

    Logits are (rows, n) here, a row for each class. A class's lie together where classes are few;
    else a sample's do.
    """

    def __init__(
        self,
        features: Any,
        rows: int,
        buffers: list[Array],
        values: Array,
        labels: Array | None,
        shares: Array | None,
        weight: Array | None,
    ) -> None:
        n = features.shape[0]
        self.features, self.turned = features, features.T
        flats = [buffer[: rows * n] for buffer in buffers]
        self.binary = shares is not None and shares.ndim == 1
        by_class = self.by_class(rows)
        if by_class:
            self.matrices = [flat.reshape(rows, n) for flat in flats]
        else:
            self.matrices = [flat.reshape(n, rows).T for flat in flats]
        self.values, self.labels = values[:n], labels
        self.shares, self.weight, self.factor = shares, weight, weight
        # As the kernels take them: (outer, classes, inner), or (1, n) for two classes.
        if self.binary:
            self.view, self.second = self.matrices
            self.shares, self.weight = (None if a is None else a[None] for a in (shares, weight))
        else:
            shape = (1, rows, n) if by_class else (n, rows, 1)
            self.view, self.second = (flat.reshape(shape) for flat in flats)
            if shares is not None:
                self.shares = shares.T[None] if by_class else shares[:, :, None]
                # The Hessian is that of the loss of one class, times what the shares add up to.
                mass = shares.sum(axis=1)
                self.factor = mass if weight is None else mass * weight

    def by_class(self, rows: int) -> bool:
        """Tell whether the logits of a class lie together."""
        return rows <= MANY_CLASSES

    def times(self, weight: Array, out: Array) -> None:
        """Put the product of W and X's rows into `out`, (rows, n)."""
        np.matmul(weight, self.turned, out=out)

    def back(self, slopes: Array, squared: bool) -> Array:
        """Return the product of `slopes` (rows, n) and X's rows, or their squares."""
        product: Array = slopes @ (np.square(self.features) if squared else self.features)
        return product

    def set_logits(self, weight: Array, bias: Array | None, number: int = 0) -> None:
        """Put W x + b into the buffer of this number."""
        logits = self.matrices[number]
        self.times(weight, logits)
        if bias is not None:
            logits += bias

    def pull_back(self, weight: Array, bias: Array | None, squared: bool = False) -> None:
        """Add to these the derivatives of W and b: the first, or each one's second."""
        slopes = self.matrices[squared]
        weight += self.back(slopes, squared)
        if bias is not None:
            bias += slopes.sum(axis=1, keepdims=True)

    def slope(self) -> float:
        """Put the gradient of the losses in place of the logits; return the losses' sum."""
        return self._kernel(self.values, None, None)

    def bend(self) -> None:
        """Put the product of the losses' Hessian with the second buffer in place of the logits."""
        self._kernel(None, None, self.second)

    def curve(self) -> None:
        """Put the diagonal of the losses' Hessian into the second buffer."""
        self._kernel(None, self.second, None)

    def keep(self) -> None:
        """Keep what `bend_as_kept` needs: for two classes the Hessian, else the probabilities."""
        if not hasattr(self, "kept"):
            self.kept = np.empty_like(self.view)
        if self.binary:
            self._kernel(None, self.kept, None)
        else:
            kernels.softmax_family(ACTIVATION, self.view, self.kept, None)

    def bend_as_kept(self) -> None:
        """Put the product of the Hessian at the logits kept with the first buffer in its place."""
        slopes = self.matrices[0]
        if self.binary:
            slopes *= self.kept
            return
        kernels.softmax_backward(False, self.view, self.kept, self.view)
        if self.factor is not None:
            slopes *= self.factor

    def _kernel(self, values: Array | None, hess: Array | None, v: Array | None) -> float:
        x = self.view
        if self.binary:
            total: float = kernels.pointwise_loss(
                SIGMOID, x, self.shares, self.weight, None, v, None, x, hess, values is not None,
                0.0, 0.0, 0.0, 1.0,
            )  # fmt: skip
            return total
        kernels.row_loss(
            SOFTMAX, x, self.labels, self.shares, None, self.weight, 0.0, 0.0, 1.0, 1.0, values,
            x, hess, v,
        )  # fmt: skip
        return 0.0 if values is None else kernels.total(values)


class _SparseChunk(_Chunk):
    """The same for a SciPy matrix in CSR format: SciPy does the products."""

    def by_class(self, rows: int) -> bool:
        return rows == 1  # SciPy's products are (n, rows)

    def times(self, weight: Array, out: Array) -> None:
        out[...] = (self.features @ weight.T).T

    def back(self, slopes: Array, squared: bool) -> Array:
        turned = self.features.power(2).T if squared else self.turned
        product: Array = turned @ slopes.T
        return product.T


def _csr_rows(X: Any, part: slice) -> Any:
    """Return some rows of a CSR matrix, which share its memory."""
    start, stop = X.indptr[part.start], X.indptr[part.stop]
    pointers = X.indptr[part.start : part.stop + 1] - start
    data = X.data[start:stop], X.indices[start:stop], pointers
    return type(X)(data, shape=(part.stop - part.start, X.shape[1]), copy=False)
