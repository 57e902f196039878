"""The memory and the time of ``linear_cross_entropy``: ``python -m bench.linear``.

First the memory of its value and gradients where the logits would take 5 GB: what is needed beside
the inputs, at the highest, in a process of its own.  Then the time beside NumPy's way, which holds
all logits, and PyTorch's chunked `linear_cross_entropy`, one thread each, in turns, after the
results have been compared.  ``--time-only`` and ``--memory-only`` do one of the two.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

if __name__ == "__main__":
    from bench.pinning import pin

    pin(1)  # before anything that computes is imported

import numpy as np

import fastce
from fastce._cli.timing import interleaved

LARGE = (20_000, 512, 32_000)  # samples, features, classes
SIZES = ((2_000, 512, 32_000), (20_000, 64, 1_000))
DTYPES = ("float64", "float32")
AGREEMENT = {"float64": 1e-11, "float32": 1e-4}  # of the largest entry: products cancel
NEEDED_MB = 200

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def inputs(size: tuple[int, int, int], dtype: str) -> Arrays:
    """Make features, a weight whose logits are of about 1, and classes."""
    n, d, k = size
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=dtype)
    weight = rng.standard_normal((k, d), dtype=dtype)
    weight /= np.sqrt(np.asarray(d, dtype))
    return x, weight, rng.integers(k, size=n)


# ------------------------------------------------- the candidates: value, slopes in x and weight


def by_fastce(x: np.ndarray, weight: np.ndarray, target: np.ndarray) -> tuple[Any, Any, Any]:
    """Take a chunk of rows at a time."""
    value, grad = fastce.linear_cross_entropy.value_and_grad(x, weight, target)
    return value, grad.x, grad.weight


def by_numpy(x: np.ndarray, weight: np.ndarray, target: np.ndarray) -> tuple[Any, Any, Any]:
    """Make all logits, and work in their place."""
    each = np.arange(len(x)), target
    p = x @ weight.T
    p -= p.max(axis=1, keepdims=True)
    value = -p[each]
    np.exp(p, out=p)
    sums = p.sum(axis=1, keepdims=True)
    value += np.log(sums[:, 0])
    p /= sums
    p[each] -= 1
    p /= len(x)
    return value.mean(), p @ weight, p.T @ x


def by_torch(x: np.ndarray, weight: np.ndarray, target: np.ndarray) -> tuple[Any, Any, Any]:
    """Let PyTorch choose the chunks."""
    import torch
    from torch.nn import LinearCrossEntropyOptions
    from torch.nn.functional import linear_cross_entropy

    leaves = [torch.from_numpy(array).requires_grad_() for array in (x, weight)]
    options = LinearCrossEntropyOptions()
    value = linear_cross_entropy(*leaves, torch.from_numpy(target), options=options)
    slopes = torch.autograd.grad(value, leaves)
    return value.item(), *(slope.numpy() for slope in slopes)


CANDIDATES: dict[str, tuple[str, Callable[..., Any]]] = {
    "fastce": ("fastce", by_fastce),
    "NumPy": ("numpy", by_numpy),
    "PyTorch": ("torch", by_torch),
}


def installed() -> dict[str, Callable[..., Any]]:
    """Give the candidates that are there."""
    found = {}
    for name, (module, call) in CANDIDATES.items():
        if importlib.util.find_spec(module):
            found[name] = call
    if "PyTorch" in found:
        import torch

        torch.set_num_threads(1)
        if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
            del found["PyTorch"]  # older than the function
    return found


# ----------------------------------------------------------------------------------- the memory


def resident(field: str) -> int:
    """Read a size of this process, in bytes: what it holds (VmRSS), or held at most (VmHWM)."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024


def memory_here(name: str, dtype: str) -> dict[str, float]:
    """Measure one call in this process: the first that it makes."""
    call = installed()[name]
    arrays = inputs(LARGE, dtype)
    before = resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    tracemalloc.start()
    value, *slopes = call(*arrays)
    _, traced = tracemalloc.get_traced_memory()
    extra = resident("VmHWM") - before
    return {
        "value": float(value),
        "results": sum(slope.nbytes for slope in slopes) / 1e6,
        "traced": traced / 1e6,
        "resident": extra / 1e6,
    }


def memory() -> bool:
    """Print the memory of each candidate that chunks; tell whether fastce keeps what it promises.

    The traced memory is what Python and NumPy asked for, and knows nothing of PyTorch; the
    resident memory is what the system gave, BLAS's own buffers included.
    """
    n, d, k = LARGE
    print(f"Memory in MB beside the inputs: n = {n}, d = {d}, k = {k}")
    heading = ("", "dtype", "results", "traced", "less results", "resident", "less results")
    print(("{:9}{:9}" + "{:>14}" * 5).format(*heading))
    kept = True
    for dtype in DTYPES:
        values = []
        for name in installed():
            if name == "NumPy":
                continue
            command = [sys.executable, "-m", "bench.linear", "--one", name, "--dtype", dtype]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(run.stdout)
            values.append(found["value"])
            results = found["results"]
            traced, extra = found["traced"], found["resident"]
            numbers = [extra, extra - results]
            if name == "fastce":
                kept &= max(traced, extra) - results < NEEDED_MB
                numbers = [traced, traced - results, *numbers]
            cells = [""] * (4 - len(numbers)) + [f"{number:.0f}" for number in numbers]
            print(("{:9}{:9}{:>14.0f}" + "{:>14}" * 4).format(name, dtype, results, *cells))
        assert np.allclose(values, values[0], rtol=AGREEMENT[dtype]), values
    print(f"fastce below {NEEDED_MB} MB beside inputs and results: {'yes' if kept else 'NO'}\n")
    return kept


# ------------------------------------------------------------------------------------- the time


def check(candidates: dict[str, Callable[..., Any]], arrays: Arrays, dtype: str) -> None:
    """Refuse to time results that differ."""
    (first, one), *others = candidates.items()
    want = one(*arrays)
    for name, call in others:
        for got, w in zip(call(*arrays), want, strict=True):
            off = float(np.max(np.abs(got - w)) / np.max(np.abs(w)))
            if off > AGREEMENT[dtype]:
                raise AssertionError(f"{name} is {off:.1e} from {first}, of the largest entry")


def times(repeats: int) -> bool:
    """Print seconds a call; tell whether fastce is no slower than the others."""
    candidates = installed()
    print(f"Seconds of a processor for value and gradients, the least of {repeats} in turns")
    print("{:>8}{:>6}{:>8} {:9}".format("n", "d", "k", "dtype"), end="")
    print("".join(f"{name:>10}" for name in candidates), "  best other / fastce")
    first = True
    for size in SIZES:
        for dtype in DTYPES:
            arrays = inputs(size, dtype)
            check(candidates, arrays, dtype)
            bound = {
                name: lambda call=call, arrays=arrays: call(*arrays)
                for name, call in candidates.items()
            }
            least = {
                name: min(t)
                for name, t in interleaved(
                    bound, repeats, warm=True, clock=time.process_time
                ).items()
            }
            ratio = min(t for name, t in least.items() if name != "fastce") / least["fastce"]
            first &= ratio >= 1
            print("{:>8}{:>6}{:>8} {:9}".format(*size, dtype), end="")
            print("".join(f"{t:>10.3f}" for t in least.values()), f"  {ratio:.2f}", flush=True)
    return first


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.linear", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--time-only", action="store_true")
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--one", choices=CANDIDATES, help="print one measurement of memory as JSON")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(memory_here(options.one, options.dtype)))
        return 0
    well = True
    if not options.time_only:
        if os.access("/proc/self/clear_refs", os.W_OK):
            well &= memory()
        else:
            print("Memory is not measured: that needs Linux's /proc\n")
    if not options.memory_only:
        well &= times(options.repeats)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
