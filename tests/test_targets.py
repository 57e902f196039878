"""Every instruction set that the machine has: the core of the tests, each in its own process."""

import pathlib

import pytest
from _support import run_python

from fastce import _dispatch as dispatch

HERE = pathlib.Path(__file__).parent
REPORT = "from fastce import _dispatch; print(_dispatch.TARGET, *_dispatch.available_targets())"


@pytest.mark.targets
@pytest.mark.parametrize(
    "target", [target for target in dispatch.available_targets() if target != dispatch.TARGET]
)
def test_core(target):
    """Accuracy, values and edges on an instruction set; for the one in use, that is this run."""
    run = run_python(
        None,
        timeout=600,
        environment={"FASTCE_TARGET": target},
        arguments=[
            *("-m", "pytest", "-q", "-x", "-m", "core and not targets", "-p", "no:cacheprovider"),
            *("-W", "error", "--rootdir", str(HERE.parent), str(HERE)),
        ],
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.mark.parametrize("target", dispatch.available_targets())
def test_forced(target):
    """`FASTCE_TARGET` decides, and does not change what is available."""
    run = run_python(REPORT, environment={"FASTCE_TARGET": target})
    assert run.stdout.split() == [target, *dispatch.available_targets()], run.stderr


def test_confident_on_every_target():
    """The two figures that the library promises, on each instruction set."""
    for target in dispatch.available_targets():
        run = run_python(
            "import fastce\n"
            "for lead in (40.0, 700.0):\n"
            "    value, grad = fastce.cross_entropy.value_and_grad([lead, 0.0], 0)\n"
            "    print(float(value), *grad.tolist())",
            environment={"FASTCE_TARGET": target},
        )
        tiny, least = 4.248354255291589e-18, 9.85967654375977e-305
        assert run.stdout.split() == [*map(str, (tiny, -tiny, tiny, least, -least, least))], (
            f"{target}: {run.stdout}{run.stderr}"
        )


def test_baseline_is_always_there():
    """The baseline is available, the one in use is, and without a wish it is the best."""
    targets = dispatch.available_targets()
    assert isinstance(targets, tuple)
    assert targets[0] == "baseline"
    assert dispatch.TARGET in targets
    run = run_python(REPORT, environment={"FASTCE_TARGET": None})
    assert run.stdout.split() == [targets[-1], *targets], run.stderr


@pytest.mark.parametrize("target", ["v9", "V3 ", "avx", "neon"])
def test_unknown_target(target):
    """A target that is not there is an ImportError that names it and those that are."""
    run = run_python("import fastce", environment={"FASTCE_TARGET": target})
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode != 0
    assert "ImportError" in last
    assert "FASTCE_TARGET" in last
    assert repr(target) in last
    assert all(name in last for name in dispatch.available_targets())


def test_target_the_machine_lacks(monkeypatch):
    """A target that was built, but that the machine cannot run, is an ImportError that says so."""
    monkeypatch.setattr(dispatch, "available_targets", lambda: ("baseline",))
    monkeypatch.setattr(dispatch, "built_targets", lambda: ("baseline", "v4"))
    monkeypatch.setenv("FASTCE_TARGET", "v4")
    with pytest.raises(ImportError, match=r"FASTCE_TARGET=v4 .*machine lacks.*baseline"):
        dispatch.choose()
