"""Arguments of ``python -m fastce``, and what happens around a command."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from fastce._cli import bench, check, digits, info
from fastce._cli.data import InputError, UserData, user_data
from fastce._cli.output import Document

DESCRIPTION = """\
Fast, accurate softmax, cross-entropy and their relatives for NumPy arrays.

Without a command, a tour of less than a minute: info, check, bench and digits.
"""

EPILOG = """\
exit status:
  0    all is well
  1    a result is wrong (a row with a cross)
  2    bad arguments, a bad file, or an optional package that is not installed
  130  interrupted

examples:
  python -m fastce
  python -m fastce check --dtype float32
  python -m fastce check --logits logits.npy --target labels.npy
  python -m fastce bench --threads 4 --json > bench.json
"""

INFO = "Print what is running: version, compiler, instruction set, threads, NumPy, machine."

CHECK = """\
Compare every function with fastce.reference, the same function in plain NumPy, and with exact
values by mpmath where it is installed. The table shows the largest errors in units in the last
place (ULP) beside the bounds that fastce promises.
"""

BENCH = """\
Time every function beside fastce.reference, the same function in plain NumPy. Results are compared
first; a wrong one is reported, and not timed. For a comparison with other libraries see bench/ in
the source tree.
"""

DIGITS = """\
Train a softmax regression on the handwritten digits that scikit-learn brings along, through
fastce.cross_entropy.value_and_grad, and score it on images that it has not seen.
"""

DATA = """\
Files of your own, as numpy.save writes them; the functions that take logits are then run on them.
Object arrays are refused, nothing is unpickled.
"""


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return value


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    # Both stand before or after the command.  A default would be set by the command's parser too,
    # over what was given before it, so there is none.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--json", action="store_true", help="print the figures as one JSON document"
    )
    threads = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    threads.add_argument(
        "--threads", type=_positive, metavar="N", help="threads that fastce may use"
    )
    data = argparse.ArgumentParser(add_help=False)
    group = data.add_argument_group("your own data", DATA)
    group.add_argument("--logits", metavar="FILE.npy", help="scores, (..., k), classes last")
    group.add_argument(
        "--target",
        metavar="FILE.npy",
        help="class indices (...), or probabilities (..., k), or 0 and 1 in the logits' shape",
    )

    top = argparse.ArgumentParser(
        prog="python -m fastce",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=raw,
        parents=[common, threads],
    )
    commands = top.add_subparsers(dest="command", metavar="command", title="commands")
    add = commands.add_parser
    add("info", help="what is running", description=INFO, parents=[common])
    checking = add(
        "check",
        help="compare every function with the reference and with exact values",
        description=CHECK,
        formatter_class=raw,
        parents=[common, threads, data],
    )
    checking.add_argument(
        "--dtype", choices=("float32", "float64"), help="default: both; of a file: its own"
    )
    timing = add(
        "bench",
        help="time every function beside the reference",
        description=BENCH,
        formatter_class=raw,
        parents=[common, threads, data],
    )
    timing.add_argument(
        "--dtype", choices=("float32", "float64"), help="default: float64; of a file: its own"
    )
    timing.add_argument(
        "--shape",
        type=_positive,
        nargs="+",
        default=bench.SHAPE,
        metavar="N",
        help="shape of the random arguments, classes last (default: %(default)s)",
    )
    timing.add_argument(
        "--repeats", type=_positive, default=7, metavar="N", help="rounds (default: %(default)s)"
    )
    learning = add(
        "digits",
        help="train on handwritten digits",
        description=DIGITS,
        formatter_class=raw,
        parents=[common, threads],
    )
    learning.add_argument(
        "--optimizer",
        choices=digits.OPTIMIZERS,
        default="auto",
        help="default: SciPy's L-BFGS where SciPy is installed, else gradient descent",
    )
    return top


def _print(document: Document) -> None:
    print(json.dumps(document, indent=2, allow_nan=False))


def _short_bench() -> Document:
    """Time what is called most, on arguments that keep the tour under a minute."""
    return bench.run(shape=(400, 1000), repeats=5, methods=("value", "value_and_grad"))


def _tour(as_json: bool) -> int:
    """Run all commands, showing each one's result when it is there."""
    documents: Document = {}
    steps = (
        ("info", info.render, info.run),
        ("check", check.render, lambda: check.run(("float64", "float32"))),
        ("bench", bench.render, _short_bench),
        ("digits", digits.render, digits.run),
    )
    for name, render, run in steps:
        if name == "digits" and not digits.installed():
            documents[name] = {"ok": True, "skipped": digits.MISSING}
            text = digits.MISSING
        else:
            documents[name] = run()
            text = render(documents[name])
        if not as_json:
            print(f"{text}\n" if name != "digits" else text, flush=True)
    ok = all(document["ok"] for document in documents.values())
    if as_json:
        _print({"ok": ok, **documents})
    return 0 if ok else 1


def _run(arguments: argparse.Namespace) -> int:
    import fastce

    as_json = getattr(arguments, "json", False)
    if hasattr(arguments, "threads"):
        fastce.set_num_threads(arguments.threads)
    if arguments.command is None:
        return _tour(as_json)
    data: UserData | None = None
    if arguments.command in ("check", "bench"):
        data = user_data(arguments.logits, arguments.target, arguments.dtype)
    if arguments.command == "info":
        document, render = info.run(), info.render
    elif arguments.command == "check":
        dtypes = (arguments.dtype,) if arguments.dtype else ("float64", "float32")
        document, render = check.run(dtypes, data), check.render
    elif arguments.command == "bench":
        dtype = arguments.dtype or "float64"
        document = bench.run(dtype, data, arguments.shape, arguments.repeats)
        render = bench.render
    else:
        document, render = digits.run(arguments.optimizer), digits.render
    if as_json:
        _print(document)
    else:
        print(render(document))
    return 0 if document["ok"] else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 all is well; 1 a wrong result; 2 bad input; 130 interrupted; 141 the reader of a pipe
        has gone.
    """
    try:
        status = _run(parser().parse_args(argv))
        sys.stdout.flush()
    except InputError as error:
        print(f"fastce: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status
