"""What is timed: a table of workloads, one row each, and two sweeps over sizes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastce import _registry

SEED = 20260101


@dataclass(frozen=True)
class Goal:
    """What a workload has to reach, beside the fastest peer or beside a copy of the array."""

    beside: str  # "peer" or "copy"
    factor: float  # peer: at least so many times as fast; copy: at most so many times as long

    def __str__(self) -> str:
        """Write the goal as in the report's table."""
        return f"≥ {self.factor:g} x" if self.beside == "peer" else f"≤ {self.factor:g} x copy"


@dataclass(frozen=True)
class Workload:
    """One call on arrays of one size."""

    operation: str  # id of a row of the registry
    shape: tuple[int, ...]  # classes on `axis`
    method: str = "value"
    dtype: str = "float64"
    axis: int = -1
    out: bool = False  # write into arrays made beforehand
    goal: Goal | None = None
    suite: str = "goals"
    whole_call: bool = False  # report the time of a call, not of an element

    @property
    def elements(self) -> int:
        """Number of logits."""
        return int(np.prod(self.shape))

    @property
    def key(self) -> str:
        """What peers call this computation."""
        return f"{self.operation}.{self.method}"

    @property
    def label(self) -> str:
        """A title for tables and plots, unique."""
        size = " x ".join(f"{n:,}".replace(",", " ") for n in self.shape)
        parts = [self.operation]
        if self.method != "value":
            parts.append(self.method)
        parts.append(size)
        if self.axis != -1:
            parts.append(f"axis={self.axis}")
        if self.dtype != "float64":
            parts.append(self.dtype)
        if self.out:
            parts.append("out=")
        return ", ".join(parts)

    def row(self) -> Any:
        """Give the registry's row of this operation."""
        return _registry.find(self.operation)[0]

    def arguments(self) -> tuple[np.ndarray, ...]:
        """Make the arguments, the same on every call."""
        op = self.row()
        shape = self.shape
        if op.has_axis and self.axis != -1:
            # the registry takes shapes with the classes last
            shape = (*np.delete(shape, self.axis).tolist(), shape[self.axis])
        rng = np.random.default_rng(SEED)
        made: tuple[np.ndarray, ...] = op.arguments(
            rng, shape, np.dtype(self.dtype), axis=self.axis
        )
        return made

    def keywords(self) -> dict[str, Any]:
        """Give the keyword arguments of fastce and of its reference, but for `out`."""
        return {} if self.axis == -1 else {"axis": self.axis}


def _peer(factor: float) -> Goal:
    return Goal("peer", factor)


def _copy(factor: float) -> Goal:
    return Goal("copy", factor)


_CE = "cross_entropy[index]"
_BCE = "binary_cross_entropy_with_logits[binary]"
_BOTH = "value_and_grad"

GOALS = (
    Workload("sigmoid", (100_000,), out=True, goal=_peer(1.6)),
    Workload("sigmoid", (20_000_000,), out=True, goal=_copy(1.15)),
    Workload("softmax", (1000, 1000), out=True, goal=_peer(1.8)),
    Workload("logsumexp", (1000, 1000), goal=_peer(2.0)),
    Workload(_CE, (1000, 1000), goal=_peer(2.2)),
    Workload(_CE, (1000, 1000), _BOTH, goal=_peer(2.8)),
    Workload(_CE, (64, 32768), _BOTH, goal=_peer(2.4)),
    Workload(_CE, (2048, 8192), _BOTH, out=True, goal=_copy(1.3)),
    Workload(_CE, (1000, 10), _BOTH, goal=_peer(4.0)),
    Workload(_CE, (100_000, 3), _BOTH, goal=_peer(3.0)),
    Workload(_CE, (8, 21, 128, 128), _BOTH, axis=1, out=True, goal=_peer(3.0)),
    Workload(_BCE, (1_000_000,), _BOTH, out=True, goal=_peer(6.0)),
    Workload(_CE, (10,), _BOTH, goal=_peer(2.3), whole_call=True),
    Workload(_CE, (1000, 1000), _BOTH, "float32", goal=_peer(2.2)),
    Workload("sigmoid", (100_000,), dtype="float32", out=True, goal=_peer(1.3)),
)

CLASSES = (2, 3, 5, 10, 20, 32, 50, 100, 200, 500, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
SIZES = (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)
SWEEP_ELEMENTS = 1_000_000

SWEEPS = (
    *(Workload(_CE, (max(1, SWEEP_ELEMENTS // k), k), _BOTH, suite="classes") for k in CLASSES),
    *(Workload("sigmoid", (n,), out=True, suite="sizes") for n in SIZES),
)


def operations() -> tuple[Workload, ...]:
    """Give one workload for each operation that fastce has, losses with their gradient."""
    return tuple(
        Workload(
            op.id,
            (1000, 1000) if op.has_axis else (100_000,),
            _BOTH if op.kind == "loss" else "value",
            suite="operations",
        )
        for op in _registry.available()
    )


def workloads() -> tuple[Workload, ...]:
    """Give all workloads whose operation fastce has."""
    names = {op.id for op in _registry.available()}
    return tuple(w for w in (*GOALS, *operations(), *SWEEPS) if w.operation in names)
