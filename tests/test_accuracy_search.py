"""A hunt for the largest error: seeded hill-climbs, long sums, and the mean of many samples.

`python tests/test_accuracy_search.py` prints the worst error found for each operation, and where.

`climb` keeps many rows at once.  A step changes a logit, a target, the scale or the offset of each,
and keeps the change where the error grows; a row that no longer improves starts anew.  Errors are
ranked by sums in a wider type, and those of the winners measured by mpmath.

The environment variable FASTCE_SEARCH_STEPS sets how many steps each hunt takes.
"""

import itertools
import math
import os

import numpy as np
import pytest
from _support import dtypes, seeded

import fastce
from fastce._registry import find, ulp_errors

pytest.importorskip("mpmath")
pytestmark = pytest.mark.core

STEPS = int(os.environ.get("FASTCE_SEARCH_STEPS", "20"))
PATIENCE = 15  # steps without improvement before a row starts anew
NUMBERS = 3000  # in a batch
WINNERS = 4  # how many are measured by mpmath
CLASSES = (2, 3, 10, 33, 130)

SMOOTHED = {"label_smoothing": 0.1}
# row of the registry, method, options, bound in ULP
ROW_CASES = [
    ("softmax", "value", {}, 4),
    ("log_softmax", "value", {}, 4),
    ("logsumexp", "value", {}, 2),
    ("cross_entropy[index]", "value", {}, 4),
    ("cross_entropy[index]", "grad", {}, 4),
    ("cross_entropy[index]", "value", SMOOTHED, 8),
    ("cross_entropy[index]", "grad", SMOOTHED, 8),
    ("cross_entropy[probability]", "value", {}, 8),
    ("cross_entropy[probability]", "grad", {}, 8),
    ("cross_entropy[probability]", "value", SMOOTHED, 8),
    ("cross_entropy[probability]", "grad", SMOOTHED, 8),
]
ELEMENT_CASES = [
    ("sigmoid", "value", {}, 2),
    ("log_sigmoid", "value", {}, 2),
    ("softplus", "value", {}, 2),
    ("logit", "value", {}, 2),
    ("binary_cross_entropy_with_logits[binary]", "value", {}, 2),
    ("binary_cross_entropy_with_logits[binary]", "grad", {}, 2),
    ("binary_cross_entropy[binary]", "value", {}, 2),
    ("binary_cross_entropy[binary]", "grad", {}, 2),
]
OF_FRACTIONS = ("logit", "binary_cross_entropy[binary]")

# How far logits go before e^-x leaves the subnormals.
VANISH = {np.float64: 745.0, np.float32: 103.0}


def wide(array):
    """Convert to the type errors are ranked in."""
    return array.astype(np.float64 if array.dtype == np.float32 else np.longdouble)


def wide_ulps(got, exact, scale):
    """Do what `ulp_errors` does in a wider type, and quickly."""
    info = np.finfo(got.dtype)
    lowest = info.minexp - info.nmant
    with np.errstate(all="ignore"):
        exponent = np.where(scale > 0, np.frexp(scale)[1] - 1 - info.nmant, lowest)
        errors = np.ldexp(abs(wide(got) - exact), -np.maximum(exponent, lowest))
        over = np.isinf(got) & (abs(exact) > info.max) & (np.sign(got) == np.sign(exact))
    errors = np.where(over | (wide(got) == exact) | (np.isnan(got) & np.isnan(exact)), 0, errors)
    return np.where(np.isnan(errors), np.inf, errors).astype(float)


# --------------------------------------- nearly exact values: each gives (values, scales), wide


def parts(x):
    """Give p, log p and 1 - p of rows, each as a sum of terms of one sign."""
    x = wide(x)
    with np.errstate(all="ignore"):
        first = np.argmax(x, axis=-1)[:, None]
        m = np.take_along_axis(x, first, axis=-1)
        e = np.exp(x - m)
        others = e.copy()
        np.put_along_axis(others, first, 0, axis=-1)
        rest = others.sum(axis=-1, keepdims=True)
        s = 1 + rest
        log_p = np.where(m == x, 0, x - m) - np.log1p(rest)
        without = s - e
        np.put_along_axis(without, first, rest, axis=-1)
        return e / s, log_p, without / s, m[:, 0], np.log1p(rest[:, 0])


def wide_cross_entropy(method, x, target, label_smoothing=0.0):
    """Give loss or gradient; the scale is that of the contract."""
    p, log_p, without, _, _ = parts(x)
    sharp = target.dtype.kind == "i" and not label_smoothing
    masked = np.isneginf(x)
    c = target
    if target.dtype.kind == "i":
        c = (np.arange(x.shape[1]) == target[:, None]).astype(x.dtype)
    one = wide(np.ones(1, x.dtype))
    share = one * label_smoothing / (x.shape[1] - masked.sum(axis=-1, keepdims=True))
    c = (one - label_smoothing) * wide(c) + np.where(masked, 0, share)
    if method == "value":
        with np.errstate(invalid="ignore"):
            value = np.sum(np.where(c > 0, -c * log_p, 0), axis=-1)
        return value, value
    lead = np.argmax(c, axis=-1)[:, None]
    others = c.copy()
    np.put_along_axis(others, lead, 0, axis=-1)
    total = others.sum(axis=-1, keepdims=True)
    top = np.take_along_axis(c, lead, axis=-1)
    others = total + top - c
    np.put_along_axis(others, lead, total, axis=-1)
    grad = p * others - c * without
    return grad, abs(grad) if sharp else p * (others + c) + c


def wide_softplus(x):
    """Give log(1 + e^x)."""
    x = wide(x)
    return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)


def wide_sigmoid(x):
    """Give 1 / (1 + e^-x)."""
    e = np.exp(-abs(wide(x)))
    return np.where(x < 0, e, 1) / (1 + e)


def wide_logit(p):
    """Give log(p / (1 - p))."""
    p = wide(p)
    near = 2 * np.arctanh(np.clip(2 * p - 1, -0.75, 0.75))
    return np.where(abs(p - 0.5) < 0.25, near, np.log(p) - np.log1p(-p))


def nearly_exact(name, method, arguments, options):
    """Give values and scales."""
    x, *rest = arguments
    if name.startswith("cross_entropy"):
        return wide_cross_entropy(method, x, *rest, **options)
    if name == "logsumexp":
        _, _, _, m, log_s = parts(x)
        return m + log_s, np.maximum(abs(m), abs(m + log_s))
    if name in ("softmax", "log_softmax"):
        value = parts(x)[name == "log_softmax"]
    elif name == "binary_cross_entropy[binary]":
        q = np.where(rest[0] == 1, wide(x), 1 - wide(x))
        log_q = np.where(rest[0] == 1, np.log(wide(x)), np.log1p(-wide(x)))
        value = -log_q if method == "value" else np.where(rest[0] == 1, -1, 1) / q
    elif rest:
        z = np.where(rest[0] == 1, -x, x)
        sign = np.where(rest[0] == 1, -1, 1)
        value = wide_softplus(z) if method == "value" else sign * wide_sigmoid(z)
    else:
        formulas = {
            "sigmoid": wide_sigmoid,
            "log_sigmoid": lambda x: -wide_softplus(-x),
            "softplus": wide_softplus,
            "logit": wide_logit,
        }
        value = formulas[name](x)
    return value, abs(value)


# --------------------------------------------------------------------- where the hunt starts


def fresh_logits(rng, n, k, dtype):
    """Make rows: moderate, spread, one leads, near ties, offset, subnormal, masked, any size."""
    eps, far = float(np.finfo(dtype).eps), VANISH[dtype]
    x = rng.uniform(-1, 1, (n, k)) * np.exp(rng.uniform(-3, np.log(far), (n, 1)))
    kind = rng.integers(8, size=n)[:, None]
    lead = (np.arange(k) == rng.integers(k, size=(n, 1))) * rng.uniform(5, far, (n, 1))
    x = np.where(kind == 1, rng.uniform(-1, 1, (n, k)) + lead, x)
    x = np.where(kind == 2, rng.uniform(-9, 9, (n, 1)) * (1 + rng.integers(-4, 5, (n, k)) * eps), x)
    x = np.where(kind == 3, x + rng.normal(size=(n, 1)) * 10 ** rng.uniform(0, 16, (n, 1)), x)
    x = np.where(kind == 4, (lead == 0) * -far * rng.uniform(0.9, 1.01, (n, k)), x)
    x = np.where((kind == 5) & (rng.random((n, k)) < 0.4) & (lead == 0), -np.inf, x)
    x = np.where(kind == 6, x * 10 ** rng.uniform(-30, 30, (n, 1)), x)
    return x.astype(dtype)


def fresh_numbers(rng, n, k, dtype):
    """Make logits of all magnitudes."""
    x = rng.uniform(-1, 1, (n, k)) * VANISH[dtype] * 1.01
    kind = rng.integers(4, size=(n, k))
    x = np.where(kind == 1, rng.uniform(-20, 20, (n, k)), x)
    x = np.where(kind == 2, rng.uniform(-2, 2, (n, k)), x)
    return np.where(kind == 3, rng.normal(size=(n, k)) * 10 ** rng.uniform(-30, 8, (n, k)), x)


def fresh_fractions(rng, n, k, dtype):
    """Make numbers in (0, 1): near both ends, near a half, between."""
    p = rng.uniform(0, 1, (n, k))
    kind = rng.integers(4, size=(n, k))
    p = np.where(kind == 1, 10 ** rng.uniform(-44, 0, (n, k)), p)
    p = np.where(kind == 2, 1 - 10 ** rng.uniform(-16, 0, (n, k)), p)
    return np.where(kind == 3, 0.5 + rng.normal(size=(n, k)) * 10 ** rng.uniform(-16, 0, (n, k)), p)


def fresh_target(rng, n, k, target):
    """Make targets: classes, 0 or 1, or probabilities some of which are 0 and some near 1."""
    if target == "index":
        return rng.integers(k, size=n)
    if target == "binary":
        return rng.integers(2, size=(n, k)).astype(float)
    t = rng.standard_gamma(10 ** rng.uniform(-1, 1, (n, 1)), (n, k)) + 1e-6
    t = np.where(rng.random((n, k)) < 0.1, 0.0, t)
    return t / np.maximum(t.sum(axis=-1, keepdims=True), 1e-6)


class Hunt:
    """One operation, dtype and number of classes."""

    def __init__(self, name, method, options, dtype, k):
        """Look up what is hunted."""
        (self.op,) = find(name)
        self.name, self.method, self.options = name, method, options
        self.dtype, self.k = dtype, k
        self.target = self.op.target
        self.call = self.op.call(method)
        self.how = options | ({"reduction": "none"} if self.op.kind == "loss" else {})
        self.rng = seeded(name, method, tuple(options), dtype.__name__, k)

    def repair(self, x):
        """Bring logits or fractions into their range, and to their dtype."""
        info = np.finfo(self.dtype)
        low, high = -float(info.max), float(info.max)
        if self.name in OF_FRACTIONS:
            low, high = float(info.smallest_subnormal), 1 - float(info.epsneg)
        elif not self.op.has_axis:
            low, high = low / 4, high / 4
        with np.errstate(under="ignore"):
            return np.where(np.isneginf(x), x, np.clip(x, low, high)).astype(self.dtype)

    def fresh(self, n):
        """Make n rows of arguments."""
        if self.op.has_axis:
            make = fresh_logits
        else:
            make = fresh_fractions if self.name in OF_FRACTIONS else fresh_numbers
        x = self.repair(make(self.rng, n, self.k, self.dtype))
        if self.target is None:
            return [x]
        t = fresh_target(self.rng, n, self.k, self.target)
        return [x, t if self.target == "index" else t.astype(self.dtype)]

    def mutate(self, arguments):
        """Change one logit, or the scale, the offset or the last digits of a row; or its target."""
        rng, old = self.rng, arguments[0]
        n, k = old.shape
        rows, kind = np.arange(n), rng.integers(6, size=n)
        j, other = rng.integers(k, size=(2, n))
        x = old.astype(float)
        size = rng.normal(size=n) * 10 ** rng.uniform(-4, 2, n)
        last = np.where(np.isfinite(old), np.spacing(np.abs(old)), 0).astype(float)
        pick = (np.arange(k) == j[:, None]) | (kind == 0)[:, None]
        steps = np.where(pick & (kind < 2)[:, None], rng.integers(-8, 9, (n, k)), 0)
        with np.errstate(over="ignore", invalid="ignore"):
            x += steps * last
            x[rows, j] += np.where(kind == 2, size, 0)
            x[rows, j] = np.where(kind == 3, x[rows, other] + size, x[rows, j])
            x *= np.where(kind == 4, np.exp(0.1 * size.clip(-5, 5)), 1)[:, None]
            x += np.where(kind == 5, size, 0)[:, None]
        x = self.repair(x)
        bad = ~np.any(np.isfinite(x), axis=-1) | np.any(np.isnan(x), axis=-1)
        x[bad] = old[bad]
        if self.target is None:
            return [x]
        t = arguments[1].copy()
        new = rng.random(n) < 0.1
        t[new] = fresh_target(rng, n, k, self.target).astype(t.dtype)[new]
        if self.target == "probability":
            t[rows, j] *= np.where(rng.random(n) < 0.3, rng.uniform(0, 1.1, n), 1).astype(t.dtype)
        return [x, np.minimum(t, 1)] if self.target == "probability" else [x, t]

    def rank(self, arguments):
        """Give the error of each row, nearly."""
        got = self.call(*arguments, **self.how)
        with np.errstate(all="ignore"):
            exact = nearly_exact(self.name, self.method, arguments, self.options)
        errors = wide_ulps(got, *exact)
        return errors.reshape(len(errors), -1).max(axis=1)

    def measure(self, arguments):
        """Give the errors of rows by mpmath, each computed alone and in a batch."""
        worst = np.zeros(len(arguments[0]))
        exact = self.op.exact(self.method, tuple(arguments), self.options)
        for copies in (1, 17):
            batch = [np.repeat(a, copies, axis=0) for a in arguments]
            got = np.asarray(self.call(*batch, **self.how))
            for i in range(copies):
                errors = ulp_errors(got[i::copies], *exact)
                worst = np.maximum(worst, errors.reshape(len(errors), -1).max(axis=1))
                if np.array_equal(got[i::copies], got[-1 - i :: -copies][::-1]):
                    break  # all copies alike
        return worst

    def climb(self, steps):
        """Give the largest error found, in ULP, and the arguments that have it."""
        n = max(16, NUMBERS // self.k)
        state = self.fresh(n)
        errors, age = self.rank(state), np.zeros(n, int)
        winners = [a[:0] for a in state]
        for _ in range(steps):
            trial = self.mutate(state)
            found = self.rank(trial)
            better = found > errors
            for a, b in zip(state, trial, strict=True):
                a[better] = b[better]
            errors = np.where(better, found, errors)
            age = np.where(better, 0, age + 1)
            stuck = np.flatnonzero(age > PATIENCE)
            if len(stuck):
                best = stuck[np.argmax(errors[stuck])]
                winners = [
                    np.concatenate([w, a[best : best + 1]])
                    for w, a in zip(winners, state, strict=True)
                ]
                for a, b in zip(state, self.fresh(len(stuck)), strict=True):
                    a[stuck] = b
                errors[stuck] = self.rank([a[stuck] for a in state])
                age[stuck] = 0
        state = [np.concatenate(pair) for pair in zip(winners, state, strict=True)]
        top = np.argsort(self.rank(state))[-WINNERS:]
        state = [a[top] for a in state]
        measured = self.measure(state)
        best = int(np.argmax(measured))
        return float(measured[best]), tuple(a[best : best + 1] for a in state)


def show(name, method, options):
    """Name a case."""
    return "-".join([name, method, *options])


def cases(table):
    """Parametrize a test over a table of cases."""
    return pytest.mark.parametrize(
        ("name", "method", "options", "bound"),
        [pytest.param(*case, id=show(*case[:3])) for case in table],
    )


@dtypes
@pytest.mark.parametrize("k", CLASSES)
@cases(ROW_CASES)
def test_rows(name, method, options, bound, k, dtype):
    """No row is found that is out of bounds."""
    error, arguments = Hunt(name, method, options, dtype, k).climb(STEPS)
    assert error <= bound, f"{error:.2f} ULP at {[a.tolist() for a in arguments]}"


@dtypes
@cases(ELEMENT_CASES)
def test_elements(name, method, options, bound, dtype):
    """No number is found that is out of bounds."""
    error, arguments = Hunt(name, method, options, dtype, 1).climb(4 * STEPS)
    assert error <= bound, f"{error:.2f} ULP at {[a.tolist() for a in arguments]}"


# ------------------------------------------------------------------------------- long sums

LONG = {
    "equal": lambda rng, k: np.full(k, 0.1),
    "random": lambda rng, k: rng.normal(size=k),
    "spread": lambda rng, k: rng.uniform(-80, 80, k),
    "near ties": lambda rng, k: 3.0 + rng.integers(-4, 5, k) * 1e-15,
    "falling": lambda rng, k: np.linspace(3, -3, k),
    "one leads": lambda rng, k: np.where(np.arange(k) == k // 3, 40.0, rng.normal(size=k)),
}
WIDER = np.finfo(np.longdouble).nmant >= 63


@dtypes
@pytest.mark.parametrize("k", [10**3, 10**5, 10**6])
@pytest.mark.parametrize("kind", LONG)
def test_sums_do_not_grow(kind, k, dtype):
    """The bounds hold for any number of classes."""
    if dtype is np.float64 and not WIDER:
        pytest.skip("no type wider than float64")
    x = LONG[kind](seeded(kind, k), k).astype(dtype)[None]
    t = k // 3
    p, log_p, without, m, log_s = parts(x)
    lse = m + log_s

    def error(got, exact, scale=None):
        return wide_ulps(got, exact, abs(exact) if scale is None else scale).max()

    assert error(fastce.softmax(x), p) <= 4
    assert error(fastce.log_softmax(x), log_p) <= 4
    assert error(fastce.logsumexp(x, axis=-1), lse, np.maximum(abs(m), abs(lse))) <= 2
    value, grad = fastce.cross_entropy.value_and_grad(x, [t], reduction="none")
    assert error(value, -log_p[:, t]) <= 4
    p[:, t] = -without[:, t]
    assert error(grad, p) <= 4


@dtypes
def test_sum_of_losses_of_both_signs(dtype):
    """What is left when large losses cancel is not lost."""
    log_p = np.zeros((64, 2), dtype)
    log_p[[0, 1, 32, 63], 0] = -1e10, 1e10, -1e-8, -1e-9
    total = fastce.nll_loss(log_p, np.zeros(64, int), reduction="sum")
    assert total == pytest.approx(1.1e-8, rel=1e-6)


def exact_mean(values):
    """Give the mean of many numbers, rounded once."""
    chunks = (chunk.tolist() for chunk in np.array_split(values, 100))
    return math.fsum(itertools.chain.from_iterable(chunks)) / len(values)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("binary_cross_entropy_with_logits", np.float64), ("cross_entropy", np.float32)],
    ids=["elements-float64", "rows-float32"],
)
def test_the_mean_of_ten_million(name, dtype):
    """The mean over samples is that of their values, within 1 ULP."""
    n, rng, loss = 10**7, seeded(name), getattr(fastce, name)
    x = rng.standard_normal((n, 2) if name == "cross_entropy" else n, dtype)
    x[: n // 2] *= 30
    target = rng.integers(2, size=n)
    mean = loss(x, target)
    want = exact_mean(loss(x, target, reduction="none"))
    assert abs(float(mean) - want) <= np.spacing(dtype(want))


def main():
    """Print the largest error found of each operation and dtype, and the row that has it."""
    for table, classes in ((ROW_CASES, CLASSES), (ELEMENT_CASES, (1,))):
        for (name, method, options, bound), dtype in itertools.product(
            table, (np.float64, np.float32)
        ):
            found = [Hunt(name, method, options, dtype, k).climb(4 * STEPS) for k in classes]
            error, arguments = max(found, key=lambda pair: pair[0])
            print(f"{show(name, method, options)}, {dtype.__name__}: {error:.2f} (bound {bound})")
            print(f"    at {', '.join(str(a[0].tolist()) for a in arguments)}")


if __name__ == "__main__":
    main()
