"""SoftmaxRegression and TemperatureScaling: against scikit-learn and against fastce's losses."""

import inspect
import operator
import os
import pickle
import re
import signal
import subprocess
import sys
import tracemalloc
from types import ModuleType

import numpy as np
import pytest
from _support import assert_close, dtypes, run_python, seeded
from test_docs import ROOT, run_examples

import fastce

sklearn = pytest.importorskip("sklearn")
scipy = pytest.importorskip("scipy")

from scipy.optimize import minimize_scalar  # noqa: E402
from scipy.sparse import csr_array, csr_matrix  # noqa: E402
from sklearn import datasets  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler, scale  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from fastce.integrations import sklearn as integration  # noqa: E402
from fastce.integrations.sklearn import (  # noqa: E402
    SoftmaxRegression,
    TemperatureScaling,
    _objective,
)
from fastce.integrations.sklearn._common import LogitClassifier  # noqa: E402
from fastce.integrations.sklearn._objective import Objective  # noqa: E402

SOLVERS = ("lbfgs", "newton-cg")
TIGHT = {"tol": 1e-9, "max_iter": 10_000}
solvers = pytest.mark.parametrize("solver", SOLVERS)
classes = pytest.mark.parametrize("k", [2, 3, 5])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [SoftmaxRegression(), SoftmaxRegression(solver="newton-cg"), TemperatureScaling()]
)
def test_checks_of_sklearn(estimator, check):
    """All checks that scikit-learn has for a classifier."""
    check(estimator)


def made(k, n=60, d=4, dtype=np.float64):
    """Give samples, and labels that can be guessed but not separated."""
    rng = seeded("estimators", k, n, d)
    X = rng.normal(size=(n, d))
    logits = X @ rng.normal(size=(d, k)) + rng.gumbel(size=(n, k))
    return X.astype(dtype), logits.argmax(axis=1)


def shares_of(k, n=60, dtype=np.float64):
    """Give probabilities of k classes for n samples."""
    return seeded("shares", k, n).dirichlet(np.ones(k), n).astype(dtype)


def weights_of(n=60, dtype=np.float64):
    """Give sample weights, some of them 0."""
    weights = seeded("weights", n).uniform(0, 2, n)
    weights[::7] = 0
    return weights.astype(dtype)


def objective_of(model, X, target, sample_weight=None):
    """Give C times the sum of the losses plus the penalty, by the loss that checks everything."""
    logits = X @ model.coef_.T + model.intercept_
    if logits.shape[1] == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    losses = fastce.cross_entropy(logits, target, sample_weight=sample_weight, reduction="sum")
    return model.C * losses + np.sum(np.square(model.coef_)) / 2


# ------------------------------------------------------------------------------- the objective

KINDS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X: X[:, ::-1].copy()[:, ::-1],
    "csr_matrix": csr_matrix,
    "csr_array": csr_array,
}


def linear_loss(objective, X, target, k, vector, weights):
    """Give the loss beneath of the same logits, as a call with a method's name and what follows."""
    weight, bias = objective.split(vector.astype(X.dtype))
    bias = None if bias is None else bias[:, 0]
    if k == 2:
        if target.ndim == 2:
            mass = target.sum(axis=1)
            target, weights = target[:, 1] / mass, mass * (1 if weights is None else weights)
        weight, bias = weight[0], None if bias is None else bias[0]
        loss = fastce.linear_binary_cross_entropy
    else:
        loss = fastce.linear_cross_entropy
    if loss is fastce.linear_binary_cross_entropy:
        target = np.asarray(target, X.dtype)

    def call(method, *more, **options):
        return operator.attrgetter(method)(loss)(
            X, weight, target, *more, bias=bias, sample_weight=weights, reduction="sum", **options
        )

    return call


def flat(gradient):
    """Give a gradient's weight and bias in one vector."""
    return np.concatenate([np.ravel(g) for g in gradient[1:] if g is not None])


@pytest.mark.parametrize("rows", [None, 1, 7])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 3, 200])
@dtypes
def test_objective(dtype, k, weighted, target, kind, rows, monkeypatch):
    """Value and derivatives are those of the linear losses, whatever the layout and the chunks."""
    if rows is not None:
        monkeypatch.setattr(_objective, "rows_at_a_time", lambda *arguments: rows)
    X, labels = made(k, dtype=dtype)
    given = labels if target == "labels" else 2 * shares_of(k, dtype=dtype)
    weights = weights_of(dtype=dtype) if weighted else None
    rng = seeded("parameters", k)
    for intercept in (True, False):
        for keeping in (True, False):
            objective = Objective(KINDS[kind](X), given, k, weights, intercept)
            objective.keeping = keeping
            vector, v = rng.normal(size=(2, objective.size))
            call = linear_loss(objective, X, given, k, vector, weights)
            value, grad = call("value_and_grad", wrt=("weight", "bias"))
            got, got_grad = objective.value_and_grad(vector)
            total = len(X) if weights is None else weights.sum(dtype=float)
            assert got * total == pytest.approx(float(value), rel=60 * float(np.finfo(dtype).eps))
            assert_close(got_grad * total, flat(grad).astype(float), eps_of(dtype))
            part, bias = objective.split(v.astype(dtype))
            direction = (part.reshape(grad.weight.shape), None)
            if bias is not None:
                direction = (direction[0], bias.reshape(grad.bias.shape))
            product = flat(call("hvp", direction)).astype(float)
            assert_close(objective.hvp(vector, v) * total, product, eps_of(dtype))
            # a second direction at the same point, and another point
            assert_close(objective.hvp(vector, 2 * v) * total, 2 * product, eps_of(dtype))
            away = objective.hvp(2 * vector, v) * total
            assert np.abs(away - product).max() > 1e-3 * np.abs(product).max()
            bends = flat(call("grad_and_hess")[1]).astype(float)
            assert_close(objective.curvature(vector), bends, eps_of(dtype))


def eps_of(dtype):
    """Give how many eps of float64 a derivative may be off: sums of 60 terms, in any order."""
    return 60 * np.finfo(dtype).eps / np.finfo(np.float64).eps


@classes
def test_penalty_is_part_of_the_objective(k):
    """The penalty, its centre and the scale reach value, gradient and product."""
    X, y = made(k)
    rng = seeded("penalty", k)
    plain, objective = (Objective(X, y, k, None, True) for _ in range(2))
    vector, v = rng.normal(size=(2, objective.size))
    q, centre = rng.uniform(0, 2, objective.size), rng.normal(size=objective.size)
    objective.strength, objective.centre, objective.scale = q, centre, 3.0
    (value, grad), (base, base_grad) = (o.value_and_grad(vector) for o in (objective, plain))
    away = vector - centre
    assert value == pytest.approx(3 * (base + q @ away**2 / 2), rel=1e-14)
    assert_close(grad, 3 * (base_grad + q * away), 8)
    assert_close(objective.hvp(vector, v), 3 * (plain.hvp(vector, v) + q * v), 8)


# ------------------------------------------------------------------------ the same optimum

BESIDE = {
    "plain": {},
    "strong penalty": {"C": 1e-2},
    "weak penalty": {"C": 1e2},
    "no intercept": {"fit_intercept": False},
    "balanced": {"class_weight": "balanced"},
    "weighted class": {"class_weight": {1: 3.0}},
}


@pytest.mark.parametrize("options", BESIDE.values(), ids=BESIDE)
@solvers
@pytest.mark.parametrize("name", ["iris", "breast_cancer", "digits"])
def test_the_optimum_of_logistic_regression(name, solver, options):
    """The same minimum as scikit-learn's, to 1e-8 of itself, so the same coefficients."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weights = weights_of(len(y))
    tight = {"tol": 1e-8, "max_iter": 10_000}
    ours = SoftmaxRegression(solver=solver, **tight | {"tol": 1e-10}, **options).fit(X, y, weights)
    theirs = LogisticRegression(solver="newton-cg", **tight, **options).fit(X, y, weights)
    class_weight = options.get("class_weight")
    if class_weight is not None:
        by_class = sklearn.utils.compute_class_weight(class_weight, classes=ours.classes_, y=y)
        if class_weight == "balanced":
            sums = np.bincount(y, weights)
            by_class = weights.sum() / (len(sums) * sums)
        weights = weights * by_class[y]
    if class_weight == "balanced":
        # Releases of scikit-learn differ in whether it counts the weights of samples.
        theirs = LogisticRegression(solver="newton-cg", **tight).fit(X, y, weights)
    a, b = (objective_of(m, X, y, weights) for m in (ours, theirs))
    assert a <= b * (1 + 1e-8)
    # The penalty makes the objective rise by at least |w|**2 / 2 at a distance of |w|.
    assert np.linalg.norm(ours.coef_ - theirs.coef_) <= 2 * np.sqrt(2e-8 * b)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    assert np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-3
    assert np.array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("C", [1e4, 1e6])
def test_weak_penalties(C):
    """Where the objective is nearly flat, both solvers come to the same minimum all the same."""
    X, y = datasets.load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    tight = {"C": C, "tol": 1e-12, "max_iter": 20_000}
    a, b = (objective_of(SoftmaxRegression(solver=s, **tight).fit(X, y), X, y) for s in SOLVERS)
    assert abs(a - b) <= 1e-8 * b


@solvers
@classes
def test_the_gradient_is_small(k, solver):
    """At the end no entry of the gradient is above `tol`, whatever the solver thinks."""
    X, y = made(k)
    for tol in (1e-2, 1e-4, 1e-6):
        model = SoftmaxRegression(solver=solver, tol=tol, max_iter=1000).fit(X, y)
        objective = Objective(X, y, k, None, True)
        objective.strength = np.r_[np.ones(model.coef_.size), np.zeros(len(model.coef_))] / len(X)
        point = np.r_[model.coef_.ravel(), model.intercept_]
        assert np.abs(objective.value_and_grad(point)[1]).max() <= tol


@pytest.mark.parametrize("C", [np.inf, 1e10])
def test_no_penalty(C):
    """An infinite C is no penalty."""
    X, y = made(3)
    model = SoftmaxRegression(C=C, **TIGHT).fit(X, y)
    reference = LogisticRegression(C=1e10, **TIGHT).fit(X, y)
    assert_close(model.coef_ - model.coef_[0], reference.coef_ - reference.coef_[0], 1e9)


# ----------------------------------------------------------------- probabilities and weights


@solvers
@classes
def test_probabilities_are_weighted_labels(k, solver):
    """A sample with probabilities is k samples, each with its class and that weight."""
    X, _ = made(k)
    shares, weights = shares_of(k), weights_of()
    soft = SoftmaxRegression(solver=solver, **TIGHT).fit(X, shares, weights)
    each = (weights[:, None] * shares).ravel()
    hard = SoftmaxRegression(solver=solver, **TIGHT).fit(
        np.repeat(X, k, axis=0), np.tile(np.arange(k), len(X)), each
    )
    assert_close((soft.coef_, soft.intercept_), (hard.coef_, hard.intercept_), 1e9)
    assert soft.classes_.tolist() == list(range(k))


@pytest.mark.parametrize("class_weight", [None, {0: 2.0, 1: 0.5}, "balanced"])
@classes
def test_certain_probabilities_are_labels(k, class_weight):
    """Probabilities of 0 and 1 are labels, also with weights of the classes."""
    X, y = made(k)
    options = {"class_weight": class_weight, **TIGHT}
    soft = SoftmaxRegression(**options).fit(X, np.eye(k)[y], weights_of())
    hard = SoftmaxRegression(**options).fit(X, y, weights_of())
    assert_close((soft.coef_, soft.intercept_), (hard.coef_, hard.intercept_), 1e9)


@classes
def test_class_weights_are_sample_weights(k):
    """A class's weight multiplies the weights of its samples; a class not named has 1."""
    X, y = made(k)
    weighted = SoftmaxRegression(class_weight={1: 4.0}, **TIGHT).fit(X, y)
    each = np.where(y == 1, 4.0, 1.0)
    assert_close(weighted.coef_, SoftmaxRegression(**TIGHT).fit(X, y, each).coef_, 1e9)
    assert not np.allclose(weighted.coef_, SoftmaxRegression(**TIGHT).fit(X, y).coef_, rtol=1e-3)


def test_balanced_without_a_class():
    """A class whose samples all weigh nothing does not count among those that are balanced."""
    X, y = made(3)
    balanced = SoftmaxRegression(class_weight="balanced", **TIGHT).fit(X, y, 1.0 * (y > 0))
    counts = np.bincount(y)
    each = np.where(y > 0, (counts[1] + counts[2]) / (2 * counts[y]), 0)
    by_hand = SoftmaxRegression(**TIGHT).fit(X, y, each)
    assert_close(balanced.predict_proba(X), by_hand.predict_proba(X), 1e9)


@classes
def test_weights_are_repetitions(k):
    """A weight of 0 leaves a sample out, one of 3 repeats it: exactly the same objective."""
    X, y = made(k)
    times = np.arange(len(X)) % 4
    weighted = SoftmaxRegression(**TIGHT).fit(X, y, times)
    repeated = SoftmaxRegression(**TIGHT).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_close(weighted.coef_, repeated.coef_, 1e9)
    assert_close(weighted.intercept_, repeated.intercept_, 1e9)


BAD_Y = {
    "sum": (np.full((60, 3), 0.5), r"row 0 with sum 1\.5"),
    "negative": (np.tile([1.5, -0.5, 0.0], (60, 1)), r"minimum -0\.5"),
    "integers": (np.eye(3, dtype=int)[np.arange(60) % 3], "dtype int64"),
    "bools": (np.eye(3, dtype=bool)[np.arange(60) % 3], "dtype bool"),
    "strings": (np.full((60, 2), "a"), "one label a sample, or probabilities"),
    "one class": (np.zeros(60, int), "at least two classes, got one class"),
    "continuous": (np.linspace(0, 1, 60), "Unknown label type"),
    "nan": (np.full((60, 3), np.nan), "NaN"),
}


@pytest.mark.parametrize("y, message", BAD_Y.values(), ids=BAD_Y)
@pytest.mark.parametrize("estimator", [SoftmaxRegression(), TemperatureScaling()], ids=str)
def test_bad_targets(estimator, y, message):
    """What is neither labels nor probabilities is refused, and the message says why."""
    with pytest.raises(ValueError, match=message):
        estimator.fit(made(3, d=3)[0], y)


@pytest.mark.parametrize(
    "weights, message",
    [
        (-np.ones(60), "must not be negative, got -1 at index 0"),
        (np.zeros(60), "non-zero"),
        (np.ones(59), r"shape \(60,\), got \(59,\)"),
        (np.ones((60, 1)), r"shape \(60,\), got \(60, 1\)"),
    ],
)
@pytest.mark.parametrize("estimator", [SoftmaxRegression(), TemperatureScaling()], ids=str)
def test_bad_weights(estimator, weights, message):
    """Weights that do not fit, or mean nothing, are refused."""
    X, y = made(3, d=3)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y, weights)


PARAMETERS = [
    ({"C": 0.0}, ValueError, "`C` must be above 0, got 0.0"),
    ({"C": np.nan}, ValueError, "`C`"),
    ({"C": "1"}, TypeError, "`C`"),
    ({"tol": -1.0}, ValueError, "`tol`"),
    ({"max_iter": 0}, ValueError, "`max_iter` must be at least 1, got 0"),
    ({"max_iter": 1.5}, TypeError, "`max_iter`"),
    ({"solver": "sag"}, ValueError, "`solver` must be one of lbfgs, newton-cg, got 'sag'"),
    ({"fit_intercept": "no"}, TypeError, "`fit_intercept`"),
    ({"warm_start": "no"}, TypeError, "`warm_start`"),
    ({"verbose": "no"}, TypeError, "`verbose`"),
    ({"class_weight": {0: -1.0}}, ValueError, "`class_weight` must not be negative"),
    ({"class_weight": {0: np.inf}}, ValueError, "or infinite, got inf"),
    ({"class_weight": {1: np.nan}}, ValueError, "or infinite, got nan"),
    ({"class_weight": dict.fromkeys(range(3), 0.0)}, ValueError, "must leave some sample a weight"),
    ({"class_weight": "even"}, ValueError, "class_weight"),
]


@pytest.mark.parametrize("options, error, message", PARAMETERS)
def test_bad_parameters(options, error, message):
    """A parameter out of its range is refused by `fit`, by name."""
    model = SoftmaxRegression(**options)
    with pytest.raises(error, match=re.escape(message)):
        model.fit(*made(3))
    assert not hasattr(model, "coef_")


# --------------------------------------------------------------------------------- streams


@solvers
@classes
def test_first_batch_is_a_fit(k, solver):
    """One call of partial_fit, with all samples, does what fit does."""
    X, y = made(k)
    whole = SoftmaxRegression(solver=solver).fit(X, y)
    part = SoftmaxRegression(solver=solver).partial_fit(X, y, classes=np.arange(k))
    assert np.array_equal(whole.coef_, part.coef_)
    assert np.array_equal(whole.intercept_, part.intercept_)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@classes
def test_a_later_batch_minimises_its_losses_and_the_penalty(k, first):
    """The penalty is that of the second derivatives so far, around the values so far."""
    X, y = made(k)
    model = SoftmaxRegression(C=2.0, tol=1e-6, max_iter=1000)
    model = model.fit(X, y) if first == "fit" else model.partial_fit(X, y, classes=range(k))
    so_far = Objective(X, y, k, None, True)
    centre = np.r_[model.coef_.ravel(), model.intercept_]
    prior = np.r_[np.full(model.coef_.size, 0.5), np.zeros(len(model.coef_))]
    new_X, new_y = made(k, n=33)
    later = Objective(new_X, new_y, k, None, True)
    later.strength, later.centre = (prior + so_far.curvature(centre)) / len(new_X), centre
    model.partial_fit(new_X, new_y)
    point = np.r_[model.coef_.ravel(), model.intercept_]
    assert np.abs(later.value_and_grad(point)[1]).max() <= 1e-6
    assert np.abs(point - centre).max() > 1e-3


def test_a_stream_learns():
    """Batches of 50 digits come close to a fit of all, and each sample counts alike."""
    X, y = datasets.load_digits(return_X_y=True)
    X = np.nan_to_num(scale(X))
    train, test = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0
    stream = SoftmaxRegression(max_iter=1000)
    samples, labels = X[train], y[train]
    for start in range(0, len(samples), 50):
        batch = slice(start, start + 50)
        stream.partial_fit(samples[batch], labels[batch], classes=np.arange(10))
    whole = SoftmaxRegression(max_iter=1000).fit(samples, labels)
    assert stream.score(X[test], y[test]) > whole.score(X[test], y[test]) - 0.03
    last = SoftmaxRegression(max_iter=1000).fit(samples[-50:], labels[-50:])
    assert stream.score(X[test], y[test]) > last.score(X[test], y[test]) + 0.05


def test_a_stream_of_probabilities():
    """The columns of the first batch are the classes; labels may follow."""
    X, y = made(3)
    model = SoftmaxRegression().partial_fit(X, shares_of(3))
    assert model.classes_.tolist() == [0, 1, 2]
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="`y` must have 3 columns, one a class, got 4"):
        model.partial_fit(X, shares_of(4))


def test_bad_streams():
    """Classes must be known at first, stay what they were, and hold the labels."""
    X, y = made(3)
    with pytest.raises(ValueError, match="`classes` must be given in the first call"):
        SoftmaxRegression().partial_fit(X, y)
    with pytest.raises(ValueError, match="`class_weight` must be a dict or None"):
        SoftmaxRegression(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    model = SoftmaxRegression().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="as in the first call, got"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"must hold labels of `classes` \[0 1 2\], got 3$"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2], y)
    before = model.coef_
    with pytest.raises(ValueError, match=r"`fit_intercept` must stay as it was .* got False"):
        model.set_params(fit_intercept=False).partial_fit(X, y)
    assert model.coef_ is before


# ------------------------------------------------------------------------------ as a classifier


@classes
def test_predictions(k):
    """Labels, probabilities, their logarithms and logits agree with each other."""
    X, y = made(k)
    names = np.array([f"class {j}" for j in range(k)])
    model = SoftmaxRegression().fit(X, names[y])
    assert model.classes_.tolist() == names.tolist()
    logits, p = model.decision_function(X), model.predict_proba(X)
    full = np.column_stack([np.zeros(len(X)), logits]) if k == 2 else logits
    assert logits.shape == ((len(X),) if k == 2 else (len(X), k))
    assert_close(p, fastce.softmax(full), 4)
    assert_close(model.predict_log_proba(X), fastce.log_softmax(full), 4)
    assert np.array_equal(model.predict(X), names[full.argmax(axis=1)])
    assert model.score(X, names[y]) == np.mean(model.predict(X) == names[y])
    far = model.predict_log_proba(1e6 * X)
    assert np.isfinite(far).all()
    assert far.min() < -1e4


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-5, 7, 1000]),
        np.array([0, 128, 255], np.uint8),
        np.array([-128, 0, 127], np.int8),
        np.array([2**63, 2**63 + 1, 2**63 + 2], np.uint64),
        np.array([0, 1, 2**64 - 1], np.uint64),
        np.array([-(2**63), 0, 2**63 - 1]),
        np.array([1.0, 2.0, 5.0]),
        np.array(["b", "c", "d"], object),
    ],
    ids=lambda labels: f"{labels.dtype} {labels[-1]}",
)
def test_labels_of_any_kind(labels):
    """Labels come back as they went in, and do not change what is learned."""
    X, y = made(3)
    model = SoftmaxRegression().fit(X, labels[y])
    assert model.classes_.dtype == labels.dtype
    assert np.array_equal(model.classes_, labels)
    assert np.array_equal(model.coef_, SoftmaxRegression().fit(X, y).coef_)
    assert set(model.predict(X)) == set(labels)


def test_two_labels_of_bool():
    """Bools are labels."""
    X, y = made(2)
    model = SoftmaxRegression().fit(X, y == 1)
    assert model.predict(X).dtype == bool
    assert np.array_equal(model.coef_, SoftmaxRegression().fit(X, y).coef_)


@pytest.mark.parametrize("kind", KINDS)
@classes
def test_layouts(k, kind):
    """However X lies in memory, sparse too, the result is the same but for rounding."""
    X, y = made(k)
    X[np.abs(X) < 0.5] = 0
    want = SoftmaxRegression(**TIGHT).fit(X, y)
    given = KINDS[kind](X)
    got = SoftmaxRegression(**TIGHT).fit(given, y)
    assert_close((got.coef_, got.intercept_), (want.coef_, want.intercept_), 1e9)
    assert_close(got.predict_proba(given), want.predict_proba(X), 1e9)


@solvers
@classes
def test_float32_is_kept(k, solver):
    """float32 in, float32 out, and close to what float64 gives."""
    X, y = made(k)
    narrow = SoftmaxRegression(solver=solver).fit(X.astype(np.float32), y)
    wide = SoftmaxRegression(solver=solver).fit(X.astype(np.float32).astype(float), y)
    for name in ("coef_", "intercept_"):
        assert getattr(narrow, name).dtype == np.float32
        assert_close(getattr(narrow, name), getattr(wide, name).astype(np.float32), 2e4, least=1.0)
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(narrow, method)(X.astype(np.float32)).dtype == np.float32


def test_the_data_is_not_changed():
    """X, y and the weights stay as they were, and may be read-only."""
    X, y = made(3)
    given = (X, y, weights_of())
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    SoftmaxRegression().fit(*given)
    assert all(np.array_equal(a, b) for a, b in zip(given, before, strict=True))


@pytest.mark.parametrize("kind", ["rows", "columns", "csr_matrix"])
def test_memory(kind):
    """Nothing as large as all logits is ever held, nor a copy of X."""
    n, k = 100_000, 50
    X, y = KINDS[kind](made(k, n)[0]), np.arange(n) % k
    model = SoftmaxRegression(tol=1e-3)
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * k * 8 / 4


def test_one_label_a_row():
    """A column of labels is taken, with scikit-learn's warning."""
    X, y = made(3)
    with pytest.warns(DataConversionWarning):
        model = SoftmaxRegression().fit(X, y[:, None])
    assert np.array_equal(model.coef_, SoftmaxRegression().fit(X, y).coef_)


@pytest.mark.parametrize("estimator", [SoftmaxRegression(C=3.0), TemperatureScaling()], ids=str)
def test_pickle_and_clone(estimator):
    """A pickle predicts the same; a clone has the parameters and nothing that was learned."""
    X, y = made(3, d=3)
    estimator.fit(X, y)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.predict_proba(X), estimator.predict_proba(X))
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not hasattr(copy, "classes_")


def test_pickled_stream_goes_on():
    """What partial_fit has learned is in the pickle."""
    X, y = made(3)
    model = SoftmaxRegression().partial_fit(X, y, classes=[0, 1, 2])
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.partial_fit(X, y).coef_, again.partial_fit(X, y).coef_)


def test_grid_search_in_a_pipeline():
    """A grid search over C in a pipeline finds what one by hand finds."""
    X, y = datasets.load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegression(max_iter=1000))
    grid = {"softmaxregression__C": [1e-3, 1e-1, 1e1]}
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3).fit(X, y)
    by_hand = [
        cross_val_score(
            clone(pipeline).set_params(softmaxregression__C=C), X, y, scoring="neg_log_loss", cv=3
        ).mean()
        for C in grid["softmaxregression__C"]
    ]
    assert np.array_equal(search.cv_results_["mean_test_score"], by_hand)
    assert search.best_params_["softmaxregression__C"] == 1e1
    assert search.predict(X).shape == y.shape


def test_names_of_features():
    """The columns' names of a data frame are kept, and asked for again."""
    pandas = pytest.importorskip("pandas")
    X, y = made(3)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = SoftmaxRegression().fit(frame, pandas.Series(y))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert np.array_equal(model.predict(frame), SoftmaxRegression().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("dcba")])


# ------------------------------------------------------------------------- steps and interruptions


@solvers
def test_warm_start(solver):
    """A second fit starts where the first ended; without it, from 0."""
    X, y = made(3)
    model = SoftmaxRegression(solver=solver, tol=1e-6, warm_start=True).fit(X, y)
    assert model.n_iter_[0] > 2
    first = model.coef_
    model.fit(X, y)
    assert model.n_iter_[0] <= 1
    assert_close(model.coef_, first, 1e10)
    model.set_params(warm_start=False).fit(X, y)
    assert np.array_equal(model.coef_, first)


def test_warm_start_elsewhere():
    """Coefficients of other classes or features are no start."""
    X, y = made(3)
    model = SoftmaxRegression(warm_start=True).fit(X, y)
    for other in ((X[:, :2], y), (X, y + 1)):
        with pytest.raises(ValueError, match="`warm_start` needs classes"):
            clone(model).set_params(**model.get_params()).fit(X, y).fit(*other)


@solvers
def test_warns_if_it_has_not_converged(solver):
    """Too few steps: a warning that names the solver and what to do; the model can be used."""
    X, y = made(3)
    model = SoftmaxRegression(solver=solver, tol=1e-12, max_iter=2)
    with pytest.warns(ConvergenceWarning, match=f"{solver} has not converged.*2 steps") as caught:
        model.fit(X, y)
    assert caught[0].filename == __file__
    assert model.n_iter_.tolist() == [2]
    assert model.score(X, y) > 0.5


@solvers
def test_verbose(solver, capsys):
    """One line a step, the objective falling; nothing without it."""
    X, y = made(3)
    SoftmaxRegression(solver=solver).fit(X, y)
    assert capsys.readouterr() == ("", "")
    model = SoftmaxRegression(solver=solver, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_[0]
    found = [re.fullmatch(r"step (\d+): objective (\S+), gradient (\S+)", line) for line in lines]
    assert [int(match[1]) for match in found] == list(range(1, len(lines) + 1))
    values = [float(match[2]) for match in found]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(objective_of(model, X, y) / len(X), rel=1e-8)
    assert float(found[-1][3]) <= model.tol


class _Stop:
    """Raises KeyboardInterrupt in one of the evaluations, as Ctrl-C does."""

    def __init__(self, monkeypatch, method, call):
        self.left, self.method = call, getattr(Objective, method)
        monkeypatch.setattr(Objective, method, lambda *arguments: self(*arguments))

    def __call__(self, *arguments):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.method(*arguments)


@pytest.mark.parametrize(
    "solver, method, call",
    [("lbfgs", "value_and_grad", 6), ("newton-cg", "value_and_grad", 4), ("newton-cg", "hvp", 8)],
)
def test_interrupted(solver, method, call, monkeypatch):
    """Ctrl-C anywhere leaves the last step's coefficients, from which a warm start goes on."""
    X, y = made(3)
    model = SoftmaxRegression(solver=solver, warm_start=True)
    with monkeypatch.context() as patch:
        _Stop(patch, method, call)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    steps = int(model.n_iter_[0])
    assert steps >= 1
    with pytest.warns(ConvergenceWarning):
        short = SoftmaxRegression(solver=solver, max_iter=steps).fit(X, y)
    assert np.array_equal(model.coef_, short.coef_)
    assert model.predict(X).shape == y.shape
    model.fit(X, y)
    whole = SoftmaxRegression(solver=solver).fit(X, y)
    assert objective_of(model, X, y) == pytest.approx(objective_of(whole, X, y), rel=1e-4)
    assert model.partial_fit(X, y).n_iter_[0] >= 0


def test_interrupted_at_once(monkeypatch):
    """Even before the first step there is something to predict with."""
    X, y = made(3)
    model = SoftmaxRegression()
    _Stop(monkeypatch, "value_and_grad", 1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not model.coef_.any()
    assert_close(model.predict_proba(X), np.full((len(X), 3), 1 / 3), 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c():
    """A real SIGINT in a fit that would never end: the model predicts, and the signal is told."""
    code = """
import signal
import numpy as np
from fastce.integrations.sklearn import SoftmaxRegression

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
rng = np.random.default_rng(0)
X, y = rng.normal(size=(20_000, 50)), rng.integers(20, size=20_000)
X *= np.logspace(-4, 4, 50)
model = SoftmaxRegression(C=np.inf, tol=0.0, max_iter=10**9, verbose=1)
try:
    model.fit(X, y)
except KeyboardInterrupt:
    assert np.isfinite(model.predict_proba(X[:5])).all()
    print("interrupted after", model.n_iter_[0])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            for line in process.stdout:
                if line.startswith("step 5:"):
                    process.send_signal(signal.SIGINT)
                    break
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    steps = int(re.search(r"interrupted after (\d+)", rest)[1])
    assert steps >= 5


# ------------------------------------------------------------------------------ the temperature


def overconfident(k, temperature, n=400, dtype=np.float64):
    """Give logits that are `temperature` times what the labels were drawn from."""
    rng = seeded("logits", k, temperature, n)
    logits = rng.normal(size=(n, k)) * 2
    return (logits * temperature).astype(dtype), (logits + rng.gumbel(size=(n, k))).argmax(axis=1)


def best_temperature(logits, target, weights=None):
    """Find the temperature by SciPy, from values alone; good to about 1e-7."""

    def cost(log):
        given = {"temperature": np.exp(log), "sample_weight": weights}
        return fastce.cross_entropy(logits.astype(float), target, **given)

    found = minimize_scalar(cost, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(found.x))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize("k", [2, 3, 10])
@dtypes
def test_temperature(dtype, k, rows, offset, temperature, monkeypatch):
    """It is where the cross-entropy is least, and near the one that the logits were scaled by."""
    if rows is not None:
        name = "fastce.integrations.sklearn._temperature.rows_at_a_time"
        monkeypatch.setattr(name, lambda *arguments, **options: rows)
    logits, y = overconfident(k, temperature, dtype=dtype)
    logits += dtype(offset)
    scaling = TemperatureScaling().fit(logits, y)
    assert scaling.temperature_ == pytest.approx(best_temperature(logits, y), rel=1e-6)
    assert scaling.temperature_ == pytest.approx(temperature, rel=0.4)
    # and the derivative, from a pass of the loss's own, is 0 there
    z = logits.astype(float)
    grad = fastce.cross_entropy.grad(z, y, temperature=scaling.temperature_)
    centred = z - z.mean(axis=1, keepdims=True)
    scale_of_terms = np.sum(np.abs(grad * centred))
    assert abs(np.sum(grad * centred)) <= 1e-8 * scale_of_terms
    assert scaling.n_iter_ <= 15


@classes
def test_temperature_with_weights_and_probabilities(k):
    """Weights and probabilities mean what they mean for the loss."""
    logits, y = overconfident(k, 3.0)
    weights, shares = weights_of(len(y)), shares_of(k, len(y)) / 2 + np.eye(k)[y] / 2
    for target in (y, shares):
        scaling = TemperatureScaling().fit(logits, target, weights)
        want = best_temperature(logits, target, weights)
        assert scaling.temperature_ == pytest.approx(want, rel=1e-6)
        unweighted = TemperatureScaling().fit(logits, target).temperature_
        assert abs(scaling.temperature_ - unweighted) > 1e-4


@classes
def test_calibrated_predictions(k):
    """The logits are divided by the temperature; which class is the likeliest stays."""
    logits, y = overconfident(k, 3.0)
    names = np.array([f"class {j}" for j in range(k)])
    scaling = TemperatureScaling().fit(logits, names[y])
    scaled = logits / scaling.temperature_
    assert_close(scaling.predict_proba(logits), fastce.softmax(scaled), 0)
    assert_close(scaling.predict_log_proba(logits), fastce.log_softmax(scaled), 0)
    decision = scaled[:, 1] - scaled[:, 0] if k == 2 else scaled
    assert_close(scaling.decision_function(logits), decision, 0)
    assert np.array_equal(scaling.predict(logits), names[logits.argmax(axis=1)])
    before = fastce.cross_entropy(logits, y)
    assert fastce.nll_loss(scaling.predict_log_proba(logits), y) < before


@classes
def test_logits_without_the_first_class(k):
    """One column less: the first class has a logit of 0. Two classes' decisions are given so."""
    logits, y = overconfident(k, 3.0)
    full = TemperatureScaling().fit(logits, y)
    less = logits[:, 1:] - logits[:, :1]
    scaling = TemperatureScaling().fit(less, y)
    assert scaling.temperature_ == pytest.approx(full.temperature_, rel=1e-9)
    assert_close(scaling.predict_proba(less), full.predict_proba(logits), 1e7)
    assert scaling.n_features_in_ == k - 1


def test_labels_that_are_not_there():
    """Held-out samples may lack a class: numbers are columns, others need `classes`."""
    logits, y = overconfident(5, 3.0)
    some = y % 2 == 0
    scaling = TemperatureScaling().fit(logits[some], y[some])
    assert scaling.classes_.tolist() == [0, 1, 2, 3, 4]
    assert scaling.temperature_ == pytest.approx(best_temperature(logits[some], y[some]), rel=1e-6)
    floats = TemperatureScaling().fit(logits[some], y[some].astype(float))
    assert floats.temperature_ == scaling.temperature_
    names = np.array(list("abcde"))
    with pytest.raises(ValueError, match="`classes` must be given where `y` lacks some"):
        TemperatureScaling().fit(logits[some], names[y[some]])
    named = TemperatureScaling(classes=names).fit(logits[some], names[y[some]])
    assert named.temperature_ == scaling.temperature_
    assert named.classes_.tolist() == names.tolist()
    with pytest.raises(ValueError, match="must have a column for each class"):
        TemperatureScaling().fit(logits[:, :2], y)


def test_temperature_far_from_one():
    """Where Newton's method alone goes to and fro: the loss bends only close to its minimum.

    One logit of 1, 999 of 0: at the inverse temperature b the first class has the probability
    1 / (1 + 999 exp(-b)), which must be that of being right, 9/10.
    """
    logits = np.zeros((10, 1000))
    logits[:, 0] = 1
    scaling = TemperatureScaling(classes=np.arange(1000)).fit(logits, [0] * 9 + [1])
    assert scaling.temperature_ == pytest.approx(1 / np.log(9 * 999), rel=1e-9)
    assert scaling.n_iter_ < 30


@pytest.mark.parametrize("rightly", [True, False])
@pytest.mark.parametrize("bounds", [(1e-3, 1e3), (0.1, 2.0), (3.0, 4.0)])
def test_temperature_at_a_bound(bounds, rightly):
    """Where all logits are right, or all wrong, the temperature ends at a bound, with a warning."""
    logits = seeded("bound").normal(size=(50, 3))
    y = logits.argmax(axis=1) if rightly else logits.argmin(axis=1)
    scaling = TemperatureScaling(bounds=bounds)
    with pytest.warns(ConvergenceWarning, match="not within `bounds`") as caught:
        scaling.fit(logits, y)
    assert caught[0].filename == __file__
    assert scaling.temperature_ == pytest.approx(bounds[0 if rightly else 1], rel=1e-12)


def test_temperature_of_equal_logits():
    """Logits that are all the same fit any temperature, and 1 is taken."""
    scaling = TemperatureScaling().fit(np.ones((9, 3)), np.arange(9) % 3)
    assert scaling.temperature_ == 1.0
    assert scaling.predict_proba(np.ones((1, 3))).tolist() == [[1 / 3] * 3]


@pytest.mark.parametrize(
    "bounds, error",
    [((0.0, 1.0), ValueError), ((2.0, 1.0), ValueError), ((1.0, np.inf), ValueError),
     (("a", 1.0), TypeError), (3.0, TypeError), ((1.0,), TypeError)],
)  # fmt: skip
def test_bad_bounds(bounds, error):
    """Bounds are two temperatures, the lower first."""
    with pytest.raises(error, match="`bounds"):
        TemperatureScaling(bounds=bounds).fit(*overconfident(3, 1.0))


def test_calibration_of_a_regression():
    """On held-out digits, a regression that is too sure becomes better by its temperature."""
    X, y = datasets.load_digits(return_X_y=True)
    X = np.nan_to_num(scale(X))
    third = np.arange(len(X)) % 3
    model = SoftmaxRegression(C=1e4, max_iter=5000).fit(X[third == 0], y[third == 0])
    scaling = TemperatureScaling(classes=model.classes_)
    scaling.fit(model.decision_function(X[third == 1]), y[third == 1])
    assert scaling.temperature_ > 1.5
    logits, truth = model.decision_function(X[third == 2]), y[third == 2]
    after = fastce.nll_loss(scaling.predict_log_proba(logits), truth)
    assert after < 0.8 * fastce.cross_entropy(logits, truth)


# ----------------------------------------------------------------------------------- the package


@pytest.mark.parametrize("missing", ["sklearn", "scipy"])
def test_import_without(missing):
    """Where scikit-learn or SciPy is not installed, the error says what to install."""
    run = run_python(
        f"import sys\nsys.modules[{missing!r}] = None\nimport fastce.integrations\n"
        "try:\n    import fastce.integrations.sklearn\n"
        "except ImportError as error:\n    print(error)"
    )
    assert 'pip install "fastce[sklearn]"' in run.stdout, run.stderr


def methods(name):
    """Give the public methods that an estimator defines itself, and the estimator."""
    own = [*vars(getattr(integration, name)), *vars(LogitClassifier)]
    return ["", *(n for n in own if not n.startswith("_") and not n.endswith("_request"))]


EVERY_METHOD = [(name, method) for name in integration.__all__ for method in methods(name)]


@pytest.mark.parametrize("name, method", EVERY_METHOD)
def test_documented(name, method):
    """Estimators and their methods have the sections that their users look for."""
    subject = getattr(integration, name)
    text = inspect.getdoc(getattr(subject, method) if method else subject)
    assert text.split("\n")[0].endswith(".")
    sections = ["Parameters", "Returns"] if method else ["Parameters", "Attributes", "Examples"]
    for section in sections:
        assert f"{section}\n{'-' * len(section)}" in text
    examples = run_examples(text, name, ModuleType(name))
    assert method or examples


@pytest.mark.parametrize("name", integration.__all__)
def test_parameters_are_documented(name):
    """Each parameter of the constructor stands in the docstring."""
    subject = getattr(integration, name)
    text = inspect.getdoc(subject)
    for parameter in inspect.signature(subject).parameters:
        assert re.search(rf"^(\w+, )*{parameter}(, \w+)* :", text, re.MULTILINE), parameter


@pytest.mark.parametrize("name", integration.__all__)
def test_page_shows_every_estimator(name):
    """The page of the estimators shows each with its methods."""
    page = (ROOT / "docs" / "estimators.rst").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. autoclass:: {name}\n   :members:$", page, re.MULTILINE)
