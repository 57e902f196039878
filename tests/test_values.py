"""Values and methods against the reference: every option, reduction, dtype, length and axis."""

import math

import numpy as np
import pytest
from _support import (
    AXIS_ROWS,
    FUNCTIONS,
    LOSSES,
    ROWS,
    assert_close,
    calls,
    dtypes,
    in_reference,
    over,
    parts,
    seeded,
)

import fastce
from fastce import reference

# The reference computes in float64 what float32 gets; spread 4, so no error is amplified.
ULPS = 16

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 127, 129, 1000, 5000)
LAYOUTS = [((5, k), -1) for k in LENGTHS] + [
    # (shape with the classes last, where they go)
    ((6,), 0),
    ((1, 10), -1),
    ((31, 3), -1),
    ((32, 10), -1),
    ((33, 10), -1),
    ((65, 2), -1),
    ((200, 7), -1),
    ((70, 31), -1),
    ((4, 3), 0),
    ((40, 10), 0),
    ((2, 33, 4), 1),
    ((3, 2, 2, 5), -2),
    ((3, 2, 2, 40), 0),
    ((2, 3, 4, 100), 1),
]


@pytest.mark.core
@dtypes
@over("op", ROWS)
def test_every_option(op, dtype):
    """Every option set and reduction, for rows and for columns."""
    for shape, axis in (((7, 10), -1), ((3, 4, 5), 1)):
        for label, method, arguments, options in calls(op, shape, dtype, axis=axis):
            got = op.call(method)(*arguments, **options)
            assert_close(got, in_reference(op, method, arguments, options), ULPS, label)


@pytest.mark.core
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
@over("op", ROWS)
def test_every_shape(op, shape, axis):
    """Every length and axis, both dtypes, without options and with all of them."""
    for dtype in (np.float64, np.float32):
        for label, method, arguments, options in calls(
            op, shape, dtype, axis=axis, every=False, reductions=("none", "mean")
        ):
            got = op.call(method)(*arguments, **options)
            for part in parts(got):
                assert np.asarray(part).dtype == dtype, str(label)
            want = in_reference(op, method, arguments, options)
            # with one class and a probability, a gradient C p - c has only its rounding errors
            assert_close(got, want, ULPS, label, least=float(shape[-1] == 1))


@dtypes
@over("op", ROWS)
def test_reference_keeps_dtype(op, dtype):
    """The reference has the same dtype rule, and float32 is near to float64 there too."""
    for label, method, arguments, options in calls(op, (7, 10), dtype, every=False):
        got = op.call(method, reference)(*arguments, **options)
        for part in parts(got):
            assert np.asarray(part).dtype == dtype, str(label)
        assert_close(got, in_reference(op, method, arguments, options), 4 * ULPS, label)


@over("op", AXIS_ROWS)
def test_negative_axis(op):
    """`axis=1` and `axis=-2` are the same axis of three."""
    for label, method, arguments, options in calls(op, (2, 3, 4), axis=1, every=False):
        got = op.call(method)(*arguments, **options | {"axis": -2})
        want = op.call(method)(*arguments, **options)
        assert_close(got, want, 0, label)


@pytest.mark.parametrize("axis", [None, (0, 1), (2, 0), (-1, 1), (0,), (0, 1, 2)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_several_axes(name, axis):
    """A tuple of axes, and None for all, as in SciPy."""
    x = seeded(name).normal(size=(3, 4, 5))
    want = getattr(reference, name)(x, axis=axis)
    assert_close(getattr(fastce, name)(x, axis=axis), want, ULPS)
    if name == "logsumexp":
        got = fastce.logsumexp(x, axis=axis, keepdims=True)
        assert_close(got, reference.logsumexp(x, axis=axis, keepdims=True), ULPS)


BACKWARD = [("softmax_backward", 1), ("log_softmax_backward", 1), ("logsumexp_backward", 0)]


@pytest.mark.parametrize("axis", [None, (0, 1), (2, 0)])
@pytest.mark.parametrize(("name", "of_output"), BACKWARD)
def test_several_axes_backward(name, of_output, axis):
    """The backward of a tuple of axes."""
    x = seeded(name).normal(size=(3, 4, 5))
    forward = getattr(reference, name.removesuffix("_backward"))(x, axis=axis)
    grad_output = seeded(name, 1).normal(size=forward.shape)
    arguments = (grad_output, forward if of_output else x)
    want = getattr(reference, name)(*arguments, axis=axis)
    assert_close(getattr(fastce, name)(*arguments, axis=axis), want, ULPS)


@dtypes
@over("op", LOSSES)
def test_value_and_grad_are_value_and_grad(op, dtype):
    """The fused pass gives what the separate ones give."""
    for label, method, arguments, options in calls(op, (9, 12), dtype):
        if method == "value_and_grad":
            value, grad = op.call(method)(*arguments, **options)
            assert_close(value, op.call()(*arguments, **options), 4, label)
            assert_close(grad, op.call("grad")(*arguments, **options), 4, label)
        if method == "grad_and_hess":
            grad, _ = op.call(method)(*arguments, **options)
            assert_close(grad, op.call("grad")(*arguments, **options), 4, label)


@over("op", LOSSES)
def test_shapes_of_a_loss(op):
    """A value a sample with "none", else a scalar; what is like the logits has their shape."""
    for label, method, arguments, options in calls(op, (2, 3, 4), axis=1, every=False):
        got = parts(op.call(method)(*arguments, **options))
        samples = ((2, 3) if op.has_axis else (2, 3, 4)) if options["reduction"] == "none" else ()
        large = arguments[0].shape
        want = {
            "value": (samples,),
            "value_and_grad": (samples, large),
            "grad_and_hess": (large, large),
        }.get(method, (large,))
        assert tuple(np.shape(part) for part in got) == want, str(label)


@over("op", FUNCTIONS)
def test_axis_is_last_by_default(op):
    """Without `axis` the classes are last."""
    for label, method, arguments, options in calls(op, (3, 4, 5), every=False):
        default = {key: value for key, value in options.items() if key != "axis"}
        got = op.call(method)(*arguments, **default)
        assert_close(got, op.call(method)(*arguments, **options), 0, label)


@over("op", LOSSES)
def test_mean_is_by_default(op):
    """Without `reduction` it is the mean."""
    for label, method, arguments, options in calls(op, (3, 5), every=False, reductions=["mean"]):
        default = {key: value for key, value in options.items() if key != "reduction"}
        got = op.call(method)(*arguments, **default)
        assert_close(got, op.call(method)(*arguments, **options), 0, label)


NAN, INF = math.nan, math.inf
# What no formula gives by itself: NaN spoils its whole row, infinity meets 0, and 0 has no sign.
ODD = {
    "an infinite grad_output": lambda m: m.logsumexp_backward([INF, -INF], [[-INF, 0.0, 0.0]] * 2),
    "NaN, nll_loss": lambda m: m.nll_loss.grad([[NAN, -1.0]], [1]),
    "NaN, nll_loss.hvp": lambda m: m.nll_loss.hvp([[NAN, -1.0]], [1], [[1.0, 1.0]]),
    "NaN, categorical_cross_entropy": lambda m: m.categorical_cross_entropy.grad([[NAN, 0.5]], [1]),
    "NaN, kl_divergence": lambda m: m.kl_divergence.grad([[NAN, -1.0]], [[0.5, 0.5]]),
    "NaN, a long row": lambda m: m.nll_loss.grad(np.r_[[NAN], -np.ones(4999)][None], [1]),
    "NaN, squared_error": lambda m: m.squared_error.grad_and_hess([NAN], [1.0])[1],
    "NaN in grad_output": lambda m: m.softmax_backward([[NAN, 1.0, 1.0]], [[0.0, 0.5, 0.5]]),
    "NaN in output": lambda m: m.softmax_backward([[1.0, 1.0, 1.0]], [[NAN, 0.0, 0.5]]),
    "NaN in v": lambda m: m.binary_cross_entropy_with_logits.hvp([INF], [1.0], [NAN]),
    "no -0.0, hvp": lambda m: m.cross_entropy.hvp(
        [[-1.0, -1.0]], [0], [[1.0, -1.0]], sample_weight=[0.0], reduction="sum"
    ),
    "no -0.0, log_softmax_backward": lambda m: m.log_softmax_backward([[-0.0]], [[0.0]]),
}


@pytest.mark.core
@pytest.mark.parametrize("case", ODD)
def test_odd_numbers(case):
    """They come out as in the reference, sign of 0 included."""
    got, want = (np.asarray(ODD[case](module)) for module in (fastce, reference))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[want == 0]))
