"""Documentation: every public name has a docstring with an example that runs, and a signature.

The pages in docs/ show each of them, and their examples run as well.
"""

import csv
import doctest
import inspect
import operator
import pathlib
import pydoc
import re
import types

import numpy as np
import pytest
from _support import FUNCTIONS, LINEAR, LOSSES, over

import fastce
from fastce import _registry, reference

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.rst"))
PUBLIC = [name for name in fastce.__all__ if name != "__version__"]
EVERY_FUNCTION, EVERY_LOSS_ROW = FUNCTIONS + LINEAR, LOSSES + LINEAR
METHODS = ("grad", "value_and_grad", "grad_and_hess", "hvp")
PROTOCOL = ("__call__", *METHODS)

# What each function takes, by the contract: name -> default, in any order after the arrays.
REQUIRED = inspect.Parameter.empty
EVERY_LOSS = {"reduction": "mean", "sample_weight": None}
LINEAR_LOSS = EVERY_LOSS | {"bias": None, "chunk_rows": None}
CLASSES = {"axis": -1, "weight": None, "ignore_index": -100}
OPTIONS = {
    "softmax": {"axis": -1, "out": None},
    "log_softmax": {"axis": -1, "out": None},
    "logsumexp": {"axis": -1, "b": None, "keepdims": False, "return_sign": False, "out": None},
    "softmax_backward": {"axis": -1, "out": None},
    "log_softmax_backward": {"axis": -1, "out": None},
    "logsumexp_backward": {"axis": -1, "out": None},
    "cross_entropy": CLASSES
    | EVERY_LOSS
    | {"label_smoothing": 0.0, "z_loss": 0.0, "temperature": 1.0},
    "nll_loss": CLASSES | EVERY_LOSS,
    "categorical_cross_entropy": CLASSES | EVERY_LOSS | {"label_smoothing": 0.0},
    "binary_cross_entropy_with_logits": EVERY_LOSS
    | {"weight": None, "pos_weight": None, "label_smoothing": 0.0},
    "binary_cross_entropy": EVERY_LOSS | {"weight": None},
    "sigmoid_focal_loss": EVERY_LOSS | {"alpha": 0.25, "gamma": 2.0},
    "kl_divergence": EVERY_LOSS | {"axis": -1},
    "squared_error": EVERY_LOSS,
    "linear_cross_entropy": LINEAR_LOSS
    | {"class_weight": None, "ignore_index": -100}
    | {"label_smoothing": 0.0, "z_loss": 0.0, "temperature": 1.0},
    "linear_binary_cross_entropy": LINEAR_LOSS | {"pos_weight": None, "label_smoothing": 0.0},
    "linear_squared_error": LINEAR_LOSS,
    "entropy": {"axis": -1, "base": None},
    "entropy_from_logits": {"axis": -1, "base": None},
    "js_divergence": {"axis": -1, "base": None},
}


def documentation(name):
    """Give the docstring of a public name, as `help` shows it."""
    return inspect.getdoc(getattr(fastce, name)) or ""


def run_examples(text, name, module):
    """Run a docstring's examples; give how many there were."""
    names = {"np": np, "fastce": fastce} | {key: getattr(module, key) for key in dir(module)}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    return len(test.examples)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    """A summary in the imperative that ends in a full stop, the sections, an example that runs."""
    text = documentation(name)
    # a ufunc's begins with its signature
    summary = next(line for line in text.splitlines() if line and not line.startswith(f"{name}("))
    assert summary.endswith("."), summary
    assert "Examples\n--------" in text
    if isinstance(getattr(fastce, name), np.ufunc) or any(op.name == name for op in EVERY_FUNCTION):
        assert "Parameters\n----------" in text
        assert "Returns\n-------" in text
    assert run_examples(text, name, types.ModuleType(name)) > 0


@pytest.mark.parametrize("method", PROTOCOL)
@over("op", EVERY_LOSS_ROW)
def test_methods_are_documented(op, method):
    """Each method of a loss has a summary, the sections, and an example that runs."""
    text = inspect.getdoc(op.call(method)) or ""
    assert text.split("\n")[0].endswith("."), text
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in text
    assert run_examples(text, method, types.ModuleType(method)) > 0


@over("op", EVERY_LOSS_ROW)
def test_help_shows_how_a_loss_is_called(op):
    """`help` of a loss has its signature, its documentation and all its methods."""
    text = pydoc.plain(pydoc.render_doc(op.function))
    assert f"{op.name}{inspect.signature(op.function)}" in text
    assert documentation(op.name).split("\n")[0] in text
    arguments = "x, weight, target" if op in LINEAR else "logits, target"
    for method in PROTOCOL:
        assert f"{method}(self, {arguments}," in text


def parameters(function, *, keep=()):
    """Give name -> default of a function's parameters, but for arrays that must be given."""
    given = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in given if p.default is not REQUIRED or p.name in keep}


@over("op", EVERY_FUNCTION)
def test_signature(op):
    """The options of the contract with their defaults, and the same in the reference."""
    assert parameters(op.function) == OPTIONS[op.name]
    own, twin = (inspect.signature(f).parameters.values() for f in (op.function, op.reference))
    for a, b in zip(own, twin, strict=True):
        assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)


@pytest.mark.parametrize("method", METHODS)
@over("op", LOSSES)
def test_signature_of_methods(op, method):
    """A method takes what its loss takes, and `out`; `hvp` takes `v` third."""
    names = list(inspect.signature(op.call(method)).parameters)
    assert names[: 2 + (method == "hvp")] == ["logits", "target", "v"][: 2 + (method == "hvp")]
    assert parameters(op.call(method)) == OPTIONS[op.name] | {"out": None}
    assert inspect.signature(op.call(method)) == inspect.signature(op.call(method, reference))


@pytest.mark.parametrize("method", METHODS)
@over("op", LINEAR)
def test_signature_of_linear_methods(op, method):
    """The same for losses of linear maps, whose methods have `wrt` too, but for `hvp`."""
    names = list(inspect.signature(op.call(method)).parameters)
    assert names[: 3 + (method == "hvp")] == ["x", "weight", "target", "v"][: 3 + (method == "hvp")]
    wrt = {"grad_and_hess": ("weight", "bias"), "hvp": None}.get(method, ("x", "weight", "bias"))
    further = {"out": None} | ({"wrt": wrt} if wrt else {})
    assert parameters(op.call(method)) == OPTIONS[op.name] | further
    assert inspect.signature(op.call(method)) == inspect.signature(op.call(method, reference))


@over("op", EVERY_FUNCTION)
def test_options_are_by_keyword(op):
    """Only the arrays, and `axis` where a function has it like NumPy's, go by position."""
    for parameter in inspect.signature(op.function).parameters.values():
        if parameter.default is not REQUIRED and (op in EVERY_LOSS_ROW or parameter.name != "axis"):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@over("op", EVERY_LOSS_ROW)
def test_a_loss_shows_its_name(op):
    """Printing a loss names it, and it knows its own name."""
    assert op.name in repr(op.function)
    assert op.function.__name__ == op.name


def test_every_name_is_there():
    """`__all__` is complete and true, and the reference has every operation in it."""
    assert len(set(fastce.__all__)) == len(fastce.__all__)
    assert all(hasattr(fastce, name) for name in fastce.__all__)
    assert {op.name for op in EVERY_FUNCTION} <= set(fastce.__all__) & set(reference.__all__)


def test_every_operation_has_a_twin():
    """Whatever computes is in the reference too."""
    others = {"set_num_threads", "get_num_threads", "show_config", "reference", "__version__"}
    assert set(fastce.__all__) - others <= set(reference.__all__)


REFERENCE = [
    f"{name}{method}"
    for name in reference.__all__
    for method in ("", *(f".{m}" for m in PROTOCOL if hasattr(getattr(reference, name), m)))
    if method != ".__call__" or hasattr(getattr(reference, name), "grad")
]


@pytest.mark.parametrize("name", REFERENCE)
def test_examples_of_the_reference(name):
    """Each name of the reference, and each method of its losses, has an example that runs."""
    text = inspect.getdoc(operator.attrgetter(name)(reference)) or ""
    assert text.split("\n\n")[0].endswith("."), text
    assert run_examples(text, name, reference) > 0


def in_pages(name):
    """Tell whether a directive of a page shows a name."""
    shown = re.compile(rf"^ *\.\. (auto\w+|py:data):: fastce\.{re.escape(name)}$", re.MULTILINE)
    return any(shown.search(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("name", fastce.__all__)
def test_pages_show_every_name(name):
    """Each public name has its place in the docs."""
    assert in_pages(name)


@pytest.mark.parametrize("method", METHODS)
@over("op", EVERY_LOSS_ROW)
def test_pages_show_every_method(op, method):
    """So has each method of a loss."""
    assert in_pages(f"{op.name}.{method}")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_examples_of_the_pages(page):
    """The examples in the docs and in the README run."""
    text = page.read_text(encoding="utf-8")
    if "mpmath" in text and page.suffix == ".rst":
        pytest.importorskip("mpmath")
    if "fastce.integrations.sklearn" in text:
        pytest.importorskip("sklearn")
    count = run_examples(text, page.name, types.ModuleType(page.stem))
    assert count > 0 or page.stem in ("contributing", "edge_cases")


def test_table_of_bounds():
    """The docs promise what the registry, and so `check` and the tests, hold the library to."""
    with (ROOT / "docs" / "bounds.csv").open(newline="", encoding="utf-8") as file:
        told = {
            (row["function"], row["targets"]): (row["value"], row["gradient"])
            for row in csv.DictReader(file)
        }
    assert told == {
        (op.name, op.target or ""): tuple(str(op.bounds.get(m, "")) for m in ("value", "grad"))
        for op in _registry.available()
        if op.bounds
    }
