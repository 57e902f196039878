"""The sigmoid neuron: its curve, its slope g (1 - g), and why the cost matters.

A neuron adds up its inputs, z = w·x + b, and answers g(z) = 1 / (1 + e^-z). Differentiate:

    g'(z) = e^-z / (1 + e^-z)^2 = g(z) · (1 - g(z))

so whoever has the answer has the slope as well, without another exponential. The slope is 1/4 in
the middle and dies out on both sides. How fast a neuron learns depends on it, unless the cost
cancels it: that of the squared error (g - t)^2 / 2 is (g - t) g (1 - g), that of the cross-entropy
is g - t. See chapter 3 of Nielsen, "Neural Networks and Deep Learning", 2015,
http://neuralnetworksanddeeplearning.com/chap3.html

    python -m pip install ".[examples]"
    python examples/sigmoid_and_derivative.py
"""

import _style
import numpy as np

import fastce


def slope(z):
    """Give g(1 - g), the derivative of the sigmoid, from its value."""
    g = fastce.sigmoid(z)
    return fastce.sigmoid_backward(np.ones_like(g), g)


def measured_slope(z, step=1e-5):
    """Give the same by going a small step to either side."""
    return (fastce.sigmoid(z + step) - fastce.sigmoid(z - step)) / (2 * step)


def learning_signals(z, t):
    """Give the slopes in z of the squared error of g(z), and of its cross-entropy, for target t."""
    g = fastce.sigmoid(z)
    target = np.full_like(g, t)
    # The chain rule: the error's own slope times that of the sigmoid.
    of_squares = fastce.sigmoid_backward(fastce.squared_error.grad(g, target, reduction="none"), g)
    of_cross_entropy = fastce.binary_cross_entropy_with_logits.grad(z, target, reduction="none")
    return of_squares, of_cross_entropy


def draw(z):
    """Draw the curve with its slope, and what a neuron learns from when it is wrong."""
    figure, (left, right) = _style.panels(5.2, 5.2)
    left.plot(z, fastce.sigmoid(z), color=_style.BLUE, label="answer g(z)")
    left.plot(z, slope(z), color=_style.ORANGE, label="slope g(z) (1 - g(z))")
    left.plot(z[::16], measured_slope(z[::16]), ".", color="black", label="slope by differences")
    left.plot([-2, 2], [0, 1], ":", color=_style.GREY, label="tangent at 0, of slope 1/4")
    left.set(
        title="The sigmoid and its slope", xlabel="z = w·x + b", ylabel="g, g'", ylim=(-0.04, 1.04)
    )
    left.legend(loc="upper left")

    squares, cross_entropy = learning_signals(z, 0.0)
    right.plot(z, cross_entropy, color=_style.BLUE, label="cross-entropy: g - t")
    right.plot(z, squares, color=_style.ORANGE, label="squared error: (g - t) g (1 - g)")
    right.set(
        title="Slope of the cost where the answer should be t = 0",
        xlabel="z = w·x + b  (the larger, the more wrong)",
        ylabel="slope of the cost in z",
        ylim=(-0.04, 1.04),
    )
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.grid()
    return figure


def main(folder):
    """Tell the story and write its picture."""
    z = np.linspace(-8, 8, 641)
    apart = np.max(np.abs(slope(z) - measured_slope(z)))
    print(f"g(1 - g) and the slope by differences are at most {apart:.0e} apart")
    print(f"the slope is largest at z = {z[np.argmax(slope(z))]:.0f}: {np.max(slope(z))}")
    print(f"at z = 40 the answer rounds to {fastce.sigmoid(40.0)}, so 1 - g to 0,", end=" ")
    print(f"but g(-40) = {fastce.sigmoid(-40.0):.2e}")
    squares, cross_entropy = learning_signals(np.array([8.0]), 0.0)
    print("slope of the cost of a neuron at z = 8 that should answer 0:", end=" ")
    print(f"squared error {squares[0]:.4f}, cross-entropy {cross_entropy[0]:.4f}")
    print("picture:", _style.save(draw(z), folder, "sigmoid_and_derivative").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
