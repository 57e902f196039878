"""Gradients, Hessians and backward functions against central differences of order 4."""

import numpy as np
import pytest
from _support import LOSSES, assert_close, calls, over, seeded

import fastce

SHAPE = (4, 5)
# Differences of order 4: h^4 from truncation, eps / h from rounding, both about 1e-12 here.
STEP = 1e-3
TOLERANCE = 2e-10 / np.finfo(np.float64).eps


def steps(op, x):
    """Give a step an element: relative where the argument is a probability, near 0 or 1."""
    inside = np.all((x > 0) & (x < 1))
    return STEP * np.minimum(x, 1 - x) if inside else np.full(x.shape, STEP)


def difference(function, x, direction):
    """Give the derivative of `function` at x along `direction`, which holds the step."""
    near = function(x + direction) - function(x - direction)
    far = function(x + 2 * direction) - function(x - 2 * direction)
    return (8 * near - far) / 12


def one_at_a_time(x, h):
    """Yield each index and the step there."""
    for i in np.ndindex(*x.shape):
        direction = np.zeros_like(x)
        direction[i] = h[i]
        yield i, direction


def cases(op, method):
    """Yield the calls of one method, small in spread, without `v` of hvp."""
    for label, name, arguments, options in calls(op, SHAPE, spread=2.0):
        if name == method:
            yield label, arguments, options


@over("op", LOSSES)
def test_gradient(op):
    """The gradient is the derivative of the value (of the sum of values, with "none")."""
    for label, (x, *rest), options in cases(op, "grad"):
        h = steps(op, x)
        want = np.empty_like(x)
        for i, direction in one_at_a_time(x, h):
            want[i] = difference(
                lambda z, rest=rest, options=options: np.sum(op.function(z, *rest, **options)),
                x,
                direction,
            )
        assert_close(op.function.grad(x, *rest, **options), want / h, TOLERANCE, label)


@over("op", LOSSES)
def test_hessian_diagonal(op):
    """The diagonal of the Hessian is the derivative of the gradient, each element by its own."""
    for label, (x, *rest), options in cases(op, "grad_and_hess"):
        h = steps(op, x)
        want = np.empty_like(x)
        for i, direction in one_at_a_time(x, h):
            want[i] = difference(
                lambda z, i=i, rest=rest, options=options: op.function.grad(z, *rest, **options)[i],
                x,
                direction,
            )
        hess = op.function.grad_and_hess(x, *rest, **options)[1]
        assert_close(hess, want / h, TOLERANCE, label)


@over("op", LOSSES)
def test_hessian_vector_product(op):
    """The Hessian times v is the derivative of the gradient along v."""
    for label, (x, *rest, v), options in cases(op, "hvp"):
        h = np.min(steps(op, x)) / np.max(np.abs(v))
        want = difference(
            lambda z, rest=rest, options=options: op.function.grad(z, *rest, **options), x, h * v
        )
        # a common step along v is smaller than each element's own, so rounding is larger
        assert_close(op.function.hvp(x, *rest, v, **options), want / h, 10 * TOLERANCE, label)


@over("op", LOSSES)
def test_hessian_is_symmetric_and_holds_its_diagonal(op):
    """Products with unit vectors give a symmetric matrix with the diagonal of grad_and_hess."""
    for label, (x, *rest), options in cases(op, "grad_and_hess"):
        if options["reduction"] == "mean":
            columns = []
            for i in range(x.size):
                unit = np.zeros(x.size)
                unit[i] = 1.0
                columns.append(op.function.hvp(x, *rest, unit.reshape(x.shape), **options).ravel())
            matrix = np.array(columns)
            assert_close(matrix, matrix.T, 16, label)
            hess = op.function.grad_and_hess(x, *rest, **options)[1]
            assert_close(np.diag(matrix).reshape(x.shape), hess, 16, label)


BACKWARD = [
    # forward, whether its backward is written in the output, axis
    ("sigmoid", True, None),
    ("log_sigmoid", False, None),
    ("softplus", False, None),
    ("softmax", True, -1),
    ("softmax", True, 0),
    ("log_softmax", True, -1),
    ("log_softmax", True, 1),
    ("logsumexp", False, -1),
    ("logsumexp", False, 0),
]


@pytest.mark.parametrize(("name", "of_output", "axis"), BACKWARD)
def test_backward(name, of_output, axis):
    """The backward function is the vector-Jacobian product of the forward one."""
    where = {} if axis is None else {"axis": axis}
    forward, backward = getattr(fastce, name), getattr(fastce, f"{name}_backward")
    rng = seeded(name, axis)
    x = rng.uniform(-4, 4, (3, 4, 5))
    output = forward(x, **where)
    grad_output = rng.normal(size=output.shape)
    want = np.empty_like(x)
    for i, direction in one_at_a_time(x, np.full(x.shape, STEP)):
        want[i] = np.sum(grad_output * difference(lambda z: forward(z, **where), x, direction))
    got = backward(grad_output, output if of_output else x, **where)
    assert_close(got, want / STEP, TOLERANCE)
