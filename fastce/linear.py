"""The losses of a linear map's logits, ``x @ weight.T + bias``, which are never all there at once.

A chunk of rows at a time, the logits are made by BLAS, through NumPy, in a buffer that all chunks
share; the loss beneath puts their gradient in its place; BLAS takes it back to x, weight and bias.
So the memory needed beside the inputs and the results is that of a chunk, however many rows
there are.

With logits z = x W' + b and the gradient G (n, k) with respect to them, the gradients are G W for
x, G' x for the weight, and the sum of G's rows for the bias. The Hessian's product with (V, u) is
the same, with the product of the loss's own Hessian with x V' + u in place of G.

Computing gradients while the logits of a chunk are at hand is the idea of Wijmans et al., "Cut
your losses in large-vocabulary language models", 2024, https://arxiv.org/abs/2411.09009.
"""

import math
from collections import namedtuple

import numpy as np

from fastce import _arrays
from fastce._dispatch import kernels
from fastce.losses import (
    GRAD,
    HESS,
    PRODUCT,
    VALUE,
    Loss,
    binary_cross_entropy_with_logits,
    cross_entropy,
    squared_error,
)

__all__ = [
    "LinearGradient",
    "linear_binary_cross_entropy",
    "linear_cross_entropy",
    "linear_squared_error",
]

LinearGradient = namedtuple("LinearGradient", ["x", "weight", "bias"])
LinearGradient.__doc__ = "Derivatives with respect to x, weight and bias; None if not asked for."

# How many rows a chunk has: as many as the second-level cache holds, with their features; but
# enough for WORK multiplications, beside which the calls of a chunk take no time. At least SOME, if
# they do not take more than SOME_BYTES, and at least FEW, if they do not take more than FEW_BYTES:
# fewer rows make the products with the weight slow, which is read for each chunk.
CACHE = 1 << 20
WORK = 1 << 20
SOME, SOME_BYTES = 512, 8 << 20
FEW, FEW_BYTES = 256, 64 << 20
RUN = 32  # rows seen as one where classes are few
MANY_CLASSES = 128  # from here on a class's logits of a chunk do not lie together


class LinearLoss(Loss):
    """A loss of the logits of a linear map: call it for its value, or a method for derivatives.

    All take the same arguments and options, those of the loss beneath among them. Derivatives are
    named tuples ``(x, weight, bias)``. Nothing as large as the logits is ever held: see the option
    `chunk_rows`.
    """

    def __call__(self, x, weight, target, **options):
        """Return the value.

        Parameters
        ----------
        x, weight, target : array_like
            As the loss's own documentation says; so are the options.

        Returns
        -------
        scalar, or ndarray for ``reduction="none"``
            In the dtype of `x`.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As the loss's own documentation says.

        Examples
        --------
        >>> float(fastce.linear_squared_error([[1.0, 2.0]], [1.0, 1.0], [1.0]))
        2.0
        """
        return self._evaluate(VALUE, x, weight, target, None, None, (), **options)[0]

    def grad(self, x, weight, target, *, wrt=("x", "weight", "bias"), out=None, **options):
        """Return the gradients with respect to `x`, `weight` and `bias`.

        Parameters
        ----------
        x, weight, target : array_like
            As for the loss itself; so are the options.
        wrt : str or tuple of str
            Those of "x", "weight" and "bias" that are wanted. With ``reduction="none"`` only "x"
            can be had, for all samples share the others; with a sparse `x` only the others.
        out : tuple of three ndarray or None, optional
            Where to put them, each of its result's shape and dtype, or None for a new array. The
            first may be `x` itself.

        Returns
        -------
        LinearGradient
            A named tuple ``(x, weight, bias)``: None for what is not in `wrt`, and for the bias if
            there is none.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As the loss itself does, if `wrt` names what cannot be had, and if `out` does not fit:
            two of its arrays that share memory are a ValueError.

        Examples
        --------
        >>> grad = fastce.linear_squared_error.grad([[1.0, 2.0]], [1.0, 1.0], [1.0], bias=0.0)
        >>> grad.x, grad.weight, float(grad.bias)
        (array([[2., 2.]]), array([2., 4.]), 2.0)
        """
        return self._evaluate(GRAD, x, weight, target, None, out, wrt, **options)[1]

    def value_and_grad(
        self, x, weight, target, *, wrt=("x", "weight", "bias"), out=None, **options
    ):
        """Return the value and the gradients, from one pass.

        Parameters
        ----------
        x, weight, target, wrt, out
            As for `grad`; so are the options.

        Returns
        -------
        value : scalar or ndarray
            As the loss itself gives.
        grad : LinearGradient
            As `grad` gives.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does.

        Examples
        --------
        >>> value, grad = fastce.linear_squared_error.value_and_grad(
        ...     [[1.0, 2.0]], [1.0, 1.0], [1.0], wrt="weight"
        ... )
        >>> float(value)
        2.0
        >>> grad
        LinearGradient(x=None, weight=array([2., 4.]), bias=None)
        """
        return self._evaluate(VALUE | GRAD, x, weight, target, None, out, wrt, **options)[:2]

    def grad_and_hess(self, x, weight, target, *, wrt=("weight", "bias"), out=None, **options):
        """Return the gradients and the diagonal of the Hessian, from one pass.

        Parameters
        ----------
        x, weight, target : array_like
            As for the loss itself; so are the options.
        wrt : str or tuple of str
            "weight", "bias" or both.
        out : pair of such tuples as `grad` takes, optional
            Where to put the results.

        Returns
        -------
        grad, hess : LinearGradient
            Of which x is None. A second derivative is that of the value twice with respect to the
            same entry of the weight or the bias.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does.

        Examples
        --------
        >>> loss = fastce.linear_squared_error
        >>> grad, hess = loss.grad_and_hess([[1.0, 2.0]], [1.0, 1.0], [1.0])
        >>> hess.weight
        array([1., 4.])
        """
        _, grad, hess = self._evaluate(GRAD | HESS, x, weight, target, None, out, wrt, **options)
        return grad, hess

    def hvp(self, x, weight, target, v, *, out=None, **options):
        """Return the product of the Hessian of weight and bias with `v`, without forming it.

        Parameters
        ----------
        x, weight, target : array_like
            As for the loss itself; so are the options.
        v : pair of array_like, or LinearGradient
            ``(weight, bias)``, or such a result as `grad` gives if its x is None. A bias of None
            stands for 0; where the loss has no `bias` it must be None.
        out : tuple of three ndarray or None, optional
            Where to put the result, as for `grad`; its first must be None.

        Returns
        -------
        LinearGradient
            Of which x is None, and the bias where there is no `bias`.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `grad` does, and if `v` does not fit.

        Examples
        --------
        >>> v = ([1.0, 0.0], None)
        >>> fastce.linear_squared_error.hvp([[1.0, 2.0]], [1.0, 1.0], [1.0], v).weight
        array([1., 2.])
        """
        both = ("weight", "bias")
        return self._evaluate(PRODUCT, x, weight, target, v, out, both, **options)[1]

    def _evaluate(
        self,
        want,
        x,
        weight,
        target,
        v,
        out,
        wrt,
        /,
        *,
        reduction="mean",
        sample_weight=None,
        chunk_rows=None,
        **options,
    ):
        """Return (value, gradient or product, Hessian), None for what is not wanted."""
        _arrays.check_reduction(reduction)
        self._check_options(options)
        job = self._prepare(x, weight, target, **options)
        if want != VALUE:
            choice = LinearGradient._fields[want & (HESS | PRODUCT) != 0 :]
            wrt = _arrays.wanted(wrt, choice, reduction, job.features.sparse)
        if sample_weight is not None:
            job.set_sample_weight(sample_weight)
        if want & PRODUCT:
            job.along = _arrays.direction(v, job.weight, job.bias)
        rows = _arrays.chunk_rows(chunk_rows)
        derivatives = job.derivatives(want, wrt, out)
        with np.errstate(all="ignore"):
            value = job.run(want, reduction, rows, *derivatives)
            return (value, *(None if d is None else d.finish() for d in derivatives))


class _Dense:
    """Features x (..., d), of which a few rows are brought at a time as BLAS takes them."""

    sparse = False
    block_bytes = CACHE  # of a part of the weight's gradient

    def __init__(self, array):
        self.array, self.dtype = array, _arrays.computed_in(array.dtype)
        self.batch, self.d = array.shape[:-1], array.shape[-1]
        self.n = math.prod(self.batch)
        self.arrays = (array,)
        strides = array.strides
        self.by_column = array.ndim == 2 and 0 < strides[0] < strides[1]
        copied = array.size and not np.may_share_memory(self.rows(0, 2), array)
        self.row_bytes = self.d * self.dtype.itemsize * copied

    def rows(self, start, stop):
        """Return rows `start` to `stop` as a matrix: a view, unless they must be converted."""
        rows = _arrays.samples(self.array, len(self.batch), start, stop)
        return _arrays.for_products(_arrays.floats(rows, self.dtype))

    def factor(self, weight):
        """Return weight.T (d, k) as `times` takes it."""
        return weight.T

    def times(self, rows, factor, out):
        """Put rows @ factor into `out`."""
        np.matmul(rows, factor, out=out)

    def pull_back(self, slopes, rows, out):
        """Put slopes.T @ rows into `out`."""
        np.matmul(slopes.T, rows, out=out)

    def squared(self, rows):
        """Return the squares of rows."""
        return np.square(rows)


class _Sparse:
    """The same for a SciPy matrix in CSR format. SciPy does the products; it is not imported."""

    sparse, by_column = True, False
    block_bytes = SOME_BYTES  # SciPy goes through the rows once for each part

    def __init__(self, array):
        self.array, self.dtype = array, _arrays.computed_in(array.dtype)
        (self.n, self.d), self.batch = array.shape, array.shape[:1]
        self.arrays = (array.data, array.indices, array.indptr)
        in_all = array.data.size * (self.dtype.itemsize + array.indices.itemsize)
        self.row_bytes = in_all // max(self.n, 1)

    def rows(self, start, stop):
        return self.array[start:stop].astype(self.dtype, copy=False)

    def factor(self, weight):
        return np.ascontiguousarray(weight.T)

    def times(self, rows, factor, out):
        out[...] = rows @ factor

    def pull_back(self, slopes, rows, out):
        out[...] = (rows.T @ slopes).T

    def squared(self, rows):
        rows = rows.copy()
        rows.sum_duplicates()
        rows.data **= 2
        return rows


class _Job:
    """A call of a linear loss: its arrays, checked."""

    def __init__(self, x, weight, bias, classes):
        x = _arrays.features(x)
        self.features = features = _Sparse(x) if hasattr(x, "tocsr") else _Dense(x)
        self.dtype = features.dtype
        self.weight, self.bias = _arrays.linear_map(weight, bias, x.shape, self.dtype, classes)
        self.k = self.weight.shape[0] if classes else 1
        self.sample_weight = self.along = None

    def set_loss(self, loss, target, **options):
        """Let the loss beneath check its arguments, but for the logits, which are not there."""
        shape = self.features.batch + self.weight.shape[:-1]
        logits = _arrays.stand_in(shape, self.dtype)
        self.of_logits = loss._prepare(logits, target, **options)

    def set_sample_weight(self, value):
        """Take one weight a sample."""
        self.sample_weight = _arrays.given_weights("sample_weight", value)
        samples, shape = self.of_logits.samples, self.of_logits.x.shape
        _arrays.same_shape("sample_weight", self.sample_weight, samples, "logits", shape)

    def derivatives(self, want, wrt, out):
        """Return the two that `run` fills, None for what is not wanted."""
        if want == VALUE:
            return None, None
        shapes = [
            (*self.features.batch, self.features.d) if "x" in wrt else None,
            self.weight.shape if "weight" in wrt else None,
            self.bias.shape if "bias" in wrt and self.bias is not None else None,
        ]
        if out is None:
            outs = [(None, None, None)] * (2 if want & HESS else 1)
        else:
            outs = _arrays.check_linear_outs(out, bool(want & HESS), shapes, self.dtype)
        made = [_Derivative(self, shapes, triple) for triple in outs]
        return made if want & HESS else (*made, None)

    def matrix(self, weight):
        """Return a weight as a matrix (k, d) for BLAS."""
        return _arrays.for_products(weight.reshape(self.k, self.features.d))

    def inputs(self):
        """List the arrays that are read, but for the features."""
        job = self.of_logits
        arrays = [self.weight, self.bias, self.sample_weight, *(self.along or ())]
        arrays += [getattr(job, name, None) for name in ("classes", "given", "weight")]
        arrays.append(getattr(job, "pos_weight", None))
        return [array for array in arrays if array is not None]

    def chunk_rows(self, chunks):
        """Return how many rows to take at a time where `chunks` matrices of logits are needed."""
        d, item, row_bytes = self.features.d, self.dtype.itemsize, self.features.row_bytes
        return rows_at_a_time(self.k, d, item, row_bytes, chunks)

    def weights_of(self, start, stop):
        """Return the sample weights of a chunk, or None."""
        if self.sample_weight is None:
            return None
        ndim = len(self.of_logits.samples)
        chunk = _arrays.samples(self.sample_weight, ndim, start, stop)
        return _arrays.floats(chunk, self.dtype)

    def divisor(self, bounds):
        """Return what the mean divides by: the loss's own divisor, summed over the chunks."""
        if self.sample_weight is None and self.of_logits.weight is None:
            return self.of_logits.divisor(None)
        totals = []
        for start, stop in bounds:
            logits = _arrays.stand_in((stop - start, self.k), self.dtype)
            part = self.of_logits.part(start, stop, logits)
            totals.append(part.divisor(self.weights_of(start, stop)))
        return kernels.total(np.array(totals, dtype=np.float64))

    def run(self, want, reduction, rows, grad, hess):
        """Fill the derivatives and return the value, or None where it is not wanted."""
        n, k = self.features.n, self.k
        buffers = 2 if want & (HESS | PRODUCT) else 1
        rows = min(rows or self.chunk_rows(buffers), max(n, 1))
        bounds = [(start, min(start + rows, n)) for start in range(0, n, rows)]
        divisor = self.divisor(bounds) if reduction == "mean" else 1.0
        each = reduction == "none"
        values = np.empty(n, self.dtype) if each else np.empty(len(bounds))
        if divisor != 0:
            self.buffers = [np.empty(rows * k, self.dtype) for _ in range(buffers)]
            self.by_class = self.features.by_column and 1 < k <= MANY_CLASSES
            self.factors = [self.features.factor(self.matrix(self.weight))]
            if want & PRODUCT:
                self.factors.append(self.features.factor(self.matrix(self.along[0])))
            for i, (start, stop) in enumerate(bounds):
                value = self.run_chunk(want, each, start, stop, 1.0 / divisor, grad, hess)
                if want & VALUE:
                    values[slice(start, stop) if each else i] = value
        if not want & VALUE:
            return None
        if each:
            return values.reshape(self.features.batch)[()]
        return self.dtype.type(kernels.total(values) / divisor if divisor else np.nan)

    def run_chunk(self, want, each, start, stop, scale, grad, hess):
        """Add what rows `start` to `stop` add to the derivatives; return their values or sum."""
        x = self.features.rows(start, stop)
        logits = self.buffer(0, stop - start)
        self.features.times(x, self.factors[0], logits)
        # What is not finite in x makes all logits of its row so, but for a bias of -inf.
        doubtful = grad is not None and not math.isfinite(np.add.reduce(logits[:, 0]))
        _add(self.bias, logits)
        part = self.of_logits.part(start, stop, logits)
        slopes = None if grad is None else _arrays.Output.around(part.x)
        bends = v = None
        if want & (HESS | PRODUCT):
            second = self.buffer(1, stop - start)
        if want & PRODUCT:
            self.features.times(x, self.factors[1], second)
            _add(self.along[1], second)
            v = part.turn(second)
        if want & HESS:
            bends = _arrays.Output.around(part.turn(second))
        how, weights = "none" if each else "mean", self.weights_of(start, stop)
        value = part.run(how, weights, scale, bool(want & VALUE), slopes, bends, v)
        if hess is not None:
            hess.add(start, stop, self.features.squared(x), second, doubtful, part)
        if grad is not None:
            grad.add(start, stop, x, logits, doubtful, part)
        return value

    def buffer(self, number, rows):
        """Return a matrix (rows, k) in a buffer; a class lies together if columns of x do."""
        flat = self.buffers[number][: rows * self.k]
        return flat.reshape(self.k, rows).T if self.by_class else flat.reshape(rows, self.k)


def rows_at_a_time(k, d, item, row_bytes=0, chunks=1):
    """Return how many rows a chunk has, for `chunks` matrices (rows, k) of items of `item` bytes.

    A row has `d` features, of which a copy takes `row_bytes`.
    """
    logits = chunks * k * item
    at_a_time = logits + row_bytes
    in_cache = CACHE // max(1, logits + max(row_bytes, d * item))
    enough = WORK // (k * (d + 16))  # 16: a logit costs as much by itself
    some, few = min(SOME, SOME_BYTES // at_a_time), min(FEW, FEW_BYTES // at_a_time)
    return max(1, in_cache, enough, some, few)


def _add(bias, logits):
    """Add bias (k,), if there is one, to logits (rows, k)."""
    if bias is None:
        return
    rows, k = logits.shape
    if 1 < k < RUN and rows >= RUN and logits.flags.c_contiguous:
        # NumPy is slow at rows of a few numbers: RUN of them at a time are one row.
        even = rows - rows % RUN
        many = logits[:even].reshape(-1, RUN * k)
        many += np.tile(bias, RUN)
        logits = logits[even:]
    logits += bias


class _Derivative:
    """Derivatives with respect to x, weight and bias, to which chunks of rows are added."""

    def __init__(self, job, shapes, outs):
        self.job, self.empty, self.product = job, True, None
        self.x, self.weight, self.bias = (
            None if shape is None else self.output(name, shape, out)
            for name, shape, out in zip(LinearGradient._fields, shapes, outs, strict=True)
        )
        if self.weight is not None:
            self.matrix = self.weight.array.reshape(job.k, job.features.d)
        if self.bias is not None:
            self.sums = np.zeros(job.k)  # in float64 for float32 too

    def output(self, name, shape, out):
        """Return where a result goes: not to `out` yet if that would change what is read later."""
        job = self.job
        if out is None:
            return _arrays.Output.around(np.empty(shape, job.dtype))
        output = _arrays.Output(out, _arrays.stand_in(shape, job.dtype))
        if name == "x":
            output.keep_off(job.inputs(), job.features.array)
        else:
            output.keep_off([*job.inputs(), *job.features.arrays])
        return output

    def add(self, start, stop, x, slopes, doubtful, part):
        """Add what a chunk adds: slopes (rows, k) of its features x (rows, d)."""
        if self.weight is not None:
            if doubtful:
                # A row without slope adds nothing, whatever is in it.
                used = slopes.any(axis=1)
                self.add_weight(slopes[used], x[used])
            else:
                self.add_weight(slopes, x)
        if self.bias is not None:
            self.sums += _column_sums(slopes)
        if self.x is not None:
            self.write_x(start, stop, slopes, part)
        self.empty = False

    def add_weight(self, slopes, rows):
        """Add slopes.T @ rows to the weight's: a block of classes at a time, to need no more."""
        features, total = self.job.features, self.matrix
        if self.empty and _arrays.for_products(total) is total:
            features.pull_back(slopes, rows, total)
            return
        if self.empty:
            total[...] = 0
        if self.product is None:
            row_bytes = max(1, features.d * total.itemsize)
            block = min(len(total), max(1, features.block_bytes // row_bytes))
            self.product = np.empty((block, features.d), total.dtype)
        block = len(self.product)
        for start in range(0, len(total), block):
            part = total[start : start + block]
            product = self.product[: len(part)]
            features.pull_back(slopes[:, start : start + block], rows, product)
            part += product

    def write_x(self, start, stop, slopes, part):
        """Write slopes @ weight, a chunk's gradient with respect to x."""
        array, ndim = self.x.array, len(self.job.features.batch)
        view = _arrays.samples(array, ndim, start, stop)
        weight = self.job.matrix(self.job.weight)
        if len(weight) == 1:
            np.multiply(slopes, weight, out=view)
        elif _arrays.for_products(view) is view:
            np.matmul(slopes, weight, out=view)
        else:
            view[...] = slopes @ weight
        view += 0.0  # -0.0 becomes 0.0
        if self.job.of_logits.ignored:
            view[part.labels < 0] = 0
        if not np.may_share_memory(view, array):
            _arrays.put_samples(array, ndim, start, stop, view)

    def finish(self):
        """Return the named tuple."""
        outputs = (self.x, self.weight, self.bias)
        if self.empty:
            for output in outputs:
                if output is not None:
                    output.array[...] = 0
        else:
            if self.weight is not None:
                self.matrix += 0.0
            if self.bias is not None:
                self.bias.array[...] = self.sums.reshape(self.bias.array.shape)
        return LinearGradient(*(None if output is None else output.finish() for output in outputs))


def _column_sums(matrix):
    """Return the sum of each column."""
    if matrix.strides[0] <= matrix.strides[1]:
        return matrix.T.sum(axis=1)
    return np.ones(len(matrix), matrix.dtype) @ matrix


class LinearCrossEntropy(LinearLoss):
    """Cross-entropy of the logits of a linear map with a class, or with probabilities.

    The same as ``cross_entropy(x @ weight.T + bias, target)``, without ever holding all logits.

    Parameters
    ----------
    x : array_like, (..., d)
        Features, a row for each sample: also a memory-mapped array larger than memory, or a SciPy
        matrix in CSR format, which is not made dense. What must be converted (float16, integers,
        another byte order) is converted a chunk at a time.
    weight : array_like, (k, d)
        The map, a row for each class.
    target : array_like
        Class indices (...), or probabilities (..., k), as for `cross_entropy`.
    bias : array_like, (k,), optional
        Added to the logits. A class whose bias is -inf is masked.
    class_weight : array_like, (k,), optional
        Weights of the classes: the `weight` of `cross_entropy`.
    ignore_index, label_smoothing, z_loss, temperature, reduction, sample_weight
        As for `cross_entropy`.
    chunk_rows : int, optional
        How many rows to take at a time. By default as many as fit in a cache, or up to 512 if
        their logits take no more than 8 MiB; and where there are so many classes that these would
        be few, up to 256 rows, if their logits take no more than 64 MiB. The result depends on it
        only by rounding.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy` does, and if `weight` or `bias` do not fit `x`. Nothing is computed or
        written before all is checked.

    Notes
    -----
    Results do not depend on the number of threads of fastce. The matrix products are those of
    NumPy's BLAS, which has its own threads.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> weight = np.zeros((3, 2))
    >>> value, grad = fastce.linear_cross_entropy.value_and_grad(x, weight, [0, 2])
    >>> print(f"{value:.6f}")
    1.098612
    >>> grad.weight.round(3)
    array([[ 0.167,  0.   ],
           [ 0.667,  1.   ],
           [-0.833, -1.   ]])
    """

    def _prepare(
        self,
        x,
        weight,
        target,
        *,
        bias=None,
        class_weight=None,
        ignore_index=-100,
        label_smoothing=0.0,
        z_loss=0.0,
        temperature=1.0,
    ):
        job = _Job(x, weight, bias, classes=True)
        if class_weight is not None:
            class_weight = _arrays.weights("class_weight", class_weight, job.dtype)
            _arrays.same_shape("class_weight", class_weight, (job.k,), "weight", job.weight.shape)
        job.set_loss(
            cross_entropy,
            target,
            weight=class_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            temperature=temperature,
        )
        return job


class LinearBinaryCrossEntropy(LinearLoss):
    """Logistic regression's cost: binary cross-entropy of the logits ``x @ weight + bias``.

    Parameters
    ----------
    x : array_like, (..., d)
        Features, as for `linear_cross_entropy`.
    weight : array_like, (d,)
        Coefficients.
    target : array_like, (...)
        Numbers in [0, 1], bools and integers as well.
    bias : float, optional
        The intercept.
    pos_weight, label_smoothing, reduction, sample_weight
        As for `binary_cross_entropy_with_logits`.
    chunk_rows : int, optional
        As for `linear_cross_entropy`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in nats and in the dtype of `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `binary_cross_entropy_with_logits` does, and if `weight` or `bias` do not fit `x`.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> fastce.linear_binary_cross_entropy.grad(x, [0.0], [1, 0], bias=0.0, wrt="weight").weight
    array([0.5])
    """

    def _prepare(self, x, weight, target, *, bias=None, pos_weight=None, label_smoothing=0.0):
        job = _Job(x, weight, bias, classes=False)
        job.set_loss(
            binary_cross_entropy_with_logits,
            target,
            pos_weight=pos_weight,
            label_smoothing=label_smoothing,
        )
        return job


class LinearSquaredError(LinearLoss):
    """Linear regression's cost: half the squared error of the predictions ``x @ weight + bias``.

    Parameters
    ----------
    x : array_like, (..., d)
        Features, as for `linear_cross_entropy`.
    weight : array_like, (d,)
        Coefficients.
    target : array_like, (...)
        Real numbers.
    bias : float, optional
        The intercept.
    reduction, sample_weight
        As for `squared_error`.
    chunk_rows : int, optional
        As for `linear_cross_entropy`.

    Returns
    -------
    scalar, or ndarray for ``reduction="none"``
        The value, or one a sample, in the dtype of `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `squared_error` does, and if `weight` or `bias` do not fit `x`.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> fastce.linear_squared_error.value_and_grad(x, [1.0], [2.0, 3.0], wrt="weight")
    (np.float64(0.25), LinearGradient(x=None, weight=array([-0.5]), bias=None))
    """

    def _prepare(self, x, weight, target, *, bias=None):
        job = _Job(x, weight, bias, classes=False)
        job.set_loss(squared_error, target)
        return job


linear_cross_entropy = LinearCrossEntropy("linear_cross_entropy")
linear_binary_cross_entropy = LinearBinaryCrossEntropy("linear_binary_cross_entropy")
linear_squared_error = LinearSquaredError("linear_squared_error")
