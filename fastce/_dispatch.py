"""Picks the kernels once, at import: the best that the machine can run, or FASTCE_TARGET."""

import importlib
import os
from typing import Any

from fastce._kernels import _cpu

# From the least to the most capable; setup.py has the compiler flags.
TARGETS = ("baseline", "v3", "v4")


def built_targets() -> tuple[str, ...]:
    """Return the names of the instruction sets that this copy was built for."""
    directory = os.path.dirname(_cpu.__file__)
    modules = {name.split(".")[0] for name in os.listdir(directory)}
    return tuple(target for target in TARGETS if f"_{target}" in modules)


def available_targets() -> tuple[str, ...]:
    """Return those that the machine can run as well."""
    return tuple(t for t in built_targets() if TARGETS.index(t) <= _cpu.level())


def choose() -> str:
    """Return the name of the instruction set to use."""
    wanted = os.environ.get("FASTCE_TARGET", "")
    if not wanted:
        return available_targets()[-1]
    if wanted not in built_targets():
        raise ImportError(
            f"FASTCE_TARGET must be one of {', '.join(built_targets())}, got {wanted!r}"
        )
    if wanted not in available_targets():
        raise ImportError(
            f"FASTCE_TARGET={wanted} needs instructions that this machine lacks; "
            f"it can run {', '.join(available_targets())}"
        )
    return wanted


TARGET = choose()
kernels: Any = importlib.import_module(f"fastce._kernels._{TARGET}")
