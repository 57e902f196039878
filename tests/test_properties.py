"""What must hold for any shape, layout, axis and values: drawn by Hypothesis."""

import numpy as np
import pytest
from _support import AXIS_ROWS, LOSSES, assert_close, over, parts
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastce
from fastce import reference

EPS = np.finfo(np.float64).eps


@st.composite
def layouts(draw, array):
    """Give the same values in another memory layout."""
    if array.ndim == 0:
        return array
    order = draw(st.permutations(range(array.ndim)))
    back = np.argsort(order)
    array = np.ascontiguousarray(array.transpose(order)).transpose(back)
    for axis in range(array.ndim):
        step = draw(st.sampled_from([1, 1, -1, 2, -3]))
        large = np.full(
            [n * (abs(step) if a == axis else 1) for a, n in enumerate(array.shape)], np.nan
        )
        view = large[tuple(slice(None, None, step if a == axis else 1) for a in range(array.ndim))]
        view[...] = array
        array = view
    return array


@st.composite
def logits(draw, max_side=6, min_dims=1, spread=30.0):
    """Draw scores of any shape and layout, some of them masked, and an axis."""
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=4, max_side=max_side))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    numbers = st.floats(-spread, spread, width=32)
    values = draw(hnp.arrays(np.float64, shape, elements=numbers))
    if draw(st.booleans()):
        masked = draw(hnp.arrays(bool, shape))
        values = np.where(masked & ~masked.all(axis=axis, keepdims=True), -np.inf, values)
    return draw(layouts(values)), axis


@given(logits())
def test_probabilities(drawn):
    """Probabilities are in [0, 1], sum to 1, and are those of log_softmax."""
    x, axis = drawn
    p = fastce.softmax(x, axis=axis)
    assert np.all((p >= 0) & (p <= 1))
    np.testing.assert_allclose(p.sum(axis=axis), 1, rtol=16 * EPS)
    log_p = fastce.log_softmax(x, axis=axis)
    assert np.all(log_p <= 0)
    # an error of 4 ULP in log p is one of 4 |log p| eps in p, here at most 62 times 4
    np.testing.assert_allclose(np.exp(log_p), p, rtol=300 * EPS)
    np.testing.assert_array_equal(p == 0, np.isneginf(x))


@given(logits(), st.integers(-1000, 1000))
def test_shift(drawn, shift):
    """Adding a constant changes no probability (a multiple of the numbers' unit, so exactly)."""
    x, axis = drawn
    x = np.round(x * 2.0**20) / 2.0**20
    assert_close(fastce.softmax(x + shift, axis=axis), fastce.softmax(x, axis=axis), 8)
    got, want = fastce.logsumexp(x + shift, axis=axis), fastce.logsumexp(x, axis=axis)
    some = np.isfinite(want)
    np.testing.assert_array_equal(got[~some], want[~some])
    # each is within 2 ULP of the larger of itself and the largest logit, and the sum is rounded
    top = np.max(x, axis=axis)[some]
    scale = np.max(np.abs([top, top + shift, want[some], got[some]]), axis=0)
    assert np.all(np.abs(got[some] - (want[some] + shift)) <= 4.5 * EPS * scale)


@given(logits(), st.randoms(use_true_random=False))
def test_permutation(drawn, random):
    """Permuted classes give permuted probabilities."""
    x, axis = drawn
    order = list(range(x.shape[axis]))
    random.shuffle(order)
    got = fastce.softmax(x.take(order, axis=axis), axis=axis)
    np.testing.assert_allclose(
        got, fastce.softmax(x, axis=axis).take(order, axis=axis), rtol=8 * EPS
    )


@given(logits(), st.data())
def test_gradient_sums_to_zero(drawn, data):
    """The gradient of a row of cross-entropy sums to 0, and the Hessian takes constants to 0."""
    x, axis = drawn
    moved = np.moveaxis(x, axis, -1)
    samples, k = moved.shape[:-1], moved.shape[-1]
    target = data.draw(hnp.arrays(np.int64, samples, elements=st.integers(0, k - 1)))
    grad = fastce.cross_entropy.grad(x, target, axis=axis, reduction="none")
    np.testing.assert_allclose(grad.sum(axis=axis), 0, atol=16 * EPS)
    assert np.all(np.abs(grad) <= 1)
    hv = fastce.cross_entropy.hvp(x, target, np.ones_like(x), axis=axis, reduction="none")
    np.testing.assert_allclose(hv, 0, atol=16 * EPS)
    value = fastce.cross_entropy(x, target, axis=axis, reduction="none")
    picked = np.take_along_axis(moved, target[..., None], -1)[..., 0]
    assert np.all(value >= 0)
    np.testing.assert_array_equal(np.isinf(value), np.isneginf(picked))


@given(logits(min_dims=2))
def test_layout_does_not_matter(drawn):
    """A strange layout gives what the contiguous copy gives."""
    x, axis = drawn
    for name in ("softmax", "log_softmax", "logsumexp"):
        function = getattr(fastce, name)
        assert_close(function(x, axis=axis), function(np.ascontiguousarray(x), axis=axis), 4)


@given(logits())
def test_last_axis_or_another(drawn):
    """The axis is moved: the values are those of the moved array."""
    x, axis = drawn
    moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    got = np.moveaxis(fastce.softmax(x, axis=axis), axis, -1)
    assert_close(got, fastce.softmax(moved), 4)


@over("op", AXIS_ROWS)
@given(st.data())
def test_agreement_along_an_axis(op, data):
    """Any shape, axis and layout agrees with the reference."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    arguments = op.arguments(rng, shape, axis=axis)
    option_sets = op.option_sets(rng, shape, axis=axis)
    options = data.draw(st.sampled_from(option_sets)) | {"axis": axis}
    method = data.draw(st.sampled_from(op.methods))
    if op.kind == "loss":
        options["reduction"] = data.draw(st.sampled_from(["none", "sum", "mean"]))
    extra = op.extra(rng, method, arguments)
    given_arrays = [
        data.draw(layouts(a)) if a.dtype == np.float64 else a for a in (*arguments, *extra)
    ]
    got = op.call(method)(*given_arrays, **options)
    want = op.call(method, reference)(*arguments, *extra, **options)
    assert_close(got, want, 16, options, least=1.0)  # with one class all cancels


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=st.floats(-700, 700)))
def test_sigmoid(x):
    """The sigmoid and its kin: symmetry, range, and what they are to each other."""
    p = fastce.sigmoid(x)
    assert np.all((p > 0) & (p <= 1))
    np.testing.assert_allclose(p + fastce.sigmoid(-x), 1, rtol=4 * EPS)
    np.testing.assert_array_equal(fastce.log_sigmoid(x), -fastce.softplus(-x))
    np.testing.assert_allclose(
        fastce.softplus(x) - fastce.softplus(-x), x, atol=4 * EPS, rtol=4 * EPS
    )
    inner = np.abs(x) < 8
    np.testing.assert_allclose(fastce.logit(p[inner]), x[inner], atol=4e3 * EPS)


@given(
    hnp.arrays(np.float64, (7,), elements=st.floats(-40, 40)),
    hnp.arrays(np.float64, (7,), elements=st.floats(0, 1)),
)
def test_two_classes_are_binary(x, t):
    """Cross-entropy over [z, 0] with targets [t, 1 - t] is the binary one."""
    two = np.stack([x, np.zeros(7)], axis=1)
    got = fastce.cross_entropy(two, np.stack([t, 1 - t], axis=1), reduction="none")
    want = fastce.binary_cross_entropy_with_logits(x, t, reduction="none")
    np.testing.assert_allclose(got, want, rtol=32 * EPS)


@given(logits(min_dims=2, max_side=5), st.data())
def test_one_hot_is_its_index(drawn, data):
    """Probabilities that are one-hot mean the same as the index, masked classes included."""
    x, _ = drawn
    k = x.shape[-1]
    target = data.draw(hnp.arrays(np.int64, x.shape[:-1], elements=st.integers(0, k - 1)))
    one_hot = np.eye(k)[target]
    for options in ({}, {"label_smoothing": 0.25}, {"z_loss": 0.5}, {"temperature": 3.0}):
        by_index = fastce.cross_entropy.value_and_grad(x, target, reduction="sum", **options)
        by_table = fastce.cross_entropy.value_and_grad(x, one_hot, reduction="sum", **options)
        assert_close(by_table, by_index, 32, options, least=1.0)


@over("op", LOSSES)
def test_parts_make_the_whole(op):
    """The sum over two halves of a batch is the sum over the batch."""
    rng = np.random.default_rng(3)
    arguments = op.arguments(rng, (8, 5))
    whole = op.function(*arguments, reduction="sum")
    halves = [op.function(*(a[i] for a in arguments), reduction="sum") for i in np.s_[:3, 3:]]
    np.testing.assert_allclose(sum(halves), whole, rtol=8 * EPS)
    grad = op.function.grad(*arguments, reduction="sum")
    first = op.function.grad(*(a[:3] for a in arguments), reduction="sum")
    assert_close(grad[:3], first, 4)


@pytest.mark.parametrize("name", ["entropy", "js_divergence"])
@given(st.data())
def test_information_is_bounded(name, data):
    """Entropy lies in [0, log k] and the Jensen-Shannon divergence in [0, log 2]."""
    k = data.draw(st.integers(1, 9))
    raw = [data.draw(hnp.arrays(np.float64, k, elements=st.floats(0, 1))) for _ in range(2)]
    assume(all(r.sum() > 1e-3 for r in raw))
    p, q = (r / r.sum() for r in raw)
    got = fastce.entropy(p) if name == "entropy" else fastce.js_divergence(p, q)
    most = np.log(k) if name == "entropy" else np.log(2)
    assert -8 * EPS <= parts(got)[0] <= most * (1 + 8 * EPS) + 8 * EPS
