"""Softmax regression: logistic regression of two or more classes."""

import warnings
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from fastce import _arrays
from fastce.integrations.sklearn import _common
from fastce.integrations.sklearn._common import Array, LogitClassifier
from fastce.integrations.sklearn._objective import Objective

SOLVERS = ("lbfgs", "newton-cg")
FLAGS = ("fit_intercept", "warm_start", "verbose")
# What L-BFGS takes for no progress, relative to the objective: a few roundings.
NO_PROGRESS = 64 * np.finfo(np.float64).eps


class SoftmaxRegression(LogitClassifier):
    """Logistic regression of two or more classes with an L2 penalty.

    With s_i the weight of a sample, the product of its own and its class's, `fit` minimises ::

        C sum_i s_i (-log p_i) + 1/2 sum(W**2)

    where p_i is the probability that softmax(W x + b) gives to the sample's class. Two classes have
    one row of coefficients, those of the second class, of which sigmoid(W x + b) is the
    probability: the same objective, names and shapes as those of scikit-learn's LogisticRegression.

    Parameters
    ----------
    C : float
        Inverse of the penalty's strength, above 0; infinity is no penalty.
    fit_intercept : bool
        Whether to add an intercept, which is not penalised.
    solver : {"lbfgs", "newton-cg"}
        L-BFGS, which needs gradients only; or Newton's method, its steps by conjugate gradients
        with products of the Hessian. The latter takes few, dear steps: use it where L-BFGS needs
        many, as for small `tol` and features of very different sizes.
    tol : float
        Stop when no entry of the gradient is larger, the objective being divided by C sum(s).
        L-BFGS also stops when the objective no longer falls by more than rounding.
    max_iter : int
        Most steps to take, at least 1.
    class_weight : dict or "balanced", optional
        Label -> weight, 1 for those not named; or such that each class weighs the same in all.
    warm_start : bool
        Whether `fit` starts from the coefficients that are there, also after an interruption.
    verbose : int
        Above 0, print a line for each step.

    Attributes
    ----------
    classes_ : ndarray, (k,)
        The labels, sorted.
    coef_ : ndarray, (k, d), or (1, d) for two classes
        Coefficients, in the dtype of X.
    intercept_ : ndarray, (k,), or (1,) for two classes
        Intercepts; 0 without `fit_intercept`.
    n_iter_ : ndarray, (1,)
        How many steps were taken.
    n_features_in_ : int
        How many features X had.
    feature_names_in_ : ndarray, (d,)
        Their names, where X had some that are all strings.

    See Also
    --------
    fastce.linear_cross_entropy : The loss, with its derivatives.
    TemperatureScaling : To calibrate what this or another classifier predicts.

    Notes
    -----
    X may be float32, which is kept, or a SciPy matrix in CSR format. float32 and float64 are not
    copied. Beside X, memory is needed for two numbers a sample, and for the logits of a chunk of
    rows; Newton-CG also keeps the probabilities of all samples where they take up to 64 MiB.

    y may hold probabilities: (n, k) floats, each row with a sum of 1. Then -log p_i becomes
    -sum_j t_ij log p_ij, a class's weight multiplies its own terms, and the classes are 0 to k - 1.

    After Ctrl-C the estimator is fitted, with the coefficients of the last full step; the
    KeyboardInterrupt is then raised on.

    References
    ----------
    .. [1] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale
       optimization", 1989, https://doi.org/10.1007/BF01589116
    .. [2] O. Chapelle, L. Li, "An empirical evaluation of Thompson sampling", 2011, algorithm 3,
       for `partial_fit`.

    Examples
    --------
    >>> from fastce.integrations.sklearn import SoftmaxRegression
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxRegression(max_iter=200).fit(X, y)
    >>> model.predict_proba(X[:2]).round(3)
    array([[0.982, 0.018, 0.   ],
           [0.971, 0.029, 0.   ]])
    >>> round(model.score(X, y), 3)
    0.973
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "lbfgs",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Find the coefficients.

        Parameters
        ----------
        X : array_like or SciPy matrix, (n, d)
            Samples.
        y : array_like, (n,) or (n, k)
            Labels, or probabilities of the classes.
        sample_weight : array_like, (n,), optional
            Weights of the samples, not negative.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of its range, or X, y and the weights do not fit.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` steps were not enough, or rounding ends the search.
        """
        prior = self._check_parameters()
        X, classes, target = _common.read_samples(self, X, y, accept_sparse="csr")
        _common.at_least_two(classes)
        objective = self._objective(X, classes, target, sample_weight)
        start = self._start(objective, classes) if self.warm_start else np.zeros(objective.size)
        self.classes_ = classes
        self._precision = self._prior(objective, prior)
        self._minimise(objective, start, None)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from some more samples, which need not be kept.

        What was learned so far becomes a penalty: q_j (w_j - m_j)**2 / 2 for each parameter w_j,
        where m_j is its value so far, and q_j the second derivative of all of the objective so far
        (Laplace's approximation, with the diagonal of the Hessian). Each call minimises this plus
        the losses of its own samples, in no more than `max_iter` steps; there is no learning rate.
        The first call does what `fit` does, and later calls go on from `fit` too. Large batches,
        and features of mean 0 that are little correlated, bring the result close to that of one
        `fit`; the order of the batches matters a little.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, (k,), optional
            All labels that there will be: needed in the first call, unless y holds probabilities.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As `fit` does; also for labels that are not among `classes`, or `classes` that are not
            those of the first call, and for ``class_weight="balanced"``, which needs all samples.

        Warns
        -----
        ConvergenceWarning
            As `fit` does.
        """
        prior = self._check_parameters()
        if isinstance(self.class_weight, str):
            raise ValueError(
                "`class_weight` must be a dict or None for partial_fit, which does not see all "
                f"samples, got {self.class_weight!r}"
            )
        first = not hasattr(self, "classes_")
        known = _common.stream_classes(self, classes, y)
        X, known, target = _common.read_samples(
            self, X, y, classes=known, reset=first, accept_sparse="csr"
        )
        objective = self._objective(X, known, target, sample_weight)
        if first:
            start = np.zeros(objective.size)
            self._precision = self._prior(objective, prior)
        else:
            start = self._start(objective, known)
            if len(self._precision) != objective.size:
                raise ValueError(
                    f"`fit_intercept` must stay as it was for partial_fit, got {self.fit_intercept}"
                )
        self.classes_ = known
        self._minimise(objective, start, None if first else start)
        return self

    def _check_parameters(self) -> float:
        """Check the parameters; return the penalty's strength."""
        if self.solver not in SOLVERS:
            raise ValueError(f"`solver` must be one of {', '.join(SOLVERS)}, got {self.solver!r}")
        if _arrays.integer("max_iter", self.max_iter) < 1:
            raise ValueError(f"`max_iter` must be at least 1, got {self.max_iter}")
        _arrays.number("tol", self.tol, "not negative", lambda tol: tol >= 0)
        for name in FLAGS:
            _arrays.flag(name, getattr(self, name))
        return 1 / _arrays.number("C", self.C, "above 0", lambda c: c > 0)

    def _objective(
        self, X: Any, classes: Array, target: Array, sample_weight: ArrayLike | None
    ) -> Objective:
        weights = _common.read_sample_weight(sample_weight, len(target), X.dtype)
        class_weight = _common.read_class_weight(self.class_weight, classes, target, weights)
        target, weights = _common.weighted(target, class_weight, weights)
        return Objective(X, target, len(classes), weights, bool(self.fit_intercept))

    def _start(self, objective: Objective, classes: Array) -> Array:
        """Return the coefficients that are there as a start, or 0 if there are none."""
        if not hasattr(self, "coef_"):
            return np.zeros(objective.size)
        shape = (objective.rows, objective.d)
        if self.coef_.shape != shape or not np.array_equal(self.classes_, classes):
            raise ValueError(
                f"`warm_start` needs classes {self.classes_} and coefficients of shape {shape} "
                f"to start from, got classes {classes} and shape {self.coef_.shape}"
            )
        parts = (
            [self.coef_.ravel(), self.intercept_] if self.fit_intercept else [self.coef_.ravel()]
        )
        return np.concatenate(parts, dtype=np.float64)

    def _prior(self, objective: Objective, strength: float) -> Array:
        """Return the penalty's strength for each parameter: none for the intercepts."""
        prior = np.zeros(objective.size)
        prior[: objective.in_weight] = strength
        return prior

    def _minimise(self, objective: Objective, start: Array, centre: Array | None) -> None:
        """Minimise the losses and the penalty; set the coefficients, and what was learned."""
        objective.strength, objective.centre = self._precision / objective.total, centre
        search = _Search(objective, start, self.tol, self.max_iter, bool(self.verbose))
        try:
            problem = search.run(self.solver)
            self._precision = self._precision + objective.curvature(search.point)
        finally:
            self._set(objective, search)
        if problem:
            warnings.warn(
                f"{self.solver} has not converged: {problem} after {search.steps} steps, with a "
                f"gradient of {search.slope():.3g} where `tol` is {self.tol}; raise `max_iter` or "
                "`tol`, or scale the features",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _set(self, objective: Objective, search: "_Search") -> None:
        weight, bias = objective.split(search.point.astype(objective.dtype))
        self.coef_ = weight
        self.intercept_ = np.zeros(len(weight), weight.dtype) if bias is None else bias[:, 0]
        self.n_iter_ = np.array([search.steps], np.int32)

    def _logits(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32))
        logits: Array = X @ self.coef_.T
        logits += self.intercept_
        if len(self.coef_) == 1:
            return np.column_stack([np.zeros_like(logits), logits])
        return logits


class _Search:
    """A run of an optimizer, which knows its last full step whatever ends it."""

    def __init__(
        self, objective: Objective, start: Array, tol: float, max_iter: int, verbose: bool
    ) -> None:
        self.objective, self.point = objective, start
        self.tol, self.max_iter, self.verbose = tol, max_iter, verbose
        self.steps = 0
        self.seen: Array | None = None
        self.grad: Array = start

    def value_and_grad(self, point: Array) -> tuple[float, Array]:
        """Evaluate the objective, and remember the gradient."""
        value, grad = self.objective.value_and_grad(point)
        self.seen, self.grad = point.copy(), grad
        return value, grad

    def slope(self) -> float:
        """Return the largest entry of the gradient at the last step, the objective unscaled."""
        if self.seen is None or not np.array_equal(self.seen, self.point):
            self.value_and_grad(self.point)
        return float(np.abs(self.grad).max() / self.objective.scale)

    def step(self, intermediate_result: OptimizeResult) -> None:
        """Take note of a step."""
        self.point = intermediate_result.x.copy()
        self.steps += 1
        if self.verbose:
            value = intermediate_result.fun / self.objective.scale
            print(
                f"step {self.steps}: objective {value:.9g}, gradient {self.slope():.3g}", flush=True
            )

    def step_or_stop(self, intermediate_result: OptimizeResult) -> None:
        """Take note of a step, and stop if the gradient is small."""
        self.step(intermediate_result)
        if self.slope() <= self.tol:
            raise StopIteration

    def run(self, solver: str) -> str:
        """Minimise; return what went wrong, or nothing."""
        if solver == "lbfgs":
            # Progress is judged beside 1 if the objective is less, as a mean soon is.
            self.objective.scale = self.objective.total
            result = minimize(
                self.value_and_grad,
                self.point,
                jac=True,
                method="L-BFGS-B",
                callback=self.step,
                options={
                    "maxiter": self.max_iter, "maxfun": 100 * self.max_iter, "maxls": 50,
                    "gtol": self.tol * self.objective.scale, "ftol": NO_PROGRESS,
                },
            )  # fmt: skip
            if result.success or self.slope() <= self.tol:
                return ""
        else:
            self.objective.scale = self._newton_scale()
            if self.slope() <= self.tol:
                return ""
            minimize(
                self.value_and_grad,
                self.point,
                jac=True,
                hessp=self.objective.hvp,
                method="Newton-CG",
                callback=self.step_or_stop,
                options={"maxiter": self.max_iter, "xtol": 0.0},
            )
            self._polish()
            if self.slope() <= self.tol:
                return ""
        return "no more steps are allowed" if self.steps >= self.max_iter else "a step fails"

    def _polish(self) -> None:
        """Take Newton's whole steps while they lessen the gradient.

        Near the minimum the objective changes by less than its rounding, and SciPy's search along
        the step fails; the gradient still tells.
        """
        size, slope = self.point.size, self.slope()
        while slope > self.tol and self.steps < self.max_iter:
            hessian = LinearOperator((size, size), partial(self.objective.hvp, self.point))
            newton, _ = cg(hessian, -self.grad, rtol=1e-2, maxiter=20 * size)
            point = self.point + newton
            value, grad = self.value_and_grad(point)
            smaller = float(np.abs(grad).max() / self.objective.scale)
            if not smaller < slope:
                break
            slope = smaller
            self.step(OptimizeResult(x=point, fun=value))

    def _newton_scale(self) -> float:
        """Return what to multiply the objective by for SciPy's Newton-CG.

        It leaves off where a residual r has a curvature r'Hr of 3 eps or less, an absolute number;
        r'Hr is at least q |r|**2, q being the penalty's strength, and a factor multiplies it by its
        cube. A residual of a tenth of `tol` must still count. But a larger factor than that makes
        the steps less exact, for their tolerance depends on the gradient's size as well.
        """
        objective = self.objective
        least = objective.strength[: objective.in_weight].min() * (self.tol / 10) ** 2
        eps = np.finfo(np.float64).eps
        cube = 3 * eps / least if least > 0 else np.inf
        return float(min(max(np.cbrt(cube), 1.0), objective.total))
