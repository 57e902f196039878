"""The command line: exit status, one line for what is wrong, JSON, silence in a pipe."""

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _support import EVERY_ROW, run_python

import fastce
from fastce._cli import bench, check, digits, info, output
from fastce._cli import main as cli

COMMANDS = ("info", "check", "bench", "digits")
BATCH, CLASSES = 5, 3


@pytest.fixture
def run(capsys):
    """Give a function that runs the command line: (exit status, stdout, stderr)."""

    def call(*argv):
        try:
            status = cli.main([str(word) for word in argv])
        except SystemExit as stop:  # argparse: help, bad arguments
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def small(monkeypatch):
    """Make `check` of random arguments small: that the numbers are right is tested elsewhere."""
    monkeypatch.setattr(check, "SHAPES", ((3, 4),))
    monkeypatch.setattr(check, "SPREADS", (4.0,))


def read(text):
    """Parse JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def saved(path, array):
    """Save an array and give the path."""
    np.save(path, array)
    return path


def logits(dtype=np.float64):
    """Give logits (BATCH, CLASSES)."""
    return np.random.default_rng(7).normal(size=(BATCH, CLASSES)).astype(dtype)


TARGETS = {
    "index": np.arange(BATCH) % CLASSES,
    "uint8": (np.arange(BATCH) % CLASSES).astype(np.uint8),
    "probability": np.full((BATCH, CLASSES), 1 / CLASSES),
    "binary": np.arange(BATCH * CLASSES).reshape(BATCH, CLASSES) % 2,
    "bool": np.arange(BATCH * CLASSES).reshape(BATCH, CLASSES) % 2 == 0,
}


# ------------------------------------------------------------------------------- what works


def test_info(run):
    """`info` shows the configuration."""
    status, out, err = run("info")
    assert (status, err) == (0, "")
    assert fastce.__version__ in out
    assert np.__version__ in out


@pytest.mark.parametrize("argv", [("info", "--json"), ("--json", "info")])
def test_info_as_json(run, argv):
    """`--json` stands before or after the command, and prints one document."""
    status, out, _ = run(*argv)
    document = read(out)
    assert status == 0
    assert document["ok"] is True
    assert {"version", "target", "numpy", "python", "cpu"} <= set(document)


@pytest.mark.parametrize("kind", TARGETS)
def test_check_on_files(run, tmp_path, kind):
    """`check` runs what takes logits on the user's own, and the losses that fit the target."""
    files = ("--logits", saved(tmp_path / "x.npy", logits()))
    files += ("--target", saved(tmp_path / "t.npy", TARGETS[kind]))
    status, out, err = run("check", *files, "--json")
    document = read(out)
    assert (status, err) == (0, "")
    assert document["ok"] is True
    assert document["dtypes"] == ["float64"]
    checked = {row["operation"] for row in document["rows"]}
    assert {"sigmoid", "softmax", "logsumexp"} <= checked
    losses = {
        "probability": {"cross_entropy[probability]", "binary_cross_entropy_with_logits[soft]"},
        "binary": {"binary_cross_entropy_with_logits[binary]", "sigmoid_focal_loss[binary]"},
        "index": {"cross_entropy[index]"},
    }
    wanted = losses[{"uint8": "index", "bool": "binary"}.get(kind, kind)]
    assert wanted <= checked
    assert not (set().union(*losses.values()) - wanted) & checked
    assert all(row["cases"] > 0 and row["problems"] == [] for row in document["rows"])


@pytest.mark.parametrize(
    ("stored", "options", "used"),
    [
        ("float32", (), "float32"),
        ("float16", (), "float32"),
        ("int8", (), "float64"),
        (">f8", (), "float64"),
        ("float64", ("--dtype", "float32"), "float32"),
    ],
)
def test_dtype_of_files(run, tmp_path, stored, options, used):
    """A file's dtype is kept, as the functions keep it, unless another is asked for."""
    path = saved(tmp_path / "x.npy", logits(stored))
    status, out, _ = run("check", "--json", "--logits", path, *options)
    assert status == 0
    assert read(out)["dtypes"] == [used]


@pytest.mark.usefixtures("small")
def test_check_of_random_arguments(run):
    """Without files every operation is checked, in both dtypes, against both comparisons."""
    status, out, err = run("check", "--json")
    document = read(out)
    assert (status, err) == (0, "")
    assert document["dtypes"] == ["float64", "float32"]
    assert {row["operation"] for row in document["rows"]} == {op.id for op in EVERY_ROW}
    bounded = {op.id for op in EVERY_ROW if op.bound() is not None}
    assert bounded == {row["operation"] for row in document["rows"] if row["exact"]}


@pytest.mark.usefixtures("small")
def test_check_as_a_table(run):
    """The table has a line for each row of the document, and a verdict last."""
    status, out, _ = run("check", "--dtype", "float32")
    assert status == 0
    assert all(op.id in out for op in EVERY_ROW)
    assert out.splitlines()[-1].startswith(f"{output.marks()[0]} all ")


@pytest.mark.usefixtures("small")
def test_check_without_mpmath(run, monkeypatch):
    """Without mpmath the comparison with the reference is left, and the table says so."""
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    status, out, _ = run("check", "--dtype", "float64")
    assert status == 0
    assert "mpmath" in out.splitlines()[-2]


def test_bench(run, tmp_path):
    """`bench` times every method on the user's data."""
    files = ("--logits", saved(tmp_path / "x.npy", logits()))
    files += ("--target", saved(tmp_path / "t.npy", TARGETS["index"]))
    status, out, err = run("bench", *files, "--repeats", "1", "--json")
    document = read(out)
    assert (status, err) == (0, "")
    rows = {(row["operation"], row["method"]): row for row in document["rows"]}
    assert ("softmax", "value") in rows
    assert ("cross_entropy[index]", "hvp") in rows
    assert all(row["fastce_ns"] > 0 and row["shape"] == [BATCH, CLASSES] for row in rows.values())
    assert "softmax" in bench.render(document)


def test_bench_of_random_arguments(run):
    """`--shape` and `--dtype` say what is timed."""
    argv = ("bench", "--shape", "2", "3", "--dtype", "float32", "--repeats", "1", "--json")
    status, out, _ = run(*argv)
    rows = read(out)["rows"]
    assert status == 0
    assert {row["operation"] for row in rows} == {op.id for op in EVERY_ROW}
    assert {row["dtype"] for row in rows} == {"float32"}
    assert [2, 3] in [row["shape"] for row in rows]


@pytest.mark.parametrize("before", [True, False])
def test_threads(run, tmp_path, before):
    """`--threads` stands before or after the command."""
    argv = ["check", "--logits", saved(tmp_path / "x.npy", logits())]
    at = 0 if before else len(argv)
    argv[at:at] = ["--threads", "2"]
    assert run(*argv)[0] == 0
    assert fastce.get_num_threads() == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_tour(run, monkeypatch, as_json):
    """Without a command all of them run, one after the other; one that fails shows in the end."""
    documents = {name: {"ok": name != "bench", "name": name} for name in COMMANDS}
    for name, module in zip(COMMANDS, (info, check, bench, digits), strict=True):
        monkeypatch.setattr(module, "run", lambda *_, name=name, **__: documents[name])
        monkeypatch.setattr(module, "render", lambda document: f"<{document['name']}>")
    monkeypatch.setattr(digits, "installed", lambda: True)
    status, out, _ = run(*(("--json",) if as_json else ()))
    assert status == 1
    if as_json:
        assert read(out) == {"ok": False, **documents}
    else:
        assert out.split() == [f"<{name}>" for name in COMMANDS]


def test_digits_without_scikit_learn(run, monkeypatch):
    """`digits` says what to install; the tour goes on without it."""
    monkeypatch.setattr(digits, "installed", lambda: False)
    status, out, err = run("digits")
    assert (status, out) == (2, "")
    assert err == f"fastce: error: {digits.MISSING}\n"


def test_digits(run):
    """`digits` learns."""
    pytest.importorskip("sklearn")
    status, out, _ = run("digits", "--json", "--optimizer", "gradient-descent")
    document = read(out)
    assert status == 0
    assert document["held_out_accuracy"] > document["goal"]
    assert document["last_objective"] < document["first_objective"]


# ------------------------------------------------------------------------------- what is wrong


def off_by_a_little(result):
    """Change a result by what only the exact comparison sees."""
    return result * (1 + 16 * np.finfo(result.dtype).eps)


def off_by_much(result):
    """Change a result visibly."""
    return result * 1.001


def warn(result):
    """Give the right result with a warning, which no call may emit."""
    np.log(np.zeros(1))
    return result


def fail(result):
    """Raise what no call may raise."""
    raise ZeroDivisionError("of the test")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (off_by_a_little, "ULP, the bound is 4"),
        (off_by_much, "ULP from the reference"),
        (fail, "ZeroDivisionError: of the test"),
    ],
)
@pytest.mark.usefixtures("small")
def test_check_finds_a_wrong_function(run, monkeypatch, fault, words, as_json):
    """A fault gives exit status 1, a cross in its own row and what was found below the table."""
    right = fastce.softmax
    monkeypatch.setattr(fastce, "softmax", lambda *a, **k: fault(right(*a, **k)))
    status, out, err = run("check", "--dtype", "float64", *(("--json",) if as_json else ()))
    assert (status, err) == (1, "")
    if as_json:
        document = read(out)
        assert document["ok"] is False
        (row,) = (row for row in document["rows"] if not row["ok"])
        assert (row["operation"], row["part"]) == ("softmax", "value")
        assert words in row["problems"][0]
    else:
        wrong = output.marks()[1]
        marked = [line for line in out.splitlines() if line.endswith(wrong)]
        assert [line.split()[0] for line in marked] == ["softmax"]
        assert f"{wrong} softmax value: " in out
        assert words in out
        assert out.splitlines()[-1].startswith(f"{wrong} 1 of ")


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore")
def test_check_finds_a_warning(run, monkeypatch):
    """A warning is a fault too: no call may emit one."""
    right = fastce.softmax
    monkeypatch.setattr(fastce, "softmax", lambda *a, **k: warn(right(*a, **k)))
    status, out, _ = run("check", "--dtype", "float64")
    assert status == 1
    assert "RuntimeWarning: divide by zero" in out


@pytest.mark.parametrize(
    ("method", "part"), [("grad", "grad"), ("grad_and_hess", "hess"), ("hvp", "hvp")]
)
@pytest.mark.usefixtures("small")
def test_check_finds_a_wrong_method(run, monkeypatch, method, part):
    """So does a fault in a method of a loss, booked under what it is."""
    loss = type(fastce.nll_loss)
    right = getattr(loss, method)

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        return (result[0], result[1] + 1) if isinstance(result, tuple) else result + 1

    monkeypatch.setattr(loss, method, wrong)
    status, out, _ = run("check", "--dtype", "float64", "--json")
    assert status == 1
    failed = [(row["operation"], row["part"]) for row in read(out)["rows"] if not row["ok"]]
    assert failed == [("nll_loss[index]", part)]


@pytest.mark.parametrize("fault", [off_by_much, fail])
def test_bench_does_not_time_a_wrong_result(run, monkeypatch, tmp_path, fault):
    """`bench` reports a wrong result, without a time, and goes on."""
    right = fastce.softmax
    monkeypatch.setattr(fastce, "softmax", lambda *a, **k: fault(right(*a, **k)))
    path = saved(tmp_path / "x.npy", logits())
    argv = ("bench", "--logits", path, "--repeats", "1")
    status, out, _ = run(*argv, "--json")
    assert status == 1
    rows = {row["operation"]: row for row in read(out)["rows"]}
    assert "fastce_ns" not in rows["softmax"]
    assert [name for name, row in rows.items() if not row["ok"]] == ["softmax"]
    status, out, _ = run(*argv)
    assert status == 1
    assert f"{output.marks()[1]} softmax value: " in out


class Payload:
    """What would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Open the file for writing."""
        return open, (str(self.path), "w")


def write_pickle(path):
    """Write a plain pickle."""
    path.write_bytes(pickle.dumps(Payload(path.with_suffix(".unpickled"))))


def write_objects(path):
    """Write an array of objects, which np.save pickles."""
    np.save(path, np.array([[Payload(path.with_suffix(".unpickled"))]]), allow_pickle=True)


def write_cut(path):
    """Write an array of which the end is missing."""
    np.save(path, logits())
    path.write_bytes(path.read_bytes()[:-1])


def write_broken_header(path):
    """Write an array whose header is no Python literal."""
    np.save(path, logits())
    path.write_bytes(path.read_bytes().replace(b"'shape'", b"shape::"))


def write_archive(path):
    """Write several arrays, as np.savez does."""
    with path.open("wb") as file:
        np.savez(file, x=logits())


# What stands at the path, and a word of the message.  An array is saved.
UNREADABLE = {
    "missing": (lambda path: None, "No such file"),
    "directory": (Path.mkdir, "Is a directory"),
    "empty": (Path.touch, "not a readable .npy file"),
    "text": (lambda path: path.write_text("1,2\n3,4\n"), "not a readable .npy file"),
    "archive": (write_archive, "not a readable .npy file"),
    "cut": (write_cut, "not a readable .npy file"),
    "header": (write_broken_header, "not a readable .npy file"),
    "pickle": (write_pickle, "not a readable .npy file"),
    "objects": (write_objects, "Object arrays"),
}
BAD_LOGITS = {
    "complex": (logits(complex), "complex128"),
    "strings": (np.array([["a", "b"]]), "<U1"),
    "dates": (np.array([["2020-01-01"]], "M8[D]"), "datetime64"),
    "records": (np.zeros(3, [("a", "f8")]), "'a'"),
    "number": (np.array(1.0), "()"),
    "no rows": (np.zeros((0, 3)), "(0, 3)"),
    "no classes": (np.zeros((3, 0)), "(3, 0)"),
}
BAD_TARGETS = {
    "complex": (np.zeros(BATCH, complex), "complex128"),
    "strings": (np.array(["a"] * BATCH), "<U1"),
    "bools": (np.zeros(BATCH, bool), "bool"),
    "shape": (np.zeros(BATCH + 1, np.int64), f"({BATCH + 1},)"),
    "column": (np.zeros((BATCH, 1), np.int64), f"({BATCH}, 1)"),
    "transposed": (np.zeros((CLASSES, BATCH)), f"({CLASSES}, {BATCH})"),
    "number": (np.array(1), "()"),
    "label": (np.array([0, 1, CLASSES, 0, 1]), f"got {CLASSES} at index 2"),
    "negative label": (np.array([0, 1, 2, 0, -1]), "got -1 at index 4"),
    "negative": (np.full((BATCH, CLASSES), -0.5), "got -0.5"),
    "nan": (np.full((BATCH, CLASSES), np.nan), "got nan"),
    "binary": (np.full((BATCH, CLASSES), 2), "got 2"),
}


def assert_one_line(outcome, *words):
    """Check exit status 2, nothing on stdout, and one line on stderr that has the words."""
    status, out, err = outcome
    assert (status, out) == (2, "")
    assert err.startswith("fastce: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for word in words:
        assert str(word) in err


@pytest.mark.parametrize("command", ["check", "bench"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_file(run, tmp_path, case, command):
    """A file that is no array is named in one line; nothing in it is ever unpickled."""
    make, words = UNREADABLE[case]
    path = tmp_path / "bad.npy"
    make(path)
    good = saved(tmp_path / "good.npy", logits())
    assert_one_line(run(command, "--logits", path), path, words)
    assert_one_line(run(command, "--logits", good, "--target", path), path, words)
    assert not path.with_suffix(".unpickled").exists()


@pytest.mark.parametrize("case", BAD_LOGITS)
def test_bad_logits(run, tmp_path, case):
    """Logits of another dtype or without elements are refused."""
    array, words = BAD_LOGITS[case]
    path = saved(tmp_path / "x.npy", array)
    assert_one_line(run("check", "--logits", path), path, words)


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_target(run, tmp_path, case):
    """A target that does not fit is refused, with the library's own words."""
    array, words = BAD_TARGETS[case]
    path = saved(tmp_path / "t.npy", array)
    given = ("--logits", saved(tmp_path / "x.npy", logits()), "--target", path)
    assert_one_line(run("check", *given), path, words)


def test_target_without_logits(run, tmp_path):
    """A target alone is of no use."""
    path = saved(tmp_path / "t.npy", TARGETS["index"])
    assert_one_line(run("check", "--target", path), "--target needs --logits")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("frobnicate",), "invalid choice: 'frobnicate'"),
        (("--frobnicate",), "--frobnicate"),
        (("info", "--logits", "x.npy"), "--logits"),
        (("check", "--dtype", "int8"), "invalid choice: 'int8'"),
        (("check", "--threads", "0"), "must be a positive integer, got '0'"),
        (("--threads", "two", "check"), "must be a positive integer, got 'two'"),
        (("bench", "--shape"), "--shape"),
        (("bench", "--shape", "3", "-1"), "-1"),
        (("bench", "--repeats", "0"), "must be a positive integer, got '0'"),
        (("digits", "--optimizer", "luck"), "invalid choice: 'luck'"),
        (("check", "--logits"), "--logits"),
    ],
)
def test_bad_arguments(run, argv, words):
    """Bad arguments: the usage and a line that quotes them, on stderr."""
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.startswith("usage: python -m fastce")
    assert "error: " in err.splitlines()[-1]
    assert words in err.splitlines()[-1]


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(run, command, option):
    """Help goes to stdout; that of the program names the commands and the exit status."""
    status, out, err = run(*filter(None, [command, option]))
    assert (status, err) == (0, "")
    assert out.startswith("usage: python -m fastce")
    if command == "":
        assert "exit status:" in out
        assert all(f"\n    {name} " in out for name in COMMANDS)


def test_interrupt(run, monkeypatch):
    """Ctrl-C ends a command quietly."""

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupt)
    assert run("info") == (130, "", "")


# ------------------------------------------------------------------------------- as a process


def test_process(tmp_path):
    """In a pipe: no colour, no progress, nothing on stderr; the exit status is the command's."""
    path = saved(tmp_path / "x.npy", logits())
    done = run_python("", arguments=("-m", "fastce", "check", "--logits", str(path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "softmax" in done.stdout
    assert not set("\x1b\r\b") & set(done.stdout)


def test_process_with_a_bad_file(tmp_path):
    """No traceback reaches the user."""
    done = run_python("", arguments=("-m", "fastce", "check", "--logits", str(tmp_path / "no.npy")))
    assert_one_line((done.returncode, done.stdout, done.stderr), "no.npy")


def test_ascii_output(tmp_path):
    """Where the output cannot carry a check mark, words stand for it."""
    path = saved(tmp_path / "x.npy", logits())
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ("-m", "fastce", "check", "--logits", str(path))
    done = run_python("", arguments=arguments, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "ok all " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_reader_gone():
    """A pipe whose reader has left (as `head` does) ends the command without a traceback."""
    command = [sys.executable, "-m", "fastce", "info"]
    root = Path(fastce.__file__).parent.parent
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# ------------------------------------------------------------------------------- parts


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_progress_on_a_terminal(monkeypatch, error):
    """Progress is one line, which is gone afterwards, also after an interrupt."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(output.Progress, "INTERVAL", 0.0)
    try:
        with output.Progress("check", 2) as progress:
            progress.step("a long name")
            progress.step("short")
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    first, second, blank, rest = stream.getvalue().split("\r")[1:]
    assert (first, second.rstrip()) == ("check 0/2 a long name", "check 1/2 short")
    assert len(second) >= len(first)
    assert len(blank) >= len(second.rstrip())
    assert (blank.strip(), rest) == ("", "")


@pytest.mark.parametrize(
    ("got", "want", "error"),
    [
        ([1.0, np.inf, np.nan], [1.0, np.inf, np.nan], 0.0),
        ([1.0, 0.0], [1.0, np.finfo(float).eps], 1.0),
        ([1.0, -np.inf], [1.0, np.inf], np.inf),
        ([1.0, 1.0], [1.0, np.nan], np.inf),
        ([1.0], [[1.0]], np.inf),
        (np.float32([1.0]), [1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_agreement_errors(got, want, error):
    """Infinities and NaN agree with themselves only; shapes and dtypes must be the same."""
    errors = check.agreement_errors(np.asarray(got), np.asarray(want))
    assert np.max(errors, initial=0.0) == error
