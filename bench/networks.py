"""SigmoidNetwork beside scikit-learn's MLPClassifier: ``python -m bench.networks``.

On scikit-learn's digits, on one core, in turns. `MLPClassifier` has ``activation="logistic",
solver="sgd"``; layers, batches, momentum and penalty are the same. First both take an epoch from
the same weights, and must have the same cost. The time of an epoch is that of a fit of a few, over
their number, the shortest of several fits. Before the times stands the accuracy on 30 % of the
digits that were held out. The exit status is 1 if that is not above 97 %, or an epoch slower.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from bench.pinning import pin

GOAL = 0.97
READER = {
    "hidden_layer_sizes": (100,), "alpha": 1e-3, "batch_size": 32, "learning_rate_init": 0.5,
    "max_iter": 100, "n_iter_no_change": float("inf"),
}  # fmt: skip
SEEDS, EPOCHS = 5, 5
HEADERS = ("layers", "batch", "dtype", "fastce", "scikit-learn", "ratio")


def accuracies(X: Any, y: Any) -> list[float]:
    """Return the accuracy on 30 % that are held out, for each seed."""
    from sklearn.model_selection import train_test_split

    from fastce.integrations.sklearn import SigmoidNetwork

    found = []
    for seed in range(SEEDS):
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
        network = SigmoidNetwork(**READER, random_state=seed).fit(X_train, y_train)
        found.append(network.score(X_test, y_test))
    return found


def networks(**parameters: Any) -> tuple[Any, Any]:
    """Return the two with the same parameters."""
    from sklearn.neural_network import MLPClassifier

    from fastce.integrations.sklearn import SigmoidNetwork

    peer = MLPClassifier(activation="logistic", solver="sgd", **parameters)
    return SigmoidNetwork(**parameters), peer


def check(X: Any, y: Any, **parameters: Any) -> None:
    """Raise an error if the two do not have the same cost in an epoch from the same weights."""
    pair = networks(shuffle=False, random_state=0, learning_rate_init=1e-12, **parameters)
    for model in pair:
        model.partial_fit(X, y, classes=range(10))  # makes weights, and hardly moves them
    network, peer = pair
    del peer._optimizer  # for it keeps the learning rate
    for name in ("coefs_", "intercepts_"):
        setattr(peer, name, [array.copy() for array in getattr(network, name)])
    ours, theirs = (m.set_params(learning_rate_init=0.1).partial_fit(X, y).loss_ for m in pair)
    if abs(ours - theirs) > 1e-5 * theirs:
        raise RuntimeError(f"the costs of {parameters} differ: {ours}, {theirs}")


def epoch_times(X: Any, y: Any, repeats: int, **parameters: Any) -> list[float]:
    """Return the seconds of an epoch of fastce, and of scikit-learn."""
    from fastce._cli.timing import interleaved

    more = {"max_iter": EPOCHS, "n_iter_no_change": EPOCHS + 1, "random_state": 0}
    pair = networks(**parameters, **more)
    samples = interleaved({type(m).__name__: lambda m=m: m.fit(X, y) for m in pair}, repeats)
    return [min(seconds) / EPOCHS for seconds in samples.values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the accuracy and the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="fits (default: %(default)s)")
    arguments = parser.parse_args(argv)
    pin(1)

    from sklearn.datasets import load_digits

    import fastce
    from fastce._cli.output import table

    fastce.set_num_threads(1)
    warnings.simplefilter("ignore")  # so few epochs are too few
    X, y = load_digits(return_X_y=True)
    X /= X.max()
    found = accuracies(X, y)
    mean = sum(found) / len(found)
    each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in found)
    print(f"accuracy on what was held out: {100 * mean:.2f} %, the mean of {each}\n")
    rows, failed = [], mean <= GOAL
    for dtype in ("float64", "float32"):
        samples = X.astype(dtype)
        for sizes in ((30,), (100,), (256, 128)):
            for batch in (32, 200):
                parameters = {"hidden_layer_sizes": sizes, "batch_size": batch}
                check(samples, y, **parameters)
                ours, theirs = epoch_times(samples, y, arguments.repeats, **parameters)
                failed |= ours > theirs
                rows.append((
                    ", ".join(map(str, sizes)), str(batch), dtype, f"{ours * 1e3:.2f} ms",
                    f"{theirs * 1e3:.2f} ms", f"{theirs / ours:.2f}",
                ))  # fmt: skip
    print(table(HEADERS, rows, left=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
