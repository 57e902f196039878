"""Settings of a benchmark run: threads before anything that computes is imported."""

import importlib.metadata
import importlib.util
import platform
from typing import Any

import pytest

from bench.pinning import pin

VERSIONS = ("numpy", "scipy", "scikit-learn", "torch", "jax", "numba")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --threads and --repeats."""
    group = parser.getgroup("fastce")
    group.addoption("--threads", type=int, default=1, help="threads and cores for everyone")
    group.addoption("--repeats", type=int, default=9, help="rounds of which the fastest counts")


def pytest_configure(config: pytest.Config) -> None:
    """Pin this process, then bring the libraries that are told at run time to the same."""
    threads = config.getoption("--threads")
    pin(threads)

    import fastce

    fastce.set_num_threads(threads)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits

        # Also what was loaded before this hook.
        config.stash[_LIMITS] = threadpool_limits(limits=threads)


_LIMITS: pytest.StashKey[Any] = pytest.StashKey()


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Record what the figures depend on, and nothing that names the machine."""
    import fastce
    from fastce._cli.info import cpu_name

    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine_info.clear()
    machine_info.update(
        cpu=cpu_name(),
        system=platform.system(),
        machine=platform.machine(),
        python_version=platform.python_version(),
        threads=config.getoption("--threads"),
        fastce=fastce.show_config(mode="dict"),
        versions=versions,
    )


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Keep the commit alone."""
    for key in set(commit_info) - {"id", "dirty"}:
        del commit_info[key]
