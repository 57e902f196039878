"""What comes out at the edges: literal expectations, for `fastce` and for its reference.

Infinities, NaN and zeros (0.0, never -0.0) are exact; other numbers are within 2 ULP.  Warnings are
errors in this suite, so no row may give one.
"""

import numpy as np
import pytest
from _support import parts

import fastce
from fastce import reference

pytestmark = pytest.mark.core

nan, inf = float("nan"), float("inf")
LOG2 = 0.6931471805599453
LOG4 = 1.3862943611198906
NO_ROWS = np.zeros((0, 3))
NO_CLASSES = np.zeros((0,), int)
NONE, SUM, MEAN = ({"reduction": r} for r in ("none", "sum", "mean"))

# (function, its arguments, options, what it gives)
ACTIVATIONS = [
    ("sigmoid", ([-inf, 0, inf, nan, -1000, 1000],), {}, [0, 0.5, 1, nan, 0, 1]),
    ("log_sigmoid", ([-inf, 0, inf, nan, -1000],), {}, [-inf, -LOG2, 0, nan, -1000]),
    ("softplus", ([-inf, 0, inf, nan, 1000],), {}, [0, LOG2, inf, nan, 1000]),
    ("logit", ([0, 0.5, 1, nan, -0.0],), {}, [-inf, 0, inf, nan, -inf]),
    ("logit", ([-0.25, 1.25, -inf, inf],), {}, [nan, nan, nan, nan]),
    ("sigmoid_backward", ([2, 2, 2, nan, 2], [0, 0.5, 1, 0.5, nan]), {}, [0, 0.5, 0, nan, nan]),
    ("log_sigmoid_backward", ([2, 2, 2, nan], [-inf, 0, inf, 0]), {}, [2, 1, 0, nan]),
    ("softplus_backward", ([2, 2, 2, nan], [-inf, 0, inf, 0]), {}, [0, 1, 2, nan]),
    ("softmax", ([[0, 0], [nan, 0]],), {}, [[0.5, 0.5], [nan, nan]]),
    ("softmax", ([[0, -inf], [-inf, -inf]],), {}, [[1, 0], [nan, nan]]),
    ("softmax", ([[0, inf], [inf, -inf]],), {}, [[nan, nan], [nan, nan]]),
    ("softmax", ([[1000, 1000], [0, -1000]],), {}, [[0.5, 0.5], [1, 0]]),
    ("softmax", ([3.0],), {}, [1]),
    ("softmax", (NO_ROWS,), {}, NO_ROWS),
    ("softmax", (np.zeros((3, 0)),), {"axis": 0}, np.zeros((3, 0))),
    ("log_softmax", ([[0, 0], [nan, 0]],), {}, [[-LOG2, -LOG2], [nan, nan]]),
    ("log_softmax", ([[0, -inf], [-inf, -inf]],), {}, [[0, -inf], [nan, nan]]),
    ("log_softmax", ([[0, inf], [inf, nan]],), {}, [[-inf, nan], [nan, nan]]),
    ("log_softmax", ([3.0],), {}, [0]),
    ("log_softmax", (NO_ROWS,), {}, NO_ROWS),
    ("logsumexp", ([[0, 0], [nan, 0], [nan, inf]],), {}, [LOG2, nan, nan]),
    ("logsumexp", ([[0, -inf], [-inf, -inf]],), {}, [0, -inf]),
    ("logsumexp", ([[0, inf], [inf, -inf], [inf, inf]],), {}, [inf, inf, inf]),
    ("logsumexp", ([3.0],), {}, 3),
    ("logsumexp", ([],), {}, -inf),
    ("logsumexp", (np.zeros((2, 0)),), {}, [-inf, -inf]),
    ("logsumexp", (NO_ROWS,), {}, np.zeros(0)),
    ("logsumexp", (NO_ROWS,), {"axis": None}, -inf),
    ("logsumexp", (NO_ROWS,), {"axis": 0, "keepdims": True}, [[-inf] * 3]),
    ("logsumexp", ([0, 0],), {"b": [1, -1]}, -inf),
    ("logsumexp", ([0, 0],), {"b": [1, -2]}, nan),
    ("logsumexp", ([0, 0],), {"b": [1, -2], "return_sign": True}, (0, -1)),
    ("logsumexp", ([0, 0, 0],), {"b": [3, 0.5, -1.5], "return_sign": True}, (LOG2, 1)),
    ("logsumexp", ([0, 0],), {"b": [0, 0], "return_sign": True}, (-inf, 0)),
    ("logsumexp", ([0, inf],), {"b": [1, 0]}, 0),
    ("logsumexp", ([0, nan],), {"b": [1, 0]}, 0),
    ("logsumexp", ([0, 0],), {"b": [1, nan]}, nan),
    ("softmax_backward", ([1, 2], [0.5, 0.5]), {}, [-0.25, 0.25]),
    ("softmax_backward", ([5, 1], [0, 1]), {}, [0, 0]),
    ("softmax_backward", ([[1, 1], [1, 1]], [[nan, 1], [0.5, 0.5]]), {}, [[nan, nan], [0, 0]]),
    ("log_softmax_backward", ([0, 1], [-inf, 0]), {}, [0, 0]),
    ("log_softmax_backward", ([1, 1], [nan, nan]), {}, [nan, nan]),
    ("log_softmax_backward", ([[nan, 1], [0, 0]], [[-LOG2] * 2] * 2), {}, [[nan, nan], [0, 0]]),
    ("logsumexp_backward", ([2, 1], [[0, 0], [-inf, 0]]), {}, [[1, 1], [0, 1]]),
    ("logsumexp_backward", ([1, 1], [[0, nan], [-inf, -inf]]), {}, [[nan, nan], [nan, nan]]),
]

NAN_ROW, TWO = [[nan, 0], [0, 0]], [[0, 0], [0, 0]]
MASKED = [[0, -inf]]
CLASSES = [
    ("cross_entropy", ([0, 0], 0), {}, LOG2),
    ("cross_entropy.grad", ([0, 0], 0), {}, [-0.5, 0.5]),
    ("cross_entropy", (NAN_ROW, [0, 0]), NONE, [nan, LOG2]),
    ("cross_entropy", (NAN_ROW, [0, 0]), MEAN, nan),
    ("cross_entropy.grad", (NAN_ROW, [1, 0]), NONE, [[nan, nan], [-0.5, 0.5]]),
    ("cross_entropy.grad", (NAN_ROW, [1, 0]), MEAN, [[nan, nan], [-0.25, 0.25]]),
    (
        "cross_entropy.grad_and_hess",
        (NAN_ROW, [1, 0]),
        NONE,
        ([[nan, nan], [-0.5, 0.5]], [[nan, nan], [0.25, 0.25]]),
    ),
    ("cross_entropy.hvp", (NAN_ROW, [1, 0], [[1, 0], [1, 0]]), NONE, [[nan, nan], [0.25, -0.25]]),
    # masked classes
    ("cross_entropy.value_and_grad", (MASKED, [0]), {}, (0, [[0, 0]])),
    ("cross_entropy.value_and_grad", (MASKED, [1]), {}, (inf, [[1, -1]])),
    ("cross_entropy.grad_and_hess", (MASKED, [0]), {}, ([[0, 0]], [[0, 0]])),
    ("cross_entropy.value_and_grad", ([[-inf, -inf]], [0]), {}, (nan, [[nan, nan]])),
    ("cross_entropy.value_and_grad", ([[inf, 0]], [0]), {}, (nan, [[nan, nan]])),
    (
        "cross_entropy.value_and_grad",
        ([[0, 0, -inf]], [0]),
        {"label_smoothing": 0.25},
        (LOG2, [[-0.375, 0.375, 0]]),
    ),
    ("cross_entropy", ([[0, 0, -inf]], [2]), {"label_smoothing": 0.25}, inf),
    ("cross_entropy.value_and_grad", ([[0, 0]], [0]), {"label_smoothing": 1.0}, (LOG2, [[0, 0]])),
    (
        "cross_entropy.grad_and_hess",
        ([[0, 0, -inf]], [0]),
        {},
        ([[-0.5, 0.5, 0]], [[0.25, 0.25, 0]]),
    ),
    ("cross_entropy.hvp", ([[0, 0, -inf]], [0], [[1, 0, 5]]), {}, [[0.25, -0.25, 0]]),
    # one class
    ("cross_entropy.value_and_grad", ([[3], [4]], [0, 0]), {}, (0, [[0], [0]])),
    ("cross_entropy.grad_and_hess", ([[3]], [0]), {}, ([[0]], [[0]])),
    ("cross_entropy.hvp", ([[3]], [0], [[2]]), {}, [[0]]),
    # nothing to average
    ("cross_entropy.value_and_grad", (NO_ROWS, NO_CLASSES), MEAN, (nan, NO_ROWS)),
    ("cross_entropy.value_and_grad", (NO_ROWS, NO_CLASSES), SUM, (0, NO_ROWS)),
    ("cross_entropy.value_and_grad", (NO_ROWS, NO_CLASSES), NONE, (np.zeros(0), NO_ROWS)),
    ("cross_entropy.value_and_grad", (NO_ROWS, NO_ROWS), MEAN, (nan, NO_ROWS)),
    ("cross_entropy.value_and_grad", (TWO, [-100, -100]), MEAN, (nan, TWO)),
    ("cross_entropy.value_and_grad", (TWO, [-100, -100]), SUM, (0, TWO)),
    ("cross_entropy.value_and_grad", (TWO, [-100, -100]), NONE, ([0, 0], TWO)),
    ("cross_entropy.value_and_grad", (TWO, [0, 1]), {"sample_weight": [0, 0]}, (nan, TWO)),
    ("cross_entropy.value_and_grad", (TWO, [0, 1]), {"sample_weight": [0, 0]} | SUM, (0, TWO)),
    ("cross_entropy.value_and_grad", (TWO, [0, 0]), {"weight": [0, 1]}, (nan, TWO)),
    ("cross_entropy.grad_and_hess", (TWO, [0, 0]), {"weight": [0, 1]}, (TWO, TWO)),
    ("cross_entropy.hvp", (TWO, [0, 0], [[1, 0], [0, 1]]), {"weight": [0, 1]}, TWO),
    # ignored rows are not looked at
    (
        "cross_entropy.value_and_grad",
        (NAN_ROW, [-100, 0]),
        NONE,
        ([0, LOG2], [[0, 0], [-0.5, 0.5]]),
    ),
    ("cross_entropy.value_and_grad", (NAN_ROW, [-100, 0]), MEAN, (LOG2, [[0, 0], [-0.5, 0.5]])),
    (
        "cross_entropy.value_and_grad",
        ([[inf, -inf], [0, 0]], [7, 0]),
        {"ignore_index": 7},
        (LOG2, [[0, 0], [-0.5, 0.5]]),
    ),
    (
        "cross_entropy.value_and_grad",
        ([[-inf, -inf], [0, 0]], [1, 0]),
        {"ignore_index": 1} | SUM,
        (LOG2, [[0, 0], [-0.5, 0.5]]),
    ),
    (
        "cross_entropy",
        (NAN_ROW, [-100, 0]),
        {"z_loss": 1.0, "label_smoothing": 0.5},
        1.1736001944781467,
    ),
    (
        "cross_entropy.hvp",
        (NAN_ROW, [-100, 0], [[nan, inf], [1, 0]]),
        NONE,
        [[0, 0], [0.25, -0.25]],
    ),
    # probabilities
    ("cross_entropy.value_and_grad", (MASKED, [[1.0, 0.0]]), {}, (0, [[0, 0]])),
    ("cross_entropy.value_and_grad", (MASKED, [[0.5, 0.5]]), {}, (inf, [[0.5, -0.5]])),
    ("cross_entropy.value_and_grad", ([[0, 0]], [[0.0, 0.0]]), {}, (0, [[0, 0]])),
    ("cross_entropy.value_and_grad", ([[0, 0]], [[2.0, 0.0]]), {}, (LOG4, [[-1, 1]])),
    ("cross_entropy", ([[0, nan]], [[1.0, 0.0]]), {}, nan),
    ("cross_entropy", ([[0, 0], [0, 0]], [[1.0, 0.0]] * 2), {"weight": [3, 0]}, 3 * LOG2),
    # z-loss and temperature
    ("cross_entropy", ([[0, 0]], [0]), {"z_loss": 1.0}, 1.1736001944781467),
    ("cross_entropy.grad", ([[0, 0]], [0]), {"temperature": 2.0}, [[-0.25, 0.25]]),
    ("cross_entropy", ([[0, -inf]], [0]), {"z_loss": 1.0, "temperature": 0.5}, 0),
    # the others
    ("nll_loss.value_and_grad", ([[-2, -1]], [1]), {}, (1, [[0, -1]])),
    ("nll_loss.value_and_grad", ([[0, -1]], [0]), {}, (0, [[-1, 0]])),
    ("nll_loss.value_and_grad", ([[-inf, -1]], [1]), {}, (1, [[0, -1]])),
    ("nll_loss.value_and_grad", ([[-inf, -1]], [0]), {}, (inf, [[-1, 0]])),
    ("nll_loss.grad_and_hess", ([[-2, -1]], [1]), {}, ([[0, -1]], [[0, 0]])),
    ("nll_loss.hvp", ([[-2, -1]], [1], [[1, 1]]), {}, [[0, 0]]),
    ("nll_loss", ([[nan, -1], [-1, -2]], [1, 0]), NONE, [nan, 1]),
    ("nll_loss.value_and_grad", ([[nan, nan], [-1, -2]], [-100, 0]), {}, (1, [[0, 0], [-1, 0]])),
    ("nll_loss.value_and_grad", (TWO, [-100, -100]), {}, (nan, TWO)),
    ("nll_loss.value_and_grad", (NO_ROWS, NO_CLASSES), {}, (nan, NO_ROWS)),
    ("categorical_cross_entropy.value_and_grad", ([[0.5, 0.5]], [0]), {}, (LOG2, [[-2, 0]])),
    ("categorical_cross_entropy.value_and_grad", ([[0, 1]], [1]), {}, (0, [[0, -1]])),
    ("categorical_cross_entropy.value_and_grad", ([[0, 1]], [0]), {}, (inf, [[-inf, 0]])),
    ("categorical_cross_entropy.value_and_grad", ([[0, 1]], [[0.0, 1.0]]), {}, (0, [[0, -1]])),
    ("categorical_cross_entropy.grad_and_hess", ([[0.5, 0.5]], [0]), {}, ([[-2, 0]], [[4, 0]])),
    ("categorical_cross_entropy", ([[nan, 0.5], [0.5, 0.5]], [1, 0]), NONE, [nan, LOG2]),
    (
        "categorical_cross_entropy.value_and_grad",
        ([[nan, -1], [0.5, 0.5]], [-100, 0]),
        {},
        (LOG2, [[0, 0], [-2, 0]]),
    ),
    ("kl_divergence.value_and_grad", ([[-LOG2, -LOG2]], [[0.5, 0.5]]), {}, (0, [[-0.5, -0.5]])),
    ("kl_divergence.value_and_grad", (MASKED, [[1, 0]]), {}, (0, [[-1, 0]])),
    ("kl_divergence.value_and_grad", (MASKED, [[0.5, 0.5]]), {}, (inf, [[-0.5, -0.5]])),
    ("kl_divergence", ([[-LOG2, -LOG2]] * 2, [[1, 0], [0.5, 0.5]]), {}, LOG2 / 2),
    ("kl_divergence", ([[nan, 0], [0, -inf]], [[0, 1], [1, 0]]), NONE, [nan, 0]),
    ("kl_divergence.value_and_grad", (NO_ROWS, NO_ROWS), {}, (nan, NO_ROWS)),
]

ELEMENTS = [
    (
        "binary_cross_entropy_with_logits",
        ([0, inf, -inf, inf, -inf, nan], [0, 1, 0, 0, 1, 1]),
        NONE,
        [LOG2, 0, 0, inf, inf, nan],
    ),
    (
        "binary_cross_entropy_with_logits.grad",
        ([0, inf, -inf, inf, -inf, nan], [0, 1, 0, 0, 1, 1]),
        NONE,
        [0.5, 0, 0, 1, -1, nan],
    ),
    (
        "binary_cross_entropy_with_logits.grad_and_hess",
        ([0, inf, -inf], [1, 1, 1]),
        NONE,
        ([-0.5, 0, -1], [0.25, 0, 0]),
    ),
    ("binary_cross_entropy_with_logits.hvp", ([0, inf], [1, 1], [4, 4]), NONE, [1, 0]),
    ("binary_cross_entropy_with_logits", ([inf, -inf, 0], [0.5, 0.5, 0.5]), NONE, [inf, inf, LOG2]),
    (
        "binary_cross_entropy_with_logits.value_and_grad",
        ([0], [1]),
        {"label_smoothing": 0.5},
        (LOG2, [-0.25]),
    ),
    (
        "binary_cross_entropy_with_logits.value_and_grad",
        ([0, 0], [1, 0]),
        {"pos_weight": 3} | SUM,
        (4 * LOG2, [-1.5, 0.5]),
    ),
    (
        "binary_cross_entropy_with_logits.value_and_grad",
        ([0, 0], [1, 0]),
        {"weight": 0},
        (0, [0, 0]),
    ),
    (
        "binary_cross_entropy_with_logits.value_and_grad",
        ([0, 0], [1, 0]),
        {"sample_weight": [0, 0]},
        (nan, [0, 0]),
    ),
    ("binary_cross_entropy_with_logits.value_and_grad", (NO_ROWS, NO_ROWS), {}, (nan, NO_ROWS)),
    ("binary_cross_entropy_with_logits.value_and_grad", (NO_ROWS, NO_ROWS), SUM, (0, NO_ROWS)),
    (
        "binary_cross_entropy",
        ([0.5, 1, 0, 1, 0, nan], [0, 1, 0, 0, 1, 1]),
        NONE,
        [LOG2, 0, 0, inf, inf, nan],
    ),
    (
        "binary_cross_entropy.grad",
        ([0.5, 1, 0, 1, 0, nan], [0, 1, 0, 0, 1, 1]),
        NONE,
        [2, -1, 1, inf, -inf, nan],
    ),
    ("binary_cross_entropy.grad_and_hess", ([0.5, 1, 0], [0, 1, 0]), NONE, ([2, -1, 1], [4, 1, 1])),
    ("binary_cross_entropy.value_and_grad", ([0.5], [1]), {"weight": 0}, (0, [0])),
    ("binary_cross_entropy.value_and_grad", (NO_ROWS, NO_ROWS), {}, (nan, NO_ROWS)),
    (
        "sigmoid_focal_loss",
        ([0, 0, inf, -inf, nan], [0, 1, 1, 0, 1]),
        NONE,
        [0.12996509635498973, 0.04332169878499658, 0, 0, nan],
    ),
    ("sigmoid_focal_loss", ([inf, -inf], [0, 1]), NONE, [inf, inf]),
    ("sigmoid_focal_loss.grad", ([inf, -inf, inf, -inf], [1, 0, 0, 1]), NONE, [0, 0, 0.75, -0.25]),
    ("sigmoid_focal_loss.value_and_grad", ([0], [1]), {"alpha": -1, "gamma": 0}, (LOG2, [-0.5])),
    ("sigmoid_focal_loss.value_and_grad", (NO_ROWS, NO_ROWS), {}, (nan, NO_ROWS)),
    ("squared_error", ([3, inf, inf, nan, 1], [1, 0, inf, 0, 1]), NONE, [2, inf, nan, nan, 0]),
    ("squared_error.grad", ([3, inf, inf, nan, 1], [1, 0, inf, 0, 1]), NONE, [2, inf, nan, nan, 0]),
    ("squared_error.grad_and_hess", ([3, 1], [1, 1]), MEAN, ([1, 0], [0.5, 0.5])),
    ("squared_error.hvp", ([3, 1], [1, 1], [2, 0]), SUM, [2, 0]),
    ("squared_error.value_and_grad", (NO_ROWS, NO_ROWS), {}, (nan, NO_ROWS)),
]

INFORMATION = [
    ("entropy", ([[0.5, 0.5], [1, 0], [0, 0], [nan, 1]],), {}, [LOG2, 0, 0, nan]),
    ("entropy", ([[0.25] * 4],), {"base": 2}, [2]),
    ("entropy", (NO_ROWS,), {}, np.zeros(0)),
    ("entropy_from_logits", ([[0, 0], [0, -inf], [nan, 0]],), {}, [LOG2, 0, nan]),
    ("entropy_from_logits", ([[-inf, -inf], [inf, 0], [3, -inf]],), {}, [nan, nan, 0]),
    ("entropy_from_logits", ([[0] * 4],), {"base": 2}, [2]),
    ("entropy_from_logits", ([3.0],), {}, 0),
    ("js_divergence", ([[0.5, 0.5], [1, 0]], [[0.5, 0.5], [0, 1]]), {}, [0, LOG2]),
    ("js_divergence", ([1, 0], [0, 1]), {"base": 2}, 1),
    ("js_divergence", ([[nan, 1], [1, 0]], [[0.5, 0.5], [1, 0]]), {}, [nan, 0]),
]

CASES = ACTIVATIONS + CLASSES + ELEMENTS + INFORMATION


def assert_exactly(got, want, dtype):
    """Check the shape, the dtype, infinities, NaN and zeros exactly, the rest to 2 ULP."""
    want = np.asarray(want, dtype)
    got = np.asarray(got)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    special = ~np.isfinite(want) | (want == 0)
    np.testing.assert_array_equal(got[special], want[special])
    assert not np.any(np.signbit(got[want == 0])), "-0.0"
    if not special.all():
        np.testing.assert_array_max_ulp(got[~special], want[~special], 2)


def labels(function, argument):
    """Tell whether an argument holds classes, which have no floating dtype."""
    return all(isinstance(v, int) for v in np.ravel(np.asarray(argument, object))) and (
        function.startswith(("cross_entropy", "nll_loss", "categorical_cross_entropy"))
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("module", [fastce, reference], ids=["fastce", "reference"])
@pytest.mark.parametrize(
    ("function", "arguments", "options", "want"),
    [pytest.param(*case, id=f"{i}-{case[0]}") for i, case in enumerate(CASES)],
)
def test_edge(function, arguments, options, want, module, dtype):
    """Each row of the table."""
    name, _, method = function.partition(".")
    if not hasattr(module, name):
        pytest.skip(f"no fastce.{name} yet")
    call = getattr(module, name)
    call = getattr(call, method) if method else call
    first, *others = arguments
    others = [a if labels(function, a) else np.asarray(a, dtype) for a in others]
    got = call(np.asarray(first, dtype), *others, **options)
    for g, w in zip(parts(got), parts(want), strict=True):
        assert_exactly(g, w, dtype)
