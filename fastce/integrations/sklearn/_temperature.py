"""Temperature scaling: calibration of logits by one number."""

import math
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

import fastce
from fastce import _arrays
from fastce.integrations.sklearn import _common
from fastce.integrations.sklearn._common import Array, LogitClassifier
from fastce.linear import rows_at_a_time

# Where the search ends: a relative change of the temperature, next to which that of the loss, which
# is flat there, is rounding.
TOLERANCE = 1e-10
MAX_STEPS = 200  # never needed: halving alone takes fewer


class TemperatureScaling(LogitClassifier):
    """Calibrate logits by one temperature, found on samples that the classifier has not seen.

    The probabilities become softmax(logits / T), T being where the cross-entropy with the labels is
    least: above 1 if the classifier was too sure of itself, below 1 if it was not sure enough.
    Which class is the most probable does not change.

    Parameters
    ----------
    classes : array_like, (k,), optional
        The label of each column of the logits, sorted: the `classes_` of the classifier. Needed
        only if y lacks some of them, unless they are the integers from 0 to k - 1, with a column
        for each.
    bounds : (float, float)
        Least and largest temperature.

    Attributes
    ----------
    temperature_ : float
        The temperature.
    classes_ : ndarray, (k,)
        The labels.
    n_iter_ : int
        How many temperatures were tried.
    n_features_in_ : int
        How many columns the logits had.
    feature_names_in_ : ndarray
        Their names, where they had some that are all strings.

    See Also
    --------
    fastce.cross_entropy : The loss, whose option `temperature` is this one.

    Notes
    -----
    Logits are what a classifier's `decision_function` returns, or its log-probabilities. They have
    a column for each class; or one column less, and the first class has a logit of 0. So what
    `decision_function` returns for two classes, (n,), is given as ``logits[:, np.newaxis]``.

    In the inverse temperature b the loss is convex: with p = softmax(b z) and t the targets, its
    derivatives are the sums of z (p - t) and of the variances of z under p. Newton's steps, which
    are kept between the temperatures known to be too small and too large, need few passes over the
    logits (`n_iter_` counts them), a chunk of rows at a time.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks",
       2017, https://doi.org/10.48550/arXiv.1706.04599

    Examples
    --------
    >>> from fastce.integrations.sklearn import TemperatureScaling
    >>> logits = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 0.0]])
    >>> scaling = TemperatureScaling().fit(logits, [0, 1, 0, 1])  # right three times out of four
    >>> round(scaling.temperature_, 3)
    3.641
    >>> scaling.predict_proba(logits[:1])
    array([[0.75, 0.25]])
    """

    def __init__(
        self,
        *,
        classes: ArrayLike | None = None,
        bounds: tuple[float, float] = (1e-3, 1e3),
    ) -> None:
        self.classes = classes
        self.bounds = bounds

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that a column is tied to a label, so that not all data makes sense."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Find the temperature.

        Parameters
        ----------
        X : array_like, (n, k) or (n, k - 1)
            Logits, finite.
        y : array_like, (n,) or (n, k)
            Labels, or probabilities of the classes.
        sample_weight : array_like, (n,), optional
            Weights of the samples, not negative.

        Returns
        -------
        TemperatureScaling
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If `bounds` are not two numbers above 0, or X, y and the weights do not fit.

        Warns
        -----
        ConvergenceWarning
            If the best temperature is not within `bounds`: all samples are right, or the logits
            say nothing about the labels.
        """
        least, most = self._check_bounds()
        given = None if self.classes is None else _common.read_classes(self.classes)
        X, classes, target = _common.read_samples(self, X, y, classes=given)
        d = X.shape[1]
        _common.at_least_two(classes)
        if given is None and len(classes) < d:
            if not np.isin(classes, np.arange(d)).all():
                raise ValueError(
                    f"`classes` must be given where `y` lacks some: `X` has {d} columns, "
                    f"`y` has the labels {classes}"
                )
            classes, target = np.arange(d), classes.astype(np.intp)[target]
        if d not in (len(classes), len(classes) - 1):
            raise ValueError(
                f"`X` must have a column for each class, or for each but the first; got {d} "
                f"columns for {len(classes)} classes"
            )
        weights = _common.read_sample_weight(sample_weight, len(X), np.float64)
        self.classes_ = classes
        self._search(X, target, weights, 1 / most, 1 / least)
        return self

    def _check_bounds(self) -> tuple[float, float]:
        _arrays.check_tuple("bounds", self.bounds, 2, "a pair of temperatures")
        least, most = (
            _arrays.number("bounds", bound, "finite and above 0", lambda b: 0 < b < math.inf)
            for bound in self.bounds
        )
        if least >= most:
            raise ValueError(f"`bounds` must be a lower and an upper one, got {self.bounds}")
        return least, most

    def _search(
        self, X: Array, target: Array, weights: Array | None, least: float, most: float
    ) -> None:
        """Find the inverse temperature in [least, most] where the loss's derivative is 0."""
        low, high = 0.0, math.inf  # where the derivative is known to be negative, and positive
        inverse, outside = min(max(1.0, least), most), False
        self.n_iter_ = 0
        while self.n_iter_ < MAX_STEPS:
            self.n_iter_ += 1
            slope, bend = self._derivatives(X, target, weights, inverse)
            if slope == 0:
                break
            if slope > 0:
                high = inverse
            else:
                low = inverse
            outside = inverse == (least if slope > 0 else most)
            if outside:
                break
            new = inverse - slope / bend if bend > 0 else -slope * math.inf
            if abs(new / inverse - 1) <= TOLERANCE:
                break
            new = min(max(new, least), most)
            inverse = new if low < new < high else math.sqrt(max(low, least) * min(high, most))
        self.temperature_ = 1 / inverse
        if outside:
            warnings.warn(
                f"the best temperature is not within `bounds` {self.bounds}: the cross-entropy is "
                f"least at the end {self.temperature_:.6g}",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _derivatives(
        self, X: Array, target: Array, weights: Array | None, inverse: float
    ) -> tuple[float, float]:
        """Return the first two derivatives of the loss with respect to the inverse temperature."""
        n, k = len(X), len(self.classes_)
        rows = rows_at_a_time(k, k, 8, chunks=2)
        slope = bend = 0.0
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            # Of logits z / T the derivatives with respect to z have factors 1/T and 1/T**2.
            logits = self._full(X[part])
            logits -= logits.max(axis=1, keepdims=True)  # what all share changes nothing
            options: Any = {"temperature": 1 / inverse, "reduction": "sum"}
            if weights is not None:
                options["sample_weight"] = weights[part]
            goal: Any = target[part]
            if goal.ndim == 2:
                goal = goal.astype(np.float64)
            grad = fastce.cross_entropy.grad(logits, goal, **options)
            slope += np.vdot(logits, grad) / inverse
            product = fastce.cross_entropy.hvp(logits, goal, logits, out=grad, **options)
            bend += np.vdot(logits, product) / inverse**2
        return float(slope), float(bend)

    def _full(self, X: Array) -> Array:
        """Return logits (n, k) in float64, with 0 for the first class if X has not got it."""
        X = X.astype(np.float64)
        if X.shape[1] < len(self.classes_):
            return np.column_stack([np.zeros(len(X)), X])
        return X

    def _logits(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        return (self._full(X) / self.temperature_).astype(X.dtype, copy=False)
