"""What the examples claim, asserted; and that they run and draw.

They need the extra `examples`.
"""

import importlib
import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from _support import seeded

import fastce

for needed in ("matplotlib", "scipy", "sklearn"):
    pytest.importorskip(needed)

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
LESSONS = (
    "sigmoid_and_derivative",
    "perceptron_or_sigmoid",
    "softmax_gradient",
    "entropy_and_codes",
    "logistic_regression",
    "digits",
)


@pytest.fixture(autouse=True)
def path_of_examples(monkeypatch):
    """Let the examples find what they share, as they do when they are run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def lesson(request):
    """Give the example that a test is named for, as a module."""
    return importlib.import_module(request.param)


def about(name):
    """Hand an example to a test."""
    return pytest.mark.parametrize("lesson", [name], indirect=True)


@pytest.mark.parametrize("name", LESSONS)
def test_runs_and_draws(name, tmp_path):
    """The script prints what it claims, and its picture has the colours of curves in it."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    folder = tmp_path / "new" / "pictures"
    run = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--folder", folder],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) > 3
    assert f"picture: {name}.png" in run.stdout
    assert [path.name for path in folder.iterdir()] == [f"{name}.png"]
    picture = imread(folder / f"{name}.png")[..., :3]
    style = importlib.import_module("_style")
    for color in (style.BLUE, style.ORANGE):
        seen = np.all(np.abs(picture - to_rgb(color)) < 0.02, axis=-1)
        assert np.count_nonzero(seen) > 100, color


def test_every_example_is_tested():
    """A script in the folder is a lesson, but for the typed one, which mypy and CI run."""
    scripts = {path.stem for path in EXAMPLES.glob("[!_]*.py")}
    assert scripts == {*LESSONS, "typed"}


# --------------------------------------------------------------------------- the sigmoid neuron


@about("sigmoid_and_derivative")
def test_slope_of_the_sigmoid(lesson):
    """It is g(1 - g), which differences confirm; at most 1/4; and the curve is symmetric."""
    z = np.linspace(-30, 30, 2001)
    g = fastce.sigmoid(z)
    slope = lesson.slope(z)
    np.testing.assert_array_equal(slope, g * (1 - g))
    np.testing.assert_allclose(lesson.measured_slope(z), slope, rtol=0, atol=1e-10)
    assert np.max(slope) == 0.25 == slope[z == 0][0]
    np.testing.assert_allclose(fastce.sigmoid(-z), 1 - g, rtol=0, atol=1e-15)


@about("sigmoid_and_derivative")
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_slopes_of_the_costs(lesson, t):
    """That of the cross-entropy is g - t, that of the squared error has another g(1 - g)."""
    z = np.linspace(-12, 12, 241)
    g = fastce.sigmoid(z)
    squares, cross_entropy = lesson.learning_signals(z, t)
    np.testing.assert_allclose(cross_entropy, g - t, rtol=0, atol=1e-15)
    np.testing.assert_allclose(squares, (g - t) * g * (1 - g), rtol=0, atol=1e-15)
    wrong = np.abs(g - t) > 0.99
    assert np.all(np.abs(squares[wrong]) < 0.01)
    assert np.all(np.abs(cross_entropy[wrong]) > 0.99)


# --------------------------------------------------------------------- the perceptron's answers


@about("perceptron_or_sigmoid")
def test_answers_jump_or_move(lesson):
    """However small the nudge, a perceptron's answer may jump; a neuron's moves |δ|/4 at most."""
    rng = seeded("nudges")
    x = rng.normal(size=(500, 64))
    w, b = rng.normal(size=64), 0.3
    for length in 10.0 ** np.arange(-6, 3):
        dw, db = lesson.nudge(rng, w, length)
        np.testing.assert_allclose(np.hypot(np.linalg.norm(dw), db), length)
        # an image at the edge of the perceptron, which the nudge turns over
        edge = x[0] - (x[0] @ w + b) / (w @ w) * w
        edge -= 1e-9 * length * np.sign(dw @ edge + db) * w / (w @ w)
        delta, jumps, moves = lesson.changes(np.vstack([edge, x]), w, b, dw, db)
        assert set(jumps) <= {0.0, 1.0}
        assert jumps[0] == 1
        assert np.all(moves <= delta / 4 + 1e-15)
        assert moves[0] > 0


@about("perceptron_or_sigmoid")
def test_a_neuron_learns_a_digit(lesson):
    """Where the data can be told apart, nearly all are."""
    rng = seeded("neuron")
    x = rng.normal(size=(400, 5))
    t = (x @ np.arange(5) > 1).astype(float)
    w, b = lesson.learn(x, t)
    assert np.mean(lesson.perceptron(x @ w + b) == t) > 0.98


# ------------------------------------------------------------------------ the softmax's gradient


@about("softmax_gradient")
@pytest.mark.parametrize("k", [2, 3, 10, 100])
def test_gradient_is_p_less_t(lesson, k):
    """By the formula, by the chain rule, by the library and by differences of the cost."""
    z, t = lesson.samples(seeded("gradient", k), 40, k)
    gradient = lesson.by_formula(z, t)
    np.testing.assert_allclose(lesson.by_chain_rule(z, t), gradient, rtol=0, atol=1e-14)
    np.testing.assert_allclose(lesson.by_library(z, t), gradient, rtol=0, atol=1e-14)
    np.testing.assert_allclose(lesson.by_differences(z, t), gradient, rtol=0, atol=1e-7)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, rtol=0, atol=1e-14)


# ------------------------------------------------------------------------------ codes and entropy


def distributions(count=300):
    """Draw probabilities of 2 to 40 things, from nearly even to nearly certain."""
    rng = seeded("distributions")
    for _ in range(count):
        k = rng.integers(2, 41)
        yield rng.dirichlet(np.full(k, rng.choice([0.05, 0.5, 5.0])))


def dyadic(rng, k):
    """Draw probabilities that are powers of 1/2: halve one of them, again and again."""
    q = [1.0]
    while len(q) < k:
        half = q.pop(rng.integers(len(q))) / 2
        q += [half, half]
    return rng.permutation(q)


@about("entropy_and_codes")
def test_codes_take_the_entropy_and_less_than_a_bit_more(lesson):
    """Shannon's bounds, for many p; and the code fills its tree, so each record can be read."""
    for p in distributions():
        words = lesson.huffman(p)
        entropy = fastce.entropy(p, base=2)
        assert entropy - 1e-12 <= lesson.mean_length(words, p) < entropy + 1
        assert sum(0.5 ** len(word) for word in words) == 1
        for one, other in itertools.permutations(words, 2):
            assert not other.startswith(one)


@about("entropy_and_codes")
def test_records_are_read_back(lesson):
    """What is encoded is decoded, in as many bits as the words have."""
    rng = seeded("records")
    for p in itertools.islice(distributions(), 20):
        words = lesson.huffman(p)
        record = rng.choice(len(p), size=200, p=p / p.sum()).tolist()
        bits = lesson.encode(record, words)
        assert set(bits) <= {"0", "1"}
        assert len(bits) == sum(len(words[i]) for i in record)
        assert lesson.decode(bits, words) == record


@about("entropy_and_codes")
def test_no_code_is_shorter(lesson):
    """Among all lengths that a code of four words can have, Huffman's are the best."""
    for p in itertools.islice((p for p in distributions(2000) if len(p) == 4), 20):
        best = min(
            float(p @ lengths)
            for lengths in itertools.product(range(1, 4), repeat=4)
            if sum(0.5**length for length in lengths) <= 1  # Kraft: then there is a code
        )
        assert lesson.mean_length(lesson.huffman(p), p) == pytest.approx(best, rel=1e-12)


@about("entropy_and_codes")
def test_dyadic_codes_take_the_entropy_exactly(lesson):
    """Where all probabilities are powers of 1/2, a word of l bits has probability 2^-l."""
    rng = seeded("dyadic")
    for k in range(2, 30):
        q = dyadic(rng, k)
        words = lesson.huffman(q)
        assert [0.5 ** len(word) for word in words] == q.tolist()
        assert lesson.mean_length(words, q) == pytest.approx(fastce.entropy(q, base=2), rel=1e-13)


@about("entropy_and_codes")
def test_price_of_the_wrong_code(lesson):
    """The code for q costs the cross-entropy under p, which is KL(p || q) more than the entropy."""
    rng = seeded("price")
    for p in distributions():
        q = dyadic(rng, len(p))
        price = lesson.mean_length(lesson.huffman(q), p)
        entropy = fastce.entropy(p, base=2)
        assert lesson.cross_entropy_in_bits(p, q) == pytest.approx(price, rel=1e-12)
        assert lesson.extra_bits(p, q) == pytest.approx(price - entropy, rel=1e-10)


@about("entropy_and_codes")
def test_longer_blocks_come_near_the_entropy(lesson):
    """If n tosses share a word, one takes less than 1/n of a bit more than the entropy."""
    coin = np.array([0.9, 0.1])
    entropy = fastce.entropy(coin, base=2)
    for block in range(1, 9):
        assert entropy <= lesson.bits_a_thing(coin, block) < entropy + 1 / block


# --------------------------------------------------------------------------- logistic regression


def classes(n=300):
    """Make data for a logistic regression, its classes overlapping."""
    rng = seeded("classes")
    x = rng.normal(size=(n, 3))
    z = x @ [1.0, -2.0, 0.5] + 0.3
    return x, (rng.uniform(size=n) < fastce.sigmoid(z)).astype(float)


@about("logistic_regression")
def test_gradient_and_curvature_of_the_cost(lesson):
    """They are what the docstring says, and what differences of the cost give."""
    x, t = classes()
    theta, v = seeded("theta").normal(size=(2, 4))
    ones = np.column_stack([x, np.ones(len(x))])
    g = fastce.sigmoid(ones @ theta)
    _, gradient = lesson.cost_and_gradient(theta, x, t)
    np.testing.assert_allclose(gradient, ones.T @ (g - t) / len(x), rtol=0, atol=1e-14)
    curvature = ones.T @ (ones * (g * (1 - g))[:, None]) / len(x)
    product = lesson.curvature_times(theta, v, x, t)
    np.testing.assert_allclose(product, curvature @ v, rtol=0, atol=1e-14)

    step = 1e-5
    for nudge, slope, bend in zip(step * np.eye(4), gradient, curvature, strict=True):
        up, slope_up = lesson.cost_and_gradient(theta + nudge, x, t)
        down, slope_down = lesson.cost_and_gradient(theta - nudge, x, t)
        assert (up - down) / (2 * step) == pytest.approx(slope, abs=1e-9)
        np.testing.assert_allclose((slope_up - slope_down) / (2 * step), bend, rtol=0, atol=1e-9)


@about("logistic_regression")
def test_the_ways_meet(lesson):
    """All three go down at each step and end where the errors are orthogonal to the features."""
    for x, t in (classes(), lesson.data()):
        ends = {
            "descent": lesson.descend(x, t, 2000),
            "L-BFGS": lesson.fit(x, t, "L-BFGS-B", ftol=0.0, gtol=1e-10),
            "Newton": lesson.fit(x, t, "Newton-CG", xtol=1e-10),
        }
        for name, (theta, costs) in ends.items():
            assert np.all(np.diff(costs) <= 1e-15), name
            errors = fastce.sigmoid(x @ theta[:-1] + theta[-1]) - t
            ones = np.column_stack([x, np.ones(len(x))])
            np.testing.assert_allclose(errors @ ones / len(x), 0, atol=1e-7, err_msg=name)
        steps = {name: len(costs) for name, (_, costs) in ends.items()}
        assert steps["Newton"] < steps["L-BFGS"] < steps["descent"]


# ------------------------------------------------------------------------ classifiers of digits


@about("digits")
def test_held_out_digits(lesson):
    """Above 97 % for the network, on average over the splits, and above 95 % for the regression."""
    right = {}
    for name, make in (("network", lesson.network), ("regression", lambda _: lesson.regression())):
        true, guessed = lesson.answers(*lesson.load(), make)
        assert true.shape == guessed.shape == (5, 540)
        right[name] = np.mean(true == guessed)
    assert right["network"] > 0.97
    assert right["network"] > right["regression"] > 0.95


@about("digits")
def test_learning_curves_of_digits(lesson):
    """More images bring more right answers, and more epochs a lower cost."""
    sizes = (50, 200, 1257)
    for make in (lesson.network, lambda _: lesson.regression()):
        scores = lesson.learning_curve(*lesson.load(), make, sizes, seeds=range(2)).mean(axis=1)
        assert np.all(np.diff(scores) > 0.02)
    seen, held_out = lesson.epochs(*lesson.load())
    assert seen[-1] < 0.05 * seen[0]
    assert held_out[-1] < 0.6 * held_out[0]
    assert seen[-1] < held_out[-1]


@about("digits")
@pytest.mark.parametrize(("penalty", "milder"), [(1e-4, True), (4.0, False)])
def test_temperature_scaling_of_digits(lesson, penalty, milder):
    """Too sure or not sure enough: answers stay, and cost and calibration error fall elsewhere."""
    found = lesson.calibrate(*lesson.load(), penalty, seeds=range(3))
    assert all((t > 1.5) if milder else (t < 0.7) for t in found.temperatures)
    sure, sure_after = found.before.max(axis=1), found.after.max(axis=1)
    right = np.mean(found.before.argmax(axis=1) == found.shown)
    assert (sure.mean() > right + 0.03) if milder else (sure.mean() < right - 0.03)
    assert sure_after.mean() == pytest.approx(right, abs=0.02)
    np.testing.assert_array_equal(found.before.argmax(axis=1), found.after.argmax(axis=1))
    cost, cost_after = (
        fastce.categorical_cross_entropy(p, found.shown) for p in (found.before, found.after)
    )
    assert cost_after < 0.8 * cost
    error, error_after = (
        lesson.calibration_error(p, found.shown) for p in (found.before, found.after)
    )
    assert error_after < 0.5 * error


@about("digits")
def test_calibration_error(lesson):
    """It is 0 for probabilities that come true, and the mean distance if they do not."""
    shown = np.tile([0, 0, 0, 1], 200)
    true, false = np.tile([0.75, 0.25], (800, 1)), np.tile([0.95, 0.05], (800, 1))
    both, twice = np.concatenate([true, false]), np.concatenate([shown, shown])
    assert lesson.calibration_error(true, shown) == pytest.approx(0)
    assert lesson.calibration_error(false, shown) == pytest.approx(0.2)
    assert lesson.calibration_error(both, twice) == pytest.approx(0.1)
