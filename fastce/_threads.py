"""How many threads calls may use, and what they respect."""

import os
from typing import SupportsIndex

from fastce import _arrays
from fastce._dispatch import kernels


def container_quota() -> int | None:
    """Return the CPUs that the container's quota allows (cgroup v2 or v1), or None."""
    quotas: list[int] = []
    try:
        with open("/proc/self/cgroup") as file:
            path = next((line.split(":", 2)[2].strip() for line in file if line[0] == "0"), "/")
        # Every group above counts as well.
        while True:
            quotas += read_quota("/sys/fs/cgroup" + path.rstrip("/") + "/cpu.max")
            if path in ("/", ""):
                break
            path = os.path.dirname(path)
        quotas += read_quota(
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"
        )
    except OSError:
        pass
    return min(quotas, default=None)


def read_quota(*names: str) -> list[int]:
    """Return [quota / period, rounded up] from one or two files, or [] if they set none."""
    try:
        words: list[str] = []
        for name in names:
            with open(name) as file:
                words += file.read().split()
        quota, period = words
        return [-(-int(quota) // int(period))] if quota not in ("max", "-1") else []
    except (OSError, ValueError):
        return []


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads large calls may use.

    Parameters
    ----------
    n : int
        At least 1. Small work always runs on the calling thread, and results do not depend on n.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a positive integer.

    Notes
    -----
    Until it is called, the number is what OpenMP would use (``OMP_NUM_THREADS``, the CPU
    affinity), or less if the container's CPU quota is less. A limit that threadpoolctl sets later
    holds as well. In a process forked from one that had used threads it is always 1.

    Examples
    --------
    >>> before = fastce.get_num_threads()
    >>> fastce.set_num_threads(1)
    >>> fastce.get_num_threads()
    1
    >>> fastce.set_num_threads(before)
    """
    n = _arrays.integer("n", n, "a positive integer")
    if not 1 <= n < 2**31:
        raise ValueError(f"`n` must be a positive integer below 2**31, got {n}")
    kernels.set_threads(n)


def get_num_threads() -> int:
    """Return how many threads large calls may use now.

    Returns
    -------
    int
        At least 1; see `set_num_threads` for what it depends on.

    Examples
    --------
    >>> fastce.get_num_threads() >= 1
    True
    """
    return int(kernels.get_threads())


if "OMP_NUM_THREADS" not in os.environ:
    quota = container_quota()
    if quota is not None:
        kernels.set_quota(max(1, quota))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=kernels.after_fork)
