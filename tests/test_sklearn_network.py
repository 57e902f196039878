"""SigmoidNetwork: against differences, scikit-learn's MLPClassifier, and what its pages promise."""

import inspect
import io
import pickle
import signal
from contextlib import redirect_stdout

import numpy as np
import pytest

import fastce

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("scipy")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from fastce.integrations.sklearn import SigmoidNetwork  # noqa: E402

EPOCHS = {"n_iter_no_change": np.inf, "random_state": 0}  # as many as asked for


def expected_failures(network):
    """Name the checks that cannot pass, with the reason."""
    if network.batch_size == "auto":
        return {}
    why = "a sample that is repeated or left out changes which samples come in a batch"
    return {"check_sample_weight_equivalence_on_dense_data": why}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [SigmoidNetwork(), SigmoidNetwork((5, 3), batch_size=10, max_iter=20)],
    expected_failed_checks=expected_failures,
)
def test_checks_of_sklearn(estimator, check):
    """All checks that scikit-learn has for a classifier."""
    check(estimator)


def data(n=40, d=4, k=3, seed=0, dtype=np.float64):
    """Give samples whose classes can be learned."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    rng.shuffle(y)
    return (rng.normal(size=(n, d)) + np.eye(k, d)[y] * 3).astype(dtype), y


def parameters(network):
    """Give all weights and biases in one array."""
    return np.concatenate([part.ravel() for part in network.coefs_ + network.intercepts_])


def same_bits(a, b):
    """Tell whether two networks are the same, and have come the same way."""
    return parameters(a).tobytes() == parameters(b).tobytes() and a.loss_curve_ == b.loss_curve_


def one_step(**options):
    """Give a network of one epoch and one batch, whose step is the gradient."""
    plain = {"momentum": 0.0, "nesterovs_momentum": False, "learning_rate_init": 1.0}
    return SigmoidNetwork(max_iter=1, batch_size=10**6, **plain | EPOCHS | options)


# ------------------------------------------------------------------------------------ what it does


def cost_by_hand(network, X, target, weight, alpha):
    """Give the cost from its definition, with target probabilities (n, k)."""
    a = X
    for w, b in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        a = 1 / (1 + np.exp(-(a @ w + b)))
    z = a @ network.coefs_[-1] + network.intercepts_[-1]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    penalty = sum((w**2).sum() for w in network.coefs_)
    return (-weight * (target * np.log(p)).sum(axis=1)).sum() / weight.sum() + (
        alpha / (2 * weight.sum()) * penalty
    )


@pytest.mark.parametrize("targets", ["labels", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hidden", [(), (3,), (5, 4)])
def test_a_step_is_the_gradient(hidden, weighted, targets):
    """One step moves every weight by the difference quotient of the cost, and tells the cost."""
    rng = np.random.default_rng(1)
    X, y = data(11)
    target = np.eye(3)[y] if targets == "labels" else rng.dirichlet(np.ones(3), 11)
    weight = rng.uniform(0.1, 2, 11) if weighted else np.ones(11)
    network = one_step(hidden_layer_sizes=hidden, alpha=0.3)
    fitted = y if targets == "labels" else target
    given = weight if weighted else None
    network.partial_fit(X, fitted, classes=range(3), sample_weight=given)
    before = pickle.loads(pickle.dumps(network))
    network.partial_fit(X, fitted, sample_weight=given)
    assert network.loss_ == pytest.approx(cost_by_hand(before, X, target, weight, 0.3), rel=1e-13)
    h = 1e-5
    for name in ("coefs_", "intercepts_"):
        for layer, array in enumerate(getattr(before, name)):
            step = array - getattr(network, name)[layer]
            for index in np.ndindex(array.shape):
                costs, there = [], array[index]
                for array[index] in (there + h, there - h):
                    costs.append(cost_by_hand(before, X, target, weight, 0.3))
                array[index] = there
                assert step[index] == pytest.approx((costs[0] - costs[1]) / (2 * h), abs=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_steps_of_mlp_classifier(weighted, nesterov):
    """From the same weights MLPClassifier goes the same way, batch by batch."""
    if weighted and "sample_weight" not in inspect.signature(MLPClassifier.partial_fit).parameters:
        pytest.skip("scikit-learn before 1.7 has no weights to compare with")
    X, y = data(50)
    weight = np.random.default_rng(2).uniform(0.1, 2, 50) if weighted else None
    options = {"alpha": 0.1, "batch_size": 16, "momentum": 0.8, "shuffle": False}
    options |= {"nesterovs_momentum": nesterov, "random_state": 0}
    network = SigmoidNetwork((6, 5), learning_rate_init=1e-300, **options)
    network.partial_fit(X, y, classes=range(3))  # which moves nothing
    peer = MLPClassifier((6, 5), activation="logistic", solver="sgd", **options)
    peer.partial_fit(X, y, classes=range(3))
    del peer._optimizer
    peer.coefs_ = [array.copy() for array in network.coefs_]
    peer.intercepts_ = [array.copy() for array in network.intercepts_]
    for model in (network, peer):
        model.set_params(learning_rate_init=0.2)
        for _ in range(3):
            # (before 1.7, MLPClassifier knows no weights)
            model.partial_fit(X, y, **({"sample_weight": weight} if weighted else {}))
    if not weighted:  # of batches with weights, MLPClassifier counts the samples
        np.testing.assert_allclose(network.loss_curve_[1:], peer.loss_curve_[1:], rtol=1e-12)
    for ours, theirs in zip(
        network.coefs_ + network.intercepts_, peer.coefs_ + peer.intercepts_, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_same_stopping_as_mlp_classifier():
    """The cost stops improving in the same epoch, counted in the same way."""
    X, y = data(60)
    options = {"tol": 1e-2, "n_iter_no_change": 3, "learning_rate_init": 0.1, "random_state": 0}
    network = SigmoidNetwork((6,), **options).fit(X, y)
    assert 5 < network.n_iter_ < 200
    costs = np.array(network.loss_curve_)
    best = np.minimum.accumulate(costs)
    worse = costs[1:] > best[:-1] - 1e-2
    assert worse[-4:].all()  # one more than allowed
    assert not any(worse[i : i + 4].all() for i in range(len(worse) - 4))
    assert network.best_loss_ == best[-1]
    assert network.loss_ == costs[-1]


def test_digits():
    """More than 97 % of digits that it has not seen, as a mean over five splits."""
    X, y = load_digits(return_X_y=True)
    scores = []
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(
            X / 16, y, test_size=0.3, random_state=seed
        )
        network = SigmoidNetwork(
            (100,), alpha=1e-3, learning_rate_init=0.5, batch_size=32, max_iter=100,
            n_iter_no_change=np.inf, random_state=seed,
        )  # fmt: skip
        scores.append(network.fit(X_train, y_train).score(X_test, y_test))
    assert np.mean(scores) > 0.97


def still(**options):
    """Give a network that learns too slowly to move, and so shows how it begins."""
    options |= {"learning_rate_init": 1e-300, "alpha": 0, "max_iter": 1}
    return SigmoidNetwork(**options | EPOCHS)


def test_first_weights():
    """Uniform as documented; the biases are 0."""
    X, y = data()
    network = still(hidden_layer_sizes=(50, 30)).fit(X, y)
    sizes = (4, 50, 30, 3)
    assert [w.shape for w in network.coefs_] == [(4, 50), (50, 30), (30, 3)]
    for m, n, w, factor in zip(sizes, sizes[1:], network.coefs_, (4, 4, 1), strict=False):
        limit = factor * np.sqrt(6 / (m + n))
        assert 0.9 * limit < abs(w).max() <= limit
        assert w.std() == pytest.approx(limit / np.sqrt(3), rel=0.15)
    assert max(abs(b).max() for b in network.intercepts_) < 1e-290


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_uses_each_sample_once(shuffle):
    """In any order, with its own label and weight: the mean of the costs is that of all samples."""
    X, y = data(40)
    weight = np.random.default_rng(3).uniform(size=40)
    options = {"hidden_layer_sizes": (5,), "batch_size": 7, "shuffle": shuffle}
    network = still(**options).fit(X, y, sample_weight=weight)
    log_p = network.predict_log_proba(X)[np.arange(40), y]
    assert network.loss_ == pytest.approx(-np.average(log_p, weights=weight), rel=1e-13)


def test_shuffle():
    """Another order makes another network."""
    X, y = data()
    a, b = (
        SigmoidNetwork(max_iter=2, shuffle=shuffle, **OPTIONS | EPOCHS).fit(X, y)
        for shuffle in (False, True)
    )
    assert not same_bits(a, b)


def test_many_layers_learn():
    """The first weights let a signal through five layers of sigmoid neurons."""
    X, y = load_iris(return_X_y=True)
    network = SigmoidNetwork((10,) * 5, batch_size=10, max_iter=40, **EPOCHS)
    assert make_pipeline(StandardScaler(), network).fit(X, y).score(X, y) > 0.9


def test_weights_are_repeats():
    """A weight of 2 is a sample that is there twice, one of 0 a sample that is not there."""
    X, y = data(30)
    counts = np.arange(30) % 4
    options = {"hidden_layer_sizes": (4,), "max_iter": 20, "alpha": 0.1}
    a = SigmoidNetwork(**options | EPOCHS).fit(X, y, sample_weight=counts)
    b = SigmoidNetwork(**options | EPOCHS).fit(X.repeat(counts, axis=0), y.repeat(counts))
    np.testing.assert_allclose(parameters(a), parameters(b), rtol=1e-8)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-10)


def test_a_batch_without_weight_makes_no_step():
    """Batches whose weights are all 0 leave no trace."""
    X, y = data(30)
    weight = np.repeat([1.0, 0.0, 1.0], 10)
    options = {"hidden_layer_sizes": (4,), "max_iter": 3, "batch_size": 10, "shuffle": False}
    a = SigmoidNetwork(**options | EPOCHS).fit(X, y, sample_weight=weight)
    b = SigmoidNetwork(**options | EPOCHS).fit(X[weight > 0], y[weight > 0], np.ones(20))
    assert same_bits(a, b)


def test_probabilities_as_targets():
    """Certain probabilities are labels; others come out as they went in."""
    X, y = data(30)
    options = {"hidden_layer_sizes": (4,), "max_iter": 20}
    a = SigmoidNetwork(**options | EPOCHS).fit(X, y)
    b = SigmoidNetwork(**options | EPOCHS).fit(X, np.eye(3)[y])
    np.testing.assert_allclose(parameters(a), parameters(b), rtol=1e-9)
    p = np.tile([0.2, 0.5, 0.3], (30, 1))
    d = clone(b)
    for _ in range(20):
        d.partial_fit(X, np.eye(3)[y])
    assert same_bits(b, d)
    c = SigmoidNetwork((), max_iter=400, alpha=0, learning_rate_init=0.2, **EPOCHS).fit(X, p)
    np.testing.assert_allclose(c.predict_proba(X), p, atol=1e-4)
    assert set(c.predict(X)) == {1}


# --------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    """float32 all the way, and the results of float64 within its precision."""
    X, y = data(dtype=dtype)
    network = SigmoidNetwork((5,), max_iter=20, **EPOCHS).fit(X, y)
    for array in (*network.coefs_, *network.intercepts_):
        assert array.dtype == dtype
    for array in (network.predict_proba(X), network.predict_log_proba(X)):
        assert array.dtype == dtype
    network.partial_fit(X.astype(np.float64), y)
    assert network.coefs_[0].dtype == dtype
    double = SigmoidNetwork((5,), max_iter=21, **EPOCHS).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(network.predict_proba(X), double.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("n", [1, 511, 512, 513, 1500])
def test_predictions_of_any_number(n):
    """Probabilities by their definition, a chunk at a time, and logarithms where they underflow."""
    X, y = data(40)
    network = SigmoidNetwork((5,), max_iter=20, **EPOCHS).fit(X, y)
    more = np.random.default_rng(0).normal(size=(n, 4))
    a = fastce.sigmoid(more @ network.coefs_[0] + network.intercepts_[0])
    z = a @ network.coefs_[1] + network.intercepts_[1]
    np.testing.assert_allclose(network.predict_proba(more), fastce.softmax(z), rtol=1e-12)
    np.testing.assert_array_equal(network.predict(more), z.argmax(axis=1))
    network.coefs_[1][...] *= 1e4  # attributes are what predicts
    z = a @ network.coefs_[1] + network.intercepts_[1]
    log_p = network.predict_log_proba(more)
    np.testing.assert_allclose(log_p, fastce.log_softmax(z), rtol=1e-9, atol=1e-9)
    assert log_p.min() < -1000


def test_not_fitted():
    """It says so."""
    with pytest.raises(NotFittedError):
        SigmoidNetwork().predict([[1.0]])


# ------------------------------------------------------------------------------- the same again


OPTIONS = {"hidden_layer_sizes": (5,), "batch_size": 7}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early", [False, True])
def test_same_seed_same_bits(early, dtype):
    """The same seed gives the same bits, another seed does not, None is random."""
    X, y = data(dtype=dtype)

    def fit(seed):
        options = OPTIONS | {"max_iter": 4, "early_stopping": early, "validation_fraction": 0.2}
        return SigmoidNetwork(n_iter_no_change=np.inf, random_state=seed, **options).fit(X, y)

    assert same_bits(fit(3), fit(3))
    assert same_bits(fit(np.random.RandomState(3)), fit(3))
    assert not same_bits(fit(3), fit(4))
    assert not same_bits(fit(None), fit(None))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_calls_of_partial_fit_are_the_epochs_of_fit(momentum):
    """So they are, to the last bit, shuffled or not."""
    X, y = data()
    whole = SigmoidNetwork(max_iter=5, momentum=momentum, **OPTIONS | EPOCHS).fit(X, y)
    part = clone(whole)
    for epoch in range(5):
        part.partial_fit(X, y, classes=range(3) if epoch == 0 else None)
        assert part.n_iter_ == epoch + 1
    assert same_bits(whole, part)


def test_a_stream_of_batches_is_an_epoch_of_fit():
    """In the order of the samples, call by call, in batches or in several batches a call."""
    X, y = data(42)
    whole = SigmoidNetwork(max_iter=2, shuffle=False, **OPTIONS | EPOCHS).fit(X, y)
    for rows in (7, 14):
        stream = clone(whole)
        for _ in range(2):
            for start in range(0, 42, rows):
                part = slice(start, start + rows)
                stream.partial_fit(X[part], y[part], classes=range(3))
        assert parameters(stream).tobytes() == parameters(whole).tobytes()


def test_warm_start_goes_on():
    """Two fits of three epochs are one of six; without it, fit begins anew."""
    X, y = data()
    whole = SigmoidNetwork(max_iter=6, **OPTIONS | EPOCHS).fit(X, y)
    halves = clone(whole).set_params(max_iter=3, warm_start=True).fit(X, y).fit(X, y)
    assert same_bits(whole, halves)
    assert halves.n_iter_ == 6
    anew = clone(whole).fit(X, y).fit(X, y)
    assert same_bits(whole, anew)


def test_pickle_and_clone():
    """A pickle learns on as the network itself does; a clone has the options only."""
    X, y = data()
    network = SigmoidNetwork(max_iter=3, **OPTIONS | EPOCHS).fit(X, y)
    other = pickle.loads(pickle.dumps(network))
    for one in (network, other):
        one.partial_fit(X, y)
    assert same_bits(network, other)
    fresh = clone(network)
    assert fresh.get_params() == network.get_params()
    assert not hasattr(fresh, "coefs_")


def test_an_own_state_of_the_weights():
    """Weights that the user puts there are those that it learns on from."""
    X, y = data()
    a = SigmoidNetwork(max_iter=3, **OPTIONS | EPOCHS).fit(X, y)
    b = pickle.loads(pickle.dumps(a))
    a.coefs_ = [array * 0.5 for array in a.coefs_]
    b.coefs_[0][...] *= 0.5
    b.coefs_[1][...] *= 0.5
    for one in (a, b):
        one.partial_fit(X, y)
    assert same_bits(a, b)


def test_samples_in_any_layout():
    """Fortran order, strides, lists and read-only arrays give the same, and stay as they are."""
    X, y = data()
    wide = np.repeat(X, 2, axis=1)
    fixed = X.copy()
    fixed.setflags(write=False)
    want = SigmoidNetwork(max_iter=3, **OPTIONS | EPOCHS).fit(X, y)
    for given in (np.asfortranarray(X), wide[:, ::2], X.tolist(), fixed):
        network = SigmoidNetwork(max_iter=3, **OPTIONS | EPOCHS).fit(given, y)
        assert same_bits(want, network)
        np.testing.assert_allclose(network.predict_proba(given), want.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(X, fixed)


def test_pipeline_and_grid_search():
    """It works within both, with labels of any kind."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = make_pipeline(StandardScaler(), SigmoidNetwork((8,), max_iter=30, **EPOCHS))
    grid = {"sigmoidnetwork__learning_rate_init": [1e-6, 0.3], "sigmoidnetwork__alpha": [1e-4]}
    search = GridSearchCV(model, grid, cv=3).fit(X, names)
    assert search.best_params_["sigmoidnetwork__learning_rate_init"] == 0.3
    assert search.score(X, names) > 0.9
    assert list(search.classes_) == ["setosa", "versicolor", "virginica"]


# ------------------------------------------------------------------- stopping early, or by Ctrl-C


@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_keeps_the_best(weighted):
    """It stops after the epochs that bring nothing, with the weights of the best one."""
    X, y = data(200, seed=7)
    y = np.where(np.random.default_rng(0).random(200) < 0.1, (y + 1) % 3, y)
    weight = np.random.default_rng(1).uniform(0.5, 2, 200) if weighted else None
    options = {"learning_rate_init": 0.2, "batch_size": 20, "validation_fraction": 0.25}
    network = SigmoidNetwork(
        (8,), early_stopping=True, n_iter_no_change=4, random_state=0, **options
    ).fit(X, y, sample_weight=weight)
    scores = network.validation_scores_
    assert len(scores) == len(network.loss_curve_) == network.n_iter_ < 200
    best = int(np.argmax(scores))
    assert best == len(scores) - 1 - 5
    assert network.best_validation_score_ == scores[best]
    assert scores.count(scores[best]) > 1  # the first of them counts
    assert network.best_loss_ is None
    again = clone(network).set_params(max_iter=best + 1, n_iter_no_change=np.inf)
    again.fit(X, y, sample_weight=weight)
    assert parameters(again).tobytes() == parameters(network).tobytes()
    random_state = np.random.RandomState(0)
    for m, n in ((4, 8), (8, 3)):
        random_state.uniform(size=m * n)  # the first weights
    parts = train_test_split(
        X, y, np.ones(200) if weight is None else weight,
        test_size=0.25, random_state=random_state, stratify=y,
    )  # fmt: skip
    score = network.score(parts[1], parts[3], sample_weight=parts[5])
    assert score == pytest.approx(scores[best], rel=1e-12)


class Interrupted:
    """Lets a signal come in the middle of the third epoch, as Ctrl-C does."""

    def __init__(self, monkeypatch, batches):
        self.calls = 0
        # (a shell's background job ignores the signal)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        plain = fastce.sigmoid_backward

        def sigmoid_backward(*arguments):
            self.calls += 1
            if self.calls == 2 * batches + batches // 2:
                signal.raise_signal(signal.SIGINT)
            return plain(*arguments)

        monkeypatch.setattr(fastce, "sigmoid_backward", sigmoid_backward)


def test_ctrl_c_keeps_the_last_epoch(monkeypatch):
    """KeyboardInterrupt comes out, and the network is that of two epochs, and usable."""
    X, y = data()
    two = SigmoidNetwork(max_iter=2, **OPTIONS | EPOCHS).fit(X, y)
    network = clone(two).set_params(max_iter=9)
    with monkeypatch.context() as patch:
        interrupted = Interrupted(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            network.fit(X, y)
    assert interrupted.calls == 15
    assert same_bits(network, two)
    assert network.n_iter_ == 2
    np.testing.assert_array_equal(network.predict_proba(X), two.predict_proba(X))
    network.set_params(warm_start=True, max_iter=1).fit(X, y)
    assert network.n_iter_ == 3


def test_ctrl_c_keeps_the_best_epoch(monkeypatch):
    """With early stopping it is the best one so far."""
    X, y = data()
    early = {"early_stopping": True, "validation_fraction": 0.3, "learning_rate_init": 1.0}
    two = SigmoidNetwork(max_iter=2, **OPTIONS | EPOCHS | early).fit(X, y)
    network = clone(two).set_params(max_iter=9)
    with monkeypatch.context() as patch:
        Interrupted(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            network.fit(X, y)
    assert same_bits(network, two)
    assert network.validation_scores_ == two.validation_scores_


def test_ctrl_c_in_partial_fit_changes_nothing(monkeypatch):
    """The network is as it was before the call; a new one is new."""
    X, y = data()
    network = SigmoidNetwork(**OPTIONS | EPOCHS).partial_fit(X, y, classes=range(3))
    before = pickle.loads(pickle.dumps(network))
    with monkeypatch.context() as patch:
        Interrupted(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            network.partial_fit(X, y)
        first = SigmoidNetwork(**OPTIONS | EPOCHS)
        Interrupted(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            first.partial_fit(X, y, classes=range(3))
    assert same_bits(network, before)
    assert first.n_iter_ == 0
    assert first.predict_proba(X).shape == (40, 3)


def test_verbose_prints_a_line_an_epoch():
    """With the cost, and with the score if there is one; otherwise nothing is printed."""
    X, y = data()
    printed = {}
    for early in (False, True):
        network = SigmoidNetwork((3,), max_iter=3, verbose=True, early_stopping=early, **EPOCHS)
        with redirect_stdout(io.StringIO()) as printed[early]:
            network.fit(X, y)
        lines = printed[early].getvalue().splitlines()
        assert len(lines) == 3
        assert f"cost {network.loss_:.6f}" in lines[-1]
        assert ("score" in lines[-1]) == early
    with redirect_stdout(io.StringIO()) as silent:
        SigmoidNetwork((3,), max_iter=3, **EPOCHS).fit(X, y)
    assert silent.getvalue() == ""


def test_warns_if_it_still_improves():
    """Where `max_iter` was too few epochs, unless a number of epochs was asked for."""
    X, y = data()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        SigmoidNetwork((3,), max_iter=2, random_state=0).fit(X, y)
    SigmoidNetwork((3,), max_iter=2, **EPOCHS).fit(X, y)  # warnings are errors


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"hidden_layer_sizes": (3, 0)}, ValueError),
        ({"hidden_layer_sizes": 2.5}, TypeError),
        ({"alpha": -1}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": "all"}, TypeError),
        ({"learning_rate_init": 0}, ValueError),
        ({"learning_rate_init": "fast"}, TypeError),
        ({"max_iter": 0}, ValueError),
        ({"max_iter": 2.0}, TypeError),
        ({"tol": -1e-4}, ValueError),
        ({"momentum": 1.0}, ValueError),
        ({"validation_fraction": 1.0}, ValueError),
        ({"n_iter_no_change": 0}, ValueError),
        ({"shuffle": "yes"}, TypeError),
    ],
    ids=str,
)
def test_parameters_out_of_range(options, error):
    """The message names the parameter and what was found."""
    X, y = data()
    ((name, value),) = options.items()
    with pytest.raises(error, match=f"`{name}`") as caught:
        SigmoidNetwork(**options).fit(X, y)
    assert str(value[-1] if isinstance(value, tuple) else value) in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    """A grid of NumPy's scalars makes the same network, in float32 too."""
    X, y = data(dtype=np.float32)
    options = {"alpha": 0.1, "learning_rate_init": 0.3, "momentum": 0.5}
    plain = SigmoidNetwork(5, batch_size=9, max_iter=3, **options | EPOCHS).fit(X, y)
    of_numpy = {name: np.float64(value) for name, value in options.items()}
    network = SigmoidNetwork(
        np.array([5]), batch_size=np.int8(9), max_iter=np.uint16(3), **of_numpy | EPOCHS
    ).fit(X, y)
    assert same_bits(plain, network)


def test_refusals():
    """What cannot be learned from, or learned on from, is refused with a message."""
    X, y = data()
    network = SigmoidNetwork(**OPTIONS | EPOCHS)
    with pytest.raises(ValueError, match="at least two classes"):
        network.fit(X, y * 0)
    with pytest.raises(ValueError, match="`classes` must be given"):
        network.partial_fit(X, y)
    network.partial_fit(X, y, classes=range(3))
    with pytest.raises(ValueError, match="as in the first call"):
        network.partial_fit(X, y, classes=range(4))
    with pytest.raises(ValueError, match="`y` must hold labels"):
        network.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        network.partial_fit(X[:, 1:], y)
    with pytest.raises(ValueError, match="hidden_layer_sizes` must stay"):
        clone(network).partial_fit(X, y, range(3)).set_params(hidden_layer_sizes=(6,)).partial_fit(
            X, y
        )
    with pytest.raises(ValueError, match="early_stopping"):
        network.set_params(early_stopping=True).partial_fit(X, y)


def test_steps_that_are_too_large():
    """They are an error, no warning, and the network stands at the last finite epoch."""
    X, y = data()
    network = SigmoidNetwork((5,), max_iter=200, learning_rate_init=1e200, momentum=0.9, **EPOCHS)
    with pytest.raises(ValueError, match="`learning_rate_init` must be smaller"):
        network.fit(X * 1e200, y)
    assert np.isfinite(parameters(network)).all()
    assert len(network.loss_curve_) == network.n_iter_
    network.set_params(
        hidden_layer_sizes=(), max_iter=1
    )  # now the cost is finite, but not the weights that follow
    with pytest.raises(ValueError, match="`learning_rate_init` must be smaller"):
        network.fit(X * 1e200, y)
    assert np.isfinite(parameters(network)).all()
    assert network.n_iter_ == 0
