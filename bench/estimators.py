"""SoftmaxRegression beside scikit-learn's LogisticRegression: ``python -m bench.estimators``.

Both minimise the same objective, to the same tolerance, with the same solver, on one core, in
turns. Printed are how far apart the minima are that they reach, relative to the smaller one, their
steps, the shortest times of a fit, and the ratio of these. The exit status is 1 if a minimum of
fastce is higher than 1e-8 above the other's, or does not meet its tolerance.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from bench.pinning import pin

LIMIT = 1e-8
SOLVERS = ("lbfgs", "newton-cg")
HEADERS = (
    "data", "size", "solver", "tol", "above", "steps", "scikit-learn's", "fastce", "scikit-learn",
    "ratio",
)  # fmt: skip


def data(large: bool) -> Iterator[tuple[str, Any, Any, int]]:
    """Yield names, samples of mean 0 and variance 1, labels, and rounds to time."""
    import numpy as np
    from sklearn import datasets
    from sklearn.preprocessing import scale

    for name in ("iris", "breast_cancer", "digits"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # digits have pixels that are always 0
            yield name, scale(X), y, 9
    if large:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(10**6, 10))
        logits = X @ rng.normal(size=(10, 3))
        yield "synthetic", X, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1), 3


def objective(model: Any, X: Any, y: Any) -> float:
    """Return C times the sum of the losses, plus half the sum of the squared coefficients."""
    import numpy as np

    from fastce import reference

    logits = X @ model.coef_.T + model.intercept_
    if logits.shape[1] == 1:
        logits = np.column_stack([np.zeros(len(X)), logits])
    losses = reference.cross_entropy(logits, y, reduction="sum")
    return float(model.C * losses + np.sum(model.coef_**2) / 2)


def compare(X: Any, y: Any, repeats: int, **parameters: Any) -> tuple[Any, ...]:
    """Fit both; return fastce's minimum above the other's, the steps, and the times of either."""
    from sklearn.linear_model import LogisticRegression

    from fastce._cli.timing import interleaved
    from fastce.integrations.sklearn import SoftmaxRegression

    models = {
        "fastce": SoftmaxRegression(**parameters),
        "scikit-learn": LogisticRegression(**parameters),
    }
    samples = interleaved({n: lambda m=m: m.fit(X, y) for n, m in models.items()}, repeats)
    ours, theirs = (objective(model, X, y) for model in models.values())
    steps = [int(model.n_iter_[0]) for model in models.values()]
    return (ours - theirs) / min(ours, theirs), steps, *(min(s) for s in samples.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.estimators", description=__doc__)
    parser.add_argument("--small", action="store_true", help="leave out the 10**6 samples")
    arguments = parser.parse_args(argv)
    pin(1)

    import fastce
    from fastce._cli.output import table

    fastce.set_num_threads(1)
    warnings.simplefilter("error")  # that a fit has not converged
    rows, failed = [], False
    for name, X, y, repeats in data(not arguments.small):
        for solver in SOLVERS:
            for tol in (1e-4, 1e-8):
                above, steps, ours, theirs = compare(
                    X, y, repeats, solver=solver, tol=tol, max_iter=10_000
                )
                failed |= tol == 1e-8 and above > LIMIT
                rows.append((
                    name, "{} x {}".format(*X.shape), solver, f"{tol:g}", f"{above:.1e}",
                    *map(str, steps), f"{ours * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms",
                    f"{theirs / ours:.2f}",
                ))  # fmt: skip
    print(table(HEADERS, rows, left=3))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
