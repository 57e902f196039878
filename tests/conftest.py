"""pytest's settings: the markers, the Hypothesis profile, the number of threads."""

import pytest
from hypothesis import HealthCheck, settings

import fastce

settings.register_profile(
    "fastce",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastce")


def pytest_configure(config):
    """Register the markers."""
    config.addinivalue_line("markers", "core: run again for each instruction set")
    config.addinivalue_line("markers", "targets: runs the core for an instruction set (slow)")


@pytest.fixture(autouse=True)
def same_threads():
    """Leave the number of threads as it was."""
    before = fastce.get_num_threads()
    yield
    if fastce.get_num_threads() != before:
        fastce.set_num_threads(before)
