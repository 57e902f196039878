"""All workloads, all candidates: ``python -m pytest bench --benchmark-json=FILE``.

The candidates of a workload are timed in turns, so the times come from `bench.measure`, not from
pytest-benchmark's own loop, which would finish one candidate before it starts the next.  Each test
replays the samples of one candidate to pytest-benchmark on a clock that they drive; its tables,
its comparisons and its JSON are then as usual.
"""

from typing import Any

import pytest

from bench.measure import candidates, measured
from bench.workloads import Workload, workloads


class ReplayClock:
    """A clock that shows the sum of the samples replayed so far."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Give the time, as `time.perf_counter` would."""
        return self.now

    def replay(self, samples: list[float]) -> None:
        """Let the next sample pass."""
        self.now += samples.pop(0)


clock = ReplayClock()

PAIRS = [(workload, name) for workload in workloads() for name in candidates(workload)]


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize(
    ("workload", "candidate"),
    PAIRS,
    ids=[f"{workload.suite}: {workload.label}, {name}" for workload, name in PAIRS],
)
def test_workload(
    benchmark: Any, request: pytest.FixtureRequest, workload: Workload, candidate: str
) -> None:
    """Check, then time; a wrong result of ours fails, a peer's is skipped, neither has a time."""
    result = measured(workload, request.config.getoption("--repeats"))
    reason = result.refused.get(candidate)
    if reason is not None:
        if candidate == "fastce":
            pytest.fail(reason)
        pytest.skip(reason)
    samples = list(result.samples[candidate])
    benchmark.group = f"{workload.suite}: {workload.label}"
    benchmark.extra_info.update(
        suite=workload.suite,
        workload=workload.label,
        operation=workload.operation,
        method=workload.method,
        shape=list(workload.shape),
        elements=workload.elements,
        whole_call=workload.whole_call,
        goal=None
        if workload.goal is None
        else {"beside": workload.goal.beside, "factor": workload.goal.factor},
        candidate=candidate,
    )
    benchmark.pedantic(clock.replay, args=(samples,), rounds=len(samples))
