"""Check all candidates of a workload against the reference, then time them in turns."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastce
import fastce.reference
from bench.peers import PEERS, Case, Unsupported
from bench.workloads import Workload
from fastce._cli.check import agreement_errors, agreement_limit
from fastce._cli.timing import interleaved

COPY = "np.copyto"
REPEATS = 9

# How far a peer may be off and still count as computing the same: peers differ in accuracy, and
# this is no judgement of it.
PEER_TOLERANCE = {"float64": 1e-7, "float32": 1e-3}


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def _fastce_call(workload: Workload, arguments: tuple[np.ndarray, ...]) -> Callable[[], Any]:
    """Bind the call of fastce, with the arrays that it writes to if the workload says so."""
    function = workload.row().call(workload.method)
    keywords = workload.keywords()
    if workload.out:
        keywords["out"] = np.empty_like(arguments[0])

    def call() -> Any:
        return function(*arguments, **keywords)

    return call


def _reference_call(workload: Workload, arguments: tuple[np.ndarray, ...]) -> Callable[[], Any]:
    function = workload.row().call(workload.method, fastce.reference)
    keywords = workload.keywords()

    def call() -> Any:
        return function(*arguments, **keywords)

    return call


def _copy_call(workload: Workload, arguments: tuple[np.ndarray, ...]) -> Callable[[], Any]:
    source, target = arguments[0], np.empty_like(arguments[0])

    def call() -> Any:
        np.copyto(target, source)

    return call


@dataclass
class Measurement:
    """Samples of all candidates of one workload, and who was refused."""

    samples: dict[str, list[float]] = field(default_factory=dict)  # seconds a call
    refused: dict[str, str] = field(default_factory=dict)


def candidates(workload: Workload) -> tuple[str, ...]:
    """Name who can take part: fastce, the reference, a copy, and the peers that are installed."""
    names = ["fastce", "reference"]
    if workload.goal is not None and workload.goal.beside == "copy":
        names.append(COPY)
    names += [peer.name for peer in PEERS if peer.installed() and peer.has(workload.key)]
    return tuple(names)


def measure(workload: Workload, repeats: int = REPEATS) -> Measurement:
    """Check and time all candidates of `workload`.

    A candidate whose result is wrong, or that fails, is in `refused` with the reason, and has no
    times.
    """
    result = Measurement()
    arguments = workload.arguments()
    case = Case(workload, arguments)
    reference = _reference_call(workload, arguments)
    want = _arrays(reference())
    calls: dict[str, Callable[[], Any]] = {"reference": reference}
    ours = _fastce_call(workload, arguments)
    worst = max(
        float(np.max(agreement_errors(g, w), initial=0.0))
        for g, w in zip(_arrays(ours()), want, strict=True)
    )
    if worst <= agreement_limit(workload.row(), arguments):
        calls["fastce"] = ours
    else:
        result.refused["fastce"] = f"{worst:.3g} ULP from the reference"
    tolerance = PEER_TOLERANCE[workload.dtype]
    for peer in PEERS:
        if peer.name not in candidates(workload):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call = peer.bind(case)
                got = [
                    np.asarray(part).reshape(w.shape)
                    for part, w in zip(peer.arrays(call()), want, strict=True)
                ]
        except Unsupported as error:
            result.refused[peer.name] = str(error)
            continue
        except Exception as error:
            # A peer of another version may lack a function: the others are measured all the same.
            result.refused[peer.name] = f"{type(error).__name__}: {error}"
            continue
        off = max(
            float(np.max(np.abs(g - w), initial=0.0) / max(np.max(np.abs(w), initial=0.0), 1e-300))
            for g, w in zip(got, want, strict=True)
        )
        if off <= tolerance:
            calls[peer.name] = call
        else:
            result.refused[peer.name] = f"relative difference of {off:.3g} from the reference"
    if COPY in candidates(workload):
        calls[COPY] = _copy_call(workload, arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result.samples = interleaved(calls, repeats)
    return result


_done: dict[Workload, Measurement] = {}


def measured(workload: Workload, repeats: int = REPEATS) -> Measurement:
    """Give the measurement of `workload`, made once a process."""
    if workload not in _done:
        _done[workload] = measure(workload, repeats)
    return _done[workload]
