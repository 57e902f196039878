"""The same functions of other libraries, where they are installed (the extra `peers`).

Each peer has its part: PyTorch (values, gradients and Hessians by its autograd, refusals), SciPy,
scikit-learn, optax, and the node tests of the ONNX standard. All inputs are seeded. Where fastce
departs from PyTorch on purpose, a row of `DEPARTURES` says so, with what either gives.
"""

import itertools
import math
import warnings

import numpy as np
import pytest
from _support import REDUCTIONS, assert_close, dtypes, seeded
from numpy.exceptions import AxisError

import fastce

RELATIVE = 1e-12 / np.finfo(np.float64).eps  # of the largest entry, in eps
SECOND = 10 * RELATIVE  # second derivatives by autograd cancel more
inf, nan = math.inf, math.nan


@pytest.fixture(scope="module")
def torch():
    """PyTorch."""
    return pytest.importorskip("torch")


def given(options):
    """Leave out the options that are None."""
    return {key: value for key, value in options.items() if value is not None}


def some(rng, shape, least=0.25, most=2.0):
    """Draw positive numbers."""
    return rng.uniform(least, most, shape)


def log_softmax(x, axis):
    """Make log-probabilities, by NumPy."""
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


class Torch:
    """Calls PyTorch's functions with arrays."""

    def __init__(self, torch):
        self.torch = torch
        self.functional = torch.nn.functional

    def tensor(self, value):
        """Convert arrays, and leave other options as they are."""
        return self.torch.tensor(value) if isinstance(value, np.ndarray) else value

    def named(self, name, *arguments, **options):
        """Give the function of one tensor that `torch.nn.functional.<name>` is with the others."""
        function = getattr(self.functional, name, None) or getattr(self.torch, name)
        arguments = [self.tensor(a) for a in arguments]
        options = {key: self.tensor(value) for key, value in options.items()}
        return lambda x: function(x, *arguments, **options)

    def formula(self, formula, *arguments, **options):
        """Give the function of one tensor that a formula written here is with the others."""
        arguments = [self.tensor(a) for a in arguments]
        options = {key: self.tensor(value) for key, value in options.items()}
        return lambda x: formula(self.torch, x, *arguments, **options)

    def value_and_grad(self, function, x, grad_output=None):
        """Give the value of a function of one tensor, and by autograd its gradient (or VJP)."""
        leaf = self.torch.tensor(x, requires_grad=True)
        value = function(leaf)
        cotangent = self.torch.ones_like(value) if grad_output is None else self.tensor(grad_output)
        (grad,) = self.torch.autograd.grad(value, leaf, cotangent)
        return value.detach().numpy(), grad.numpy()

    def hessian(self, function, x):
        """Give the Hessian of the sum of a function of one tensor, as a matrix."""
        hessian = self.torch.autograd.functional.hessian(
            lambda leaf: function(leaf).sum(), self.torch.tensor(x)
        )
        return hessian.numpy().reshape(x.size, x.size)


@pytest.fixture(scope="module")
def peer(torch):
    """PyTorch, called with arrays."""
    return Torch(torch)


def assert_same_as_torch(peer, function, loss, arguments, options, label, least=0.0):
    """Compare the value and the gradient of a loss, and of its fused pass, with PyTorch's.

    `least` is 1 where samples may be so sure that PyTorch's loss is only its rounding error (see
    the departure "a tiny loss is not rounded to 0").
    """
    want = peer.value_and_grad(function, arguments[0])
    got = loss(*arguments, **options), loss.grad(*arguments, **options)
    assert_close(got, want, RELATIVE, label, least=least)
    assert_close(loss.value_and_grad(*arguments, **options), want, RELATIVE, label, least=least)


# ------------------------------------------------------- PyTorch's losses: every combination

# PyTorch has the classes on axis 1, and on axis 0 of one row.
LAYOUTS = (
    (7,),
    (2,),
    (6, 4),
    (1, 3),
    (33, 10),
    (3, 5, 4),
    (2, 3, 2, 3),
    (2, 2, 3, 2, 2),
    (40, 2),
    (2, 130),
    (5, 70, 3),
)
WEIGHTS = ("no weight", "weight", "a weight of 0")
IGNORED = ("none ignored", "default ignored", "a class ignored", "another number ignored")
SMOOTHING = (0.0, 0.125, 1.0)
SEEDS = (0, 1)
INDEX_CASES = tuple(
    itertools.product(LAYOUTS, WEIGHTS, IGNORED, SMOOTHING, REDUCTIONS, ("index",), SEEDS)
)
PROBABILITY_CASES = tuple(
    itertools.product(LAYOUTS, WEIGHTS, IGNORED[:1], SMOOTHING, REDUCTIONS, ("probability",), SEEDS)
)
CROSS_ENTROPY_CASES = INDEX_CASES + PROBABILITY_CASES
GROUP = 99
GROUPS = [CROSS_ENTROPY_CASES[i : i + GROUP] for i in range(0, len(CROSS_ENTROPY_CASES), GROUP)]
COMBINATIONS = 2000  # to be compared at least


def class_axis(shape):
    """Tell where PyTorch has the classes."""
    return min(1, len(shape) - 1)


def class_options(rng, k, weight, ignored, reduction, label_smoothing=None):
    """Make the options, for PyTorch, of a loss over classes."""
    weights = None if weight == "no weight" else some(rng, k)
    if weight == "a weight of 0":
        weights[-1] = 0
    ignore_index = {"a class ignored": k - 1, "another number ignored": -7}.get(ignored)
    return given(
        {
            "weight": weights,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
        }
    )


def class_labels(rng, shape, k, ignored, options):
    """Draw labels, some of them ignored; the first is class 0, so the mean is of something."""
    labels = np.asarray(rng.integers(k, size=shape))
    if ignored != "none ignored":
        labels = np.where(rng.random(shape) < 0.25, options.get("ignore_index", -100), labels)
    labels.reshape(-1)[:1] = 0
    return labels


def compare_cross_entropy(peer, case):
    """Compare one combination, in PyTorch's layout and with the classes last."""
    shape, weight, ignored, label_smoothing, reduction, kind, _ = case
    rng = seeded(case)
    axis = class_axis(shape)
    k = shape[axis]
    batch = shape[:axis] + shape[axis + 1 :]
    options = class_options(rng, k, weight, ignored, reduction, label_smoothing)
    spread = rng.choice([0.5, 1.0, 10.0, 100.0])
    x = rng.normal(size=shape) * spread
    if kind == "index":
        target = class_labels(rng, batch, k, ignored, options)
    else:
        target = np.exp(log_softmax(rng.normal(size=shape), axis))
        target *= some(rng, shape) if rng.random() < 0.5 else 1  # need not sum to 1
    function = peer.named("cross_entropy", target, **options)
    least = float(spread > 1)
    chosen = options | {"axis": axis}
    assert_same_as_torch(peer, function, fastce.cross_entropy, (x, target), chosen, case, least)
    last = np.moveaxis(x, axis, -1)
    last_target = target if kind == "index" else np.moveaxis(target, axis, -1)
    got = fastce.cross_entropy.value_and_grad(last, last_target, **options)
    want = fastce.cross_entropy.value_and_grad(x, target, axis=axis, **options)
    assert_close(got, (want[0], np.moveaxis(want[1], axis, -1)), 64, case)


@pytest.mark.parametrize("group", range(len(GROUPS)))
def test_torch_cross_entropy(peer, group):
    """Weights, ignored labels, smoothing, kind of target, reduction and layout, combined."""
    compared = 0
    for case in GROUPS[group]:
        compare_cross_entropy(peer, case)
        compared += 1
    assert compared == min(GROUP, len(CROSS_ENTROPY_CASES) - group * GROUP)


def test_combinations():
    """The groups above hold every combination, once, and at least 2,000 of them."""
    assert len(set(CROSS_ENTROPY_CASES)) == sum(map(len, GROUPS)) >= COMBINATIONS


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_one_class(peer, reduction):
    """A single class costs nothing; both gradients are rounding errors at most."""
    x, labels = np.array([[3.0], [-50.0]]), np.array([0, 0])
    for target, e in itertools.product((labels, np.ones((2, 1))), (0.0, 0.5)):
        options = {"reduction": reduction, "label_smoothing": e}
        function = peer.named("cross_entropy", target, **options)
        value, grad = peer.value_and_grad(function, x)
        got = fastce.cross_entropy.value_and_grad(x, target, **options)
        assert_close(got, (value, grad), 1, least=1.0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_empty_batch(peer, reduction):
    """No rows: NaN, 0 and nothing, as there."""
    x, labels = np.zeros((0, 3)), np.zeros(0, np.int64)
    for target in (labels, x):
        want = peer.value_and_grad(peer.named("cross_entropy", target, reduction=reduction), x)
        got = fastce.cross_entropy.value_and_grad(x, target, reduction=reduction)
        assert_close(got, want, 0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_masked_classes(peer, reduction):
    """Classes of -inf that are not the target, and one that is: inf, with a finite gradient."""
    for seed, hit in itertools.product(range(20), (False, True)):
        rng = seeded("masked", seed, reduction)
        x, target = rng.normal(size=(6, 9)), rng.integers(9, size=6)
        mask = rng.random((6, 9)) < 0.4
        mask[np.arange(6), target] = False
        mask[0, target[0]] = hit
        x[mask] = -inf
        options = {"reduction": reduction}
        function = peer.named("cross_entropy", target, **options)
        assert_same_as_torch(peer, function, fastce.cross_entropy, (x, target), options, seed)


@pytest.mark.parametrize("shape", LAYOUTS)
def test_torch_nll_loss(peer, shape):
    """Weights, ignored labels and reductions; and of probabilities as the loss of their logs."""
    axis = class_axis(shape)
    k = shape[axis]
    for weight, ignored, reduction, seed in itertools.product(WEIGHTS, IGNORED, REDUCTIONS, SEEDS):
        rng = seeded("nll", shape, weight, ignored, reduction, seed)
        options = class_options(rng, k, weight, ignored, reduction)
        target = class_labels(rng, shape[:axis] + shape[axis + 1 :], k, ignored, options)
        x = log_softmax(rng.normal(size=shape), axis)
        function = peer.named("nll_loss", target, **options)
        chosen = options | {"axis": axis}
        assert_same_as_torch(peer, function, fastce.nll_loss, (x, target), chosen, chosen)
        assert_same_as_torch(
            peer,
            lambda p, of_log=function: of_log(p.log()),
            fastce.categorical_cross_entropy,
            (np.exp(x), target),
            chosen,
            chosen,
        )


ELEMENT_SHAPES = ((), (5,), (4, 6), (3, 1, 7), (300,))


def binary_target(rng, shape, soft):
    """Draw targets of 0 and 1, or between."""
    return rng.random(shape) if soft else rng.integers(2, size=shape).astype(float)


def broadcast_weights(rng, shape, how):
    """Make weights of the full shape, of the last axis, or none."""
    return {"none": None, "full": some(rng, shape), "last": some(rng, shape[-1:])}[how]


BROADCAST = ("none", "full", "last")


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", ELEMENT_SHAPES)
def test_torch_binary_cross_entropy(peer, shape, soft):
    """From logits and from probabilities: weights that broadcast, `pos_weight`, reductions."""
    for weight, pos_weight, reduction, spread in itertools.product(
        BROADCAST, BROADCAST, REDUCTIONS, (1.0, 12.0, 300.0)
    ):
        rng = seeded("binary", shape, soft, weight, pos_weight, reduction, spread)
        x, target = rng.normal(size=shape) * spread, binary_target(rng, shape, soft)
        options = given(
            {
                "weight": broadcast_weights(rng, shape, weight),
                "pos_weight": broadcast_weights(rng, shape, pos_weight),
                "reduction": reduction,
            }
        )
        function = peer.named("binary_cross_entropy_with_logits", target, **options)
        loss = fastce.binary_cross_entropy_with_logits
        arguments = np.asarray(x), np.asarray(target)
        least = float(spread > 1)
        assert_same_as_torch(peer, function, loss, arguments, options, options, least)
        options.pop("pos_weight", None)
        p = np.asarray(rng.uniform(1e-5, 1 - 1e-5, shape))
        function = peer.named("binary_cross_entropy", target, **options)
        arguments = p, np.asarray(target)
        loss = fastce.binary_cross_entropy
        assert_same_as_torch(peer, function, loss, arguments, options, options)


@pytest.mark.parametrize("shape", LAYOUTS)
def test_torch_kl_div(peer, shape):
    """Its batchmean of rows is our mean, its elements sum to our samples."""
    for seed, log_target in itertools.product(range(10), (False, True)):
        rng = seeded("kl", shape, seed)
        rows = shape if len(shape) < 3 else shape[:2]
        log_q, log_p = (log_softmax(rng.normal(size=rows), -1) for _ in range(2))
        p = np.exp(log_p)
        for theirs, ours in (("batchmean", "mean"), ("sum", "sum"), ("none", "none")):
            if ours == "mean" and len(rows) == 1:
                continue  # there it divides by the number of classes
            function = peer.named(
                "kl_div", log_p if log_target else p, reduction=theirs, log_target=log_target
            )
            value, grad = peer.value_and_grad(function, log_q)
            if ours == "none":
                value = value.sum(-1)
            got = fastce.kl_divergence.value_and_grad(log_q, p, reduction=ours)
            # terms of either sign add up to the value
            assert_close(got, (value, grad), RELATIVE, (shape, ours), least=1.0)


def reduced(value, reduction):
    """Reduce a tensor."""
    return value if reduction == "none" else getattr(value, reduction)()


def focal(torch, x, target, alpha, gamma, reduction):
    """Give torchvision's formula."""
    functional = torch.nn.functional
    p = torch.sigmoid(x)
    cost = functional.binary_cross_entropy_with_logits(x, target, reduction="none")
    value = cost * (1 - (p * target + (1 - p) * (1 - target))) ** gamma
    if alpha >= 0:
        value = (alpha * target + (1 - alpha) * (1 - target)) * value
    return reduced(value, reduction)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_focal(peer, reduction, soft):
    """Focal loss by its formula, with autograd."""
    for shape, alpha, gamma in itertools.product(
        ELEMENT_SHAPES, (-1.0, 0.0, 0.25, 1.0), (0.0, 1.0, 1.5, 2.0, 5.0)
    ):
        rng = seeded("focal", shape, alpha, gamma, reduction, soft)
        # the formula's 1 - p_t has lost too many digits for larger logits
        x = np.asarray(rng.uniform(-3, 3, shape))
        target = np.asarray(binary_target(rng, shape, soft))
        options = {"alpha": alpha, "gamma": gamma, "reduction": reduction}
        function = peer.formula(focal, target, **options)
        loss = fastce.sigmoid_focal_loss
        assert_same_as_torch(peer, function, loss, (x, target), options, options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_squared_error(peer, reduction):
    """Half of `mse_loss`."""
    for shape in ELEMENT_SHAPES:
        rng = seeded("squared", shape)
        x, target = (np.asarray(rng.normal(size=shape)) for _ in range(2))
        function = peer.named("mse_loss", target, reduction=reduction)
        value, grad = peer.value_and_grad(function, x)
        got = fastce.squared_error.value_and_grad(x, target, reduction=reduction)
        assert_close(got, (value / 2, grad / 2), RELATIVE, shape)


# --------------------------------------------------------------------- PyTorch's activations

ELEMENTWISE = {
    # ours: (theirs, whether the backward function takes the output, the largest input)
    "sigmoid": ("sigmoid", True, 700.0),
    "log_sigmoid": ("logsigmoid", False, 700.0),
    "softplus": ("softplus", False, 19.0),
    "logit": ("logit", None, None),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_torch_elementwise(peer, name):
    """Values, and the backward functions by autograd, element by element."""
    theirs, takes_output, largest = ELEMENTWISE[name]
    for shape, seed in itertools.product(ELEMENT_SHAPES, range(10)):
        rng = seeded(name, shape, seed)
        if largest is None:
            x = np.asarray(rng.uniform(1e-4, 0.4, shape))  # far from 1/2, where it is 0
        else:
            x = np.asarray(rng.uniform(-largest, largest, shape) * 10.0 ** -rng.integers(4))
        grad_output = np.asarray(rng.normal(size=shape))
        value, grad = peer.value_and_grad(peer.named(theirs), x, grad_output)
        function = getattr(fastce, name)
        assert_close(function(x), value, RELATIVE, (name, seed))
        if takes_output is not None:
            backward = getattr(fastce, f"{name}_backward")
            got = backward(grad_output, function(x) if takes_output else x)
            assert_close(got, grad, RELATIVE, (name, seed))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_torch_along_an_axis(peer, name):
    """Values and backward functions, along every axis."""
    for shape, seed in itertools.product(((7,), (5, 9), (3, 4, 5), (2, 3, 40, 2)), range(10)):
        for axis in range(-len(shape), len(shape)):
            rng = seeded(name, shape, axis, seed)
            x = rng.normal(size=shape) * rng.choice([1.0, 10.0, 100.0])
            function = getattr(fastce, name)
            got = function(x, axis=axis)
            grad_output = np.asarray(rng.normal(size=np.shape(got)))
            value, grad = peer.value_and_grad(peer.named(name, axis), x, grad_output)
            label = name, shape, axis, seed
            assert_close(got, value, RELATIVE, label)
            backward = getattr(fastce, f"{name}_backward")
            of = x if name == "logsumexp" else got
            # the difference g - sum(g y) may cancel
            assert_close(backward(grad_output, of, axis=axis), grad, RELATIVE, label, least=1e-2)


@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (0, 2), (0, 1, 2), (-1, 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_torch_logsumexp_of_several_axes(peer, axes, keepdims):
    """A tuple of axes."""
    x = seeded("axes", axes).normal(size=(3, 4, 5))
    value, grad = peer.value_and_grad(peer.named("logsumexp", axes, keepdim=keepdims), x)
    assert_close(fastce.logsumexp(x, axis=axes, keepdims=keepdims), value, RELATIVE)
    assert_close(fastce.logsumexp_backward(np.ones_like(value), x, axis=axes), grad, RELATIVE)


# ----------------------------------------------------------------------- second derivatives


def bernoulli(torch, p, target, weight, reduction):
    """Give the binary cross-entropy by its formula: PyTorch's second derivative adds 1e-12."""
    value = -weight * (target * torch.log(p) + (1 - target) * torch.log1p(-p))
    return reduced(value, reduction)


def hessian_cases():
    """Yield (loss, PyTorch's function, its name, arguments, options), small ones."""
    for reduction, seed in itertools.product(REDUCTIONS, range(4)):
        rng = seeded("hessian", reduction, seed)
        shape, how = (3, 4), {"reduction": reduction}
        x, v = rng.normal(size=shape) * 2, rng.normal(size=shape)
        labels, weight = np.array([1, -100, 3]), some(rng, 4)
        p = np.exp(log_softmax(x, -1))
        target, fractions = np.exp(log_softmax(v, -1)), rng.random(shape)
        classes = {"weight": weight, "label_smoothing": 0.25}
        for options in ({}, classes):
            yield "cross_entropy", "cross_entropy", (x, labels), options | how
            yield "cross_entropy", "cross_entropy", (x, target), options | how
        yield "nll_loss", "nll_loss", (np.log(p), labels), {"weight": weight} | how
        yield "categorical_cross_entropy", "nll_loss", (p, labels), {"weight": weight} | how
        logistic = {"weight": some(rng, shape), "pos_weight": weight}
        name = "binary_cross_entropy_with_logits"
        yield name, name, (x, fractions), logistic | how
        yield name, name, (x, fractions.round()), how
        name = "binary_cross_entropy"
        yield name, bernoulli, (p, fractions), {"weight": weight} | how
        for gamma in (2.0, 3.5):
            options = {"alpha": 0.25, "gamma": gamma}
            yield "sigmoid_focal_loss", focal, (x, fractions), options | how
            yield "sigmoid_focal_loss", focal, (x, fractions.round()), options | how
        yield "squared_error", "mse_loss", (x, v), how


HESSIAN_CASES = tuple(hessian_cases())


@pytest.mark.parametrize("name", sorted({case[0] for case in HESSIAN_CASES}))
def test_torch_hessian(peer, name):
    """The diagonal of the Hessian and its products, by `torch.autograd.functional.hessian`."""
    for loss_name, theirs, arguments, options in HESSIAN_CASES:
        if loss_name != name:
            continue
        x, target = arguments
        if callable(theirs):
            function = peer.formula(theirs, target, **options)
        else:
            function = peer.named(theirs, target, **options)
        if name == "categorical_cross_entropy":
            hessian = peer.hessian(lambda p, of_log=function: of_log(p.log()), x)
        else:
            hessian = peer.hessian(function, x) / (2 if theirs == "mse_loss" else 1)
        loss = getattr(fastce, name)
        _, diagonal = loss.grad_and_hess(*arguments, **options)
        label = name, options
        assert_close(diagonal, np.diag(hessian).reshape(x.shape), SECOND, label)
        v = seeded(label).normal(size=x.shape)
        got = loss.hvp(*arguments, v, **options)
        assert_close(got, (hessian @ v.ravel()).reshape(x.shape), SECOND, label)


# -------------------------------------------------------- where fastce departs from PyTorch

LOG2 = math.log(2)
DEPARTURES = {
    # what: PyTorch's function with its arguments and options, then the value and the gradient that
    # it gives and that fastce gives; None is not compared
    "a masked class takes no share of the smoothing": {
        "call": ("cross_entropy", [[0.0, 0.0, -inf]], [0], {"label_smoothing": 0.25}),
        "theirs": (inf, None),
        "ours": (LOG2, [[-0.375, 0.375, 0.0]]),
    },
    "probability 0 of a masked class costs nothing": {
        "call": ("cross_entropy", [[0.0, -inf]], [[1.0, 0.0]], {}),
        "theirs": (nan, [[0.0, 0.0]]),
        "ours": (0.0, [[0.0, 0.0]]),
    },
    "weight 0 makes an infinite cost nothing": {
        "call": ("cross_entropy", [[-inf, -1.0]], [0], {"weight": [0.0, 1.0], "reduction": "sum"}),
        "theirs": (nan, [[0.0, 0.0]]),
        "ours": (0.0, [[0.0, 0.0]]),
    },
    "weight 0 makes an infinite log-likelihood nothing": {
        "call": ("nll_loss", [[-inf, -1.0]], [0], {"weight": [0.0, 1.0], "reduction": "sum"}),
        "theirs": (nan, [[0.0, 0.0]]),
        "ours": (0.0, [[0.0, 0.0]]),
    },
    "an ignored row is not looked at": {
        "call": ("cross_entropy", [[nan, 0.0], [0.0, 0.0]], [-100, 0], {}),
        "theirs": (LOG2, [[nan, nan], [-0.5, 0.5]]),
        "ours": (LOG2, [[0.0, 0.0], [-0.5, 0.5]]),
    },
    "a mean over weights of 0 has gradient 0": {
        "call": ("cross_entropy", [[0.0, 0.0]], [0], {"weight": [0.0, 1.0]}),
        "theirs": (nan, [[nan, nan]]),
        "ours": (nan, [[0.0, 0.0]]),
    },
    "a tiny loss is not rounded to 0": {
        "call": ("cross_entropy", [[40.0, 0.0]], [0], {}),
        "theirs": (0.0, [[0.0, 4.248354255291589e-18]]),
        "ours": (4.248354255291589e-18, [[-4.248354255291589e-18, 4.248354255291589e-18]]),
    },
    "infinite logits are as sure as they look": {
        "call": (
            "binary_cross_entropy_with_logits",
            [inf, -inf, inf, -inf],
            [1.0, 0.0, 0.0, 1.0],
            {"reduction": "none"},
        ),
        "theirs": ([nan, nan, inf, nan], [0.0, 0.0, 1.0, -1.0]),
        "ours": ([0.0, 0.0, inf, inf], [0.0, 0.0, 1.0, -1.0]),
    },
    "binary_cross_entropy does not clamp the logarithm at -100": {
        "call": (
            *("binary_cross_entropy", [0.0, 1.0, 1e-60], [1.0, 0.0, 1.0]),
            {"reduction": "none"},
        ),
        "theirs": ([100.0, 100.0, 100.0], None),
        "ours": ([inf, inf, 138.15510557964274], [-inf, inf, -1e60]),
    },
    "nor the denominator of its gradient at 1e-12": {
        "call": ("binary_cross_entropy", [1e-20], [1.0], {}),
        "theirs": (46.051701859880914, [-1 / float(np.float32(1e-12))]),
        "ours": (46.051701859880914, [-1e20]),
    },
    "kl_divergence's mean is over rows": {
        "call": ("kl_div", [[-LOG2, -LOG2], [-LOG2, -LOG2]], [[0.5, 0.5], [1.0, 0.0]], {}),
        "theirs": (LOG2 / 4, [[-0.125, -0.125], [-0.25, 0.0]]),
        "ours": (LOG2 / 2, [[-0.25, -0.25], [-0.5, 0.0]]),
    },
    "kl_divergence's samples are rows": {
        "call": ("kl_div", [[-LOG2, -LOG2]], [[1.0, 0.0]], {"reduction": "none"}),
        "theirs": ([[LOG2, 0.0]], [[-1.0, 0.0]]),
        "ours": ([LOG2], [[-1.0, 0.0]]),
    },
    "kl_divergence of probability 0 where log q is -inf": {
        "call": ("kl_div", [[0.0, -inf]], [[1.0, 0.0]], {"reduction": "sum"}),
        "theirs": (nan, [[-1.0, 0.0]]),
        "ours": (0.0, [[-1.0, 0.0]]),
    },
    "softplus has no threshold": {
        "call": ("softplus", [20.5, 30.0], None, {}),
        "theirs": ([20.5, 30.0], [1.0, 1.0]),
        "ours": ([20.5 + math.exp(-20.5), 30.0 + math.exp(-30.0)], None),
    },
    "log_softmax beside +inf is -inf": {
        "call": ("log_softmax", [[0.0, inf]], None, {"dim": -1}),
        "theirs": ([[nan, nan]], None),
        "ours": ([[-inf, nan]], None),
    },
}
OUR_NAME = {"kl_div": "kl_divergence"}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize("what", DEPARTURES)
def test_departures(peer, what):
    """Where API and PyTorch differ on purpose: what it gives, and what fastce gives instead."""
    name, x, target, options = DEPARTURES[what]["call"]
    x = np.array(x)
    more = () if target is None else (np.array(target),)
    options = {k: np.array(v) if isinstance(v, list) else v for k, v in options.items()}
    got = peer.value_and_grad(peer.named(name, *more, **options), x)
    assert_parts(got, DEPARTURES[what]["theirs"])
    function = getattr(fastce, OUR_NAME.get(name, name))
    got = function.value_and_grad(x, *more, **options) if more else (function(x), None)
    assert_parts(got, DEPARTURES[what]["ours"])


def assert_parts(got, want):
    """Compare the value and the gradient, those that are stated."""
    for g, w in zip(got, want, strict=True):
        if w is not None:
            np.testing.assert_allclose(g, w, rtol=4e-16, atol=0)


def test_sample_weight_is_in_the_mean(peer):
    """PyTorch has no sample_weight: the mean is NumPy's average of its values."""
    rng = seeded("sample_weight")
    x, target, weight = rng.normal(size=(9, 4)), rng.integers(4, size=9), some(rng, 9)
    values, _ = peer.value_and_grad(peer.named("cross_entropy", target, reduction="none"), x)
    got = fastce.cross_entropy(x, target, sample_weight=weight)
    assert_close(got, np.average(values, weights=weight), RELATIVE)
    got = fastce.cross_entropy(x, target, sample_weight=weight, reduction="sum")
    assert_close(got, values @ weight, RELATIVE)


ZEROS = np.zeros((1, 2))
MORE_ACCEPTED = {
    # what PyTorch refuses and fastce takes: (theirs, ours, arguments, options)
    "int16 labels": ("cross_entropy", ZEROS, np.array([0], np.int16), {}),
    "int32 labels": ("nll_loss", ZEROS - LOG2, np.array([0], np.int32), {}),
    "integer logits": ("cross_entropy", ZEROS.astype(int), np.array([0]), {}),
    "integer targets": ("binary_cross_entropy_with_logits", ZEROS, np.array([[0, 1]]), {}),
    "bool targets": ("binary_cross_entropy_with_logits", ZEROS, np.array([[False, True]]), {}),
    "weights of another dtype": (
        *("cross_entropy", ZEROS, np.array([0]), {"weight": np.ones(2, np.float32)}),
    ),
}
MORE_REFUSED = {
    # what PyTorch takes and fastce refuses
    "negative probabilities": ("cross_entropy", ZEROS, np.array([[1.5, -0.5]]), {}),
    "NaN probabilities": ("cross_entropy", ZEROS, np.array([[nan, 1.0]]), {}),
    "negative weights": ("cross_entropy", ZEROS, np.array([0]), {"weight": np.array([1.0, -1.0])}),
    "NaN weights": ("cross_entropy", ZEROS, np.array([0]), {"weight": np.array([nan, 1.0])}),
    "NaN smoothing": ("cross_entropy", ZEROS, np.array([0]), {"label_smoothing": nan}),
    "negative smoothing": ("cross_entropy", ZEROS, np.array([0]), {"label_smoothing": -0.1}),
    "targets above 1": ("binary_cross_entropy_with_logits", ZEROS, ZEROS + 2, {}),
    "targets below 0": ("binary_cross_entropy_with_logits", ZEROS, ZEROS - 1, {}),
    "another shape": ("kl_div", ZEROS, np.array([1.0, 0.0]), {"reduction": "sum"}),
}


@pytest.mark.parametrize("what", MORE_ACCEPTED)
def test_more_accepted(peer, what):
    """What PyTorch refuses for its dtype only."""
    name, x, target, options = MORE_ACCEPTED[what]
    with pytest.raises((RuntimeError, NotImplementedError)):
        peer.named(name, target, **options)(peer.tensor(x))
    assert abs(getattr(fastce, name)(x, target, **options) - LOG2) < 1e-15


@pytest.mark.parametrize("what", MORE_REFUSED)
def test_more_refused(peer, what):
    """What PyTorch computes with, and fastce takes for a mistake."""
    name, x, target, options = MORE_REFUSED[what]
    peer.named(name, target, **options)(peer.tensor(x))
    with pytest.raises(ValueError, match=r"^`\w+` must "):
        getattr(fastce, OUR_NAME.get(name, name))(x, target, **options)


def test_dtype_is_the_first_arguments(peer):
    """PyTorch's result has the targets' dtype."""
    x, target = np.zeros(3), np.zeros(3, np.float32)
    theirs = peer.named("binary_cross_entropy_with_logits", target)(peer.tensor(x))
    assert theirs.dtype == peer.torch.float32
    assert fastce.binary_cross_entropy_with_logits(x, target).dtype == np.float64


# ----------------------------------------------------------------------- PyTorch's refusals


def zeros(*shape, dtype=np.float64):
    """Give zeros."""
    return np.zeros(shape, dtype)


def labels(*shape, fill=0):
    """Give int64 labels."""
    return np.full(shape, fill, np.int64)


CLASSES = ("cross_entropy", "nll_loss")
REFUSED = [
    # (functions, first argument, target, options, fastce's exception)
    (CLASSES, zeros(2, 3), labels(3), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, 1), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(1), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(), {}, ValueError),
    (CLASSES, zeros(3), labels(3), {}, ValueError),
    (CLASSES, zeros(3), labels(2), {}, ValueError),
    (CLASSES, zeros(2, 3, 4), labels(2, 3), {}, ValueError),
    (CLASSES, zeros(2, 3, 4), labels(4, 2), {}, ValueError),
    (CLASSES, zeros(2, 3, 4), labels(2), {}, ValueError),
    (CLASSES, zeros(2, 3, 4, 5), labels(2, 4, 4), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, fill=3), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, fill=-1), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, fill=-101), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, fill=-100), {"ignore_index": 0}, ValueError),
    (CLASSES, zeros(2, 3), labels(2, fill=2**62), {}, ValueError),
    (CLASSES, zeros(2, 0), labels(2), {}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.ones(2)}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.ones(4)}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.ones((1, 3))}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.ones((2, 3))}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.array(1.0)}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"weight": np.ones(3, complex)}, TypeError),
    (CLASSES, zeros(2, 3), labels(2), {"reduction": "average"}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"reduction": "MEAN"}, ValueError),
    (CLASSES, zeros(2, 3), labels(2), {"ignore_index": 1.5}, TypeError),
    (CLASSES, zeros(2, 3), labels(2), {"ignore_index": "none"}, TypeError),
    (CLASSES, zeros(2, 3), zeros(2, dtype=bool), {}, TypeError),
    (CLASSES, zeros(2, 3), zeros(2, dtype=complex), {}, TypeError),
    (CLASSES, zeros(2, 3, dtype=complex), labels(2), {}, TypeError),
    (("nll_loss",), zeros(2, 3), zeros(2), {}, TypeError),
    (("nll_loss",), zeros(2, 3), zeros(2, 3), {}, TypeError),
    (("cross_entropy",), zeros(2, 3), zeros(2), {}, ValueError),
    (("cross_entropy",), zeros(2, 3), zeros(2, 4), {}, ValueError),
    (("cross_entropy",), zeros(2, 3), zeros(3, 3), {}, ValueError),
    (("cross_entropy",), zeros(2, 3), zeros(2, 3, 1), {}, ValueError),
    (("cross_entropy",), zeros(2, 3), labels(2, 3), {}, ValueError),
    (("cross_entropy",), zeros(2, 3), zeros(2, 3), {"ignore_index": 0}, ValueError),
    (("cross_entropy",), zeros(2, 3), labels(2), {"label_smoothing": 1.1}, ValueError),
    (("cross_entropy",), zeros(2, 3), labels(2), {"label_smoothing": "a"}, TypeError),
    (("cross_entropy",), zeros(), labels(), {}, AxisError),
]
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
LOGISTIC = BINARY[1:]
REFUSED += [
    (BINARY, zeros(3), zeros(2), {}, ValueError),
    (BINARY, zeros(3), zeros(3, 1), {}, ValueError),
    (BINARY, zeros(2, 3), zeros(3), {}, ValueError),
    (BINARY, zeros(3), zeros(), {}, ValueError),
    (BINARY, zeros(2, 3), zeros(2, 3), {"weight": np.ones(2)}, ValueError),
    (BINARY, zeros(2, 3), zeros(2, 3), {"weight": np.ones((3, 2))}, ValueError),
    (BINARY, zeros(3), zeros(3), {"weight": np.ones((2, 3))}, ValueError),
    (BINARY, zeros(3), zeros(3), {"reduction": "average"}, ValueError),
    (BINARY, zeros(3, dtype=complex), zeros(3), {}, TypeError),
    (BINARY[:1], zeros(3) - 0.5, zeros(3), {}, ValueError),
    (BINARY[:1], zeros(3) + 1.5, zeros(3), {}, ValueError),
    (BINARY[:1], zeros(3), zeros(3) + 1.5, {}, ValueError),
    (BINARY[:1], zeros(3), zeros(3) - 0.5, {}, ValueError),
    (LOGISTIC, zeros(2, 3), zeros(2, 3), {"pos_weight": np.ones(2)}, ValueError),
    (LOGISTIC, zeros(2, 3), zeros(2, 3), {"pos_weight": np.ones((3, 2))}, ValueError),
    (("kl_div",), zeros(2, 3), zeros(2, 4), {}, ValueError),
    (("kl_div",), zeros(2, 3), zeros(3, 3), {}, ValueError),
    (("mse_loss",), zeros(2, 3), zeros(2, 4), {}, ValueError),
]
OUR_NAME["mse_loss"] = "squared_error"
# There a target that would broadcast is only warned of.
THEIR_WARNING = "ignore:Using a target size:UserWarning"


@pytest.mark.filterwarnings(THEIR_WARNING)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize("row", range(len(REFUSED)))
def test_torch_refuses(peer, row):
    """What PyTorch refuses is refused, all methods alike, and by the promised exception."""
    names, x, target, options, exception = REFUSED[row]
    for name in names:
        with pytest.raises((RuntimeError, ValueError, IndexError, TypeError)):
            peer.named(name, target, **options)(peer.tensor(x))
        loss = getattr(fastce, OUR_NAME.get(name, name))
        where = {"axis": 1} if x.ndim > 1 and name in CLASSES else {}
        for method in (loss, loss.grad, loss.value_and_grad, loss.grad_and_hess):
            with pytest.raises(exception):
                method(x, target, **options, **where)


REFUSED_AXES = [
    ("softmax", zeros(2, 3), 2, AxisError),
    ("softmax", zeros(2, 3), -3, AxisError),
    ("log_softmax", zeros(3), 1, AxisError),
    ("log_softmax", zeros(3, dtype=complex), 0, TypeError),
    ("softmax", zeros(3, dtype=complex), 0, TypeError),
    ("logsumexp", zeros(2, 3), 2, AxisError),
    ("logsumexp", zeros(2, 3), (0, 0), ValueError),
    ("logsumexp", zeros(2, 3), (0, -2), ValueError),
    ("logsumexp", zeros(2, 3), (0, 2), AxisError),
]


@pytest.mark.parametrize(("name", "x", "axis", "exception"), REFUSED_AXES)
def test_torch_refuses_axes(peer, name, x, axis, exception):
    """Axes out of range or named twice, and dtypes."""
    with pytest.raises((RuntimeError, IndexError)):
        peer.named(name, axis)(peer.tensor(x))
    with pytest.raises(exception):
        getattr(fastce, name)(x, axis=axis)


def test_torch_tensors_are_arrays(torch):
    """Tensors on the CPU are taken as they are."""
    rng = seeded("tensors")
    x, target = rng.normal(size=(5, 4)), rng.integers(4, size=5)
    want = fastce.cross_entropy.value_and_grad(x, target)
    got = fastce.cross_entropy.value_and_grad(torch.tensor(x), torch.tensor(target))
    assert_close(got, want, 0)


# ----------------------------------------------------------------------------------- SciPy

GRIDS = {
    "narrow": lambda rng, shape: rng.normal(size=shape),
    # with factors, SciPy is right only where exp(x) is in range
    "wide": lambda rng, shape: np.clip(rng.normal(size=shape) * 500, -700, 700),
    "masked": lambda rng, shape: np.where(rng.random(shape) < 0.3, -inf, rng.normal(size=shape)),
    "special": lambda rng, shape: rng.choice([nan, inf, -inf, 0.0, 700.0, -700.0], shape),
}
AXES = (None, 0, 1, -1, (0, 1), (2, 0), (0, 1, 2))
# SciPy warns, of its own steps, where all of a row is -inf or where there is a NaN.
by_scipy = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


@by_scipy
@dtypes
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_scipy_along_axes(name, grid, dtype):
    """Int, tuple and None axes; infinities and NaN."""
    special = pytest.importorskip("scipy.special")
    for axis, seed in itertools.product(AXES, range(10)):
        x = GRIDS[grid](seeded("scipy", name, grid, axis, seed), (3, 4, 5)).astype(dtype)
        with np.errstate(all="ignore"):
            want = getattr(special, name)(x, axis=axis)
        got = getattr(fastce, name)(x, axis=axis)
        # float32: SciPy itself loses a few digits of log-probabilities
        assert_close(got, want, RELATIVE if dtype == np.float64 else 64, (axis, seed))


FACTORS = {
    "positive": lambda rng, shape: some(rng, shape),
    "with zeros": lambda rng, shape: np.where(rng.random(shape) < 0.4, 0.0, some(rng, shape)),
    "negative": lambda rng, shape: -some(rng, shape),
    "mixed": lambda rng, shape: rng.uniform(-2, 2, shape),
    "zero": lambda rng, shape: np.zeros(shape),
}


@by_scipy
@pytest.mark.parametrize("b", FACTORS)
@pytest.mark.parametrize("grid", ["narrow", "wide", "masked"])
def test_scipy_logsumexp_with_factors(grid, b):
    """`b` of either sign, broadcast from either side, with `return_sign` and `keepdims`."""
    special = pytest.importorskip("scipy.special")
    shapes = (((3, 4, 5), (3, 4, 5)), ((3, 4, 5), (5,)), ((4, 1), (3, 4, 5)), ((3, 4, 5), ()))
    for (shape, b_shape), axis, keepdims, seed in itertools.product(
        shapes, (None, 0, -1, (0, 1)), (False, True), range(4)
    ):
        rng = seeded("factors", grid, b, shape, b_shape, axis, seed)
        x, factors = GRIDS[grid](rng, shape), FACTORS[b](rng, b_shape)
        options = {"axis": axis, "keepdims": keepdims, "b": factors}
        label = shape, b_shape, axis, seed
        with np.errstate(all="ignore"):
            want = special.logsumexp(x, **options)
            signed = special.logsumexp(x, return_sign=True, **options)
        # a sum of both signs cancels, which shows relative to its largest term
        least = 1.0 if b == "mixed" else 0.0
        assert_close(fastce.logsumexp(x, **options), want, RELATIVE, label, least=least)
        got = fastce.logsumexp(x, return_sign=True, **options)
        assert_close(got, signed, RELATIVE, label, least=least)


SCIPY_EDGES = [
    # (x, options)
    ([], {"axis": None}),
    (np.zeros((3, 0)), {"axis": 1}),
    (np.zeros((3, 0)), {"axis": 0}),
    ([0.0, 0.0], {"b": [1.0, -1.0], "return_sign": True}),
    ([0.0, 0.0], {"b": [1.0, -2.0], "return_sign": True}),
    ([inf, 0.0], {"b": [0.0, 1.0]}),
    ([nan, 0.0], {"b": [0.0, 1.0]}),
    ([1.0, 0.0], {"b": [nan, 1.0]}),
    ([1.0, 0.0], {"b": [0.0, 0.0], "return_sign": True}),
    ([1.0, 0.0], {"b": [inf, 1.0]}),
    ([1000.0, 1000.0], {"b": [1.0, -0.5]}),
    ([-inf, -inf], {"return_sign": True}),
    ([0.0, -40.0], {}),
    (5.0, {"axis": None}),
    (np.arange(5), {"b": np.arange(5)}),
    (np.arange(5) > 2, {}),
]


@by_scipy
@pytest.mark.parametrize("row", range(len(SCIPY_EDGES)))
def test_scipy_logsumexp_edges(row):
    """The cases of SciPy's documentation and issues."""
    special = pytest.importorskip("scipy.special")
    x, options = SCIPY_EDGES[row]
    with np.errstate(all="ignore"):
        want = special.logsumexp(x, **options)
    # fastce's default is the last axis, SciPy's all of them
    got = fastce.logsumexp(x, **{"axis": None} | options)
    assert_close(got, want, 4)


@dtypes
@pytest.mark.parametrize(
    ("name", "theirs"), [("sigmoid", "expit"), ("log_sigmoid", "log_expit"), ("logit", "logit")]
)
def test_scipy_elementwise(name, theirs, dtype):
    """Each element within a few ULP, from the smallest numbers to the infinities."""
    special = pytest.importorskip("scipy.special")
    rng = seeded("scipy", name)
    x = np.concatenate([rng.normal(size=500) * s for s in (1e-3, 1.0, 30.0, 300.0)])
    if name == "logit":
        x = np.concatenate([rng.random(2000), 10.0 ** rng.uniform(-30, 0, 500), [0.5]])
    edges = [0.0, -0.0, 1.0, inf, -inf, nan, -1.0, 2.0]
    x = np.concatenate([x, edges]).astype(dtype)
    with np.errstate(all="ignore"):
        want = getattr(special, theirs)(x)
    got = getattr(fastce, name)(x)
    assert got.dtype == want.dtype
    # where it is subnormal in float32, SciPy's is 0
    info = np.finfo(dtype)
    np.testing.assert_allclose(got, want, rtol=16 * float(info.eps), atol=float(info.tiny))


@pytest.mark.parametrize("base", [None, 2, 10.0])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scipy_entropy(axis, base):
    """Entropy, divergences, and the squared Jensen-Shannon distance."""
    stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    distance = pytest.importorskip("scipy.spatial.distance")
    for seed in range(20):
        rng = seeded("entropy", axis, base, seed)
        x, y = rng.normal(size=(2, 6, 7)) * 3
        p, q = (np.exp(log_softmax(v, axis)) for v in (x, y))
        if seed % 2:
            keep = rng.random(p.shape) < 0.7
            keep[0], keep[:, 0] = True, True
            p = np.where(keep, p, 0)
            p /= p.sum(axis=axis, keepdims=True)
        options = {"axis": axis, "base": base}
        assert_close(fastce.entropy(p, **options), stats.entropy(p, **options), RELATIVE)
        got = fastce.entropy_from_logits(x, **options)
        assert_close(got, stats.entropy(np.exp(log_softmax(x, axis)), **options), RELATIVE)
        got = fastce.js_divergence(p, q, **options)
        assert_close(got, distance.jensenshannon(p, q, **options) ** 2, RELATIVE)
        got = fastce.kl_divergence(np.log(q), p, axis=axis, reduction="none")
        assert_close(got, special.rel_entr(p, q).sum(axis=axis), RELATIVE)
        assert_close(got, stats.entropy(p, q, axis=axis), RELATIVE)


# ---------------------------------------------------------------------------- scikit-learn


@pytest.fixture(scope="module")
def sklearn_losses():
    """scikit-learn's private losses."""
    return pytest.importorskip("sklearn._loss.loss")


@dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 3, 10, 70])
def test_sklearn_multinomial(sklearn_losses, k, weighted, dtype):
    """`HalfMultinomialLoss`: value, gradient and diagonal of the Hessian, a sample each."""
    peer = sklearn_losses.HalfMultinomialLoss(n_classes=k)
    for seed, spread in itertools.product(range(10), (1.0, 5.0)):
        rng = seeded("multinomial", k, weighted, seed, spread)
        x = (rng.normal(size=(33, k)) * spread).astype(dtype)
        y = rng.integers(k, size=33)
        weight = some(rng, 33).astype(dtype) if weighted else None
        args = {"y_true": y.astype(dtype), "raw_prediction": x, "sample_weight": weight}
        options = given({"reduction": "none", "sample_weight": weight})
        value, grad = peer.loss_gradient(**args)
        ulps = RELATIVE if dtype == np.float64 else 32
        got = fastce.cross_entropy.value_and_grad(x, y, **options)
        assert_close(got, (value, grad), ulps, seed)
        assert_close(got[0], peer.loss(**args), ulps, seed)
        got = fastce.cross_entropy.grad_and_hess(x, y, **options)
        assert_close(got, peer.gradient_hessian(**args), ulps, seed)
        got = fastce.cross_entropy(x, y, **options | {"reduction": "mean"})
        assert_close(got, dtype(peer(**args)), ulps, seed)
        assert_close(fastce.softmax(x), peer.predict_proba(x), ulps, seed)


@dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_sklearn_binomial(sklearn_losses, soft, weighted, dtype):
    """`HalfBinomialLoss`: value, gradient and Hessian."""
    peer = sklearn_losses.HalfBinomialLoss()
    loss = fastce.binary_cross_entropy_with_logits
    for seed, spread in itertools.product(range(10), (1.0, 10.0, 50.0)):
        rng = seeded("binomial", soft, weighted, seed, spread)
        x = (rng.normal(size=200) * spread).astype(dtype)
        y = binary_target(rng, 200, soft).astype(dtype)
        weight = some(rng, 200).astype(dtype) if weighted else None
        args = {"y_true": y, "raw_prediction": x, "sample_weight": weight}
        options = given({"reduction": "none", "sample_weight": weight})
        ulps = RELATIVE if dtype == np.float64 else 32
        got = loss.value_and_grad(x, y, **options)
        assert_close(got, peer.loss_gradient(**args), ulps, seed)
        got = loss.grad_and_hess(x, y, **options)
        assert_close(got, peer.gradient_hessian(**args), ulps, seed)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_sklearn_log_loss(normalize, weighted):
    """`metrics.log_loss` of several classes and of two."""
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(20):
        rng = seeded("log_loss", normalize, weighted, seed)
        p = np.exp(log_softmax(rng.normal(size=(30, 4)), -1))
        p /= p.sum(axis=-1, keepdims=True)
        y, z = rng.integers(4, size=30), rng.integers(2, size=30)
        weight = some(rng, 30) if weighted else None
        how = {"normalize": normalize, "sample_weight": weight}
        options = given({"reduction": "mean" if normalize else "sum", "sample_weight": weight})
        want = metrics.log_loss(y, p, labels=range(4), **how)
        assert_close(fastce.categorical_cross_entropy(p, y, **options), want, RELATIVE)
        want = metrics.log_loss(z, p[:, 0], labels=(0, 1), **how)
        assert_close(fastce.binary_cross_entropy(p[:, 0], z, **options), want, RELATIVE)


# ------------------------------------------------------------------------------- JAX, optax


@pytest.fixture
def optax():
    """Optax, computing in float64 where it is given float64."""
    jax = pytest.importorskip("jax")
    module = pytest.importorskip("optax")
    with jax.enable_x64(True):
        yield module


def optax_rows(rng, dtype):
    """Yield (ours, theirs, x, target, options): values a sample."""
    x = (rng.normal(size=(9, 7)) * rng.choice([1.0, 8.0])).astype(dtype)
    y = rng.integers(7, size=9)
    p = np.exp(log_softmax(rng.normal(size=(9, 7)), -1)).astype(dtype)
    log_q = log_softmax(x.astype(float), -1).astype(dtype)
    soft = rng.random((9, 7)).astype(dtype)
    yield "cross_entropy", "softmax_cross_entropy_with_integer_labels", x, y, {}
    yield "cross_entropy", "softmax_cross_entropy", x, p, {}
    for target in (soft, soft.round()):
        yield "binary_cross_entropy_with_logits", "sigmoid_binary_cross_entropy", x, target, {}
        for options in ({"alpha": 0.25, "gamma": 2.0}, {"alpha": 0.5, "gamma": 1.0}):
            yield "sigmoid_focal_loss", "sigmoid_focal_loss", x / 4, target, options
    yield "kl_divergence", "kl_divergence", log_q, p, {}


@dtypes
def test_optax(optax, dtype):
    """Values, and gradients by `jax.grad`."""
    import jax

    for seed in range(20):
        for ours, theirs, x, target, options in optax_rows(seeded("optax", seed), dtype):
            function = getattr(optax, theirs)

            def total(x, function=function, target=target, options=options):
                return function(x, target, **options).sum()

            want = function(x, target, **options), jax.grad(total)(x)
            got = getattr(fastce, ours).value_and_grad(x, target, reduction="none", **options)
            # in float32 the peers' own rounding, of log-probabilities and of 1 - p, shows
            ulps = RELATIVE if dtype == np.float64 else 128
            want = tuple(np.asarray(part) for part in want)
            assert_close(got, want, ulps, (theirs, options, seed), least=1.0)


# ------------------------------------------------------------------------------------ ONNX

ONNX_NODES = {
    # operator: at least so many node tests
    "SoftmaxCrossEntropyLoss": 30,
    "NegativeLogLikelihoodLoss": 15,
    "Softmax": 6,
    "LogSoftmax": 6,
    "Sigmoid": 2,
    "Softplus": 2,
}


@pytest.fixture(scope="module")
def onnx_cases():
    """Give the node tests of the ONNX standard."""
    loader = pytest.importorskip("onnx.backend.test.loader")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making other operators' data, it overflows and divides
        return loader.load_model_tests(kind="node")


def onnx_attributes(node):
    """Give the attributes of a node as a dictionary."""
    from onnx import helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


def by_fastce(operator, inputs, attributes, outputs):
    """Compute a node."""
    x, *more = inputs
    if operator in ("Sigmoid", "Softplus"):
        return (getattr(fastce, operator.lower())(x),)
    if operator in ("Softmax", "LogSoftmax"):
        function = fastce.softmax if operator == "Softmax" else fastce.log_softmax
        return (function(x, axis=attributes.get("axis", -1)),)
    loss = fastce.nll_loss if operator.startswith("Neg") else fastce.cross_entropy
    options = dict(zip(("weight",), more[1:], strict=False)) | attributes
    value = loss(x, more[0], axis=1, **options)
    return (value, fastce.log_softmax(x, axis=1))[:outputs]


@pytest.mark.parametrize("operator", ONNX_NODES)
def test_onnx(onnx_cases, operator):
    """The node tests of one operator, in float32 as they are."""
    count = 0
    for case in onnx_cases:
        graph = case.model.graph
        if [node.op_type for node in graph.node] != [operator]:
            continue
        attributes = onnx_attributes(graph.node[0])
        for inputs, outputs in case.data_sets:
            got = by_fastce(operator, inputs, attributes, len(outputs))
            assert_close(got, tuple(outputs), 64, case.name)
            count += 1
    assert count >= ONNX_NODES[operator]
