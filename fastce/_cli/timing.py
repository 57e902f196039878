"""Time several candidates beside each other."""

import gc
import math
import time
from collections.abc import Callable, Mapping

Candidate = Callable[[], object]


def _seconds(call: Candidate, loops: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(loops):
        call()
    return (clock() - start) / loops


def interleaved(
    candidates: Mapping[str, Candidate],
    repeats: int = 7,
    at_least: float = 0.002,
    *,
    warm: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each candidate `repeats` times, in turns.

    In turns, because a machine changes under a benchmark (clock, neighbours, caches): what
    disturbs one candidate then disturbs all.  The order is reversed every other round, so that
    nobody always runs after the same other one.

    Parameters
    ----------
    candidates : mapping of str to callable
        Calls without arguments.
    repeats : int
        Number of rounds.
    at_least : float
        Seconds that a sample lasts at least; shorter calls are repeated within it.
    warm : bool
        That all have been called before, and last longer: then each is called once a round.
    clock : callable
        What tells the seconds; `time.process_time` leaves out when the processor does other work.

    Returns
    -------
    dict of str to list of float
        Seconds a call, one number a round.

    Examples
    --------
    >>> times = interleaved({"sum": lambda: sum(range(100))}, repeats=3)
    >>> len(times["sum"])
    3
    """
    loops = dict.fromkeys(candidates, 1)
    for name, call in () if warm else candidates.items():
        call()  # compile, allocate, fault in
        loops[name] = max(1, math.ceil(at_least / max(_seconds(call, 1, clock), 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    collecting = gc.isenabled()
    gc.disable()
    try:
        order = list(candidates.items())
        for _ in range(repeats):
            for name, call in order:
                samples[name].append(_seconds(call, loops[name], clock))
            order.reverse()
    finally:
        if collecting:
            gc.enable()
    return samples
