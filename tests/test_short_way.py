"""Calls that the kernels recognise give the same bits as the general way, and refuse the same."""

import itertools

import numpy as np
import pytest
from _support import assert_close, assert_same_bits, dtypes, parts, seeded

import fastce

N, K = 100, 7
METHODS = ("__call__", "grad", "value_and_grad", "grad_and_hess", "hvp")
REDUCTIONS = ("mean", "sum", "none")


def vectors(method, logits):
    """Give what a method takes after the target."""
    return [seeded("v").standard_normal(logits.shape, logits.dtype)] if method == "hvp" else []


def combinations(choices):
    """Give every choice of at most two options."""
    for count in range(3):
        for names in itertools.combinations(choices, count):
            yield {name: choices[name] for name in names}


def class_calls(dtype):
    """Give targets and options of cross_entropy."""
    rng = seeded("classes", dtype.__name__)
    labels = rng.integers(0, K, N)
    some_ignored = np.where(rng.random(N) < 0.2, -100, labels)
    weights = rng.uniform(0.5, 2.0, K).astype(dtype)
    weights[2] = 0
    sample_weight = rng.uniform(0.5, 2.0, N).astype(dtype)
    sample_weight[5] = np.inf
    choices = {
        "weight": weights,
        "sample_weight": sample_weight,
        "label_smoothing": 0.1,
        "z_loss": 0.3,
        "temperature": 2.0,
    }
    for options in combinations(choices):
        yield labels, options
        yield some_ignored, options
        yield rng.dirichlet(np.ones(K), N).astype(dtype), options
    yield labels, {"ignore_index": 3}


def element_calls(**choices):
    """Give targets and options of a loss of elements."""

    def calls(dtype):
        rng = seeded("elements", dtype.__name__)
        weights = {"sample_weight": rng.uniform(0.0, 2.0, (N, K)).astype(dtype)}
        if "weight" in choices:
            weights["weight"] = rng.uniform(0.0, 2.0, (N, K)).astype(dtype)
        for options in combinations(choices | weights):
            yield rng.random((N, K)).astype(dtype), options
            yield rng.integers(0, 2, (N, K)).astype(dtype), options

    return calls


def calls_with(*names):
    """Give those of class_calls whose options a loss has."""

    def calls(dtype):
        for target, options in class_calls(dtype):
            if options.keys() <= {*names, "sample_weight"}:
                yield target, options

    return calls


def of_kind(kinds, calls):
    """Give those of `calls` whose target is of one of the kinds of dtype."""
    return lambda dtype: (call for call in calls(dtype) if call[0].dtype.kind in kinds)


CALLS = {
    "cross_entropy": class_calls,
    "nll_loss": of_kind("i", calls_with("weight", "ignore_index")),
    "categorical_cross_entropy": calls_with("weight", "ignore_index", "label_smoothing"),
    "kl_divergence": of_kind("f", calls_with()),
    "binary_cross_entropy_with_logits": element_calls(
        weight=None, pos_weight=3.0, label_smoothing=0.1
    ),
    "binary_cross_entropy": element_calls(weight=None),
    "sigmoid_focal_loss": element_calls(alpha=0.4, gamma=1.5),
    "squared_error": element_calls(),
}


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", CALLS)
def test_same_bits(loss, method, reduction, dtype):
    """With every two options, with and without `out`."""
    logits = seeded("logits").uniform(0, 1, size=(N, K)).astype(dtype)
    call = getattr(getattr(fastce, loss), method)
    v = vectors(method, logits)
    for target, options in CALLS[loss](dtype):
        # A string of NumPy's is a string, but not one that the short way knows.
        want = parts(call(logits, target, *v, **options, reduction=np.str_(reduction)))
        options = options | {"reduction": reduction}
        assert_same_bits(parts(call(logits, target, *v, **options)), want)
        if method == "__call__":
            continue
        outs = tuple(np.full_like(logits, 7) for _ in range(1 + (method == "grad_and_hess")))
        got = call(logits, target, *v, **options, out=outs if len(outs) > 1 else outs[0])
        assert_same_bits(parts(got), want)
        assert parts(got)[-1] is outs[-1]


# An array of (n, k) in the last columns or rows of an array full of 7, with room between them.
OPEN = {
    "columns": lambda n, k: ((n, 2 * k + 3), lambda a: a[:, 3::2]),
    "every third column": lambda n, k: ((n, 3 * k), lambda a: a[:, ::3]),
    "the first columns": lambda n, k: ((n, k + 5), lambda a: a[:, :k]),
    "every other row": lambda n, k: ((2 * n, k), lambda a: a[::2]),
    "Fortran": lambda n, k: ((k, n), lambda a: a.T),
    "rows of Fortran": lambda n, k: ((k, n + 3), lambda a: a[:, 3:].T),
}


def opened(layout, array):
    """Copy an array into one of the layouts; give what it lies in as well."""
    shape, view = OPEN[layout](*array.shape)
    base = np.full(shape, 7, array.dtype)
    view(base)[:] = array
    return view(base), base


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("k", [3, 30, 150, 5000])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", OPEN)
def test_open_matrices(layout, method, k, dtype):
    """Logits, v and results with room between rows or columns; what lies there stays."""
    n = 40 if k < 5000 else 5
    rng = seeded("open", layout, k)
    logits = rng.standard_normal((n, k), dtype)
    labels = rng.integers(0, k, n)
    v = vectors(method, logits)
    call = getattr(fastce.cross_entropy, method)
    x, base = opened(layout, logits)
    before = base.copy()
    want = parts(call(x, labels, *v, reduction=np.str_("mean")))
    assert_close(want, parts(call(logits, labels, *v)), 16)
    assert_same_bits(parts(call(x, labels, *v)), want)
    assert_same_bits(parts(call(x, labels, *[opened(layout, one)[0] for one in v])), want)
    assert_same_bits(base, before)
    if method == "__call__":
        return
    probabilities = rng.dirichlet(np.ones(k), n).astype(dtype)
    for target in (labels, probabilities):
        outs, bases = zip(
            *[opened(layout, logits) for _ in range(1 + (method == "grad_and_hess"))], strict=True
        )
        for given in (logits, x, outs[0]):
            want = parts(call(given, target, *v, reduction=np.str_("mean")))
            got = call(given, target, *v, out=outs if len(outs) > 1 else outs[0])
            assert_same_bits(parts(got), want)
            assert parts(got)[-1] is outs[-1]
            for out, around in zip(outs, bases, strict=True):
                out[:] = logits
                assert_same_bits(around, before)


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("layout", OPEN)
@pytest.mark.parametrize("loss", CALLS)
def test_open_results(loss, layout, dtype):
    """Results of every loss in such arrays."""
    logits = seeded("logits").uniform(0, 1, size=(N, K)).astype(dtype)
    target, _ = next(iter(CALLS[loss](dtype)))
    for method in METHODS[1:]:
        call = getattr(getattr(fastce, loss), method)
        v = vectors(method, logits)
        want = parts(call(logits, target, *v))
        pair = [opened(layout, logits) for _ in range(2)]
        before = pair[0][1].copy()
        (out, _), (other, _) = pair
        got = call(logits, target, *v, out=(out, other) if method == "grad_and_hess" else out)
        assert_same_bits(parts(got), want)
        for one, base in pair:
            one[:] = logits
            assert_same_bits(base, before)


@pytest.mark.core
@pytest.mark.parametrize("k", [8, 150])
@pytest.mark.parametrize("method", METHODS[1:])
def test_matrices_that_overlap(method, k):
    """A result between the logits, or over a part of them or of v, is the one asked for."""
    n = 100
    rng = seeded("overlap", k)
    logits = rng.normal(size=(n, k))
    labels = rng.integers(0, k, n)
    v = vectors(method, logits)
    call = getattr(fastce.cross_entropy, method)
    want = parts(call(logits, labels, *v, reduction=np.str_("mean")))

    def check(x, out, *vector):
        got = call(
            x,
            labels,
            *vector,
            out=(out, np.empty_like(x)) if len(want) > 1 and method == "grad_and_hess" else out,
        )
        assert_same_bits(parts(got), want)

    memory = np.zeros((n + 1, 2 * k))
    memory[:n, ::2] = logits
    check(memory[:n, ::2], memory[:n, 1::2], *v)
    assert_same_bits(memory[:n, ::2], logits)
    check(memory[:n, ::2], memory[1:, ::2], *v)
    memory[:n, ::2] = logits
    check(memory[:n, ::2], memory[:n, ::2], *v)
    if v:
        for out in (memory[:n, ::2], memory[1:, ::2], memory[:n, :k]):
            memory[:n, ::2] = v[0]
            check(logits, out, memory[:n, ::2])
    square = np.zeros((150, 150))
    square[:n, :k] = logits
    # (Its transpose is another array in the same memory.)
    check(square[:n, :k], square.T[:n, :k], *v)


BAD_OPTIONS = [
    ("cross_entropy", {"weight": np.array([1.0] * (K - 1) + [-1.0])}, "weight"),
    ("cross_entropy", {"weight": np.ones(K + 1)}, "weight"),
    ("cross_entropy", {"sample_weight": np.full(N, np.nan)}, "sample_weight"),
    ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing"),
    ("cross_entropy", {"z_loss": -1.0}, "z_loss"),
    ("cross_entropy", {"temperature": 0.0}, "temperature"),
    ("cross_entropy", {"reduction": "Mean"}, "reduction"),
    ("cross_entropy", {"axis": 5}, "axis"),
    ("cross_entropy", {"temprature": 1.0}, "temprature"),
    ("nll_loss", {"temperature": 2.0}, "temperature"),
    ("squared_error", {"weight": np.ones((N, K))}, "weight"),
    ("sigmoid_focal_loss", {"alpha": 1.5}, "alpha"),
    ("sigmoid_focal_loss", {"gamma": -1.0}, "gamma"),
    ("categorical_cross_entropy", {"z_loss": 0.5}, "z_loss"),
    ("cross_entropy", {"weight": [1.0, 2.0]}, "weight"),
    ("cross_entropy", {"sample_weight": "abc"}, "sample_weight"),
    ("binary_cross_entropy_with_logits", {"pos_weight": -1.0}, "pos_weight"),
    ("binary_cross_entropy_with_logits", {"pos_weight": float("nan")}, "pos_weight"),
    ("binary_cross_entropy_with_logits", {"weight": np.full((N, K), -1.0)}, "weight"),
    ("binary_cross_entropy_with_logits", {"label_smoothing": -0.1}, "label_smoothing"),
    ("binary_cross_entropy_with_logits", {"reduction": 1}, "reduction"),
]


@pytest.mark.core
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("loss", "options", "name"), BAD_OPTIONS, ids=str)
def test_refused_before_writing(loss, options, name, method):
    """What the general way refuses is refused, by name, and `out` stays as it was."""
    logits = np.zeros((N, K))
    of_classes = loss in ("cross_entropy", "nll_loss", "categorical_cross_entropy")
    target = np.zeros(N, np.int64) if of_classes else np.zeros((N, K))
    outs = [np.full_like(logits, 7) for _ in range(2)]
    given = {}
    if method != "__call__":
        given["out"] = tuple(outs) if method == "grad_and_hess" else outs[0]
    with pytest.raises((TypeError, ValueError), match=name):
        call = getattr(getattr(fastce, loss), method)
        call(logits, target, *vectors(method, logits), **options, **given)
    assert all(np.all(out == 7) for out in outs)


@pytest.mark.core
def test_results_over_the_weights():
    """A gradient written over the weights or the targets is the one asked for."""
    logits = seeded("over").normal(size=(N, K))
    labels = np.arange(N) % K
    memory = np.ones(N * K)
    over = {"sample_weight": memory[:N], "weight": memory[:K]}
    want = fastce.cross_entropy.grad(logits, labels, sample_weight=np.ones(N), weight=np.ones(K))
    for name, array in over.items():
        memory[:] = 1
        out = memory.reshape(N, K)
        got = fastce.cross_entropy.grad(logits, labels, **{name: array}, out=out)
        assert_same_bits(got, want, name)
    target = seeded("targets").dirichlet(np.ones(K), N)
    want = fastce.cross_entropy.grad(logits, target)
    assert_same_bits(fastce.cross_entropy.grad(logits, target, out=target), want)


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("k", [3, 61, 5000])
@pytest.mark.parametrize("name", ["softmax_backward", "log_softmax_backward"])
def test_backward(name, k, dtype):
    """The same for the backward functions, over either input too."""
    rng = seeded(name, k, dtype.__name__)
    grad = rng.normal(size=(20, k)).astype(dtype)
    y = rng.dirichlet(np.ones(k), 20).astype(dtype)
    y = y if name == "softmax_backward" else np.log(y)
    call = getattr(fastce, name)
    # A tuple is an axis, but not one that the short way knows.
    want = call(grad, y, (1,))
    given = grad.copy(), y.copy()
    for out in (None, np.full_like(y, 7), *given):
        pair = [array.copy() if out is not array else array for array in given]
        got = call(*pair, out=out)
        assert_same_bits(got, want)
        assert out is None or got is out
        given[0][:], given[1][:] = grad, y
    memory = np.concatenate([y.ravel(), y[0]])
    later = memory[k:].reshape(y.shape)
    assert_same_bits(call(grad, memory[:-k].reshape(y.shape), out=later), want)
    with pytest.raises(ValueError, match="output"):
        call(grad, y[1:])
    with pytest.raises(ValueError, match="out"):
        call(grad, y, out=np.empty_like(y[1:]))
