"""What importing fastce brings along: NumPy, and nothing else."""

import pytest
from _support import run_python

FOREIGN = (
    "scipy",
    "torch",
    "sklearn",
    "matplotlib",
    "pandas",
    "jax",
    "numba",
    "dask",
    "mpmath",
    "threadpoolctl",
    "argparse",
    "subprocess",
    "multiprocessing",
    "fastce._registry",
    "fastce.integrations",
    "fastce.reference",
    "fastce.__main__",
)


def modules_after(code):
    """List the modules that a fresh interpreter has after running `code`."""
    run = run_python(f"import sys, numpy\n{code}\nprint(*sys.modules)")
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_import_brings_only_its_own():
    """No package beside NumPy is imported, nor what only tests and the command line need."""
    new = modules_after("import fastce") - modules_after("")
    assert not new & set(FOREIGN)
    # a name that starts with an underscore is the interpreter's or Cython's own
    packages = {name.partition(".")[0] for name in new if not name.startswith("_")}
    assert packages <= {"fastce", "cython_runtime"} | set(__import__("sys").stdlib_module_names)


def test_reference_is_there_when_asked_for():
    """`fastce.reference` comes with `import fastce`, when it is used."""
    run = run_python("import fastce; print(fastce.reference.softmax([0.0, 0.0]))")
    assert run.stdout.strip() == "[0.5 0.5]", run.stderr


@pytest.mark.parametrize("argument", ["", "mode='dict'"])
def test_show_config(argument):
    """The configuration names version, instruction set and NumPy."""
    run = run_python(f"import fastce; print(fastce.show_config({argument}))")
    assert run.returncode == 0, run.stderr
    assert "version" in run.stdout.lower()
    assert "numpy" in run.stdout.lower()


def test_import_prints_nothing():
    """Importing is silent."""
    run = run_python("import fastce")
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)


def test_two_interpreters_in_a_row():
    """Results are the same bits from one process to the next."""
    code = (
        "import fastce, numpy as np\n"
        "x = np.random.default_rng(0).normal(size=(200, 33)) * 9\n"
        "v, g = fastce.cross_entropy.value_and_grad(x, np.arange(200) % 33)\n"
        "print(v.tobytes().hex(), hash(g.tobytes()))"
    )
    runs = [run_python(code, environment={"PYTHONHASHSEED": "0"}) for _ in range(2)]
    assert runs[0].stdout, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
