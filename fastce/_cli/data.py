"""A user's own arrays for ``check`` and ``bench``, from .npy files."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastce import _registry


class InputError(Exception):
    """Input that cannot be used; its text is one line for the user."""


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one array of a .npy file, never unpickling anything.

    Raises
    ------
    InputError
        If the file cannot be opened, is not a .npy file, or holds Python objects.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            file.seek(0)
            if version not in ((1, 0), (2, 0), (3, 0)):
                raise InputError(f"{path}: .npy format version {version} is not supported")
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except Exception as error:
        # A damaged header reaches many parsers, each with exceptions of its own.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable .npy file: {reason}") from error


@dataclass(frozen=True, eq=False)
class UserData:
    """Logits, classes last, and what was true, if given."""

    logits: np.ndarray
    target: np.ndarray | None = None

    @property
    def kind(self) -> str | None:
        """The kind of the target, as `fastce._registry` names it."""
        if self.target is None:
            return None
        if self.target.dtype.kind == "f":
            return "probability"
        return "binary" if self.target.shape == self.logits.shape else "index"

    def arguments(self, op: Any) -> tuple[np.ndarray, ...] | None:
        """Give the positional arguments of a registry row, or None where the data do not fit it.

        Probabilities are taken by the losses over classes and by those over elements, integers in
        the shape of the logits as 0 and 1.
        """
        if op.draws[0] is not _registry._logits:
            return None
        if op.kind in ("elementwise", "axis", "information") and len(op.draws) == 1:
            return (self.logits,)
        if self.target is None or op.kind != "loss":
            return None
        soft = self.kind == "probability" and not (self.target > 1).any()
        fits = op.target == self.kind or (op.target == "soft" and soft)
        return (self.logits, self.target) if fits else None


def user_data(logits: str | None, target: str | None, dtype: str | None = None) -> UserData | None:
    """Read and check the files of ``--logits`` and ``--target``.

    Parameters
    ----------
    logits, target : str or None
        Paths.
    dtype : str, optional
        What floating arrays are converted to; by default they stay as they are, and integer
        logits become float64.

    Returns
    -------
    UserData or None
        None if no file was named.

    Raises
    ------
    InputError
        If a file is bad, or the arrays do not fit each other.
    """
    import fastce

    if logits is None:
        if target is not None:
            raise InputError("--target needs --logits")
        return None
    x = load(logits)
    if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
        raise InputError(f"{logits}: logits must be real numbers, got dtype {x.dtype}")
    if x.ndim == 0 or x.size == 0:
        raise InputError(f"{logits}: logits must have shape (..., k), not empty, got {x.shape}")
    # float16 is computed in float32, integers in float64: the results have these dtypes
    kept = {2: np.float32, 4: np.float32}.get(x.dtype.itemsize) if x.dtype.kind == "f" else None
    x = x.astype(dtype or kept or np.float64)
    if target is None:
        return UserData(x)
    t = load(target)
    if t.dtype.kind not in "fiub" or t.dtype.itemsize > 8:
        raise InputError(f"{target}: targets must be integers or real numbers, got dtype {t.dtype}")
    if t.dtype.kind == "f":
        t = t.astype(x.dtype)
    data = UserData(x, t)
    # The library's own checks speak: shapes, labels out of range, negative probabilities.
    loss = (
        fastce.binary_cross_entropy_with_logits if data.kind == "binary" else fastce.cross_entropy
    )
    try:
        loss(x, t)
    except (TypeError, ValueError) as error:
        raise InputError(f"{target}: {' '.join(str(error).split())}") from error
    return data
