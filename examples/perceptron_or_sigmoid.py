"""A perceptron's answer jumps, a sigmoid neuron's moves: nudge the weights of a digit classifier.

Both look at an image x through weights and a bias, z = w·x + b. The perceptron answers 1 if z > 0
and else 0; the sigmoid neuron answers g(z) = 1 / (1 + e^-z), anything in between. Learning is to
change the weights a little so that the answer gets a little better. Nudge them by Δw and Δb: then z
moves by δ = Δw·x + Δb, and as no slope of g is steeper than 1/4,

    |g(z + δ) - g(z)| <= |δ| / 4.

No such bound holds for the perceptron: near its edge the smallest nudge turns the answer over. See
chapter 1 of Nielsen, "Neural Networks and Deep Learning", 2015,
http://neuralnetworksanddeeplearning.com/chap1.html

    python -m pip install ".[examples]"
    python examples/perceptron_or_sigmoid.py
"""

import _style
import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import fastce

DIGIT = 8  # the question to be answered: is this an 8?
LENGTHS = np.linspace(0, 1, 201)  # of nudges


def perceptron(z):
    """Answer 0 or 1."""
    return (z > 0).astype(float)


def learn(x, t, penalty=1e-3):
    """Find weights and bias of a neuron that tells t from x."""

    def cost(theta):
        value, grad = fastce.linear_binary_cross_entropy.value_and_grad(
            x, theta[:-1], t, bias=theta[-1], wrt=("weight", "bias")
        )
        slope = np.append(grad.weight + penalty * theta[:-1], grad.bias)
        return value + penalty / 2 * theta[:-1] @ theta[:-1], slope

    theta = minimize(cost, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return theta[:-1], theta[-1]


def changes(x, w, b, dw, db):
    """Nudge the weights; tell how far z moves, and the answers of perceptron and neuron."""
    before, after = x @ w + b, x @ (w + dw) + (b + db)
    return (
        np.abs(x @ dw + db),
        np.abs(perceptron(after) - perceptron(before)),
        np.abs(fastce.sigmoid(after) - fastce.sigmoid(before)),
    )


def nudge(rng, w, length):
    """Draw a nudge of all weights and the bias, of the given length."""
    step = rng.normal(size=w.size + 1)
    step *= length / np.linalg.norm(step)
    return step[:-1], step[-1]


def draw(image, digit, x, w, b, along, moved):
    """Draw an image, the answers to it while the weights are nudged, and those to all images."""
    figure, (left, middle, right) = _style.panels(2.2, 4.1, 4.7)
    left.imshow(image, cmap="gray_r")
    left.set(title=f"Is this an {DIGIT}?", xticks=[], yticks=[], xlabel=f"written as a {digit}")
    left.spines[:].set_visible(False)

    dw, db = along
    z = np.array([x @ (w + s * dw) + b + s * db for s in LENGTHS])
    middle.plot(LENGTHS, perceptron(z), color=_style.ORANGE, label="perceptron")
    middle.plot(LENGTHS, fastce.sigmoid(z), color=_style.BLUE, label="sigmoid neuron")
    middle.set(
        title="Its answer while the weights are nudged",
        xlabel="length of the nudge",
        ylabel="answer",
        ylim=(-0.04, 1.04),
    )
    middle.legend(loc="upper right")

    delta, jumps, moves = moved
    line = np.array([0, delta.max()])
    right.plot(line, line / 4, ":", color="black", label="|δ| / 4")
    right.plot(delta, jumps, "x", color=_style.ORANGE, markersize=4, label="perceptron")
    right.plot(delta, moves, ".", color=_style.BLUE, markersize=4, label="sigmoid neuron")
    right.set(
        title="Answers to all images, one nudge",
        xlabel="how far z moves, |δ|",
        ylabel="how far the answer moves",
        ylim=(-0.04, 1.04),
    )
    right.legend(loc="center right")
    for axes in (middle, right):
        axes.grid()
    return figure


def main(folder):
    """Tell the story and write its picture."""
    pixels, digits = load_digits(return_X_y=True)
    x, t = pixels / 16, (digits == DIGIT).astype(float)
    w, b = learn(x, t)
    right = np.mean(perceptron(x @ w + b) == t)
    print(f"one neuron tells {DIGIT} from the other digits in {right:.1%} of {len(x)} images")

    rng = np.random.default_rng(0)
    size = np.linalg.norm(w)
    dw, db = nudge(rng, w, 1.0)
    moved = delta, jumps, moves = changes(x, w, b, dw, db)
    print(
        f"weights of length {size:.1f}, a nudge of length 1: z moves by {delta.max():.2f} at most"
    )
    print(f"the perceptron turns over {int(jumps.sum())} of its answers")
    print(f"the neuron's move by {moves.mean():.3f} on average and {moves.max():.3f} at most,")
    print(f"no further than |δ|/4 in {np.mean(moves <= delta / 4):.0%} of the images")

    # Of the images that the nudge turns over, the one that is turned over in the middle of the way.
    z, step = x @ w + b, x @ dw + db
    crossing = np.where(jumps > 0, -z / step, np.inf)
    chosen = np.argmin(np.abs(crossing - 0.5))
    image = pixels[chosen].reshape(8, 8)
    figure = draw(image, digits[chosen], x[chosen], w, b, (dw, db), moved)
    print("picture:", _style.save(figure, folder, "perceptron_or_sigmoid").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
