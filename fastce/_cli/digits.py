"""``digits``: softmax regression on scikit-learn's bundled handwritten digits.

The loss is convex: f(W) = cross_entropy(X W, y) + l2 / 2 |W|^2, X with a column of ones for the
intercept.  ``cross_entropy.value_and_grad`` gives the loss and its gradient with respect to the
logits Z = X W in one pass, and the chain rule does the rest: df/dW = X^T df/dZ + l2 W.
"""

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

import fastce
from fastce._cli.data import InputError
from fastce._cli.output import Document, marks

Matrix = npt.NDArray[np.float64]

HELD_OUT = 0.25  # share of each class that is not trained on
L2 = 1e-4
GOAL = 0.95
OPTIMIZERS = ("auto", "lbfgs", "gradient-descent")


def installed() -> bool:
    """Tell whether scikit-learn, which has the data, is there."""
    return importlib.util.find_spec("sklearn") is not None


MISSING = "digits needs scikit-learn for its data: pip install 'fastce[examples]'"


def _load() -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Give pixels scaled to [0, 1] with a column of ones, and the digits."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return np.column_stack([pixels / 16.0, np.ones(len(pixels))]), digits.astype(np.int64)


def _split(y: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose the same share of every class to be held out."""
    held_out = np.zeros(len(y), dtype=bool)
    for digit in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == digit))
        held_out[members[: round(HELD_OUT * len(members))]] = True
    return held_out


def _gradient_descent(
    objective: Any, w: Matrix, step: float, iterations: int = 3000
) -> tuple[Matrix, int]:
    """Minimise by gradient descent with Nesterov's momentum."""
    look_ahead = previous = w
    for i in range(iterations):
        _, grad = objective(look_ahead)
        w = look_ahead - step * grad
        look_ahead = w + i / (i + 3) * (w - previous)
        previous = w
    return w, iterations


def run(optimizer: str = "auto") -> Document:
    """Train on three quarters of the digits and score on the rest.

    Parameters
    ----------
    optimizer : {"auto", "lbfgs", "gradient-descent"}
        "auto" takes SciPy's L-BFGS where SciPy is installed, gradient descent elsewhere.

    Returns
    -------
    dict
        Losses and accuracies; ``"ok"`` if the held-out accuracy is above 95 %.

    Raises
    ------
    InputError
        If scikit-learn, or SciPy where it was asked for, is not installed.
    """
    if not installed():
        raise InputError(MISSING)
    if optimizer == "auto":
        scipy = importlib.util.find_spec("scipy") is not None
        optimizer = "lbfgs" if scipy else "gradient-descent"
    x, y = _load()
    held_out = _split(y, np.random.default_rng(0))
    x_train, y_train = np.ascontiguousarray(x[~held_out]), y[~held_out]
    shape = (x.shape[1], int(y.max()) + 1)

    def objective(w: Matrix) -> tuple[float, Matrix]:
        w = w.reshape(shape)
        loss, d_logits = fastce.cross_entropy.value_and_grad(x_train @ w, y_train)
        grad = x_train.T @ d_logits + L2 * w
        return float(loss) + L2 / 2 * float(np.sum(w * w)), grad

    start = np.zeros(shape)
    if optimizer == "lbfgs":
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise InputError("L-BFGS needs SciPy: pip install 'fastce[examples]'") from None

        def flat(w: Matrix) -> tuple[float, Matrix]:
            value, grad = objective(w)
            return value, grad.ravel()

        found = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B")
        w, iterations = found.x.reshape(shape), int(found.nit)
    else:
        # The Hessian of the cross-entropy is at most 1/2 in the logits, so this bounds f's.
        curvature = float(np.linalg.norm(x_train, 2)) ** 2 / (2 * len(x_train)) + L2
        w, iterations = _gradient_descent(objective, start, 1 / curvature)

    def accuracy(rows: npt.NDArray[np.bool_]) -> float:
        return float(np.mean(np.argmax(x[rows] @ w, axis=-1) == y[rows]))

    scored = accuracy(held_out)
    return {
        "ok": scored > GOAL,
        "optimizer": optimizer,
        "iterations": iterations,
        "features": shape[0] - 1,
        "classes": shape[1],
        "trained_on": int(np.sum(~held_out)),
        "held_out": int(np.sum(held_out)),
        "first_objective": objective(start)[0],
        "last_objective": objective(w)[0],
        "train_accuracy": accuracy(~held_out),
        "held_out_accuracy": scored,
        "goal": GOAL,
    }


def render(document: Document) -> str:
    """Write the document of `run` in a few lines."""
    right, wrong = marks()
    d = document
    return "\n".join(
        [
            f"Softmax regression on handwritten digits: {d['trained_on']} images of "
            f"{d['features']} pixels to train on, {d['held_out']} held out.",
            f"{d['optimizer']}: {d['iterations']} iterations, objective "
            f"{d['first_objective']:.4f} -> {d['last_objective']:.4f}, "
            f"training accuracy {d['train_accuracy']:.1%}",
            f"{right if d['ok'] else wrong} held-out accuracy {d['held_out_accuracy']:.1%} "
            f"(goal: above {d['goal']:.0%})",
        ]
    )
