"""What options and layouts cost: ``python -m bench.options``.

Calls of cross_entropy with an option, or with arrays in another layout, beside the plain call, on
one core, in turns. A number is the time over that of ``value_and_grad`` of contiguous logits with
labels, both with ``out=`` and the shortest of several. All results are compared with the reference
first. The exit status is 1 if a number is above its goal.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.pinning import pin

SIZES = ((1000, 1000), (1000, 100), (1000, 10), (10_000, 3), (64, 32_768))
GOALS = {
    "weight": 1.25, "sample_weight": 1.25, "label_smoothing": 1.25, "every other column": 2.0,
    "Fortran order": 2.0,
}  # fmt: skip
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def calls(n: int, k: int, dtype: str) -> Iterator[tuple[str, Call]]:
    """Give the calls by name: method, arguments and options. The first is the plain one."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, k)).astype(dtype)
    y = rng.integers(0, k, n)
    out, hess, v = np.empty_like(x), np.empty_like(x), rng.standard_normal((n, k)).astype(dtype)
    probabilities = rng.dirichlet(np.ones(k), n).astype(dtype)
    weight = rng.uniform(0.5, 2.0, k).astype(dtype)
    columns = np.zeros((n, 2 * k), dtype)[:, ::2]
    columns[:] = x
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "weight": {"weight": weight},
        "sample_weight": {"sample_weight": rng.uniform(0.5, 2.0, n).astype(dtype)},
        "label_smoothing": {"label_smoothing": 0.1},
        "label_smoothing, weight": {"label_smoothing": 0.1, "weight": weight},
        "temperature": {"temperature": 1.7},
        "z_loss": {"z_loss": 0.01},
    }
    for name, keywords in options.items():
        yield name, ("value_and_grad", (x, y), {"out": out, **keywords})
    yield "probabilities", ("value_and_grad", (x, probabilities), {"out": out})
    yield "grad_and_hess", ("grad_and_hess", (x, y), {"out": (out, hess)})
    yield "hvp", ("hvp", (x, y, v), {"out": out})
    yield "every other column", ("value_and_grad", (columns, y), {"out": out})
    turned = np.asfortranarray(x), np.empty_like(x, order="F")
    yield "Fortran order", ("value_and_grad", (turned[0], y), {"out": turned[1]})


def bind(call: Call) -> Callable[[], Any]:
    """Return the call, whose results have been compared with the reference."""
    import numpy as np

    import fastce
    import fastce.reference

    method, arguments, keywords = call
    function = getattr(fastce.cross_entropy, method)
    options = {name: value for name, value in keywords.items() if name != "out"}
    wanted = getattr(fastce.reference.cross_entropy, method)(*arguments, **options)
    got = function(*arguments, **keywords)
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    for one, other in pairs:
        limit = 1e3 * np.finfo(arguments[0].dtype).eps
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit * np.max(np.abs(other)))
    return lambda: function(*arguments, **keywords)


def ratios(n: int, k: int, dtype: str, repeats: int) -> dict[str, float]:
    """Return the time of each call over that of the plain one."""
    from fastce._cli.timing import interleaved

    bound = {name: bind(call) for name, call in calls(n, k, dtype)}
    least = {name: min(seconds) for name, seconds in interleaved(bound, repeats).items()}
    return {name: seconds / least["plain"] for name, seconds in least.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.options", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    arguments = parser.parse_args(argv)
    pin(1)

    import fastce
    from fastce._cli.output import table

    fastce.set_num_threads(1)
    found = [ratios(n, k, arguments.dtype, arguments.repeats) for n, k in SIZES]
    rows, failed = [], False
    for name in found[0]:
        goal = GOALS.get(name)
        numbers = [one[name] for one in found]
        failed |= goal is not None and max(numbers) > goal
        rows.append((name, *(f"{one:.2f}" for one in numbers), "" if goal is None else str(goal)))
    headers = (f"x the plain call, {arguments.dtype}", *(f"{n} x {k}" for n, k in SIZES), "goal")
    print(table(headers, rows, left=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
