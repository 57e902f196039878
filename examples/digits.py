"""Handwritten digits: softmax regression, a network of sigmoid neurons, and honest probabilities.

Softmax regression gives each digit a score that is linear in the pixels. A network puts a layer of
sigmoid neurons between: each looks at all pixels and has its own opinion, and the scores are linear
in those. Both learn from the cross-entropy. The error that it makes of the output, p - t, goes back
through the layer by the chain rule, times g (1 - g) (Rumelhart, Hinton and Williams, "Learning
representations by back-propagating errors", 1986, https://doi.org/10.1038/323533a0).

A classifier that is right nine times out of ten when it says "90 %" is calibrated. Few are: with
little data and little to hold them back they are too sure. If all scores are divided by the same
number, the temperature, the answers stay and the probabilities become milder. Which number is best
is found on images that were not trained on (Guo et al., "On calibration of modern neural networks",
2017, https://arxiv.org/abs/1706.04599).

    python -m pip install ".[examples]"
    python examples/digits.py
"""

from dataclasses import dataclass

import _style
import numpy as np
from matplotlib.colors import PowerNorm
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

import fastce
from fastce.integrations.sklearn import SigmoidNetwork, SoftmaxRegression, TemperatureScaling

SEEDS = range(5)
HELD_OUT = 0.3
EPOCHS = 60
SIZES = (50, 100, 200, 400, 800, 1257)  # images to learn from
FEW = 200  # images for the classifier that is too sure of itself


def load():
    """Give the pixels of all images, from -1 for white to 1 for black, and the digits they show."""
    pixels, digits = load_digits(return_X_y=True)
    return pixels / 8 - 1, digits


def regression(penalty=1.0):
    """Make a softmax regression, held back by a penalty on its weights."""
    return SoftmaxRegression(C=1 / penalty, max_iter=2000)


def network(seed):
    """Make a network with one layer of 100 sigmoid neurons."""
    return SigmoidNetwork(
        (100,),
        learning_rate_init=0.3,
        batch_size=32,
        max_iter=EPOCHS,
        n_iter_no_change=np.inf,
        random_state=seed,
    )


def split(x, y, seed, **sizes):
    """Split images and digits at random, the same share of each digit on both sides."""
    return train_test_split(x, y, stratify=y, random_state=seed, **sizes)


def answers(x, y, make, seeds=SEEDS):
    """Train on 70 % of the images, for each seed; give true and guessed digits of the others."""
    true, guessed = [], []
    for seed in seeds:
        x_train, x_test, y_train, y_test = split(x, y, seed, test_size=HELD_OUT)
        true.append(y_test)
        guessed.append(make(seed).fit(x_train, y_train).predict(x_test))
    return np.array(true), np.array(guessed)


def learning_curve(x, y, make, sizes=SIZES, seeds=SEEDS):
    """Give the accuracy on held-out images after learning from so many, a column for each seed."""
    scores = np.empty((len(sizes), len(seeds)))
    for j, seed in enumerate(seeds):
        x_train, x_test, y_train, y_test = split(x, y, seed, test_size=HELD_OUT)
        for i, n in enumerate(sizes):
            model = make(seed).fit(x_train[:n], y_train[:n])
            scores[i, j] = model.score(x_test, y_test)
    return scores


def epochs(x, y, seed=0):
    """Train a network epoch by epoch; give its cost on what it sees, and on what it does not."""
    x_train, x_test, y_train, y_test = split(x, y, seed, test_size=HELD_OUT)
    model, costs = network(seed), []
    for _ in range(EPOCHS):
        model.partial_fit(x_train, y_train, classes=np.arange(10))
        costs.append(
            [
                fastce.nll_loss(model.predict_log_proba(images), shown)
                for images, shown in ((x_train, y_train), (x_test, y_test))
            ]
        )
    return np.array(costs).T


@dataclass
class Calibration:
    """A classifier's probabilities for images it has not seen, before and after scaling."""

    shown: np.ndarray  # (n,) digits
    before: np.ndarray  # (n, 10)
    after: np.ndarray
    temperatures: list[float]


def calibrate(x, y, penalty=1e-4, seeds=SEEDS):
    """Train on a few images, find the temperature on 500 others, and look at all that are left."""
    parts, temperatures = [], []
    for seed in seeds:
        x_train, x_rest, y_train, y_rest = split(x, y, seed, train_size=FEW)
        x_held, x_test, y_held, y_test = split(x_rest, y_rest, seed, train_size=500)
        model = regression(penalty).fit(x_train, y_train)
        scaling = TemperatureScaling().fit(model.decision_function(x_held), y_held)
        logits = model.decision_function(x_test)
        parts.append((y_test, model.predict_proba(x_test), scaling.predict_proba(logits)))
        temperatures.append(scaling.temperature_)
    return Calibration(*map(np.concatenate, zip(*parts, strict=True)), temperatures)


def reliability(p, shown, bins=10):
    """Give how sure a classifier is and how often it is right, in bins of as many images each."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == shown
    order = np.array_split(np.argsort(sure, kind="stable"), bins)
    return np.array([(sure[i].mean(), right[i].mean()) for i in order]).T


def calibration_error(p, shown):
    """Give how far the two are apart, on average."""
    return float(np.mean(np.abs(np.subtract(*reliability(p, shown)))))


def draw(curves, costs, matrix, calibration):
    """Draw the learning curves, the confusion matrix and the calibration."""
    figure, ((top_left, top_right), (low_left, low_right)) = _style.panels(
        5.0, 5.0, height=4.2, rows=2
    )
    for (name, scores), color, marker in zip(
        curves.items(), (_style.ORANGE, _style.BLUE), "so", strict=True
    ):
        top_left.plot(SIZES, scores.mean(axis=1), marker + "-", color=color, label=name)
        top_left.fill_between(
            SIZES, scores.min(axis=1), scores.max(axis=1), color=color, alpha=0.2, linewidth=0
        )
    top_left.set(
        title=f"What more images bring (mean and range of {len(SEEDS)} splits)",
        xlabel="images to learn from",
        ylabel="right answers on held-out images",
        xscale="log",
        xticks=SIZES,
        xticklabels=SIZES,
        yticks=np.arange(0.75, 1.01, 0.05),
    )
    top_left.minorticks_off()
    top_left.yaxis.set_major_formatter("{x:.0%}")
    top_left.legend(loc="lower right")

    epoch = np.arange(1, EPOCHS + 1)
    top_right.plot(epoch, costs[1], color=_style.ORANGE, label="held-out images")
    top_right.plot(epoch, costs[0], color=_style.BLUE, label="images it learns from")
    top_right.set(
        title="The network's cost, epoch by epoch",
        xlabel="epoch",
        ylabel="cross-entropy, nats an image",
        yscale="log",
        yticks=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
    )
    top_right.minorticks_off()
    top_right.yaxis.set_major_formatter("{x:g}")
    top_right.legend(loc="upper right")

    low_left.imshow(matrix, cmap="Blues", norm=PowerNorm(0.4))
    for (i, j), count in np.ndenumerate(matrix):
        if count:
            color = "white" if i == j else "black"
            low_left.text(j, i, count, ha="center", va="center", color=color, fontsize=8)
    low_left.set(
        title=f"The network's answers, {len(SEEDS)} splits",
        xlabel="answer",
        ylabel="digit shown",
        xticks=range(10),
        yticks=range(10),
    )
    low_left.spines[:].set_visible(False)

    low_right.plot([0, 1], [0, 1], ":", color="black", label="as sure as right")
    for p, color, marker, name in (
        (calibration.before, _style.ORANGE, "s", "as trained"),
        (calibration.after, _style.BLUE, "o", "after temperature scaling"),
    ):
        low_right.plot(
            *reliability(p, calibration.shown), marker + "-", color=color, markersize=5, label=name
        )
    low_right.set(
        title=f"Softmax regression that learned from {FEW} images",
        xlabel="how sure: the largest probability",
        ylabel="share of right answers",
        xlim=(0.3, 1.02),
        ylim=(0.3, 1.02),
    )
    low_right.legend(loc="lower right")
    for axes in (top_left, top_right, low_right):
        axes.grid()
    return figure


def main(folder):
    """Tell the story and write its picture."""
    x, y = load()
    print(f"{len(x)} images; {HELD_OUT:.0%} of them held out, {len(SEEDS)} times at random")
    makers = {"softmax regression": lambda seed: regression(), "sigmoid network": network}
    found = {name: answers(x, y, make) for name, make in makers.items()}
    for name, (true, guessed) in found.items():
        print(f"{name}: {np.mean(true == guessed):.1%} right on held-out images")
    true, guessed = found["sigmoid network"]
    matrix = confusion_matrix(true.ravel(), guessed.ravel())
    wrong = np.where(np.eye(10, dtype=bool), 0, matrix)
    i, j = np.unravel_index(wrong.argmax(), wrong.shape)
    print(f"its most frequent mistake: {i} taken for {j}, {wrong[i, j]} times of {matrix[i].sum()}")

    costs = epochs(x, y)
    print(f"after {EPOCHS} epochs it pays {costs[0, -1]:.3f} nats for an image it has seen", end="")
    print(f", {costs[1, -1]:.3f} for another")

    calibration = calibrate(x, y)
    before, after, shown = calibration.before, calibration.after, calibration.shown
    print(f"softmax regression that learned from {FEW} images, with hardly a penalty")
    for p, when in (
        (before, "as trained"),
        (after, f"scores divided by {np.mean(calibration.temperatures):.1f}"),
    ):
        print(
            f"  {when}: sure by {p.max(axis=1).mean():.1%}, right in "
            f"{np.mean(p.argmax(axis=1) == shown):.1%}, calibration error "
            f"{calibration_error(p, shown):.3f}, cost "
            f"{fastce.categorical_cross_entropy(p, shown):.3f} nats"
        )
    curves = {name: learning_curve(x, y, make) for name, make in makers.items()}
    print("picture:", _style.save(draw(curves, costs, matrix, calibration), folder, "digits").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
