"""What is running: the version, and show_config()."""

from typing import Any, Literal, overload

import numpy as np

from fastce import _dispatch
from fastce._kernels import _cpu

__version__ = "0.1.0"


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show the version, compiler, instruction sets, threading and NumPy version.

    Parameters
    ----------
    mode : {"stdout", "dict"}
        Print them, or return them.

    Returns
    -------
    dict or None
        With ``mode="dict"``: keys version, compiler, target (the instruction set in use),
        targets_available, openmp, threads and numpy.

    Raises
    ------
    ValueError
        If `mode` is another word.

    Notes
    -----
    The environment variable FASTCE_TARGET, read at import, forces an instruction set.

    Examples
    --------
    >>> sorted(fastce.show_config("dict"))
    ['compiler', 'numpy', 'openmp', 'target', 'targets_available', 'threads', 'version']
    """
    config = {
        "version": __version__,
        "compiler": _cpu.compiler(),
        "target": _dispatch.TARGET,
        "targets_available": _dispatch.available_targets(),
        "openmp": _dispatch.kernels.has_openmp(),
        "threads": _dispatch.kernels.get_threads(),
        "numpy": np.__version__,
    }
    if mode == "dict":
        return config
    if mode != "stdout":
        raise ValueError(f"`mode` must be 'stdout' or 'dict', got {mode!r}")
    for key, value in config.items():
        shown = ", ".join(value) if isinstance(value, tuple) else value
        print(f"{key.replace('_', ' '):18}{shown}")
    return None
