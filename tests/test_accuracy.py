"""Errors in ULP against mpmath, for logits of every kind, down to the subnormal results."""

import functools

import numpy as np
import pytest
from _support import ROWS, dtypes, seeded

import fastce
from fastce._dispatch import kernels
from fastce._registry import find, ulp_errors

mpmath = pytest.importorskip("mpmath")
pytestmark = pytest.mark.core

# What is promised, in ULP: section "accuracy" of the contract.  Each weight adds 1.
BOUNDS = {
    "sigmoid": 2,
    "log_sigmoid": 2,
    "softplus": 2,
    "logit": 2,
    "softmax": 4,
    "log_softmax": 4,
    "logsumexp": 2,
    "cross_entropy[index]": 4,
    "cross_entropy[probability]": 8,
    "binary_cross_entropy_with_logits[binary]": 2,
    "binary_cross_entropy_with_logits[soft]": 8,
    "binary_cross_entropy[binary]": 2,
    "binary_cross_entropy[soft]": 8,
}
SMOOTHED = 8

# How far logits go before e^-x leaves the subnormals, by dtype.
FAR = {np.float64: 700.0, np.float32: 80.0}
VANISH = {np.float64: 745.0, np.float32: 103.0}


def _uniform(spread):
    return lambda rng, shape, dtype: rng.uniform(-spread, spread, shape)


def _offset(offset):
    return lambda rng, shape, dtype: offset + rng.uniform(-10, 10, shape)


def _spread(rng, shape, dtype):
    return rng.uniform(-FAR[dtype], FAR[dtype], shape)


def _confident(rng, shape, dtype):
    """One class leads by 5 to 700."""
    x = rng.uniform(-1, 1, shape)
    lead = np.geomspace(5, FAR[dtype], shape[0])
    np.put_along_axis(x, rng.integers(shape[1], size=(shape[0], 1)), 1 + lead[:, None], axis=1)
    return x


def _near_ties(rng, shape, dtype):
    return 3.0 + rng.integers(-4, 5, shape) * 4 * np.finfo(dtype).eps


def _subnormal(rng, shape, dtype):
    """One class leads by so much that the others' probabilities are subnormal, or just 0."""
    x = -rng.uniform(0.95, 1.01, shape) * VANISH[dtype]
    x[:, 0] = 0.0
    return x


def _masked(rng, shape, dtype):
    x = rng.uniform(-10, 10, shape)
    x[rng.random(shape) < 0.4] = -np.inf
    x[:, 0] = rng.uniform(-10, 10, shape[0])
    return x


LOGITS = {
    "moderate": _uniform(10.0),
    "tiny": _uniform(1e-10),
    "spread": _spread,
    "confident": _confident,
    "offset 1e6": _offset(1e6),
    "offset -1e6": _offset(-1e6),
    "offset 1e15": _offset(1e15),
    "near ties": _near_ties,
    "subnormal": _subnormal,
    "masked": _masked,
}
SHAPES = [(24, 2), (24, 3), (12, 10), (33, 10), (6, 33), (2, 100), (1, 1000)]
CLASS_ROWS = [
    "softmax",
    "log_softmax",
    "logsumexp",
    "cross_entropy[index]",
    "cross_entropy[probability]",
]


@functools.cache
def logits(kind, shape, dtype):
    """Make logits of a kind, once."""
    x = LOGITS[kind](seeded(kind, shape), shape, dtype).astype(dtype)
    x.setflags(write=False)
    return x


def target_of(op, x):
    """Make a target: every class in turn, or probabilities of which some are 0 and some near 1."""
    rows, k = x.shape
    if op.target == "index":
        return (np.arange(rows) * 7 + np.argmax(x, axis=1) * (np.arange(rows) % 3 == 0)) % k
    t = seeded(x.shape).dirichlet(np.full(k, 0.3), rows)
    return np.where(t < 1e-3, 0.0, t).astype(x.dtype)


def check(op, method, arguments, bound, **options):
    """Check one call against mpmath; the bound is a literal of this module."""
    how = options | ({"reduction": "none"} if op.kind == "loss" else {})
    got = op.call(method)(*arguments, **how)
    errors = ulp_errors(got, *op.exact(method, arguments, options))
    worst = np.unravel_index(np.argmax(errors), errors.shape)
    assert errors[worst] <= bound, f"{op}.{method}: {errors[worst]:.1f} ULP at {worst}"


def test_the_registry_has_these_bounds():
    """What `check` and `bench` hold the library to is what is promised."""
    for op in ROWS:
        assert op.bound() == BOUNDS.get(op.id)
        if op.kind == "loss" and op.id in BOUNDS:
            assert op.bound("grad") == BOUNDS[op.id]


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", LOGITS)
@pytest.mark.parametrize("row", CLASS_ROWS)
def test_classes(row, kind, shape, dtype):
    """Values and gradients over classes."""
    x = logits(kind, shape, dtype)
    for op in find(row):
        arguments = (x, target_of(op, x)) if op.kind == "loss" else (x,)
        check(op, "value", arguments, BOUNDS[row])
        if op.kind == "loss":
            check(op, "grad", arguments, BOUNDS[row])


@dtypes
@pytest.mark.parametrize("kind", LOGITS)
@pytest.mark.parametrize("target", ["index", "probability"])
def test_label_smoothing_and_weights(target, kind, dtype):
    """Label smoothing is 8, and each weight adds 1."""
    (op,) = find(f"cross_entropy[{target}]")
    x = logits(kind, (12, 10), dtype)
    arguments = x, target_of(op, x)
    rng = seeded(kind, target)
    weight, sample_weight = (rng.uniform(0.1, 3, n).astype(dtype) for n in (10, 12))
    for method in ("value", "grad"):
        check(op, method, arguments, SMOOTHED, label_smoothing=0.125)
        check(op, method, arguments, BOUNDS[op.id] + 1, weight=weight)
        check(op, method, arguments, BOUNDS[op.id] + 1, sample_weight=sample_weight)
        check(
            op,
            method,
            arguments,
            SMOOTHED + 2,
            label_smoothing=0.125,
            weight=weight,
            sample_weight=sample_weight,
        )


@dtypes
@pytest.mark.parametrize("kind", ["moderate", "spread", "confident", "offset 1e6"])
def test_columns(kind, dtype):
    """The same bounds where the classes are not the last axis, and fused."""
    (op,) = find("cross_entropy[index]")
    x = logits(kind, (12, 10), dtype)
    t = target_of(op, x)
    columns = np.ascontiguousarray(x.T)
    value, grad = op.function.value_and_grad(columns, t, axis=0, reduction="none")
    assert np.max(ulp_errors(value, *op.exact("value", (x, t)))) <= 4
    assert np.max(ulp_errors(grad.T, *op.exact("grad", (x, t)))) <= 4


@dtypes
@pytest.mark.parametrize("row", ["softmax", "log_softmax", "logsumexp"])
def test_many_columns(row, dtype):
    """Rows side by side, of more classes than are taken at a time, in each a class that leads."""
    (op,) = find(row)
    rng = seeded(row)
    x = rng.uniform(-2, 2, (40, 300)).astype(dtype)
    x[np.arange(40), rng.permutation(300)[:40]] += np.geomspace(1, 60, 40)
    got = op.function(np.ascontiguousarray(x.T), axis=0)
    assert np.max(ulp_errors(got.T, *op.exact("value", (x,)))) <= BOUNDS[row]


@dtypes
@pytest.mark.parametrize("spread", [1.0, 30.0, 600.0])
def test_a_million_classes(spread, dtype):
    """The bound does not grow with k: a million logits that take 12 values, summed exactly."""
    import mpmath

    k = 10**6
    rng = seeded(spread)
    levels = rng.uniform(-min(spread, FAR[dtype]), min(spread, FAR[dtype]), 12).astype(dtype)
    drawn = rng.integers(12, size=k)
    x = levels[drawn][None]
    value, grad = fastce.cross_entropy.value_and_grad(x, [5], reduction="none")
    softmax, log_softmax = fastce.softmax(x), fastce.log_softmax(x)
    with mpmath.mp.workprec(200):
        e = [mpmath.exp(float(level)) for level in levels]
        counts = np.bincount(drawn, minlength=12)
        s = mpmath.fsum(int(n) * v for n, v in zip(counts, e, strict=True))
        p = [v / s for v in e]
        log_p = [-mpmath.log1p((s - v) / v) for v in e]
        others = [j for j in (0, 1, 2, 1000, k - 1) if j != 5]
        places = [0, 5, 1000, k - 1]
        want = np.array([-log_p[drawn[5]]]), np.array([p[drawn[j]] for j in others])
        target = np.array([p[drawn[5]] - 1])
        assert np.max(ulp_errors(value, want[0], want[0])) <= 4
        assert np.max(ulp_errors(grad[0, others], want[1], want[1])) <= 4
        assert np.max(ulp_errors(grad[0, [5]], target, -target)) <= 4
        for got, exact in ((softmax, p), (log_softmax, log_p)):
            exact = np.array([exact[drawn[j]] for j in places])
            assert np.max(ulp_errors(got[0, places], exact, abs(exact))) <= 4


def _vector_math_inputs(name, dtype):
    """Make numbers over the whole range: of all magnitudes, and near where the arguments split."""
    rng, info = seeded(name, dtype.__name__), np.finfo(dtype)
    if name.startswith("exp"):
        edge = 0.98 * np.log(float(info.max))
        splits = (np.arange(-900, 900) + 0.5) * np.log(2) / 16
        x = [rng.uniform(-edge, edge, 3000), splits, rng.normal(size=500) * 1e-5]
        return np.clip(np.concatenate(x), -edge, edge).astype(dtype)
    high = 0.4 * np.log(float(info.max))
    x = [np.exp(rng.uniform(-high, high, 3000)), rng.uniform(0.5, 3, 3000)]
    x.append(np.sqrt(2) * 2.0 ** np.arange(-20, 21) * (1 + rng.normal(size=41) * 1e-6))
    if name.startswith("log1p"):
        x.append(rng.uniform(-0.7, 1, 3000))
        x.append(_both_signs(np.geomspace(float(info.smallest_subnormal), 0.5, 500)))
    if name == "log1p in lanes":
        x = [np.clip(part, -0.7, 1) for part in x]
    if name.startswith("log") and not name.startswith("log1p"):
        # Where the intervals of the tables meet, beside 1, and subnormal numbers.
        meet = 1 + (np.arange(-9, 8) + 0.5) / np.where(np.arange(-9, 8) < 0, 32, 16)
        x.append(np.outer(meet, 1 + np.arange(-3, 4) * float(info.eps)).ravel())
        x.append(
            1 + np.concatenate([-1.0, 1.0] * np.geomspace(float(info.eps), 0.04, 500)[:, None])
        )
        x.append(np.geomspace(float(info.smallest_subnormal), float(info.tiny), 100))
    return np.concatenate(x).astype(dtype)


@dtypes
@pytest.mark.parametrize("name", kernels.VECTOR_MATH)
def test_vector_math_is_within_one_ulp(name, dtype):
    """What all else is made of."""
    x = _vector_math_inputs(name, dtype)
    function = getattr(mpmath, name.split()[0])
    with mpmath.workdps(60):
        exact = np.array([function(mpmath.mpf(float(v))) for v in x], dtype=object)
    assert ulp_errors(kernels.vector_math(name, x), exact, abs(exact)).max() < 1


def _both_signs(x):
    return np.concatenate([-x, x])


def _elements(dtype):
    """Arguments over all magnitudes: zeros, subnormals, ordinary ones, far ones."""
    info, rng = np.finfo(dtype), seeded("elements")
    return np.concatenate(
        [
            [0.0, -0.0],
            _both_signs(np.geomspace(float(info.smallest_subnormal), 1.0, 60)),
            rng.uniform(-1, 1, 100),
            rng.uniform(-10, 10, 200),
            rng.uniform(-50, 50, 100),
            rng.uniform(-1.01 * VANISH[dtype], 1.01 * VANISH[dtype], 200),
            _both_signs(np.geomspace(1.0, float(info.max) / 4, 60)),
        ]
    ).astype(dtype)


def _fractions(dtype):
    """Numbers in (0, 1): near both ends, near a half, between."""
    info, rng = np.finfo(dtype), seeded("fractions")
    p = np.concatenate(
        [
            np.geomspace(float(info.smallest_subnormal), 0.5, 100),
            0.5 + rng.integers(-20, 20, 20) * float(info.eps),
            0.5 + 0.1 * rng.uniform(-1, 1, 100),
            0.5 + np.geomspace(float(info.eps), 0.25, 40),
            rng.uniform(0, 1, 100),
            1 - np.geomspace(float(info.eps), 0.5, 60),
        ]
    ).astype(dtype)
    return p[(p > 0) & (p < 1)]


@dtypes
@pytest.mark.parametrize("row", ["sigmoid", "log_sigmoid", "softplus", "logit"])
def test_elementwise(row, dtype):
    """Activations over the whole range of numbers."""
    (op,) = find(row)
    check(op, "value", (_fractions(dtype) if row == "logit" else _elements(dtype),), BOUNDS[row])


@dtypes
@pytest.mark.parametrize("target", ["binary", "soft"])
@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "binary_cross_entropy"])
def test_binary(name, target, dtype):
    """Binary losses over the whole range of numbers, with targets 0, 1 and between."""
    (op,) = find(f"{name}[{target}]")
    x = _elements(dtype) if name.endswith("logits") else _fractions(dtype)
    if target == "soft" or name == "binary_cross_entropy":
        # a product with a target, 1 / p: neither may leave the range of numbers
        x = x[(np.abs(x) > float(np.finfo(dtype).tiny) * 4) & (np.abs(x) < 1e30)]
    rng = seeded(name, target)
    draw = rng.integers(2, size=x.shape) if target == "binary" else rng.uniform(0, 1, x.shape)
    t = draw.astype(dtype)
    weight, sample_weight = rng.uniform(0.1, 3, (2, x.size)).astype(dtype)
    bound = BOUNDS[op.id]
    for method in ("value", "grad"):
        check(op, method, (x, t), bound)
        check(op, method, (x, t), bound + 1, weight=weight)
        check(op, method, (x, t), bound + 1, sample_weight=sample_weight)
        check(op, method, (x, t), bound + 2, weight=weight, sample_weight=sample_weight)


def _on_the_right_side(low, high):
    return lambda rng, sign, dtype: sign * rng.uniform(low, high * VANISH[dtype], sign.size)


BINARY_BATCHES = {
    "moderate": lambda rng, sign, dtype: rng.normal(0, 3, sign.size),
    "right": _on_the_right_side(0.0, 0.95),
    "nearly vanished": _on_the_right_side(30.0, 1.0),
    "wrong": lambda rng, sign, dtype: -sign * rng.uniform(0, FAR[dtype], sign.size),
    "undecided": lambda rng, sign, dtype: sign * 10.0 ** rng.uniform(-20, 0, sign.size),
}


@dtypes
@pytest.mark.parametrize("n", [1, 31, 33, 512, 700])
@pytest.mark.parametrize("kind", BINARY_BATCHES)
def test_the_mean_of_a_binary_batch(kind, n, dtype):
    """The mean takes one logarithm for many samples, and loses nothing of them."""
    rng = seeded(kind, n)
    t = rng.integers(2, size=n).astype(dtype)
    x = BINARY_BATCHES[kind](rng, 2 * t - 1, dtype).astype(dtype)
    with mpmath.workdps(50):
        sides = zip(map(float, x), map(bool, t), strict=True)
        losses = (mpmath.log1p(mpmath.exp(-a if yes else mpmath.mpf(a))) for a, yes in sides)
        exact = mpmath.fsum(losses) / n
        got = fastce.binary_cross_entropy_with_logits(x, t)
        exact = np.array([exact], dtype=object)
        error = ulp_errors(np.array([got]), exact, exact)
    assert error <= BOUNDS["binary_cross_entropy_with_logits[binary]"]


CONFIDENT = [
    # lead of the true class, loss in float64
    (40.0, 4.248354255291589e-18),
    (700.0, 9.859676543759770e-305),
]


@pytest.mark.parametrize(("lead", "loss"), CONFIDENT)
def test_confident(lead, loss):
    """A tiny loss comes out as itself, and so does its gradient."""
    value, grad = fastce.cross_entropy.value_and_grad([lead, 0.0], 0)
    assert value == loss
    assert fastce.cross_entropy([lead, 0.0], 0) == loss
    np.testing.assert_array_equal(grad, [-loss, loss])
    np.testing.assert_array_equal(fastce.cross_entropy.grad([lead, 0.0], 0), [-loss, loss])
    near = functools.partial(np.testing.assert_array_max_ulp, maxulp=2)
    near(fastce.log_softmax([lead, 0.0]), np.array([-loss, -lead]))
    near(fastce.softmax([0.0, lead]), np.array([loss, 1.0]))
    near(fastce.binary_cross_entropy_with_logits(lead, 1.0), loss)
    near(fastce.binary_cross_entropy_with_logits.grad(lead, 1.0), -loss)
    near(fastce.softplus(-lead), loss)
    near(fastce.sigmoid(-lead), loss)
    near(fastce.log_sigmoid(lead), -loss)
