"""Losses of linear maps: values and derivatives, in chunks, from any array, in little memory."""

import itertools
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from _support import (
    DTYPES,
    LINEAR,
    assert_close,
    assert_same_bits,
    calls,
    dtypes,
    exactly,
    in_reference,
    over,
    parts,
    seeded,
)
from numpy.exceptions import AxisError

import fastce
from fastce import reference
from fastce.linear import LinearGradient

# Of the largest number: logits are sums of d products, which chunks and BLAS round in other ways.
ULPS = 64
SHAPES = ((7, 10), (33, 3), (3, 4, 5), (1, 1), (6,))  # of the logits
CHUNKS = (1, 2, 5, 32, 33, 1000, None)
INDEX, PROBABILITY, BINARY, _, REAL = LINEAR
EVERY_WRT = [
    wrt for size in range(4) for wrt in itertools.combinations(("x", "weight", "bias"), size)
]


def one_call(op, shape=(9, 4), dtype=np.float64, **changes):
    """Give arguments, and options that include a bias and a weight for each sample."""
    rng = seeded(op.id, shape)
    arguments = op.arguments(rng, shape, dtype)
    options = op.option_sets(rng, shape, dtype)[-1]
    samples = shape[:-1] if op.name == "linear_cross_entropy" else shape
    options = options | {
        "bias": rng.normal(size=arguments[1].shape[:-1]).astype(dtype),
        "sample_weight": rng.uniform(0.5, 2.0, samples).astype(dtype),
        "chunk_rows": 4,
    }
    return arguments, options | changes


def direction(op, arguments, options):
    """Give a pair (weight, bias) for `hvp`."""
    rng = seeded(op.id, "v")
    weight, bias = arguments[1], options.get("bias")
    v_bias = None if bias is None else rng.normal(size=np.shape(bias)).astype(weight.dtype)
    return rng.normal(size=weight.shape).astype(weight.dtype), v_bias


def every_method(op, arguments, options):
    """Yield (method, result) for each method of a loss."""
    for method in op.methods:
        extra = (direction(op, arguments, options),) if method == "hvp" else ()
        yield method, op.call(method)(*arguments, *extra, **options)


def assert_same_form(got, want):
    """Check that None is where it should be, and that derivatives are named."""
    if isinstance(want, reference.LinearGradient):
        assert type(got) is LinearGradient
        assert [part is None for part in got] == [part is None for part in want]
    elif isinstance(want, tuple):
        for g, w in zip(got, want, strict=True):
            assert_same_form(g, w)


# ------------------------------------------------------------------------ values and derivatives


@pytest.mark.core
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@over("op", LINEAR)
def test_against_the_reference(op, shape, dtype):
    """Every method with every option set."""
    for label, method, arguments, options in calls(op, shape, dtype, reductions=("mean", "sum")):
        got = op.call(method)(*arguments, **options)
        want = in_reference(op, method, arguments, options)
        assert_same_form(got, want)
        assert_close(got, want, ULPS, label, least=1.0)
        assert all(np.asarray(part).dtype == dtype for part in parts(got)), str(label)


@pytest.mark.core
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@over("op", LINEAR)
def test_values_of_samples(op, shape, dtype):
    """Without a reduction, one value a sample, and the gradient of each with respect to its x."""
    for chunk_rows in (2, None):
        arguments, options = one_call(op, shape, dtype, reduction="none", chunk_rows=chunk_rows)
        want = in_reference(op, "value", arguments, options)
        assert_close(op.function(*arguments, **options), want, ULPS, least=1.0)
        options["wrt"] = "x"
        want = in_reference(op, "value_and_grad", arguments, options)
        got = op.function.value_and_grad(*arguments, **options)
        assert_same_form(got, want)
        assert_close(got, want, ULPS, least=1.0)


@over("op", LINEAR)
def test_against_the_loss_beneath(op):
    """The same as the loss of all logits, and its gradient taken back by hand."""
    beneath = {
        "linear_cross_entropy": fastce.cross_entropy,
        "linear_binary_cross_entropy": fastce.binary_cross_entropy_with_logits,
        "linear_squared_error": fastce.squared_error,
    }[op.name]
    (x, weight, target), options = one_call(op, (40, 6))
    bias = options.pop("bias")
    own = {key: value for key, value in options.items() if key != "chunk_rows"}
    if "class_weight" in own:
        own["weight"] = own.pop("class_weight")
    value, slopes = beneath.value_and_grad(x @ weight.T + bias, target, **own)
    got, grad = op.function.value_and_grad(x, weight, target, bias=bias, **options)
    k, d = np.size(bias), x.shape[-1]
    rows = slopes.reshape(-1, k)
    assert_close(got, value, 4)
    assert_close(grad.x, (rows @ weight.reshape(k, d)).reshape(x.shape), ULPS)
    assert_close(grad.weight, (rows.T @ x.reshape(-1, d)).reshape(weight.shape), ULPS)
    assert_close(grad.bias, rows.sum(axis=0).reshape(np.shape(bias)), ULPS)


def differences(function, at, step):
    """Give the derivative of a function by central differences, for each entry of `at`."""
    at = np.array(at, float)
    result = np.empty(at.shape + np.shape(function(at)))
    for i in np.ndindex(*at.shape):
        moved = [at.copy(), at.copy()]
        moved[0][i] += step
        moved[1][i] -= step
        result[i] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return result


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@over("op", LINEAR)
def test_gradient_by_differences(op, reduction):
    """Moving an entry of x, of the weight or of the bias moves the value as the gradient says."""
    (x, weight, target), options = one_call(op, (5, 3), reduction=reduction)
    bias = options.pop("bias")
    grad = op.function.grad(x, weight, target, bias=bias, **options)
    loss = op.function
    by_x = differences(lambda x: loss(x, weight, target, bias=bias, **options), x, 1e-6)
    by_weight = differences(lambda w: loss(x, w, target, bias=bias, **options), weight, 1e-6)
    by_bias = differences(lambda b: loss(x, weight, target, bias=b, **options), bias, 1e-6)
    for got, want in zip(grad, (by_x, by_weight, by_bias), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@over("op", LINEAR)
def test_hvp_by_differences(op):
    """The product is how the gradient changes along the direction."""
    (x, weight, target), options = one_call(op, (5, 3))
    bias = options.pop("bias")
    v = direction(op, (x, weight), {"bias": bias})
    got = op.function.hvp(x, weight, target, v, bias=bias, **options)

    def gradient(t):
        moved = weight + t * v[0], bias + t * v[1]
        grad = op.function.grad(x, moved[0], target, bias=moved[1], **options)
        return np.append(grad.weight, grad.bias)

    want = differences(gradient, 0.0, 1e-5)
    np.testing.assert_allclose(np.append(got.weight, got.bias), want, rtol=1e-6, atol=1e-7)
    assert got.x is None


@over("op", LINEAR)
def test_hessian_is_the_diagonal(op):
    """An entry of the diagonal is that of the product with the unit vector there."""
    (x, weight, target), options = one_call(op, (6, 3))
    bias = options["bias"]
    grad, hess = op.function.grad_and_hess(x, weight, target, **options)
    assert_close(grad, op.function.grad(x, weight, target, wrt=("weight", "bias"), **options), 4)
    want = LinearGradient(None, np.empty_like(weight), np.empty_like(bias))
    for part, shape in (("weight", weight.shape), ("bias", np.shape(bias))):
        for i in np.ndindex(*shape):
            v = {"weight": np.zeros_like(weight), "bias": np.zeros_like(bias)}
            v[part][i] = 1.0
            product = op.function.hvp(x, weight, target, (v["weight"], v["bias"]), **options)
            getattr(want, part)[i] = np.asarray(getattr(product, part))[i]
    assert_close(hess, want, ULPS)
    assert hess.x is None


@over("op", LINEAR)
def test_hvp_takes_its_own_result(op):
    """A named tuple is a direction, as conjugate gradients need, and None stands for 0."""
    arguments, options = one_call(op)
    loss = op.function
    pair = direction(op, arguments, options)
    product = loss.hvp(*arguments, pair, **options)
    again = loss.hvp(*arguments, product, **options)
    assert_same_bits(again, loss.hvp(*arguments, [product.weight, product.bias], **options))
    still = loss.hvp(*arguments, (pair[0], np.zeros_like(pair[1])), **options)
    assert_close(loss.hvp(*arguments, (pair[0], None), **options), still, 0)


@pytest.mark.parametrize("wrt", EVERY_WRT, ids=str)
@over("op", LINEAR)
def test_wrt(op, wrt):
    """Only what is asked for is computed, to the same bits, in whatever order it is named."""
    arguments, options = one_call(op)
    value, every = op.function.value_and_grad(*arguments, **options)
    for names in itertools.permutations(wrt):
        got, grad = op.function.value_and_grad(*arguments, wrt=names, **options)
        assert got == value
        for name, whole, part in zip(grad._fields, every, grad, strict=True):
            assert (part is not None) == (name in wrt)
            if part is not None:
                assert_same_bits(part, whole)


@over("op", LINEAR)
def test_without_bias(op):
    """Its derivatives are None, also if asked for by name."""
    arguments, options = one_call(op, bias=None)
    for method, result in every_method(op, arguments, options):
        gradients = [part for part in (result, *parts(result)) if isinstance(part, LinearGradient)]
        gradients += result if method in ("value_and_grad", "grad_and_hess") else []
        for grad in gradients:
            if isinstance(grad, LinearGradient):
                assert grad.bias is None
    assert op.function.grad(*arguments, wrt="bias", **options) == (None, None, None)


# ---------------------------------------------------------------------------------------- chunks


@dtypes
@over("op", LINEAR)
def test_chunks(op, dtype):
    """However many rows are taken at a time, the result is the same but for rounding."""
    for shape in ((33, 5), (3, 11, 4)):
        arguments, options = one_call(op, shape, dtype, chunk_rows=math.prod(shape))
        whole = dict(every_method(op, arguments, options))
        for rows in CHUNKS:
            options["chunk_rows"] = rows
            for method, got in every_method(op, arguments, options):
                assert_same_form(got, exactly(whole[method]))
                assert_close(got, whole[method], ULPS, (method, rows))


@dtypes
@over("op", LINEAR)
def test_the_sum_over_chunks_loses_nothing(op, dtype):
    """Sum and mean are those of the samples' values, rounded once or twice, in any chunks."""
    arguments = op.arguments(seeded(op.id), (20_000, 3), dtype)
    for rows in (7, 1000, None):
        values = op.function(*arguments, chunk_rows=rows, reduction="none")
        exact = math.fsum(values.ravel().tolist())
        for reduction, want in (("sum", exact), ("mean", exact / values.size)):
            got = op.function(*arguments, chunk_rows=rows, reduction=reduction)
            np.testing.assert_array_max_ulp(got, dtype(want), 2)


@dtypes
@pytest.mark.parametrize("op", [INDEX, BINARY], ids=str)
def test_default_chunks_are_several(op, dtype):
    """A batch that does not fit in one chunk by default gives what the reference gives."""
    shape = (30_000, 5) if op is INDEX else (150_000,)
    arguments = op.arguments(seeded(op.id), shape, dtype)
    if op is INDEX:
        arguments[2][::7] = -100
    got = op.function.value_and_grad(*arguments)
    want = op.call("value_and_grad", reference)(*map(exactly, arguments))
    assert_close(got[0], want[0], 4)
    for g, w in zip(parts(got[1]), parts(want[1]), strict=True):
        assert_close(g, w, 64 * ULPS)  # of some thousand samples of either sign


@pytest.mark.parametrize("count", [2, 3])
@over("op", LINEAR)
def test_same_bits_for_any_number_of_threads(op, count):
    """The threads of fastce change nothing."""
    shape = (6000, 70) if op.name == "linear_cross_entropy" else (420_000,)
    arguments, options = one_call(op, shape, np.float32, chunk_rows=None)
    fastce.set_num_threads(1)
    want = dict(every_method(op, arguments, options))
    fastce.set_num_threads(count)
    for method, got in every_method(op, arguments, options):
        assert_same_bits(parts(got), parts(want[method]), method)


# -------------------------------------------------------------------------------- arrays, dtypes

LAYOUTS = {
    "fortran": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "rows apart": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "reversed": lambda a: a[::-1].copy()[::-1] if a.ndim else a,
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1] if a.ndim else a,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "axes turned": lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0) if a.ndim else a,
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("shape", [(9, 4), (3, 5, 4)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@over("op", LINEAR)
def test_layouts(op, layout, shape):
    """Each argument and option in each layout, at every method."""
    arguments, options = one_call(op, shape)
    want = dict(every_method(op, arguments, options))
    turn = LAYOUTS[layout]
    for i, argument in enumerate(arguments):
        given = (*arguments[:i], turn(argument), *arguments[i + 1 :])
        for method in op.methods:
            extra = (direction(op, arguments, options),) if method == "hvp" else ()
            got = op.call(method)(*given, *extra, **options)
            assert_close(got, want[method], ULPS, (method, i))
    for name, value in options.items():
        if np.ndim(value):
            got = op.function.value_and_grad(*arguments, **options | {name: turn(value)})
            assert_close(got, want["value_and_grad"], ULPS, name)


@over("op", LINEAR)
def test_one_row_for_all(op):
    """Features of stride 0 are as good as others."""
    (x, weight, target), options = one_call(op, (9, 4))
    x = np.broadcast_to(x[:1], x.shape)
    got = op.function.value_and_grad(x, weight, target, **options)
    assert_close(got, op.function.value_and_grad(x.copy(), weight, target, **options), ULPS)


FEATURES = ["float16", "float32", "float64", ">f4", ">f8", "bool", "int8", "uint16", "int64"]


@pytest.mark.parametrize("dtype", FEATURES)
@over("op", LINEAR)
def test_dtype_of_x_decides(op, dtype):
    """The result has the dtype of x, or of what it is computed in; the rest is converted to it."""
    arguments, options = one_call(op)
    x = (4 * arguments[0]).astype(dtype)
    result = np.float32 if dtype in ("float16", "float32", ">f4") else np.float64
    for method in op.methods:
        v = direction(op, arguments, options)
        extra = (v,) if method == "hvp" else ()
        got = op.call(method)(x, *arguments[1:], *extra, **options)
        assert all(part.dtype == result and part.dtype.isnative for part in parts(got))
        given = [exactly(a, result) for a in (x.astype(result), *arguments[1:])]
        same = {key: exactly(value, result) for key, value in options.items()}
        extra = (exactly(v, result),) if method == "hvp" else ()
        assert_close(got, op.call(method)(*given, *extra, **same), 0, method)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "uint64", ">i8"])
def test_labels_of_every_dtype(dtype):
    """The answer does not depend on the labels' dtype, nor on where the ignored ones are."""
    (x, weight, target), options = one_call(INDEX, ignore_index=2)
    want = INDEX.function.value_and_grad(x, weight, target, **options)
    got = INDEX.function.value_and_grad(x, weight, target.astype(dtype), **options)
    assert_same_bits(got, want)


@over("op", LINEAR)
def test_inputs_are_left_alone(op):
    """Nothing that is given is written to."""
    arguments, options = one_call(op)
    v = direction(op, arguments, options)
    given = [*arguments, *v, *(a for a in options.values() if isinstance(a, np.ndarray))]
    before = [array.copy() for array in given]
    for array in given:
        array.setflags(write=False)
    for method in op.methods:
        op.call(method)(*arguments, *((v,) if method == "hvp" else ()), **options)
    for array, copy in zip(given, before, strict=True):
        assert_same_bits(array, copy)


@over("op", LINEAR)
def test_a_sample_alone(op):
    """A vector is one sample, with results like those of a batch of one."""
    arguments, options = one_call(op, (1, 4) if op.name == "linear_cross_entropy" else (1,))
    options.pop("ignore_index", None)
    alone = [arguments[0][0], arguments[1], arguments[2][0]]
    own = options | {"sample_weight": options["sample_weight"][0]}
    if "pos_weight" in own:
        own["pos_weight"] = own["pos_weight"][0]
    value, grad = op.function.value_and_grad(*alone, **own)
    want, of_batch = op.function.value_and_grad(*arguments, **options)
    assert value == want
    assert_same_bits(grad.x, of_batch.x[0])
    assert_same_bits((grad.weight, grad.bias), (of_batch.weight, of_batch.bias))


def test_more_features_than_a_block():
    """The weight's gradient is added to a block of classes at a time, and one may be too many."""
    rng = seeded("blocks")
    for k, d in ((700, 400), (3, 200_000)):
        x, weight = rng.normal(size=(6, d)), rng.normal(size=(k, d)) / math.sqrt(d)
        target = rng.integers(k, size=6)
        got = fastce.linear_cross_entropy.grad(x, weight, target, chunk_rows=2)
        assert_close(got, reference.linear_cross_entropy.grad(x, weight, target), 4 * ULPS)


# ------------------------------------------------------------------ what is not looked at, or zero


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_ignored_samples_are_not_looked_at(bad, layout):
    """Whatever stands in their rows, they add nothing to any derivative."""
    (x, weight, target), options = one_call(INDEX, (20, 4))
    target[[1, 5, 6]] = -100
    options["ignore_index"] = -100
    clean = np.array(x, order=layout)
    clean[target == -100] = 0
    spoiled = clean.copy(order="K")
    spoiled[target == -100] = bad
    for (method, got), (_, want) in zip(
        every_method(INDEX, (spoiled, weight, target), options),
        every_method(INDEX, (clean, weight, target), options),
        strict=True,
    ):
        assert_same_bits(got, want, method)


def test_nan_stays_in_its_row():
    """A row with NaN spoils its own value and its own gradient, no other row's."""
    (x, weight, target), options = one_call(INDEX, (20, 4), reduction="none", wrt="x")
    want = INDEX.function.value_and_grad(x, weight, target, **options)
    x[3, 1] = np.nan
    value, grad = INDEX.function.value_and_grad(x, weight, target, **options)
    assert np.isnan(value[3])
    assert np.isnan(grad.x[3]).all()
    others = np.arange(20) != 3
    assert_same_bits((value[others], grad.x[others]), (want[0][others], want[1].x[others]))


@over("op", LINEAR)
def test_zeros_are_positive(op):
    """Where nothing has a slope no derivative is -0.0."""
    arguments, options = one_call(op)
    arguments = (arguments[0], -np.abs(arguments[1]), arguments[2])
    options["sample_weight"] = np.zeros_like(options["sample_weight"])
    options["reduction"] = "sum"
    for method, result in every_method(op, arguments, options):
        for part in parts(result):
            assert not np.any(part), method
            assert not np.signbit(part).any(), method


@over("op", LINEAR)
def test_mean_of_nothing(op):
    """NaN, and flat, without a warning: no samples, or all of weight 0."""
    arguments, options = one_call(op)
    options["sample_weight"] = np.zeros_like(options["sample_weight"])
    nothing, none = one_call(op, (0, 4))
    for given, how in ((arguments, options), (nothing, none)):
        value, grad = op.function.value_and_grad(*given, **how)
        assert np.isnan(value)
        assert not any(np.any(part) for part in parts(grad))
        assert grad.x.shape == given[0].shape
        assert not any(np.any(p) for p in parts(op.function.grad_and_hess(*given, **how)))
        assert op.function(*given, **how | {"reduction": "sum"}) == 0


# -------------------------------------------------------------------------------------------- out


def outs_for(arguments, options, wrt=("x", "weight", "bias")):
    """Give a triple of arrays for results, filled with 7, None where they are not wanted."""
    shapes = (arguments[0].shape, arguments[1].shape, np.shape(options["bias"]))
    names = LinearGradient._fields
    dtype = arguments[0].dtype
    return tuple(
        np.full(s, 7.0, dtype) if n in wrt else None for n, s in zip(names, shapes, strict=True)
    )


@dtypes
@over("op", LINEAR)
def test_out(op, dtype):
    """Results go where they are told to, and those very arrays come back."""
    arguments, options = one_call(op, dtype=dtype)
    shared = ("weight", "bias")
    for method, want in every_method(op, arguments, options):
        if method == "value":
            continue
        both = method in ("grad", "value_and_grad")
        triples = [outs_for(arguments, options, ("x", *shared) if both else shared)]
        if method == "grad_and_hess":
            triples.append(outs_for(arguments, options, shared))
        extra = (direction(op, arguments, options),) if method == "hvp" else ()
        out = triples[0] if len(triples) == 1 else tuple(triples)
        got = op.call(method)(*arguments, *extra, out=out, **options)
        assert_same_bits(parts(got), parts(want), method)
        given = [array for triple in triples for array in triple if array is not None]
        assert all(g is o for g, o in zip(parts(got)[-len(given) :], given, strict=True))


STRIDED = {
    "fortran": lambda shape: np.full(shape, 7.0, order="F"),
    "every second": lambda shape: np.full((*shape[:-1], 2 * shape[-1]), 7.0)[..., ::2],
    "reversed": lambda shape: np.full(shape, 7.0)[::-1, ...],
    "apart": lambda shape: np.full((2 * shape[0], *shape[1:]), 7.0)[::2],
    "turned": lambda shape: np.full(shape[::-1], 7.0).T,
    "swapped": lambda shape: np.full(shape, 7.0, np.dtype(float).newbyteorder()),
    "subclass": lambda shape: np.full(shape, 7.0).view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("shape", [(9, 4), (3, 5, 4)], ids=str)
@pytest.mark.parametrize("layout", STRIDED)
@over("op", LINEAR)
def test_strided_out(op, layout, shape):
    """An `out` of any strides, for x and for the weight."""
    arguments, options = one_call(op, shape)
    want = op.function.grad(*arguments, **options)
    make = STRIDED[layout]
    out = (make(arguments[0].shape), make(arguments[1].shape), None)
    got = op.function.grad(*arguments, out=out, **options)
    assert got.x is out[0]
    assert got.weight is out[1]
    assert_close(got, want, ULPS)


@over("op", LINEAR)
def test_in_place(op):
    """The gradient with respect to x may take its place, and so may the others."""
    arguments, options = one_call(op)
    want = op.function.grad(*arguments, **options)
    for every in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
        x, weight, target = (a.copy() for a in arguments)
        bias = np.array(options["bias"])
        out = tuple(a if on else None for a, on in zip((x, weight, bias), every, strict=True))
        got = op.function.grad(x, weight, target, out=out, **options | {"bias": bias})
        assert_same_bits(parts(got), parts(want), every)


@pytest.mark.parametrize("shift", [1, -1, 8, -8, 20, -20, 70, -70])
@over("op", LINEAR)
def test_partial_overlap(op, shift):
    """`out` may overlap x by rows that are still to be read, and the weight."""
    arguments, options = one_call(op, (12, 4), chunk_rows=2)
    want = op.function.grad(*arguments, **options)
    for i in (0, 1):
        memory = np.full(arguments[i].size + abs(shift), 7.0)
        size, shape = arguments[i].size, arguments[i].shape
        given, out = (memory[s : s + size].reshape(shape) for s in (max(-shift, 0), max(shift, 0)))
        given[...] = arguments[i]
        changed = (*arguments[:i], given, *arguments[i + 1 :])
        triple = (out, None, None) if i == 0 else (None, out, None)
        got = op.function.grad(*changed, out=triple, **options)
        assert_same_bits(parts(got), parts(want), i)


@over("op", LINEAR)
def test_out_over_what_goes_along(op):
    """`out` may lie over the weights of samples and over floating targets."""
    shape = (8, 8)
    arguments, options = one_call(op, shape)
    want = op.function.grad(*arguments, **options)
    for name in ("sample_weight", "target"):
        x, weight, target = (a.copy() for a in arguments)
        own = {key: np.array(v) if np.ndim(v) else v for key, v in options.items()}
        along = own["sample_weight"] if name == "sample_weight" else target
        if along.dtype != np.float64:
            continue
        memory = np.full(x.size + along.size, 7.0)
        memory[: along.size] = along.ravel()
        view = memory[: along.size].reshape(along.shape)
        out = memory[: x.size].reshape(x.shape)
        if name == "sample_weight":
            own["sample_weight"] = view
        else:
            target = view
        got = op.function.grad(x, weight, target, out=(out, None, None), **own)
        assert_same_bits(parts(got), parts(want), name)


# ------------------------------------------------------------------------------- memory, and files


def peak(call):
    """Give the most bytes that a call had allocated at once, and its result."""
    call()
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


CHUNK_BYTES = 8 << 20


@pytest.mark.parametrize("method", ["value", "value_and_grad", "grad_and_hess", "hvp"])
@pytest.mark.parametrize("op", [INDEX, PROBABILITY, BINARY, REAL], ids=str)
def test_memory(op, method):
    """Beside inputs and results, no more than a chunk: not the logits, nor a converted input."""
    rng = seeded(op.id)
    shape = (12_000, 1000) if op.name == "linear_cross_entropy" else (2_000_000,)
    x, weight, target = op.arguments(rng, shape, np.float32)
    if op is PROBABILITY:
        target = target.astype(np.float64)  # another dtype than that of x, and 96 MB
    elif op is INDEX:
        target = target.astype(np.int16)
        target[::5] = -100
    samples = np.ones(target.shape if op is not PROBABILITY else shape[:1])
    options = {"bias": np.zeros(weight.shape[:-1]), "sample_weight": samples}
    extra = ((weight, None),) if method == "hvp" else ()
    used, result = peak(lambda: op.call(method)(x, weight, target, *extra, **options))
    results = sum(np.asarray(part).nbytes for part in parts(result))
    assert used - results < 1.25 * CHUNK_BYTES


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", ">f8"])
def test_memory_mapped(dtype, tmp_path):
    """A file is read a chunk at a time, and its gradient may go to another."""
    n, d, k = 300_000, 32, 4
    rng = seeded(dtype)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (n, d))
    for start in range(0, n, 10_000):
        file[start : start + 10_000] = 8 * rng.normal(size=(10_000, d))
    file.flush()
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    weight, target = rng.normal(size=(k, d)) / 40, rng.integers(k, size=n)
    loss, shared = fastce.linear_cross_entropy, ("weight", "bias")
    used, (value, grad) = peak(
        lambda: loss.value_and_grad(x, weight, target, bias=np.zeros(k), wrt=shared)
    )
    assert used < 1.25 * CHUNK_BYTES
    result = np.float32 if dtype in ("float16", "float32") else np.float64
    converted = np.asarray(x).astype(result)
    rows = slice(150_000, 150_100)
    want = loss.value_and_grad(converted, weight, target, bias=np.zeros(k), wrt=shared)
    assert_close((value, grad), want, 1000 * ULPS)
    into = np.lib.format.open_memmap(tmp_path / "grad.npy", "w+", result, (n, d))
    used, grad = peak(lambda: loss.grad(x, weight, target, out=(into, None, None), wrt="x"))
    assert grad.x is into
    assert used < 1.25 * CHUNK_BYTES
    part = loss.grad(converted[rows], weight, target[rows], wrt="x", reduction="sum")
    assert_close(n * into[rows], part.x, ULPS)


def test_most_classes_have_the_rows_that_blas_needs():
    """With many classes a chunk is larger than otherwise, but never more than 64 MiB."""
    rng = seeded("classes")
    x, weight = rng.normal(size=(600, 4)), rng.normal(size=(40_000, 4))
    target = rng.integers(40_000, size=600)
    used, result = peak(lambda: fastce.linear_cross_entropy.value_and_grad(x, weight, target))
    results = sum(part.nbytes for part in parts(result))
    assert used - results < 66 << 20
    rows = {"chunk_rows": 16}  # 5 MB
    used, result = peak(
        lambda: fastce.linear_cross_entropy.value_and_grad(x, weight, target, **rows)
    )
    assert used - results < CHUNK_BYTES


# ----------------------------------------------------------------------------------------- sparse


def sparse_call(op, kind="csr_matrix", dtype=np.float64):
    """Give arguments with x as a SciPy matrix, the same as arrays, and options."""
    sparse = pytest.importorskip("scipy.sparse")
    (x, weight, target), options = one_call(op, (30, 4) if op in (INDEX, PROBABILITY) else (30,))
    x = (np.round(x, 1) * (seeded(op.id, "sparse").random(x.shape) < 0.4)).astype(dtype)
    x[7] = 0
    return getattr(sparse, kind)(x), x, (weight, target), options


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "bool"])
@over("op", LINEAR)
def test_sparse(op, dtype, kind):
    """A CSR matrix gives what the same array gives, in any chunks, and is left as it was."""
    x, dense, arguments, options = sparse_call(op, kind, dtype)
    before = x.copy()
    for rows in (1, 4, 30, None):
        options["chunk_rows"] = rows
        for method in op.methods:
            extra = (direction(op, (dense, *arguments), options),) if method == "hvp" else ()
            wrt = {"wrt": ("weight", "bias")} if method in ("grad", "value_and_grad") else {}
            got = op.call(method)(x, *arguments, *extra, **options, **wrt)
            want = op.call(method)(dense, *arguments, *extra, **options, **wrt)
            assert_same_form(got, exactly(want))
            assert_close(got, want, ULPS, (method, rows))
            twin = op.call(method, reference)(x, *arguments, *extra, **options, **wrt)
            assert_close(twin, want, 2 * ULPS, (method, rows))
    assert (x != before).nnz == 0
    assert x.dtype == before.dtype


def test_sparse_values_of_samples():
    """Without a reduction too."""
    x, dense, arguments, options = sparse_call(INDEX)
    options["reduction"] = "none"
    want = INDEX.function(dense, *arguments, **options)
    assert_close(INDEX.function(x, *arguments, **options), want, ULPS)


def test_sparse_entries_given_twice():
    """Entries that are stored in parts count as their sum, also where squares are taken."""
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_matrix((np.array([1.0, 2.0, 5.0]), [0, 0, 1], [0, 2, 3]), shape=(2, 3))
    weight, target = np.zeros((2, 3)), [0, 1]
    got = fastce.linear_cross_entropy.grad_and_hess(x, weight, target)
    assert_close(got, fastce.linear_cross_entropy.grad_and_hess(x.toarray(), weight, target), 4)
    assert x.nnz == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sparse_ignored_samples(bad):
    """An ignored row of a sparse matrix is not looked at either."""
    x, _, (weight, target), options = sparse_call(INDEX)
    target[[2, 9]] = -100
    options["ignore_index"] = -100
    want = INDEX.function.grad_and_hess(x, weight, target, **options)
    for row in (2, 9):
        x.data[x.indptr[row] : x.indptr[row + 1]] = bad
    got = INDEX.function.grad_and_hess(x, weight, target, **options)
    assert_close(got, want, 4)


def test_sparse_memory():
    """No row is made dense, and the logits are made a chunk at a time."""
    sparse = pytest.importorskip("scipy.sparse")
    n, d, k = 100_000, 20_000, 20
    rng = seeded("sparse memory")
    columns = rng.integers(d, size=5 * n).astype(np.int32)
    x = sparse.csr_matrix((rng.random(5 * n), columns, np.arange(0, 5 * n + 1, 5)), shape=(n, d))
    weight, target = rng.normal(size=(k, d)), rng.integers(k, size=n)
    used, grad = peak(lambda: fastce.linear_cross_entropy.grad(x, weight, target, wrt="weight"))
    # the weight is turned once, and a part of its gradient is added at a time
    assert used - grad.weight.nbytes < weight.nbytes + 3 * CHUNK_BYTES


@pytest.mark.parametrize("kind", ["csc_matrix", "coo_matrix", "lil_matrix", "csc_array"])
def test_other_sparse_formats(kind):
    """They are refused, with what to do."""
    x, _, arguments, options = sparse_call(INDEX, kind)
    with pytest.raises(TypeError, match=rf"`x`.*CSR.*{kind[:3]}.*tocsr"):
        INDEX.function(x, *arguments, **options)


def test_sparse_refused():
    """Its own gradient, which would not be sparse, and dtypes that no array may have."""
    x, _, arguments, options = sparse_call(INDEX)
    for call in (INDEX.function.grad, INDEX.function.value_and_grad):
        with pytest.raises(ValueError, match=r"`wrt`.*'x'.*sparse.*\('weight', 'bias'\)"):
            call(x, *arguments, **options)
    with pytest.raises(TypeError, match=r"`x`.*complex128"):
        INDEX.function(x.astype(complex), *arguments, **options)


# --------------------------------------------------------------------------------------- refusals


def changed(array, index, value):
    """Give a copy of an array with one entry changed."""
    array = array.copy()
    array[index] = value
    return array


def refusals(op):
    """Yield (label, changes, exception, message): positional arguments by number, options by name.

    The logits are (9, 4) for classes, and the features 8; for the others there are 9 x 4 samples.
    """
    (x, weight, target), options = one_call(op)
    classes = op.name == "linear_cross_entropy"
    w = r"\(k, 8\)" if classes else r"\(8,\)"
    yield "x complex", {0: x.astype(complex)}, TypeError, "`x`.*complex128"
    yield "x longdouble", {0: x.astype(np.longdouble)}, TypeError, "`x`.*(longdouble|float128)"
    yield "x None", {0: None}, TypeError, "`x`.*object"
    yield "x str", {0: x.astype(str)}, TypeError, "`x`.*<U"
    yield "x 0-d", {0: np.float64(1)}, AxisError, "-1.*0"
    yield "x of other features", {0: x[..., :5]}, ValueError, r"`weight`.*5,?\).*`x`.*5\).*8,?\)"
    yield "weight complex", {1: weight.astype(complex)}, TypeError, "`weight`.*complex128"
    yield "weight turned", {1: weight.T[..., np.newaxis]}, ValueError, f"`weight`.*{w}.*got"
    yield "weight 0-d", {1: np.float64(1)}, ValueError, rf"`weight`.*{w}.*got \(\)"
    yield (
        "weight of other features",
        {1: weight[..., :5]},
        ValueError,
        rf"`weight`.*{w}.*`x`.*5,?\)",
    )
    bias = options["bias"]
    yield "bias complex", {"bias": bias.astype(complex)}, TypeError, "`bias`.*complex128"
    yield "bias of another shape", {"bias": np.ones((2, 2))}, ValueError, "`bias`.*`weight`.*2, 2"
    for value in (0, -3):
        yield f"chunk_rows {value}", {"chunk_rows": value}, ValueError, f"`chunk_rows`.*1.*{value}"
    for value in (1.5, "2", True, [2]):
        yield f"chunk_rows {value}", {"chunk_rows": value}, TypeError, "`chunk_rows`.*integer"
    yield "reduction", {"reduction": "avg"}, ValueError, "`reduction`.*'avg'"
    yield "an unknown option", {"wieght": 1}, TypeError, "wieght"
    yield "axis", {"axis": 1}, TypeError, "axis"
    samples = options["sample_weight"]
    last = tuple(n - 1 for n in samples.shape)
    at = str(last if len(last) > 1 else last[0]).replace("(", r"\(").replace(")", r"\)")
    for value, text in ((-0.5, r"-0\.5"), (np.nan, "nan")):
        bad = changed(samples, last, value)
        yield f"sample_weight {value}", {"sample_weight": bad}, ValueError, f"{text} at index {at}"
    yield "sample_weight of another shape", {"sample_weight": np.ones(5)}, ValueError, r"\(5,\)"
    yield "sample_weight str", {"sample_weight": samples.astype(str)}, TypeError, "`sample_weight`"
    yield "target too short", {2: target[:5]}, ValueError, "`target`.*9"
    yield "target turned", {2: target[..., np.newaxis]}, ValueError, "`target`.*1\\)"
    yield "target complex", {2: target.astype(complex)}, TypeError, "`target`.*complex128"
    if op is not REAL:
        for value in (-0.1, 1.5, np.nan):
            yield f"smoothing {value}", {"label_smoothing": value}, ValueError, "`label_smoothing`"
    if op is INDEX:
        for value in (4, -1, 2**40):
            bad = {2: changed(target, 7, value), "ignore_index": -100}
            yield f"class {value}", bad, ValueError, rf"`target`.*\[0, 4\).*{value} at index 7"
        yield "classes of bool", {2: target > 1}, TypeError, "`target`.*bool"
        yield "ignore_index 1.5", {"ignore_index": 1.5}, TypeError, "`ignore_index`"
    if op is PROBABILITY:
        bad = changed(target, (7, 2), -0.25)
        yield "probability", {2: bad}, ValueError, r"`target`.*-0\.25 at index \(7, 2\)"
        yield "ignore_index", {"ignore_index": 2}, ValueError, "`ignore_index`.*2"
    if op is BINARY:
        bad = changed(target, (7, 2), 1.5)
        yield "target above 1", {2: bad}, ValueError, r"`target`.*\[0, 1\].*1\.5 at index \(7, 2\)"
        yield "pos_weight negative", {"pos_weight": -1.0}, ValueError, r"`pos_weight`.*-1\.0"
        yield "pos_weight of another shape", {"pos_weight": np.ones(7)}, ValueError, "`pos_weight`"
    if classes:
        yield "no classes", {1: weight[:0], "bias": None}, ValueError, r"`weight`.*\(0, 8\)"
        bad = np.array([1.0, 1.0, -2.0, 1.0])
        text = r"`class_weight`.*-2\.0 at index 2"
        yield "class_weight negative", {"class_weight": bad}, ValueError, text
        text = r"`class_weight`.*\(4,\).*`weight`.*\(4, 8\).*\(5,\)"
        yield "class_weight of another shape", {"class_weight": np.ones(5)}, ValueError, text
        yield "temperature", {"temperature": 0.0}, ValueError, "`temperature`"
        yield "z_loss", {"z_loss": -1.0}, ValueError, "`z_loss`"


MODULES = (fastce, reference)
TABLE = [pytest.param(op, *row[1:], id=f"{op}-{row[0]}") for op in LINEAR for row in refusals(op)]


@pytest.mark.parametrize(("op", "changes", "exception", "message"), TABLE)
def test_refused(op, changes, exception, message):
    """Each row, by every method, here and in the reference, before anything is written."""
    for method, module in itertools.product(op.methods, MODULES):
        arguments, options = one_call(op)
        v = direction(op, arguments, options)
        outs = outs_for(arguments, options, ("weight", "bias"))
        options |= {key: value for key, value in changes.items() if isinstance(key, str)}
        if method != "value":
            options["out"] = outs if method != "grad_and_hess" else (outs, None)
            options |= {} if method == "hvp" else {"wrt": ("weight", "bias")}
        given = dict(enumerate(arguments + ((v,) if method == "hvp" else ())))
        given |= {key: value for key, value in changes.items() if isinstance(key, int)}
        if options["bias"] is None and method != "value":
            del options["out"]
        with pytest.raises(exception, match=message):
            op.call(method, module)(*given.values(), **options)
        assert all(np.all(array == 7) for array in outs if array is not None)


WRT = [
    # wrt, methods, the exception, what its message contains
    ("y", ("grad", "grad_and_hess"), ValueError, "`wrt`.*'y'"),
    (
        ("weight", "y"),
        ("grad", "value_and_grad"),
        ValueError,
        "`wrt`.*'x', 'weight' or 'bias'.*'y'",
    ),
    ("x", ("grad_and_hess",), ValueError, "`wrt`.*'weight' or 'bias'.*'x'"),
    (None, ("grad", "grad_and_hess"), TypeError, "`wrt`.*None"),
    (1, ("grad",), TypeError, "`wrt`.*1"),
    ((1,), ("grad",), ValueError, "`wrt`.*1"),
    ([["x"]], ("grad",), ValueError, "`wrt`"),
]


@pytest.mark.parametrize(("wrt", "methods", "exception", "message"), WRT)
@over("op", LINEAR)
def test_refused_wrt(op, wrt, methods, exception, message):
    """Names that there are not."""
    arguments, options = one_call(op)
    for method, module in itertools.product(methods, MODULES):
        with pytest.raises(exception, match=message):
            op.call(method, module)(*arguments, wrt=wrt, **options)


@over("op", LINEAR)
def test_samples_share_weight_and_bias(op):
    """Derivatives of each sample's value with respect to them are refused."""
    arguments, options = one_call(op, reduction="none")
    v = direction(op, arguments, options)
    message = "`reduction`.*'mean' or 'sum'.*weight and bias.*'none'"
    for module in MODULES:
        loss = getattr(module, op.name)
        for call, given, more in (
            (loss.grad, arguments, {}),
            (loss.value_and_grad, arguments, {"wrt": ("x", "bias")}),
            (loss.grad_and_hess, arguments, {}),
            (loss.hvp, (*arguments, v), {}),
        ):
            with pytest.raises(ValueError, match=message):
                call(*given, **options, **more)


@over("op", LINEAR)
def test_refused_directions(op):
    """`v` is a pair that fits, or a named tuple without an x."""
    arguments, options = one_call(op)
    weight, bias = direction(op, arguments, options)
    rows = [
        (weight, TypeError, "`v`.*pair.*ndarray"),
        (None, TypeError, "`v`.*pair.*NoneType"),
        ((weight,), TypeError, "`v`.*pair.*tuple"),
        ((weight, bias, None, None), TypeError, "`v`.*pair"),
        ((weight, bias, weight), ValueError, "`v.x`.*None"),
        ((weight[..., :5], bias), ValueError, r"`v\.weight`.*`weight`.*5,?\)"),
        ((weight.astype(complex), bias), TypeError, r"`v\.weight`.*complex128"),
        ((None, bias), TypeError, r"`v\.weight`"),
        ((weight, np.ones((3, 3))), ValueError, r"`v\.bias`.*`bias`.*\(3, 3\)"),
    ]
    for v, exception, message in rows:
        for module in MODULES:
            with pytest.raises(exception, match=message):
                op.call("hvp", module)(*arguments, v, **options)
    options["bias"] = None
    for module in MODULES:
        with pytest.raises(ValueError, match=r"`v\.bias`.*None.*`bias`"):
            op.call("hvp", module)(*arguments, (weight, bias), **options)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
@over("op", LINEAR)
def test_refused_out(op, module):
    """Wrong arrays, one array twice, and one for what is not wanted: before anything is written."""
    (x, weight, target), options = one_call(op)
    good, other = np.full(weight.shape, 7.0), np.full(weight.shape, 7.0)
    readonly = np.empty(weight.shape)
    readonly.setflags(write=False)
    rows = [
        (good, {}, TypeError, "`out`.*three.*ndarray"),
        ((None, good), {}, TypeError, "`out`.*three"),
        ((), {}, TypeError, "`out`.*three.*tuple of 0"),
        ((None, good[..., :5], None), {}, ValueError, r"`out\.weight`.*shape.*5,?\)"),
        ((None, good.astype("f4"), None), {}, TypeError, r"`out\.weight`.*float64.*float32"),
        ((None, good.tolist(), None), {}, TypeError, r"`out\.weight`.*list"),
        ((None, readonly, None), {}, ValueError, r"`out\.weight`.*read-only"),
        ((None, good, None), {"wrt": "x"}, ValueError, r"`out\.weight`.*not wanted"),
        ((None, None, np.ones(())), {"bias": None}, ValueError, r"`out\.bias`.*not wanted"),
    ]
    grad, pair = op.call("grad", module), op.call("grad_and_hess", module)
    for out, more, exception, message in rows:
        with pytest.raises(exception, match=message):
            grad(x, weight, target, out=out, **options | more)
        if more.get("wrt") != "x" and out is not good:
            out, message = ((None, other, None), out), message.replace("`out", r"`out\[1\]")
            with pytest.raises(exception, match=message):
                pair(x, weight, target, out=out, **options | more)
    overlap = np.empty(x.size + weight.size)
    one, two = overlap[: x.size].reshape(x.shape), overlap[x.size - 1 :][: weight.size]
    with pytest.raises(ValueError, match=r"`out`.*separate.*twice"):
        grad(x, weight, target, out=(one, two.reshape(weight.shape), None), **options)
    with pytest.raises(ValueError, match=r"`out`.*separate.*twice"):
        out = ((None, good, None), (None, good, None))
        pair(x, weight, target, out=out, **options)
    for out in ((None, good, None), (), good):
        with pytest.raises(TypeError, match=r"`out`.*pair"):
            pair(x, weight, target, out=out, **options)
    assert np.all(good == 7)
    assert np.all(other == 7)


@pytest.mark.parametrize("place", [5, 262_143, 262_144, 399_999])
@pytest.mark.parametrize("value", [3, -7])
def test_a_wrong_label_is_named_wherever_it_is(place, value):
    """Large targets are checked in blocks, and the index is that of the whole."""
    target = np.zeros((2, 200_000), np.int16)
    target[0, 3] = -100
    target[place // 200_000, place % 200_000] = value
    x, weight = np.ones((2, 200_000, 1), np.float32), np.ones((2, 1))
    index = rf"\({place // 200_000}, {place % 200_000}\)"
    with pytest.raises(ValueError, match=rf"`target`.*got {value} at index {index}"):
        fastce.linear_cross_entropy(x, weight, target)
    with pytest.raises(ValueError, match=rf"`target`.*got {value} at index {index}"):
        fastce.cross_entropy(np.ones((2, 200_000, 2), np.float32), target)


def test_a_wrong_probability_is_named_wherever_it_is():
    """The same for probabilities, also of a layout that cannot be flat."""
    target = np.full((2, 3, 100_000), 0.5).transpose(2, 1, 0)
    target[99_999, 2, 1] = -1
    x, weight = np.ones((100_000, 3, 1)), np.ones((2, 1))
    with pytest.raises(ValueError, match=r"got -1.0 at index \(99999, 2, 1\)"):
        fastce.linear_cross_entropy(x, weight, target)


@over("op", LINEAR)
def test_as_objects(op):
    """They pickle to themselves, and the result does too."""
    assert pickle.loads(pickle.dumps(op.function)) is op.function
    arguments, options = one_call(op)
    grad = op.function.grad(*arguments, **options)
    again = pickle.loads(pickle.dumps(grad))
    assert type(again) is LinearGradient
    assert_same_bits(parts(again), parts(grad))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: t.__name__)
def test_newton_with_conjugate_gradients(dtype):
    """The product serves Newton's method: logistic regression is solved to machine precision."""
    rng = seeded("newton")
    x = rng.normal(size=(400, 5)).astype(dtype)
    target = (rng.random(400) < fastce.sigmoid(x @ np.arange(-2, 3))).astype(dtype)
    loss, weight, bias = fastce.linear_binary_cross_entropy, np.zeros(5, dtype), dtype(0)
    for _ in range(12):
        grad = loss.grad(x, weight, target, bias=bias, wrt=("weight", "bias"))
        step, r = np.zeros(6, dtype), -np.append(grad.weight, grad.bias)
        p = r
        for _ in range(6):
            if not np.any(r):
                break
            product = loss.hvp(x, weight, target, (p[:5], p[5]), bias=bias)
            product = np.append(product.weight, product.bias)
            alpha = (r @ r) / (p @ product)
            step, old, r = step + alpha * p, r, r - alpha * product
            p = r + (r @ r) / (old @ old) * p
        weight, bias = weight + step[:5], bias + step[5]
    grad = loss.grad(x, weight, target, bias=bias, wrt=("weight", "bias"))
    assert np.abs(np.append(grad.weight, grad.bias)).max() < 64 * np.finfo(dtype).eps
