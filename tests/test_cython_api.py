"""The one-row C functions, from a module that is compiled against them."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastce

MODULE = """
# cython: language_level=3
from fastce cimport cython_api

def softmax(double[::1] x, double[::1] out):
    with nogil:
        cython_api.softmax(&x[0], x.shape[0], &out[0])

def log_softmax(double[::1] x, double[::1] out):
    cython_api.log_softmax(&x[0], x.shape[0], &out[0])

def logsumexp(double[::1] x):
    return cython_api.logsumexp(&x[0], x.shape[0])

def cross_entropy(double[::1] x, Py_ssize_t target, double[::1] grad):
    return cython_api.cross_entropy(&x[0], x.shape[0], target, &grad[0])

def cross_entropy_value(double[::1] x, Py_ssize_t target):
    return cython_api.cross_entropy(&x[0], x.shape[0], target, NULL)

def softmaxf(float[::1] x, float[::1] out):
    cython_api.softmaxf(&x[0], x.shape[0], &out[0])

def logsumexpf(float[::1] x):
    return cython_api.logsumexpf(&x[0], x.shape[0])

def cross_entropyf(float[::1] x, Py_ssize_t target, float[::1] grad):
    return cython_api.cross_entropyf(&x[0], x.shape[0], target, &grad[0])

def scalars(double x, float y):
    return (cython_api.sigmoid(x), cython_api.log_sigmoid(x), cython_api.softplus(x),
            cython_api.sigmoidf(y), cython_api.log_sigmoidf(y), cython_api.softplusf(y))
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Compile and import MODULE."""
    folder = tmp_path_factory.mktemp("cython_api")
    (folder / "one_row.pyx").write_text(MODULE)
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "one_row.pyx"]
    environment = dict(os.environ, PYTHONPATH=str(Path(fastce.__file__).parents[1]))
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = folder / ("one_row" + sysconfig.get_config_var("EXT_SUFFIX"))
    assert built.exists()
    sys.path.insert(0, str(folder))
    try:
        import one_row
    finally:
        sys.path.remove(str(folder))
    return one_row


@pytest.mark.parametrize("k", [1, 2, 10, 33, 1000, 5000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows(module, k, dtype):
    """They give the bits that the Python functions give for a single row."""
    x = np.random.default_rng(k).normal(size=k, scale=5).astype(dtype)
    end = "" if dtype is np.float64 else "f"
    out = np.empty_like(x)
    getattr(module, "softmax" + end)(x, out)
    np.testing.assert_array_equal(out, fastce.softmax(x))
    assert dtype(getattr(module, "logsumexp" + end)(x)) == fastce.logsumexp(x)
    value, grad = fastce.cross_entropy.value_and_grad(x, k // 2)
    assert dtype(getattr(module, "cross_entropy" + end)(x, k // 2, out)) == value
    np.testing.assert_array_equal(out, grad)
    if dtype is np.float64:
        assert module.cross_entropy_value(x, k // 2) == value
        module.log_softmax(x, out)
        np.testing.assert_array_equal(out, fastce.log_softmax(x))


@pytest.mark.parametrize("x", [-740.0, -1.5, 0.0, 2.25, 40.0])
def test_scalars(module, x):
    """The scalar functions are within 2 ULP of the ufuncs (compiled for another target)."""
    functions = (fastce.sigmoid, fastce.log_sigmoid, fastce.softplus)
    y = np.float32(x / 8)
    want = [f(x) for f in functions] + [f(y) for f in functions]
    for got, expected in zip(module.scalars(x, y), want, strict=True):
        np.testing.assert_array_max_ulp(type(expected)(got), expected, 2)
