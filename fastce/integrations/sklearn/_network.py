"""Networks of sigmoid neurons, trained by gradient descent in mini-batches.

A neuron with inputs x, weights w and bias b gives sigmoid(w x + b). Here the bias is the weight of
one more input that is always 1: a layer is one matrix W (m + 1, n) for m inputs and n neurons, with
the biases as its last row, and its input A (rows, m + 1) has a last column of ones. So one product
A W brings the sums with their biases, and one product A' D the derivatives by both, D (rows, n)
being the cost's derivatives by the sums. Backwards through a layer it is D W', times a (1 - a) for
the sigmoid; in the column of ones that is 0, as it must be.

All matrices lie in one array, one after the other. A step of the descent is then a few calls,
however many layers there are, and small batches of small networks cost nothing but calls.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

import fastce
from fastce import _arrays
from fastce.integrations.sklearn._common import (
    Array,
    LogitClassifier,
    at_least_two,
    read_sample_weight,
    read_samples,
    stream_classes,
)

AUTO_ROWS = 200  # of a batch, as MLPClassifier has it
FORWARD_ROWS = 512  # taken at a time where there is no way back

# What the parameters that are numbers must be.
NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "alpha": ("finite and not negative", lambda a: 0 <= a < math.inf),
    "learning_rate_init": ("finite and above 0", lambda r: 0 < r < math.inf),
    "tol": ("finite and not negative", lambda t: 0 <= t < math.inf),
    "momentum": ("in [0, 1)", lambda m: 0 <= m < 1),
    "validation_fraction": ("in (0, 1)", lambda f: 0 < f < 1),
    "n_iter_no_change": ("at least 1", lambda n: n >= 1),
}
FLAGS = ("shuffle", "verbose", "warm_start", "nesterovs_momentum", "early_stopping")


def _matrices(flat: Array, sizes: Sequence[int]) -> list[Array]:
    """Return views of `flat`, one matrix (m + 1, n) a layer."""
    matrices, start = [], 0
    for m, n in pairwise(sizes):
        stop = start + (m + 1) * n
        matrices.append(flat[start:stop].reshape(m + 1, n))
        start = stop
    return matrices


def _flat_weights(flat: Array, sizes: Sequence[int]) -> list[Array]:
    """Return views of the layers' weights in `flat`, without the biases, each in one row."""
    return [matrix[:-1].reshape(-1) for matrix in _matrices(flat, sizes)]


def _random_flat(sizes: Sequence[int], dtype: Any, random_state: Any) -> Array:
    """Return weights such that sums vary as much in each layer, and biases of 0.

    Uniform in +-sqrt(6 / (m + n)), which keeps the variance of what goes forward and of what goes
    back where an activation has the slope 1 (Glorot and Bengio 2010). The sigmoid's slope at 0 is
    1/4: so 4 times that for its neurons.
    """
    flat = np.zeros(sum((m + 1) * n for m, n in pairwise(sizes)), dtype)
    matrices = _matrices(flat, sizes)
    for matrix in matrices:
        m, n = len(matrix) - 1, matrix.shape[1]
        limit = math.sqrt(6 / (m + n)) * (1 if matrix is matrices[-1] else 4)
        matrix[:-1] = random_state.uniform(-limit, limit, (m, n))
    return flat


class _Samples(NamedTuple):
    """Samples (n, d) in C order, their classes (n,) or probabilities (n, k), and weights (n,)."""

    X: Array
    target: Array
    weight: Array | None


class _Batch:
    """Arrays for `rows` samples on their way through the layers and back."""

    def __init__(self, sizes: Sequence[int], rows: int, dtype: Any) -> None:
        ones = np.ones((rows, sizes[0] + 1), dtype)
        self.rows, self.samples = rows, ones[:, :-1]
        self.gathered = np.empty((rows, sizes[0]), dtype)
        self.inputs = [ones]  # of each layer, with a last column of ones
        self.hidden: list[tuple[Array, Array, Array]] = []  # sums, the same and inf, activations
        for n in sizes[1:-1]:
            sums = np.empty((rows, n + 1), dtype)
            sums[:, -1] = np.inf  # of which the sigmoid is 1
            self.inputs.append(np.empty_like(sums))
            self.hidden.append((sums[:, :-1], sums, self.inputs[-1]))
        self.slopes = [np.empty_like(sums) for _, sums, _ in self.hidden]
        self.logits = np.empty((rows, sizes[-1]), dtype)

    def forward(self, matrices: Sequence[Array]) -> Array:
        """Return the logits of `samples`."""
        below = self.inputs[0]
        for matrix, (sums, sums_and_inf, activations) in zip(matrices, self.hidden, strict=False):
            np.matmul(below, matrix, out=sums)
            fastce.sigmoid(sums_and_inf, activations)
            below = activations
        return np.matmul(below, matrices[-1], out=self.logits)

    def backward(self, matrices: Sequence[Array], slope: Array, gradients: list[Array]) -> None:
        """Put the derivatives by the matrices into `gradients`; `slope` has those by the logits."""
        for layer in range(len(matrices) - 1, 0, -1):
            below, slopes = self.inputs[layer], self.slopes[layer - 1]
            np.matmul(below.T, slope, out=gradients[layer])
            np.matmul(slope, matrices[layer].T, out=slopes)
            fastce.sigmoid_backward(slopes, below, slopes)
            slope = slopes[:, :-1]
        np.matmul(self.inputs[0].T, slope, out=gradients[0])


def _logits(X: Array, matrices: Sequence[Array]) -> Array:
    """Return the logits (n, k) of all samples."""
    sizes = (X.shape[1], *(matrix.shape[1] for matrix in matrices))
    logits = np.empty((len(X), sizes[-1]), X.dtype)
    for batch, start, stop in _batches(len(X), FORWARD_ROWS, sizes, X.dtype):
        batch.samples[...] = X[start:stop]
        logits[start:stop] = batch.forward(matrices)
    return logits


def _batches(
    n: int, rows: int, sizes: Sequence[int], dtype: Any
) -> Iterator[tuple[_Batch, int, int]]:
    """Yield where each batch starts and stops, with the arrays for as many samples."""
    batch = _Batch(sizes, min(rows, n), dtype)
    for start in range(0, n - batch.rows + 1, batch.rows):
        yield batch, start, start + batch.rows
    if rest := n % batch.rows:
        yield _Batch(sizes, rest, dtype), n - rest, n


@dataclass(frozen=True)
class _State:
    """Where a training stands after an epoch: what an interrupt leaves."""

    flat: Array  # (2, size): the weights and biases, and their velocities
    costs: tuple[float, ...]
    scores: tuple[float, ...] = ()

    def after(self, flat: Array, cost: float, score: float | None) -> "_State":
        """Return the state an epoch later: with `flat`, unless an earlier score was as good."""
        costs = (*self.costs, cost)
        if score is None:
            return _State(flat.copy(), costs)
        better = score > max(self.scores, default=-math.inf)
        return _State(flat.copy() if better else self.flat, costs, (*self.scores, score))


class _Descent:
    """Gradient descent from the weights in `state` (2, size), which moves them in place."""

    def __init__(
        self,
        samples: _Samples,
        sizes: Sequence[int],
        state: Array,
        options: Any,
    ) -> None:
        self.samples, self.state = samples, state
        self.rate, self.alpha = options.learning_rate_init, options.alpha
        self.momentum, self.nesterov = options.momentum, options.nesterovs_momentum
        self.parameters, self.velocity = state
        self.gradient, scratch = np.empty_like(self.parameters), np.empty_like(self.parameters)
        self.matrices = _matrices(self.parameters, sizes)
        self.gradients = _matrices(self.gradient, sizes)
        of_layers = [
            _flat_weights(flat, sizes) for flat in (self.parameters, self.gradient, scratch)
        ]
        self.penalized = list(zip(*of_layers, strict=True))
        # A list: the arrays of the batches are made now, and not in each epoch.
        self.batches = list(_batches(len(samples.X), options.rows, sizes, state.dtype))

    def score(self, samples: _Samples) -> float:
        """Return the accuracy on samples."""
        X, target, weight = samples
        right = target if target.ndim == 1 else target.argmax(axis=1)
        return float(np.average(_logits(X, self.matrices).argmax(axis=1) == right, weights=weight))

    def epoch(self, order: Array | None) -> float:
        """Descend once through all samples, in `order`; return the mean cost before the steps."""
        X, target, weight = self.samples
        if order is not None:
            target = target.take(order, axis=0)
            weight = None if weight is None else weight.take(order)
        total = all_weights = 0.0
        for batch, start, stop in self.batches:
            divisor: float = stop - start
            weight_here = None
            if weight is not None:
                weight_here = weight[start:stop]
                divisor = float(weight_here.sum(dtype=np.float64))
                if divisor == 0:
                    continue
            if order is None:
                batch.samples[...] = X[start:stop]
            else:
                # "clip", for otherwise NumPy makes an array of its own first
                X.take(order[start:stop], 0, batch.gathered, "clip")
                batch.samples[...] = batch.gathered
            total += self.step(batch, target[start:stop], weight_here, divisor) * divisor
            all_weights += divisor
        return total / all_weights

    def step(self, batch: _Batch, target: Array, weight: Array | None, divisor: float) -> float:
        """Move the weights and biases down the gradient; return the cost where they were."""
        logits = batch.forward(self.matrices)
        if weight is None:  # without options it takes a short way
            value, slope = fastce.cross_entropy.value_and_grad(logits, target)
        else:
            value, slope = fastce.cross_entropy.value_and_grad(logits, target, sample_weight=weight)
        slope *= self.rate
        batch.backward(self.matrices, slope, self.gradients)
        cost = float(value)
        if self.alpha:
            share = self.alpha / divisor
            for weights, gradient, scratch in self.penalized:
                cost += 0.5 * share * float(np.dot(weights, weights))
                np.multiply(weights, self.rate * share, scratch)
                gradient += scratch
        self.update()
        return cost

    def update(self) -> None:
        """Move by `gradient`, which has the learning rate in it."""
        parameters, velocity, gradient = self.parameters, self.velocity, self.gradient
        if self.nesterov:  # `velocity` is the momentum times it: one array less to go through
            velocity -= gradient
            velocity *= self.momentum
            parameters += velocity
            parameters -= gradient
        else:
            velocity *= self.momentum
            velocity -= gradient
            parameters += velocity


class SigmoidNetwork(LogitClassifier):
    """Classify by layers of sigmoid neurons, with a softmax output and the cross-entropy as cost.

    A neuron with inputs x, weights w and bias b gives sigmoid(w x + b) to the neurons of the next
    layer. The sums of the last layer are logits z, and softmax(z) the probabilities of the classes.
    The cost of a batch of samples is the mean of their cross-entropies, plus
    ``alpha / (2 * n_batch)`` times the sum of the squared weights, but for the biases; n_batch is
    the number of samples in the batch, or the sum of their weights. The network learns by gradient
    descent in mini-batches, with momentum.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        How many neurons each hidden layer has. Without any, it is softmax regression.
    alpha : float
        Strength of the L2 penalty, not negative.
    batch_size : int or "auto"
        Samples in a batch, at most all there are; "auto" takes 200. Those that are left over in an
        epoch make a smaller batch.
    learning_rate_init : float
        Above 0; what the gradient is multiplied with in a step.
    max_iter : int
        Epochs at most: how often each sample is used.
    shuffle : bool
        Whether the samples are used in a new random order in each epoch.
    random_state : int, numpy.random.RandomState or None
        For the first weights, the order of the samples, and what is held out for early stopping.
    tol : float
        By how much the cost or the score must improve, not negative.
    verbose : bool
        Whether to print a line an epoch.
    warm_start : bool
        Whether `fit` goes on from where the last call of `fit` or `partial_fit` stopped. The
        classes, the features and the layers must then be the same.
    momentum : float
        In [0, 1): the share of the last step that is taken again.
    nesterovs_momentum : bool
        Whether to look ahead, as Nesterov's method does.
    early_stopping : bool
        Whether to hold samples out in `fit`, stop when the accuracy on them does not improve, and
        keep the weights of the epoch with the best one.
    validation_fraction : float
        In (0, 1): the part that is held out, with the same part of each class.
    n_iter_no_change : int or inf
        `fit` stops when the cost, or the score with early stopping, has not improved by `tol` in
        more epochs than this, one after the other. With inf it runs for `max_iter` epochs.

    Attributes
    ----------
    classes_ : ndarray, (k,)
        The labels; 0 ... k - 1 if the targets were probabilities.
    coefs_ : list of ndarray, (m, n)
        The weights of each layer with m inputs and n neurons, in the dtype of the X that came
        first.
    intercepts_ : list of ndarray, (n,)
        The biases of each layer.
    n_iter_ : int
        Epochs so far, with those of earlier calls that this one went on from. A call of
        `partial_fit` is one.
    loss_curve_ : list of float
        The mean cost of the batches in each epoch, each before its step, in nats.
    loss_, best_loss_ : float
        The last of them, and the lowest (None with early stopping).
    validation_scores_ : list of float, or None
        With early stopping: the accuracy on what is held out, after each epoch of the last call.
    best_validation_score_ : float or None
        The highest of them, which the weights belong to.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, where X had names

    Notes
    -----
    The parameters are those of `sklearn.neural_network.MLPClassifier` of the same names, which with
    ``activation="logistic", solver="sgd"`` makes the same steps from the same weights, for three or
    more classes.

    With velocities v, learning rate r and momentum m, a step is ``v = m v - r gradient``, then
    ``weights += v``, or with Nesterov's momentum ``weights += m v - r gradient``.

    The first biases are 0. The first weights are uniform in +-4 sqrt(6 / (n_in + n_out)) for
    sigmoid neurons, and in a quarter of that for the output.

    The same `random_state` gives the same bits, on one machine with the same number of BLAS
    threads. An epoch of `fit` and a call of `partial_fit` are the same: `fit` with max_iter=n makes
    the same network as n calls of `partial_fit` with all samples, and with shuffle=False as n times
    as many calls with one batch each.

    Ctrl-C during `fit` is raised on as KeyboardInterrupt, but first the network is put where it was
    after the last epoch that was finished, or with early stopping after the best one: it predicts,
    and `fit` with `warm_start`, or `partial_fit`, goes on from there. `partial_fit` leaves the
    network as it was.

    Sources: neurons, cost and mini-batches as in M. Nielsen, *Neural Networks and Deep Learning*
    (2015), chapters 1 to 3, http://neuralnetworksanddeeplearning.com; the gradient by
    back-propagation with momentum, D. Rumelhart, G. Hinton and R. Williams, "Learning
    representations by back-propagating errors", Nature 323 (1986),
    https://doi.org/10.1038/323533a0; the first weights after X. Glorot and Y. Bengio,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    https://proceedings.mlr.press/v9/glorot10a.html.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastce.integrations.sklearn import SigmoidNetwork
    >>> X, y = load_iris(return_X_y=True)
    >>> network = SigmoidNetwork(hidden_layer_sizes=(10,), batch_size=10, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    >>> model.predict_proba(X[:1]).shape
    (1, 3)
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate_init: float = 0.1,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array_like, (n, d)
            Samples. float32 is kept, all other numbers become float64.
        y : array_like, (n,) or (n, k)
            Labels of any kind, or probabilities of the classes: floating, each row sums to 1.
        sample_weight : array_like, (n,), optional
            How much each sample counts, not negative. A batch without weight makes no step.

        Returns
        -------
        SigmoidNetwork
            The network itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of its range, shapes do not fit, X has NaN or infinity, there are
            fewer than two classes, or the cost is no longer finite because the steps are too large.
        KeyboardInterrupt
            On Ctrl-C; the network stands where it was after an epoch.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If it still improves after `max_iter` epochs, unless `n_iter_no_change` is inf.

        Examples
        --------
        >>> from fastce.integrations.sklearn import SigmoidNetwork
        >>> network = SigmoidNetwork((3,), max_iter=400, random_state=0)
        >>> network.fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]).predict([[0.5], [2.5]])
        array(['a', 'b'], dtype='<U1')
        """
        options = self._options()
        go_on = options.warm_start and hasattr(self, "coefs_")
        known = self.classes_ if go_on else None
        return self._train(X, y, sample_weight, known, go_on, options)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the network for one epoch more with these samples, as part of a stream.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, (k,), optional
            All labels that there will be: needed in the first call, unless y holds probabilities.

        Returns
        -------
        SigmoidNetwork
            The network itself.

        Raises
        ------
        TypeError, ValueError
            As `fit` does; also if a label is not one of the classes, and with `early_stopping`,
            for there is no telling what to hold out of a stream.
        KeyboardInterrupt
            On Ctrl-C; the network is as it was before the call.

        Examples
        --------
        >>> from fastce.integrations.sklearn import SigmoidNetwork
        >>> network = SigmoidNetwork((3,), random_state=0)
        >>> for _ in range(400):
        ...     network = network.partial_fit([[0.0], [3.0]], ["a", "b"], classes=["a", "b"])
        >>> network.predict([[0.5], [2.5]])
        array(['a', 'b'], dtype='<U1')
        """
        options = self._options()
        if options.early_stopping:
            raise ValueError("`early_stopping` must be False for partial_fit, got True")
        go_on = hasattr(self, "coefs_")
        known = stream_classes(self, classes, y)
        options.max_iter, options.n_iter_no_change = 1, math.inf
        return self._train(X, y, sample_weight, known, go_on, options)

    def _options(self) -> Any:
        """Return the parameters, checked, as plain numbers."""
        options = SimpleNamespace(max_iter=_arrays.at_least_one("max_iter", self.max_iter))
        for name, rule in NUMBERS.items():
            setattr(options, name, _arrays.number(name, getattr(self, name), *rule))
        for name in FLAGS:
            setattr(options, name, _arrays.flag(name, getattr(self, name)))
        sizes: Any = self.hidden_layer_sizes
        sizes = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
        options.hidden = tuple(_arrays.at_least_one("hidden_layer_sizes", n) for n in sizes)
        auto = isinstance(self.batch_size, str) and self.batch_size == "auto"
        options.rows = AUTO_ROWS if auto else _arrays.at_least_one("batch_size", self.batch_size)
        return options

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Array | None,
        go_on: bool,
        options: Any,
    ) -> Self:
        """Check the samples, and descend from new weights, or from those that there are."""
        X, classes, target = read_samples(self, X, y, classes=classes, reset=not go_on, order="C")
        at_least_two(classes)
        samples = _Samples(X, target, read_sample_weight(sample_weight, len(X), X.dtype))
        sizes = (X.shape[1], *options.hidden, len(classes))
        state, costs = self._start(sizes, X.dtype, go_on)
        held_out = None
        if options.early_stopping:
            samples, held_out = self._hold_out(samples, options.validation_fraction)
        done = _State(state.copy(), costs)
        descent = _Descent(samples, sizes, state, options)
        self.classes_ = classes
        try:
            with np.errstate(all="ignore"):  # what is not finite is an error below
                for state_then in self._epochs(descent, done, held_out, options):
                    done = state_then
        finally:
            self._put(done, sizes, options.early_stopping)
        return self

    def _start(
        self, sizes: Sequence[int], dtype: Any, go_on: bool
    ) -> tuple[Array, tuple[float, ...]]:
        """Return weights and biases to start from with their velocities, and the costs so far."""
        if not go_on:
            self._random_state = check_random_state(self.random_state)
            flat = _random_flat(sizes, dtype, self._random_state)
            return np.stack([flat, np.zeros_like(flat)]), ()
        there = (len(self.coefs_[0]), *(len(biases) for biases in self.intercepts_))
        if there != tuple(sizes):
            raise ValueError(
                f"`hidden_layer_sizes` must stay {there[1:-1]} where the network learns on, "
                f"got {tuple(sizes[1:-1])}"
            )
        layers = zip(self.coefs_, self.intercepts_, strict=True)
        flat = np.concatenate([part.reshape(-1) for layer in layers for part in layer])
        return np.stack([flat, self._velocity]), tuple(self.loss_curve_)

    def _hold_out(self, samples: _Samples, fraction: float) -> tuple[_Samples, _Samples]:
        """Return the samples to learn from, and those to score the network by."""
        X, target, weight = samples
        arrays = [X, target] if weight is None else [X, target, weight]
        parts = train_test_split(
            *arrays,
            test_size=fraction,
            random_state=self._random_state,
            stratify=target if target.ndim == 1 else None,
        )
        learn, score = (_Samples(*parts[i::2], *[None] * (weight is None)) for i in (0, 1))
        for part in (learn, score):  # neither may have lost all its weight
            read_sample_weight(part.weight, len(part.X), X.dtype)
        return learn, score

    def _epochs(
        self, descent: _Descent, state: _State, held_out: _Samples | None, options: Any
    ) -> Iterator[_State]:
        """Yield the state after each epoch."""
        best, waited, n = -math.inf, 0, len(descent.samples.X)
        for epoch in range(1, options.max_iter + 1):
            cost = descent.epoch(self._random_state.permutation(n) if options.shuffle else None)
            if not (math.isfinite(cost) and np.isfinite(descent.state).all()):
                raise ValueError(
                    f"The cost or the weights are not finite after epoch {epoch}: "
                    "`learning_rate_init` must be smaller, or `X` be scaled"
                )
            score = None if held_out is None else descent.score(held_out)
            state = state.after(descent.state, cost, score)
            if options.verbose:
                words = "" if score is None else f", validation score {score:.4f}"
                print(f"Epoch {epoch} of {options.max_iter}: cost {cost:.6f}{words}", flush=True)
            yield state
            figure = -cost if score is None else score
            waited = waited + 1 if figure < best + options.tol else 0
            best = max(best, figure)
            if waited > options.n_iter_no_change:
                return
        if options.n_iter_no_change < math.inf:
            warnings.warn(
                f"SigmoidNetwork still improved after `max_iter`={options.max_iter} epochs",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _put(self, state: _State, sizes: Sequence[int], early_stopping: bool) -> None:
        """Set the attributes that training finds."""
        flat, self._velocity = state.flat
        matrices = _matrices(flat, sizes)
        self.coefs_ = [matrix[:-1] for matrix in matrices]
        self.intercepts_ = [matrix[-1] for matrix in matrices]
        self.loss_curve_ = list(state.costs)
        self.n_iter_ = len(state.costs)
        self.loss_ = state.costs[-1] if state.costs else math.nan
        self.validation_scores_ = list(state.scores) if early_stopping else None
        self.best_validation_score_ = max(state.scores) if state.scores else None
        self.best_loss_ = None if early_stopping else min(state.costs, default=math.nan)

    def _logits(self, X: Any) -> Array:
        """Return the logits (n, k) of samples, which are checked."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self.coefs_[0].dtype, reset=False)
        matrices = [np.vstack(layer) for layer in zip(self.coefs_, self.intercepts_, strict=True)]
        return _logits(X, matrices)
