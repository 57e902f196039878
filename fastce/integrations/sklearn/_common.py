"""What the estimators share: predictions, and reading X, targets, and weights.

A target is either the class of each sample, or its probabilities: rows that sum to one.
"""

import math
import numbers
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d, validate_data

import fastce

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# How far from 1 the probabilities of a sample may sum up to.
SUM_TOLERANCE = 1e-5


class LogitClassifier(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are the softmax of logits, which `_logits` returns."""

    classes_: Array

    def _logits(self, X: Any) -> Array:
        """Check X and return its logits (n, k), which may be overwritten."""
        raise NotImplementedError

    def decision_function(self, X: Any) -> Array:
        """Return the logits of each sample.

        Parameters
        ----------
        X : array_like, (n, d)
            Samples, as for `fit`.

        Returns
        -------
        ndarray, (n, k), or (n,) for two classes
            Logits, in the order of `classes_`; for two classes the second's minus the first's.

        Raises
        ------
        ValueError
            If X does not fit.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each sample.

        Parameters
        ----------
        X : array_like, (n, d)
            Samples, as for `fit`.

        Returns
        -------
        ndarray, (n,)
            Labels.

        Raises
        ------
        ValueError, sklearn.exceptions.NotFittedError
            As `decision_function` does.
        """
        best = self._logits(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, for each sample.

        Parameters
        ----------
        X : array_like, (n, d)
            Samples, as for `fit`.

        Returns
        -------
        ndarray, (n, k)
            Probabilities, in the order of `classes_`.

        Raises
        ------
        ValueError, sklearn.exceptions.NotFittedError
            As `decision_function` does.
        """
        logits = self._logits(X)
        return fastce.softmax(logits, out=logits)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, right also where those round to 0 or 1.

        Parameters
        ----------
        X : array_like, (n, d)
            Samples, as for `fit`.

        Returns
        -------
        ndarray, (n, k)
            Natural logarithms, in the order of `classes_`.

        Raises
        ------
        ValueError, sklearn.exceptions.NotFittedError
            As `decision_function` does.
        """
        logits = self._logits(X)
        return fastce.log_softmax(logits, out=logits)


def read_samples(
    estimator: Any, X: Any, y: Any, *, classes: ArrayLike | None = None, **options: Any
) -> tuple[Any, Array, Array]:
    """Check X and y together; return X, the classes, and the target.

    Parameters
    ----------
    estimator : estimator
        Gets `n_features_in_` and, where X has them, `feature_names_in_`.
    X : array_like, (n, d)
        Samples: what `options` say, as of `sklearn.utils.validation.validate_data`. float32 is
        kept, all other numbers become float64.
    y : array_like, (n,) or (n, k)
        Labels of any kind, or probabilities (floating, each row sums to 1).
    classes : array_like, (k,), optional
        The labels that there may be, sorted. By default those in `y`; for probabilities they are
        the numbers of the columns.

    Returns
    -------
    X : ndarray, or SciPy matrix if the options allow it
    classes : ndarray, (k,)
    target : ndarray
        The place of each label in `classes`, (n,) intp; or probabilities (n, k) in X's dtype.
    """
    options = {"dtype": (np.float64, np.float32), **options}
    X, y = validate_data(estimator, X, y, multi_output=True, **options)
    if getattr(y, "ndim", 0) == 2 and y.shape[1] > 1:
        target = _probabilities(y).astype(X.dtype, copy=False)
        k = target.shape[1]
        found = np.arange(k) if classes is None else np.asarray(classes)
        if len(found) != k:
            raise ValueError(f"`y` must have {len(found)} columns, one a class, got {k}")
        return X, found, target
    y = column_or_1d(y, warn=True)
    if classes is None:
        return X, *_encode(y)
    check_classification_targets(y)
    found = np.asarray(classes)
    unknown = np.setdiff1d(y, found)
    if unknown.size:
        raise ValueError(f"`y` must hold labels of `classes` {found}, got {unknown.tolist()[0]!r}")
    return X, found, np.searchsorted(found, y)


def _encode(y: Array) -> tuple[Array, Array]:
    """Return the labels in y, sorted, and the place of each among them."""
    if y.dtype.kind in "iu":
        least, most = int(y.min()), int(y.max())
        if most - least < len(y) and most <= np.iinfo(np.intp).max:
            # Counting takes a fraction of the time that sorting does.
            offsets = y.astype(np.intp) - least
            there = np.bincount(offsets) > 0
            places = np.cumsum(there) - 1
            return (np.flatnonzero(there) + least).astype(y.dtype), places[offsets]
    check_classification_targets(y)
    found, target = np.unique(y, return_inverse=True)
    return found, target


def _probabilities(y: Any) -> Array:
    """Return probabilities (n, k), checked."""
    if not isinstance(y, np.ndarray) or y.dtype.kind != "f":
        raise ValueError(
            "`y` must be one label a sample, or probabilities: a dense array of floats, of which "
            f"each row sums to 1; got shape {y.shape} and dtype {y.dtype}"
        )
    total = y.sum(axis=1, dtype=np.float64)
    wrong = (y < 0).any(axis=1) | ~(abs(total - 1) <= SUM_TOLERANCE)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"`y` of shape {y.shape} must hold probabilities, none negative, each row with a sum "
            f"of 1; got row {i} with sum {total[i]:.6g} and minimum {y[i].min():.6g}"
        )
    return y


def at_least_two(classes: Array) -> None:
    """Refuse targets of one class."""
    if len(classes) < 2:
        raise ValueError(
            f"`y` must hold at least two classes, got one class: {classes.tolist()[0]!r}"
        )


def read_classes(classes: Any) -> Array:
    """Return the labels given as `classes`, each once, sorted."""
    found = np.unique(column_or_1d(classes))
    at_least_two(found)
    return found


def stream_classes(estimator: Any, classes: Any, y: Any) -> Array | None:
    """Return the labels that `partial_fit` goes by: those of its first call, or now given.

    None stands for the columns of the first y, if that holds probabilities.
    """
    first = not hasattr(estimator, "classes_")
    if classes is None:
        if first and np.ndim(y) < 2:
            raise ValueError("`classes` must be given in the first call of partial_fit, got None")
        return None if first else estimator.classes_
    given = read_classes(classes)
    if not first and not np.array_equal(given, estimator.classes_):
        raise ValueError(
            f"`classes` must be {estimator.classes_} as in the first call, got {given}"
        )
    return given


def read_sample_weight(sample_weight: Any, n: int, dtype: Any) -> Array | None:
    """Return one weight a sample (n,) in `dtype`, none negative; None for None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        weights: Array = np.full(n, sample_weight, dtype)
    else:
        weights = check_array(
            sample_weight, ensure_2d=False, allow_nd=True, dtype=dtype, input_name="sample_weight"
        )
    if weights.shape != (n,):
        raise ValueError(f"`sample_weight` must have shape ({n},), got {weights.shape}")
    if weights.min() < 0:
        i = int(weights.argmin())
        raise ValueError(f"`sample_weight` must not be negative, got {weights[i]:.6g} at index {i}")
    if not weights.any():
        raise ValueError("`sample_weight` must contain at least one non-zero number.")
    return weights


def class_totals(target: Array, k: int, sample_weight: Array | None = None) -> Array:
    """Return the weight of all samples of each class (k,), shared by their probabilities."""
    if target.ndim == 1:
        return np.bincount(target, sample_weight, k)
    weights = np.ones(len(target), target.dtype) if sample_weight is None else sample_weight
    return weights.astype(np.float64) @ target


def read_class_weight(
    class_weight: Any, classes: Array, target: Array, sample_weight: Array | None = None
) -> Array | None:
    """Return one weight a class (k,), float64, as scikit-learn means `class_weight`; None for None.

    "balanced" gives each class the same weight in all: the weight of all samples, over k times
    that of the class.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        totals = class_totals(target, len(classes), sample_weight)
        given = totals > 0
        return np.where(given, totals.sum() / (given.sum() * np.where(given, totals, 1)), 0.0)
    weights = compute_class_weight(class_weight, classes=classes, y=classes)
    for weight in weights:
        if not 0 <= weight < math.inf:
            raise ValueError(f"`class_weight` must not be negative or infinite, got {weight:.6g}")
    return np.asarray(weights, np.float64)


def weighted(target: Array, class_weight: Array | None, sample_weight: Array | None) -> Any:
    """Fold the classes' weights: return (target, sample weights), either perhaps as it was."""
    if class_weight is None:
        return target, sample_weight
    if not class_weight @ class_totals(target, len(class_weight), sample_weight) > 0:
        raise ValueError("`class_weight` must leave some sample a weight, got 0 for all of them")
    if target.ndim == 2:
        return target * class_weight.astype(target.dtype), sample_weight
    each = class_weight[target]
    if sample_weight is None:
        return target, each
    return target, (each * sample_weight).astype(sample_weight.dtype)
