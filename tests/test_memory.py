"""A value takes no storage that grows with the classes, a gradient only its result, `out` none."""

import pathlib
import tracemalloc

import numpy as np
import pytest
from _support import run_python, seeded

import fastce

LITTLE = 100_000  # bytes, beside arrays of megabytes
N, K = 60, 30_000


def peak_of(call):
    """Give the largest number of bytes that NumPy and Python held at a time, in a second call."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def losses():
    """Give losses with their arguments, all of N x K."""
    rng = seeded("memory")
    logits = rng.normal(size=(N, K))
    labels = rng.integers(0, K, N)
    probabilities = np.full((N, K), 1 / K)
    unit = rng.uniform(0.01, 0.99, (N, K))
    weight = np.ones(K)
    return {
        "cross_entropy": (fastce.cross_entropy, logits, labels, {}),
        "weights": (fastce.cross_entropy, logits, labels, {"weight": weight}),
        "smoothing": (fastce.cross_entropy, logits, labels, {"label_smoothing": 0.1}),
        "probabilities": (fastce.cross_entropy, logits, probabilities, {}),
        "temperature": (fastce.cross_entropy, logits, labels, {"temperature": 2.0}),
        "side by side": (fastce.cross_entropy, np.asfortranarray(logits), labels, {}),
        "every second": (fastce.cross_entropy, np.repeat(logits, 2, 1)[:, ::2], labels, {}),
        "nll_loss": (fastce.nll_loss, logits, labels, {}),
        "kl_divergence": (fastce.kl_divergence, logits, probabilities, {}),
        "categorical": (fastce.categorical_cross_entropy, probabilities, labels, {}),
        "binary": (fastce.binary_cross_entropy_with_logits, logits, unit, {}),
        "binary, weights": (
            fastce.binary_cross_entropy_with_logits, logits, unit, {"sample_weight": unit},
        ),
        "focal": (fastce.sigmoid_focal_loss, logits, unit, {}),
        "probability": (fastce.binary_cross_entropy, unit, unit, {}),
        "squared": (fastce.squared_error, logits, unit, {}),
    }  # fmt: skip


@pytest.mark.parametrize("name", losses())
def test_losses(name):
    """By what NumPy and Python allocate."""
    loss, logits, target, options = losses()[name]
    out, hess = np.empty_like(logits), np.empty_like(logits)
    assert peak_of(lambda: loss(logits, target, **options)) < LITTLE
    assert peak_of(lambda: loss.value_and_grad(logits, target, **options, out=out)) < LITTLE
    assert peak_of(lambda: loss.grad(logits, target, **options)) < out.nbytes + LITTLE
    pair = (out, hess)
    assert peak_of(lambda: loss.grad_and_hess(logits, target, **options, out=pair)) < LITTLE
    assert peak_of(lambda: loss.hvp(logits, target, hess, **options, out=out)) < LITTLE


FUNCTIONS = {
    "softmax": lambda x, out: fastce.softmax(x, out=out),
    "softmax, axis=0": lambda x, out: fastce.softmax(x, axis=0, out=out),
    "log_softmax": lambda x, out: fastce.log_softmax(x, out=out),
    "softmax_backward": lambda x, out: fastce.softmax_backward(x, x, out=out),
    "sigmoid": lambda x, out: fastce.sigmoid(x, out=out),
    "logsumexp": lambda x, out: fastce.logsumexp(x),
    "entropy_from_logits": lambda x, out: fastce.entropy_from_logits(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    """The same of the functions."""
    x = seeded("functions").normal(size=(N, K))
    out = np.empty_like(x)
    assert peak_of(lambda: FUNCTIONS[name](x, out)) < LITTLE


RESIDENT = """
import numpy as np, fastce

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))  # KiB

rng = np.random.default_rng(0)
for shape in ((400, 10_000), (400_000, 10), (1000, 4000)):
    axis = 0 if shape == (1000, 4000) else 1
    logits = rng.normal(size=shape)
    target = rng.integers(0, shape[axis], shape[1 - axis])
    out = np.zeros_like(logits)
    before = resident()
    fastce.cross_entropy(logits, target, axis=axis)
    fastce.cross_entropy.value_and_grad(logits, target, axis=axis, out=out)
    fastce.cross_entropy.value_and_grad(logits, target, axis=axis, label_smoothing=0.1, out=out)
    fastce.softmax(logits, axis, out=out)
    fastce.logsumexp(logits, axis)
    # The values of the samples, the kernels' own buffers and pages of code.
    print(resident() - before - 8 * shape[1 - axis] // 1024)
"""


def test_resident_set():
    """By what the process holds: arrays of 32 MB, of which no call may make another."""
    if not pathlib.Path("/proc/self/status").exists():
        pytest.skip("the system does not tell")
    grown = [int(line) for line in run_python(RESIDENT).stdout.split()]
    assert len(grown) == 3
    assert all(kibibytes < 8192 for kibibytes in grown), grown
