"""No row's result depends on what stands in the others, nor on where the result is written."""

import numpy as np
import pytest
from _support import assert_close, assert_same_bits, dtypes, parts, seeded

import fastce
from fastce import reference

# Few classes, rows side by side in one buffer, in several, and rows of several buffers.
SIZES = [(70, 3), (70, 40), (40, 300), (9, 9000)]
KINDS = {
    "classes": {},
    "classes, weights": {"weight": True},
    "classes, z_loss and temperature": {"z_loss": 0.1, "temperature": 2.0},
    "smoothing": {"label_smoothing": 0.1},
    "smoothing, weights": {"label_smoothing": 0.1, "weight": True},
    "probabilities": {"dense": True},
    "probabilities, smoothing": {"dense": True, "label_smoothing": 0.1},
    "probabilities, weights": {"dense": True, "weight": True},
}


def odd_rows(logits, target):
    """Give a copy with a few rows that are not finite, and the numbers of those rows."""
    logits = logits.copy()
    k = logits.shape[1]
    rows = seeded(logits.shape).permutation(len(logits))[:7]
    logits[rows[0], k // 2] = np.nan
    logits[rows[1]] = np.nan
    logits[rows[2], k // 3] = np.inf
    logits[rows[3], k - 1] = -np.inf
    logits[rows[4], target[rows[4]]] = -np.inf
    logits[rows[5], 1:] = -np.inf
    logits[rows[6], :2] = -np.inf, np.nan
    return logits, rows


@dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("method", ["value_and_grad", "grad_and_hess", "hvp"])
def test_rows_that_are_not_finite(method, axis, size, kind, dtype):
    """The other rows keep their bits, in place or not, and the odd ones are what they must be."""
    rng = seeded(method, axis, size, kind, dtype.__name__)
    n, k = size
    options = dict(KINDS[kind])
    dense = options.pop("dense", False)
    if "weight" in options:
        options["weight"] = rng.uniform(0.5, 2.0, k).astype(dtype)
    options["reduction" if method == "value_and_grad" else "sample_weight"] = (
        "none" if method == "value_and_grad" else rng.uniform(0.5, 2.0, n).astype(dtype)
    )
    clean = rng.normal(size=size).astype(dtype)
    target = labels = rng.integers(0, k, n)
    if dense:
        target = rng.dirichlet(np.ones(k), n).astype(dtype)
    if dense and axis == 0:
        target = np.ascontiguousarray(target.T)
    logits, odd = odd_rows(clean, labels)
    vector = ()
    if method == "hvp":
        vector = (rng.normal(size=size if axis == 1 else size[::-1]).astype(dtype),)

    def run(module, rows, in_place=False):
        logits = np.array(rows if axis == 1 else rows.T, order="C")
        out = {}
        if in_place:
            pair = logits, np.empty_like(logits)
            out["out"] = pair if method == "grad_and_hess" else logits
        call = getattr(module.cross_entropy, method)
        result = call(logits, target, *vector, axis=axis, **options, **out)
        return [r.T if axis == 0 and r.ndim == 2 else r for r in parts(result)]

    got = run(fastce, logits)
    others = np.setdiff1d(np.arange(n), odd)
    assert len(others) > 0
    assert_same_bits(tuple(r[others] for r in got), tuple(r[others] for r in run(fastce, clean)))
    assert_same_bits(tuple(run(fastce, logits, in_place=True)), tuple(got))
    assert_close(tuple(got), tuple(run(reference, logits)), 64)


@pytest.mark.parametrize("loss", ["nll_loss", "categorical_cross_entropy"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_vector_with_nan(loss, order):
    """A NaN of the vector is a NaN of the product, also where the Hessian is 0."""
    logits = np.full((40, 4), 0.25, order=order)
    vector = np.ones((40, 4))
    vector[0, 2] = np.nan
    product = getattr(fastce, loss).hvp(logits, np.arange(40) % 4, vector)
    assert np.array_equal(np.isnan(product), np.isnan(vector))


@dtypes
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("size", [(100, 700), (75, 999), (37, 1025), (9, 5000)], ids=str)
def test_rows_of_any_size_in_turn(size, temperature, dtype):
    """A row's largest logit is its own, wherever it stands and however large the others' are."""
    n, k = size
    rng = seeded("in turn", size, temperature, dtype.__name__)
    logits = rng.standard_normal(size, dtype)
    logits += rng.choice([-3e4, -600, 0, 600, 3e4], (n, 1)).astype(dtype)
    target = rng.integers(0, k, n)
    target[::7] = -100
    largest = np.where(rng.random(n) < 0.5, k - 1, rng.integers(0, k, n))
    logits[np.arange(n), largest] += rng.choice([5, 900], n).astype(dtype)
    target[1::3] = largest[1::3]
    odd = slice(n // 2 - 3, n // 2 + 4)
    logits[odd] = odd_rows(logits[odd], np.maximum(target[odd], 0))[0]

    def spread(array):
        # every other column, with larger numbers and NaN between them
        wide = np.full((len(array), 2 * k), 1e6, dtype)
        wide[:, 1::4] = np.nan
        wide[:, ::2] = array
        return wide[:, ::2]

    def results(rows, *, in_place=False, layout=np.copy):
        x, y = layout(logits[rows]), layout(logits[rows])
        loss = fastce.cross_entropy.value_and_grad(
            x,
            target[rows],
            reduction="none",
            temperature=temperature,
            out=x if in_place else None,
        )
        p = fastce.softmax(y, out=y if in_place else None)
        return *loss, p, fastce.logsumexp(layout(logits[rows]))

    alone = [results(slice(i, i + 1)) for i in range(n)]
    want = tuple(np.concatenate(part) for part in zip(*alone, strict=True))
    for count in (1, 2):
        fastce.set_num_threads(count)
        assert_same_bits(results(slice(None)), want)
        assert_same_bits(results(slice(None), in_place=True), want)
        assert_same_bits(results(slice(None), layout=spread), want)
        assert_same_bits(results(slice(None), in_place=True, layout=spread), want)


@dtypes
@pytest.mark.parametrize("size", [(3, 33), (3, 61), (5, 1000), (2, 4097)], ids=str)
@pytest.mark.parametrize("offset", range(0, 17, 3))
def test_rows_wherever_they_start(size, offset, dtype):
    """A row's start in memory does not count, and nothing is written beside the result."""
    rng = seeded("starts", size, offset, dtype.__name__)
    logits = rng.standard_normal(size, dtype)
    target = rng.integers(0, size[1], len(logits))
    memory = np.full(logits.size + 32, 7, dtype)
    first = (-memory.ctypes.data % 64 // memory.itemsize + offset) % 16
    out = memory[first : first + logits.size].reshape(size)
    value, grad = fastce.cross_entropy.value_and_grad(logits, target, out=out)
    assert grad is out
    assert_same_bits((value, grad), fastce.cross_entropy.value_and_grad(logits, target))
    out[...] = logits
    fastce.softmax(out, out=out)
    assert_same_bits(out, fastce.softmax(logits))
    assert np.all(memory[:first] == 7) and np.all(memory[first + logits.size :] == 7)


# Results beyond a few megabytes are written in another way: of few classes, of some more, side by
# side, and of long rows.
LARGE = [
    ((200_001, 3), 1),
    ((14_001, 40), 1),
    ((4_501, 128), 1),
    ((40, 14_001), 0),
    ((4_200, 4_100), 1),
    ((1_290, 3_276), 1),
    ((520, 8_189), 1),
]


@dtypes
@pytest.mark.parametrize(("shape", "axis"), LARGE, ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_large_results(shape, axis, offset, dtype):
    """They have the bits of the same rows in small calls, wherever in memory they start."""
    rng = seeded("large", shape, dtype.__name__)
    logits = rng.standard_normal(shape, dtype)
    k = shape[axis]
    n = logits.size // k
    target = rng.integers(0, k, n)
    target[rng.random(n) < 0.1] = -100
    target[[50, -1]] = -100, 0
    memory = np.full(logits.size + 2, 7, dtype)
    out = memory[offset : offset + logits.size].reshape(shape)
    values, grad = fastce.cross_entropy.value_and_grad(
        logits, target, axis=axis, reduction="none", out=out
    )
    assert grad is out
    parts = slice(0, 100), slice(n // 2, n // 2 + 101), slice(n - 64, n)
    for part in parts:
        rows = (part, slice(None)) if axis == 1 else (slice(None), part)
        want = fastce.cross_entropy.value_and_grad(
            logits[rows], target[part], axis=axis, reduction="none"
        )
        assert_same_bits((values[part], grad[rows]), want)
    assert np.all(memory[:offset] == 7) and np.all(memory[offset + logits.size :] == 7)
    fastce.softmax(logits, axis, out=out)
    for part in parts:
        rows = (part, slice(None)) if axis == 1 else (slice(None), part)
        assert_same_bits(out[rows], fastce.softmax(logits[rows], axis))
    assert np.all(memory[:offset] == 7) and np.all(memory[offset + logits.size :] == 7)


@dtypes
@pytest.mark.parametrize(
    "shape",
    [(3, 21, 120, 100), (40, 30, 24, 24), (150, 10, 23, 17), (2, 300, 32, 40), (2, 1100, 16, 17)],
    ids=str,
)
@pytest.mark.parametrize("offset", [0, 1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}], ids=["plain", "smooth"])
def test_large_images(shape, offset, options, dtype):
    """The same for rows side by side, whose results are cut into batches at lines of memory."""
    rng = seeded("images", shape, dtype.__name__)
    logits = rng.standard_normal(shape, dtype)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.1] = -100
    logits[0, 0, 1, :5] = [-np.inf, np.nan, 1e30, -1e30, np.inf]
    memory = np.full(logits.size + 16, 7, dtype)
    first = (-memory.ctypes.data % 64 // memory.itemsize + offset) % (64 // memory.itemsize)
    out = memory[first : first + logits.size].reshape(shape)
    values, grad = fastce.cross_entropy.value_and_grad(
        logits, target, axis=1, reduction="none", out=out, **options
    )
    assert grad is out
    for i in range(0, shape[0], 1 + shape[0] // 8):
        want = fastce.cross_entropy.value_and_grad(
            logits[i : i + 1], target[i : i + 1], axis=1, reduction="none", **options
        )
        assert_same_bits((values[i : i + 1], grad[i : i + 1]), want)
    fastce.softmax(logits, 1, out=out)
    for i in range(0, shape[0], 1 + shape[0] // 8):
        assert_same_bits(out[i : i + 1], fastce.softmax(logits[i : i + 1], 1))
    assert np.all(memory[:first] == 7) and np.all(memory[first + logits.size :] == 7)


@dtypes
@pytest.mark.parametrize("k", [2_048, 4_096, 8_190])
@pytest.mark.parametrize("start", [0, 1, 8])
def test_large_results_with_gaps(k, start, dtype):
    """The same where the rows of the result have gaps between them, which stay as they are."""
    n = (17 << 20) // np.dtype(dtype).itemsize // k
    logits = seeded("gaps", k, start).standard_normal((n, k), dtype)
    memory = np.full(n * (k + 1) + 32, 7, dtype)
    first = -memory.ctypes.data % 64 // memory.itemsize + start
    wide = memory[first : first + n * (k + 1)].reshape(n, k + 1)
    out = wide[:, :k]
    target = np.arange(n) % k
    target[5::7] = -100
    fastce.cross_entropy.grad(logits, target, out=out, reduction="sum")
    for rows in (slice(0, 20), slice(n - 20, n)):
        want = fastce.cross_entropy.grad(logits[rows], target[rows], reduction="sum")
        assert_same_bits(out[rows], want)
    fastce.softmax(logits, out=out)
    for rows in (slice(0, 20), slice(n - 20, n)):
        assert_same_bits(out[rows], fastce.softmax(logits[rows]))
    assert np.all(wide[:, k] == 7)


FEW = [
    {},
    {"weight": True},
    {"label_smoothing": 0.1, "z_loss": 0.01},
    {"temperature": 2.0, "z_loss": 0.01, "weight": True},
    {"label_smoothing": 0.2, "weight": True, "z_loss": 0.01},
    {"probabilities": True, "temperature": 2.0},
    {"probabilities": True, "label_smoothing": 0.2, "weight": True, "z_loss": 0.01},
]


@dtypes
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 10, 24])
@pytest.mark.parametrize("method", ["value_and_grad", "grad_and_hess", "hvp"])
@pytest.mark.parametrize("options", FEW, ids=str)
def test_few_classes(options, method, k, dtype):
    """Rows have the same bits however they lie in memory and whatever their batch holds."""
    n = 100
    rng = seeded("few", k, dtype.__name__)
    logits = rng.standard_normal((n, k), dtype) * rng.choice([1, 30, 3000], (n, 1)).astype(dtype)
    logits[40:47] = odd_rows(logits[40:47], np.zeros(7, int))[0] if k > 2 else np.inf
    target = rng.integers(0, k, n)
    target[::9] = -100
    options = dict(options)
    if options.pop("probabilities", False):
        target = rng.dirichlet(np.ones(k), n).astype(dtype)
        target[::9] = np.eye(k, dtype=dtype)[0]
    if "weight" in options:
        options["weight"] = rng.choice([0, 0.5, 2], k).astype(dtype)
    sample_weight = rng.choice([0, 1, 3], n).astype(dtype)
    v = rng.standard_normal((n, k), dtype)
    v[50, 0] = np.inf
    call = getattr(fastce.cross_entropy, method)

    def results(x, rows=slice(None), turned=False, **more):
        given = [v[rows]] if method == "hvp" else []
        given = [target[rows], *given]
        if turned:
            given = [one.T for one in given]
        common = {"reduction": "none", "sample_weight": sample_weight[rows]}
        return parts(call(x, *given, **common, **options, **more))

    want = results(logits)
    wide = np.full((n, 2 * k), 7, dtype)
    wide[:, ::2] = logits
    out = wide[:, 1::2]
    assert_same_bits(results(wide[:, ::2]), want)
    pair = (out, np.empty_like(out)) if method == "grad_and_hess" else out
    assert_same_bits(results(logits, out=pair), want)
    assert np.array_equal(wide[:, ::2], logits, equal_nan=True)
    turned = results(np.ascontiguousarray(logits.T), turned=True, axis=0)
    assert_same_bits(tuple(part.T for part in turned), want)
    for first, last in ((0, 5), (1, 33), (31, 63), (90, 100)):
        rows = slice(first, last)
        assert_same_bits(results(logits[rows], rows), tuple(part[rows] for part in want))


@dtypes
def test_soft_target_among_others(dtype):
    """Targets of 0 and 1 give the same gradients where all are, and where one is not."""
    loss = fastce.binary_cross_entropy_with_logits
    for n in (1, 8, 17, 64, 513, 3000):
        rng = seeded("soft", n, dtype.__name__)
        logits = rng.standard_normal(n + 1, dtype) * rng.choice([1e-3, 1, 30, 900], n + 1)
        logits = logits.astype(dtype)
        target = rng.integers(0, 2, n + 1).astype(dtype)
        options = {"reduction": "sum"}
        values = loss(logits[:n], target[:n], reduction="none")
        value = loss(logits[:n], target[:n], **options)
        assert_close(value, values.sum(dtype=np.float64).astype(dtype), 4)
        logits[:n][3:8] = [np.inf, -np.inf, 0.0, -0.0, np.nan][: max(0, n - 3)]
        grad = loss.value_and_grad(logits[:n], target[:n], **options)[1]
        assert_same_bits(loss.grad(logits[:n], target[:n], **options), grad)
        for soft in (0.5, 0.25, 1e-300 if dtype == np.float64 else 1e-40):
            target[n] = soft
            got = loss.value_and_grad(logits, target, **options)[1]
            assert_same_bits(got[:n], grad)
            assert_close(got[n], fastce.sigmoid(logits[n]) - dtype(soft), 4, least=1)


@dtypes
def test_soft_target_among_probabilities(dtype):
    """The same of probabilities: a result does not depend on the targets beside it."""
    eps = float(np.finfo(dtype).eps)
    p = np.concatenate([eps * np.geomspace(1e-3, 30, 400), seeded("p").uniform(0, 1, 400)])
    p = np.concatenate([p, [0, 1, np.finfo(dtype).tiny / 8]]).astype(dtype)
    for hard in (0, 1):
        target = np.full_like(p, hard)
        mixed = target.copy()
        mixed[::5] = 0.5
        same = mixed == target
        for method in ("__call__", "grad"):
            call = getattr(fastce.binary_cross_entropy, method)
            want = call(p, target, reduction="none")[same]
            assert_same_bits(call(p, mixed, reduction="none")[same], want)


@dtypes
@pytest.mark.parametrize("n", [1, 255, 512, 513, 2500])
def test_bad_target_among_others(n, dtype):
    """One target that is no probability is found wherever it stands, before anything is written."""
    loss = fastce.binary_cross_entropy_with_logits
    logits, target, out = np.zeros(n, dtype), np.ones(n, dtype), np.full(n, 7, dtype)
    for at in {0, n // 2, n - 2, n - 1} - {-1}:
        for bad in (-1e-40, 1.5, np.nan, np.inf, -1.0):
            target[at] = bad
            with pytest.raises(ValueError, match="target"):
                loss.value_and_grad(logits, target, out=out)
            assert np.all(out == 7)
        target[at] = 1
        assert_close(loss(logits, target), dtype(np.log(2)), 1)


@dtypes
@pytest.mark.parametrize("k", [20, 100, 1000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gradients_that_cancel(order, k, dtype):
    """What is left of large gradients is not lost, wherever they stand."""
    large = dtype(2.0**60 if dtype == np.float64 else 2.0**28)
    rng = seeded("cancel", k)
    grad = np.zeros((40, k), dtype, order)
    for row in grad:
        row[rng.permutation(k)[:3]] = large, 1, -large
    y = np.full((40, k), 0.5, dtype, order)
    for got, want in (
        (fastce.softmax_backward(grad, y), -0.25),
        (fastce.log_softmax_backward(grad, np.log(y)), -0.5),
    ):
        others = got[grad == 0]
        assert_close(others, np.full_like(others, want), 4)


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("k", [5, 40, 150])
@pytest.mark.parametrize("name", ["softmax_backward", "log_softmax_backward"])
def test_backward_side_by_side(name, k, dtype):
    """Rows side by side give what rows one after the other give, over an input too."""
    rng = seeded(name, k, dtype.__name__)
    logits, grad = rng.standard_normal((2, 3, k, 70), dtype)
    logits[:, 1, ::7] = -np.inf
    logits[:, :, 9] = 0, *[-np.inf] * (k - 1)
    grad[0, k // 2, 3] = np.nan
    grad[1, 0, 4:6] = np.inf, -np.inf
    grad[2, 1, 7] = np.inf  # where the probability is 0
    y = getattr(fastce, name.removesuffix("_backward"))(logits, axis=1)
    call = getattr(fastce, name)
    turned = [np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (grad, y)]
    want = np.moveaxis(call(*turned), -1, 1)
    number = np.isfinite(want)
    assert number.sum() > 0.9 * number.size
    size = np.max(np.abs(grad), axis=1, keepdims=True, where=np.isfinite(grad), initial=0)
    limit = 8 * np.finfo(dtype).eps * np.broadcast_to(size * np.sqrt(k), want.shape)
    for over in (None, 0, 1):
        pair = [grad.copy(), y.copy()]
        got = call(*pair, axis=1, out=None if over is None else pair[over])
        assert np.array_equal(got[~number], want[~number], equal_nan=True)
        assert np.all(np.abs(got[number] - want[number]) <= limit[number])


@dtypes
@pytest.mark.core
@pytest.mark.parametrize("k", [2, 3, 10, 128, 130])
@pytest.mark.parametrize("order", ["C", "F"])
def test_classes_that_share_the_lead(order, k, dtype):
    """Equal logits have equal log-probabilities, so that argmax of both is the same."""
    rng = seeded("shared lead", k, dtype.__name__)
    logits = 50 * rng.standard_normal((1000, k), dtype)
    logits[:, k - 1] = logits.max(axis=1)
    logits[:, rng.integers(0, k - 1)] = logits[:, k - 1]
    result = fastce.log_softmax(np.asarray(logits, order=order))
    shared = logits == logits.max(axis=1, keepdims=True)
    lead = np.max(result, axis=1, keepdims=True)
    assert np.array_equal(result == lead, shared)
    assert np.array_equal(result.argmax(axis=1), logits.argmax(axis=1))
