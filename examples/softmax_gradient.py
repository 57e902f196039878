"""From the formula of the softmax to p - t, and a check by differences.

Softmax makes probabilities of scores, p_j = e^(z_j) / Σ e^z, and the cross-entropy with a target t
is C = -Σ t_j log p_j. Two links of the chain rule give the slope of C in the scores:

    dC/dp_j = -t_j / p_j                    the logarithm
    dp_j/dz_i = p_j (δ_ij - p_i)            the softmax, δ_ij being 1 where i = j and else 0
    dC/dz_i = Σ_j -t_j (δ_ij - p_i) = p_i Σ t_j - t_i = p_i - t_i

What divides by p and what multiplies by it cancel: the gradient is what the classifier said, less
what was true. See chapter 3 of Nielsen, "Neural Networks and Deep Learning", 2015,
http://neuralnetworksanddeeplearning.com/chap3.html

    python -m pip install ".[examples]"
    python examples/softmax_gradient.py
"""

import _style
import numpy as np

import fastce


def by_formula(z, t):
    """Give p - t."""
    return fastce.softmax(z) - t


def by_chain_rule(z, t):
    """Give the same as the product of the two links."""
    p = fastce.softmax(z)
    return fastce.softmax_backward(-t / p, p)


def by_library(z, t):
    """Give the same as the library does, for each sample by itself."""
    return fastce.cross_entropy.grad(z, t, reduction="none")


def by_differences(z, t, step=1e-5):
    """Give the same from the cost alone: a small step to either side of each score."""
    slopes = np.empty_like(z)
    for j in range(z.shape[-1]):
        nudge = np.zeros(z.shape[-1])
        nudge[j] = step
        up = fastce.cross_entropy(z + nudge, t, reduction="none")
        down = fastce.cross_entropy(z - nudge, t, reduction="none")
        slopes[..., j] = (up - down) / (2 * step)
    return slopes


def samples(rng, n, k):
    """Draw scores and targets: a class for the first half, probabilities for the others."""
    t = rng.dirichlet(np.ones(k), size=n)
    t[: n // 2] = np.eye(k)[rng.integers(k, size=n // 2)]
    return rng.normal(scale=2, size=(n, k)), t


def draw(z, t, steps, errors):
    """Draw p, t and their difference for one sample; and how good differences are."""
    figure, (left, right) = _style.panels(6.2, 4.4)
    j = np.arange(len(z))
    left.bar(j - 0.27, fastce.softmax(z), 0.25, color=_style.BLUE, label="p, what was said")
    left.bar(j, t, 0.25, color=_style.GREEN, label="t, what was true")
    left.bar(j + 0.27, by_formula(z, t), 0.25, color=_style.ORANGE, label="p - t, the gradient")
    left.plot(j + 0.27, by_differences(z, t), "o", color="black", label="slope by differences")
    left.axhline(0, color="black", linewidth=0.8)
    left.set(
        title="One sample: raise the scores of what was true",
        xticks=j,
        xticklabels=[f"z = {score:g}" for score in z],
        ylim=(-0.85, 1.4),
    )
    left.legend(loc="upper center", ncols=2)

    right.loglog(steps, errors, ".-", color=_style.BLUE, label="largest distance")
    small, large = steps[steps < 1e-6], steps[steps > 1e-4]
    right.loglog(small, 1e-16 / small, ":", color="black", label="rounding, like 1/step")
    right.loglog(large, large**2 / 100, "--", color=_style.GREY, label="curvature, like step²")
    right.set(
        title="p - t against differences",
        xlabel="step of the differences",
        ylabel="how far they are apart",
        ylim=(1e-11, 1e-1),
    )
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.grid()
        axes.set_axisbelow(True)
    return figure


def main(folder):
    """Tell the story and write its picture."""
    rng = np.random.default_rng(0)
    z, t = samples(rng, 1000, 10)
    gradient = by_formula(z, t)
    print(f"{len(z)} samples of {z.shape[1]} classes, half of them with probabilities as targets")
    for name, other in (
        ("the chain rule", by_chain_rule(z, t)),
        ("cross_entropy.grad", by_library(z, t)),
        ("differences", by_differences(z, t)),
    ):
        print(f"p - t and {name} are at most {np.max(np.abs(gradient - other)):.0e} apart")
    left_over = np.max(np.abs(gradient.sum(axis=1)))
    print(f"a gradient sums to 0 within {left_over:.0e}: what one score gains, the others lose")

    steps = np.geomspace(1e-9, 1e-1, 33)
    errors = [np.max(np.abs(gradient - by_differences(z, t, step))) for step in steps]
    best = np.argmin(errors)
    print(f"differences are best at steps of about {steps[best]:.0e}; p - t has no step to choose")
    one = np.array([2.0, 1.0, 0.5, -1.0])
    figure = draw(one, np.array([0.0, 1.0, 0.0, 0.0]), steps, errors)
    print("picture:", _style.save(figure, folder, "softmax_gradient").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
