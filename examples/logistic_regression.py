"""Logistic regression: its cost, its gradient, its curvature, and three ways to the minimum.

The model is one sigmoid neuron: the probability that t is 1 is g(z), z = w·x + b. Its cost is the
mean cross-entropy, which is convex in w and b. As the slope in z is g - t,

    gradient  = X' (g - t) / n               for w, the mean of g - t for b
    curvature = X' diag(g (1 - g)) X / n     for w

and the minimum is where the errors g - t are at right angles to every feature. Gradient descent
needs the gradient only, and many steps. L-BFGS learns the curvature from the gradients it has seen.
Newton's method asks for the curvature, not as a matrix but as its product with a direction.

    python -m pip install ".[examples]"
    python examples/logistic_regression.py
"""

import _style
import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer

import fastce

loss = fastce.linear_binary_cross_entropy
FEATURES = ("mean texture", "mean concave points")


def data():
    """Give two measurements of each tumour, standardised, and whether it was malignant."""
    bunch = load_breast_cancer()
    x = bunch.data[:, [list(bunch.feature_names).index(name) for name in FEATURES]]
    return (x - x.mean(axis=0)) / x.std(axis=0), (bunch.target == 0).astype(float)


def cost_and_gradient(theta, x, t):
    """Give the cost of (w, b) and its gradient, from one pass over the data."""
    cost, grad = loss.value_and_grad(x, theta[:-1], t, bias=theta[-1], wrt=("weight", "bias"))
    return cost, np.append(grad.weight, grad.bias)


def curvature_times(theta, v, x, t):
    """Give the product of the Hessian with a direction, without forming the Hessian."""
    product = loss.hvp(x, theta[:-1], t, (v[:-1], v[-1]), bias=theta[-1])
    return np.append(product.weight, product.bias)


def fit(x, t, method, **options):
    """Fit by a method of `scipy.optimize`; give its result and the cost after each step."""
    start = np.zeros(x.shape[1] + 1)
    costs = [cost_and_gradient(start, x, t)[0]]
    found = minimize(
        cost_and_gradient,
        start,
        args=(x, t),
        jac=True,
        hessp=curvature_times if method == "Newton-CG" else None,
        method=method,
        callback=lambda theta: costs.append(cost_and_gradient(theta, x, t)[0]),
        options=options,
    )
    return found.x, np.array(costs)


def descend(x, t, steps):
    """Fit by gradient descent, with the longest step that is safe; give the same."""
    ones = np.column_stack([x, np.ones(len(x))])
    steepest = np.linalg.norm(ones, 2) ** 2 / (4 * len(x))  # no slope of g is above 1/4
    theta, costs = np.zeros(x.shape[1] + 1), []
    for _ in range(steps):
        cost, gradient = cost_and_gradient(theta, x, t)
        costs.append(cost)
        theta -= gradient / steepest
    return theta, np.array([*costs, cost_and_gradient(theta, x, t)[0]])


def draw(x, t, theta, runs):
    """Draw the data with the lines of equal probability, and the way down of each method."""
    figure, (left, right) = _style.panels(5.0, 5.0, height=4.2)
    for value, color, marker, name in (
        (0, _style.BLUE, "o", "benign"),
        (1, _style.ORANGE, "^", "malignant"),
    ):
        left.scatter(*x[t == value].T, s=14, color=color, marker=marker, alpha=0.6, label=name)
    left.set(
        title="Probability of malignant, and the data",
        xlabel=f"{FEATURES[0]}, standardised",
        ylabel=f"{FEATURES[1]}, standardised",
        xlim=(x[:, 0].min() - 0.3, x[:, 0].max() + 0.3),
        ylim=(x[:, 1].min() - 0.3, x[:, 1].max() + 0.3),
    )
    across = np.linspace(*left.get_xlim(), 200)
    up = np.linspace(*left.get_ylim(), 200)
    z = theta[0] * across + theta[1] * up[:, None] + theta[2]
    lines = left.contour(
        across, up, fastce.sigmoid(z), levels=[0.1, 0.5, 0.9], colors="black", linewidths=[1, 2, 1]
    )
    # where a line of probability p crosses 3 on the first axis: w·x + b is the logit of p there
    places = [(3.0, (fastce.logit(p) - theta[2] - 3 * theta[0]) / theta[1]) for p in lines.levels]
    left.clabel(lines, fmt=lambda p: f"{p:.0%}", manual=places)
    left.legend(loc="upper right")

    best = min(costs[-1] for costs in runs.values())
    for (name, costs), color, style in zip(
        runs.items(), (_style.ORANGE, _style.BLUE, _style.GREEN), ("-", "o-", "s-"), strict=True
    ):
        above = np.maximum(costs - best, 1e-16)
        right.plot(above, style, color=color, markersize=4, label=name)
    right.set(
        title="The way down",
        xlabel="step",
        ylabel="cost above the minimum, nats",
        yscale="log",
        ylim=(1e-16, 3),
        xlim=(-1, 61),
    )
    right.legend(loc="center right")
    right.grid()
    return figure


def main(folder):
    """Tell the story and write its picture."""
    x, t = data()
    print(f"{len(x)} tumours, {t.mean():.0%} of them malignant")
    print(f"cost of always saying 1/2: {cost_and_gradient(np.zeros(3), x, t)[0]:.4f} nats, log 2")
    runs = {}
    theta, runs["gradient descent"] = descend(x, t, 2000)
    theta, runs["L-BFGS"] = fit(x, t, "L-BFGS-B", ftol=0.0, gtol=1e-10)
    theta, runs["Newton, with hvp"] = fit(x, t, "Newton-CG", xtol=1e-10)
    best = min(costs[-1] for costs in runs.values())
    print(f"cost at the minimum: {best:.6f} nats")
    for name, costs in runs.items():
        near = np.flatnonzero(costs - best < 1e-9)
        print(f"{name}: within 1e-9 of it after {near[0]} steps")
    errors = fastce.sigmoid(x @ theta[:2] + theta[2]) - t
    print(f"there, the errors sum to {abs(errors.sum()):.0e},", end=" ")
    print(f"and times a feature to {np.max(np.abs(errors @ x)):.0e} at most")
    right = np.mean((x @ theta[:2] + theta[2] > 0) == t)
    print(f"two measurements tell {right:.1%} of the tumours apart")
    print("picture:", _style.save(draw(x, t, theta, runs), folder, "logistic_regression").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
