"""Errors in ULP beside the peers: ``python -m bench.accuracy [--seed N] [--quick]``.

Prints the table, and writes it to ``docs/_generated/accuracy.rst`` with the picture
``accuracy.png``: the largest error of each library, in ULP of the exact result at float64.  The
exact results are mpmath's, with 60 digits; where few numbers make up a long row, they are summed by
how often each occurs.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import math
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fastce import _registry
from fastce._registry import find, ulp_errors

DIGITS = 60
OUTPUT = pathlib.Path(__file__).parent.parent / "docs" / "_generated"
CROSS_ENTROPY = "cross_entropy[index]"
BINARY = "binary_cross_entropy_with_logits[binary]"

# ---------------------------------------------------- the libraries: (row of the registry, method)


def _fastce() -> dict[tuple[str, str], Callable[..., Any]]:
    def of(name: str, method: str) -> Callable[..., Any]:
        (op,) = find(name)
        how = {"reduction": "none"} if op.kind == "loss" else {}
        return functools.partial(op.call(method), **how)

    names = ("sigmoid", "softmax", "log_softmax", "logsumexp", CROSS_ENTROPY, BINARY)
    calls = {(name, "value"): of(name, "value") for name in names}
    return calls | {(name, "grad"): of(name, "grad") for name in (CROSS_ENTROPY, BINARY)}


def _scipy() -> dict[tuple[str, str], Callable[..., Any]]:
    from scipy import special

    return {
        ("sigmoid", "value"): special.expit,
        ("softmax", "value"): functools.partial(special.softmax, axis=-1),
        ("log_softmax", "value"): functools.partial(special.log_softmax, axis=-1),
        ("logsumexp", "value"): functools.partial(special.logsumexp, axis=-1),
    }


def _torch() -> dict[tuple[str, str], Callable[..., Any]]:
    import torch
    from torch.nn import functional

    def value(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arrays: function(*map(torch.from_numpy, arrays)).numpy()

    def grad(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: np.ndarray, target: np.ndarray) -> np.ndarray:
            logits = torch.from_numpy(x).requires_grad_()
            function(logits, torch.from_numpy(target)).sum().backward()
            return logits.grad.numpy()

        return call

    cross_entropy = functools.partial(functional.cross_entropy, reduction="none")
    binary = functools.partial(functional.binary_cross_entropy_with_logits, reduction="none")
    return {
        ("sigmoid", "value"): value(torch.sigmoid),
        ("softmax", "value"): value(lambda x: torch.softmax(x, -1)),
        ("log_softmax", "value"): value(lambda x: torch.log_softmax(x, -1)),
        ("logsumexp", "value"): value(lambda x: torch.logsumexp(x, -1)),
        (CROSS_ENTROPY, "value"): value(cross_entropy),
        (CROSS_ENTROPY, "grad"): grad(cross_entropy),
        (BINARY, "value"): value(binary),
        (BINARY, "grad"): grad(binary),
    }


def _jax() -> dict[tuple[str, str], Callable[..., Any]]:
    import jax

    jax.config.update("jax_enable_x64", True)
    calls = {
        ("sigmoid", "value"): jax.nn.sigmoid,
        ("softmax", "value"): jax.nn.softmax,
        ("log_softmax", "value"): jax.nn.log_softmax,
        ("logsumexp", "value"): functools.partial(jax.nn.logsumexp, axis=-1),
    }
    if importlib.util.find_spec("optax"):
        import optax

        losses = {
            CROSS_ENTROPY: optax.softmax_cross_entropy_with_integer_labels,
            BINARY: optax.sigmoid_binary_cross_entropy,
        }
        for name, loss in losses.items():
            calls[name, "value"] = loss
            calls[name, "grad"] = jax.grad(lambda x, t, loss=loss: loss(x, t).sum())
    return {key: jax.jit(call) for key, call in calls.items()}


def _sklearn() -> dict[tuple[str, str], Callable[..., Any]]:
    from sklearn._loss import loss
    from sklearn.utils.extmath import softmax

    def of(make: Callable[[np.ndarray], Any], part: int) -> Callable[..., Any]:
        return lambda x, t: make(x).loss_gradient(t.astype(x.dtype), x.copy())[part]

    def classes(x: np.ndarray) -> Any:
        return loss.HalfMultinomialLoss(n_classes=x.shape[1])

    def elements(x: np.ndarray) -> Any:
        return loss.HalfBinomialLoss()

    return {
        ("softmax", "value"): softmax,
        (CROSS_ENTROPY, "value"): of(classes, 0),
        (CROSS_ENTROPY, "grad"): of(classes, 1),
        (BINARY, "value"): of(elements, 0),
        (BINARY, "grad"): of(elements, 1),
    }


# name, the packages it needs, those whose version is told, the calls
LIBRARIES = (
    ("fastce", ("fastce",), _fastce),
    ("SciPy", ("scipy",), _scipy),
    ("PyTorch", ("torch",), _torch),
    ("JAX/optax", ("jax", "optax"), _jax),
    ("scikit-learn", ("sklearn",), _sklearn),
)


def installed() -> dict[str, dict[tuple[str, str], Callable[..., Any]]]:
    """Give the calls of each library that is installed."""
    return {
        name: calls() for name, modules, calls in LIBRARIES if importlib.util.find_spec(modules[0])
    }


def versions() -> str:
    """Name the libraries with their versions."""
    found = []
    for _, modules, _ in LIBRARIES[1:]:
        for module in modules:
            if importlib.util.find_spec(module):
                package = "scikit-learn" if module == "sklearn" else module
                label = {"scipy": "SciPy", "torch": "PyTorch", "jax": "JAX"}.get(package, package)
                found.append(f"{label} {importlib.metadata.version(package)}")
    return ", ".join(found)


# ----------------------------------------------------------------------------------- the inputs


def normal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Make ten scores a row, normally distributed."""
    return rng.normal(size=(n, 10)), rng.integers(10, size=n)


def spread(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Make scores that are up to 600 apart."""
    return rng.uniform(-300, 300, (n, 10)), rng.integers(10, size=n)


def confident(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Let the target lead by 5 to 700."""
    x, target = normal(rng, n)
    np.put_along_axis(x, target[:, None], x.max(1)[:, None] + np.linspace(5, 700, n)[:, None], 1)
    return x, target


def tail(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Make logits whose sigmoid is subnormal."""
    return (rng.uniform(-745, -709, 10 * n),)


def certain(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Make logits of ±300 at most, with targets 0 and 1."""
    return rng.uniform(-300, 300, 10 * n), rng.integers(2, size=10 * n).astype(float)


# row of the table, inputs, row of the registry, method, inputs by name
TABLE = (
    ("sigmoid", "subnormal tail", "sigmoid", "value", (tail,)),
    ("softmax", "normal, k = 10 / spread 600", "softmax", "value", (normal, spread)),
    ("log_softmax", "normal / confident", "log_softmax", "value", (normal, confident)),
    ("logsumexp", "normal / spread 600", "logsumexp", "value", (normal, spread)),
    ("cross_entropy", "normal / confident", CROSS_ENTROPY, "value", (normal, confident)),
    ("cross_entropy gradient", "normal / confident", CROSS_ENTROPY, "grad", (normal, confident)),
    ("binary cross-entropy", "±300, 0/1 targets", BINARY, "value", (certain,)),
    ("its gradient", "±300, 0/1 targets", BINARY, "grad", (certain,)),
)


def errors_of(
    libraries: dict[str, dict[tuple[str, str], Callable[..., Any]]],
    name: str,
    method: str,
    arguments: tuple[np.ndarray, ...],
) -> dict[str, np.ndarray]:
    """Give the errors of each library that has the computation."""
    (op,) = find(name)
    arguments = arguments if op.kind == "loss" else arguments[:1]
    exact = op.exact(method, arguments)
    # of the result itself, also where the contract states them in ULP of something larger
    exact = exact[0], np.vectorize(abs, otypes=[object])(exact[0])
    return {
        library: ulp_errors(np.asarray(calls[name, method](*arguments)), *exact)
        for library, calls in libraries.items()
        if (name, method) in calls
    }


def show(error: float) -> str:
    """Write an error with two digits."""
    if error < 1000:
        return f"{error:.1f}" if error < 10 else f"{error:.0f}"
    return f"{error:.1e}".replace("e+0", "e").replace("e+", "e") if error < math.inf else "inf"


def table(libraries: dict[str, Any], seed: int, n: int) -> list[list[str]]:
    """Measure the table: its rows, the heading first."""
    rows = [["result", "inputs", *libraries]]
    for title, inputs, name, method, makers in TABLE:
        found: dict[str, list[str]] = {library: [] for library in libraries}
        for make in makers:
            rng = np.random.default_rng([seed, zlib.crc32(make.__name__.encode())])
            for library, errors in errors_of(libraries, name, method, make(rng, n)).items():
                found[library].append(show(float(errors.max())))
        rows.append([title, inputs, *(" / ".join(cells) for cells in found.values())])
    return rows


# ---------------------------------------------------------------------------------- the picture


def by_window(errors: np.ndarray, windows: int) -> np.ndarray:
    """Give the largest error in each of so many runs of samples."""
    return errors.reshape(windows, -1).max(axis=1)


def against_logit(libraries: dict[str, Any], n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give errors of sigmoid: the middles of windows, and the largest error in each."""
    x = np.linspace(-745, 40, n * 8)
    found = errors_of(libraries, "sigmoid", "value", (x,))
    return x.reshape(n, -1).mean(axis=1), {lib: by_window(e, n) for lib, e in found.items()}


def against_margin(
    libraries: dict[str, Any], rng: np.random.Generator, n: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give errors of the cross-entropy of ten classes whose target leads the next."""
    x, target = normal(rng, n * 4)
    margin = np.linspace(-100, 700, n * 4)
    np.put_along_axis(x, target[:, None], -np.inf, axis=1)
    np.put_along_axis(x, target[:, None], (x.max(axis=1) + margin)[:, None], axis=1)
    found = errors_of(libraries, CROSS_ENTROPY, "value", (x, target))
    return margin.reshape(n, -1).mean(axis=1), {lib: by_window(e, n) for lib, e in found.items()}


def against_k(
    libraries: dict[str, Any], rng: np.random.Generator, sizes: list[int]
) -> dict[str, dict[str, list[float]]]:
    """Give errors of softmax and logsumexp of long rows that take 64 different values."""
    from mpmath import mp

    found: dict[str, dict[str, list[float]]] = {"softmax": {}, "logsumexp": {}}
    for k in sizes:
        levels = rng.normal(size=64)
        drawn = rng.integers(64, size=k)
        drawn[: min(k, 64)] = np.arange(min(k, 64))
        x = levels[drawn][None]
        with mp.workdps(DIGITS):
            e = [mp.exp(mp.mpf(float(level))) for level in levels]
            counts = np.bincount(drawn, minlength=64)
            total = mp.fsum(int(c) * v for c, v in zip(counts, e, strict=True))
            p = np.array([v / total for v in e])
            log_total = np.array([mp.log(total)])
        for library, calls in libraries.items():
            if ("softmax", "value") in calls:
                got = np.asarray(calls["softmax", "value"](x))[0]
                present = np.flatnonzero(counts)
                # all of a level have the same exact result: the two furthest off are enough
                low, high = np.full(64, np.inf), np.full(64, -np.inf)
                np.minimum.at(low, drawn, got)
                np.maximum.at(high, drawn, got)
                errors = [ulp_errors(g[present], p[present], p[present]) for g in (low, high)]
                found["softmax"].setdefault(library, []).append(float(np.max(errors)))
            if ("logsumexp", "value") in calls:
                got = np.asarray(calls["logsumexp", "value"](x)).reshape(1)
                error = ulp_errors(got, log_total, abs(log_total))
                found["logsumexp"].setdefault(library, []).append(float(error[0]))
    return found


STYLES = {
    "fastce": {"color": "black", "marker": "o", "linewidth": 1.8, "zorder": 5},
    "SciPy": {"color": "tab:blue", "marker": "s"},
    "PyTorch": {"color": "tab:red", "marker": "^"},
    "JAX/optax": {"color": "tab:green", "marker": "v"},
    "scikit-learn": {"color": "tab:orange", "marker": "D"},
}
LEAST, MOST = 0.05, 1e17  # what is drawn: less, or infinity, stands at the edge


def draw(libraries: dict[str, Any], seed: int, quick: bool, path: pathlib.Path) -> None:
    """Measure and draw the four panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rng = np.random.default_rng(seed)
    n = 40 if quick else 100
    sizes = [int(k) for k in np.geomspace(10, 10**4 if quick else 10**6, 9 if quick else 16)]
    logits, sigmoid = against_logit(libraries, n)
    margins, cross_entropy = against_margin(libraries, rng, n)
    long = against_k(libraries, rng, sizes)
    panels = (
        ("sigmoid", "logit", logits, sigmoid, 2),
        ("cross_entropy, k = 10", "lead of the target", margins, cross_entropy, 4),
        ("softmax", "number of classes k", sizes, long["softmax"], 4),
        ("logsumexp", "number of classes k", sizes, long["logsumexp"], 2),
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    for axis, (title, label, where, lines, bound) in zip(axes.flat, panels, strict=True):
        for library, errors in lines.items():
            seen = np.clip(np.nan_to_num(errors, nan=np.inf), LEAST, MOST)
            style = {"linewidth": 1.0, "markersize": 3, "label": library} | STYLES[library]
            axis.plot(where, seen, **style)
        axis.axhline(bound, color="grey", linestyle=":", linewidth=1)
        axis.set(title=title, xlabel=label, ylabel="largest error in ULP", yscale="log")
        if where is sizes:
            axis.set_xscale("log")
        axis.grid(alpha=0.3)
    shown: dict[str, Any] = {}
    for axis in axes.flat:
        lines, names = axis.get_legend_handles_labels()
        shown |= dict(zip(names, lines, strict=True))
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


# ------------------------------------------------------------------------------------- the page


def as_text(rows: list[list[str]]) -> str:
    """Align the columns of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def as_rst(rows: list[list[str]], told: str, seed: int) -> str:
    """Write the section of the docs."""
    title = "Measured beside other libraries"
    head, *body = [", ".join(f'"{cell}"' for cell in row) for row in rows]
    return "\n".join(
        [
            title,
            "-" * len(title),
            "",
            f"The largest error found, in ULP of the exact result (mpmath, {DIGITS} digits), at",
            "float64. About 1e15 ULP and more means that not one digit is right.",
            "",
            ".. csv-table::",
            f"   :header: {head}",
            "",
            *(f"   {row}" for row in body),
            "",
            ".. image:: _generated/accuracy.png",
            "   :alt: Errors of each library against the logit, the lead of the target, and k",
            "",
            "Dotted: what fastce promises. An error of less than 0.05 ULP is drawn at 0.05.",
            "",
            f"Compared: {told}.",
            f"Written by ``python -m bench.accuracy --seed {seed}``.",
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write the table and the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer samples, and k up to 10^4")
    options = parser.parse_args()
    _registry.PRECISION = math.ceil(DIGITS / math.log10(2))
    libraries = installed()
    rows = table(libraries, options.seed, 100 if options.quick else 1000)
    print(as_text(rows))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "accuracy.rst").write_text(as_rst(rows, versions(), options.seed), encoding="utf-8")
    draw(libraries, options.seed, options.quick, OUTPUT / "accuracy.png")
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main()
