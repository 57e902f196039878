"""Nothing reads or writes past an array: memory between forbidden pages, and canaries.

Every array of a call (inputs, options, `out`) lies at the very end, or start, of memory whose
neighbouring page may not be touched, so that one item too far ends the process; what lies around
and between its elements is NaN (-1 for integers), must not change, and must not reach the result.
"""

import ctypes
import faulthandler
import inspect
import mmap
import os
import sys

import numpy as np
import pytest
from _support import DTYPES, REDUCTIONS, ROWS, assert_close, calls, over, parts, run_python, seeded

import fastce

ROW_LENGTHS = (*range(1, 71), 127, 128, 129, 1000)
BATCHES = (0, 1, 2, 3, 4, 5, 8, 31, 32, 33)
LARGE = ((2000, 70), (1100, 129), (3, 50_000))  # for more than one thread
KINDS = (
    "contiguous",
    "fortran",
    "spaced",  # every second element
    "padded",  # a gap after each row
    "reversed",  # backwards along every axis
    "misaligned",
    "swapped",  # the other byte order
    "repeated",  # stride 0 along the first axis: for inputs only
)
EVERYTHING = 0xFF  # the byte around: a NaN of every floating type
BESIDE = 256  # bytes on either side that are looked at
ULPS = 64  # another layout may add in another order
CASES = 30_000  # at least so many calls between forbidden pages


def strides_of(kind, shape, itemsize):
    """Give the strides of an array of that kind."""
    strides = []
    step = itemsize * (2 if kind == "spaced" else 1)
    for size in shape if kind == "fortran" else shape[::-1]:
        strides.append(step)
        step *= size + (kind == "padded")
    if kind != "fortran":
        strides.reverse()
    if kind == "reversed":
        strides = [-stride for stride in strides]
    if kind == "repeated" and strides:
        strides[0] = 0
    return tuple(strides)


class Memory:
    """Bytes for one array, between two pages that may not be touched if `guarded`."""

    def __init__(self, size, guarded):
        page = mmap.PAGESIZE
        pages = mmap.mmap(-1, size + 2 * page)
        everything = np.frombuffer(pages, np.uint8)
        self.bytes = everything[page:-page]
        self.slack = 0 if guarded else BESIDE
        if guarded:
            mprotect = ctypes.CDLL(None, use_errno=True).mprotect
            for address in (everything.ctypes.data, self.bytes.ctypes.data + size):
                if mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0):
                    raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, array, kind, at_end):
        """Give a copy of `array`, of that kind, whose end (or start) is that of the memory."""
        dtype = array.dtype.newbyteorder() if kind == "swapped" else array.dtype
        strides = strides_of(kind, array.shape, array.itemsize)
        reach = [s * (size - 1) for s, size in zip(strides, array.shape, strict=True)]
        before = -sum(min(r, 0) for r in reach) if array.size else 0
        length = before + sum(max(r, 0) for r in reach) + array.itemsize if array.size else 0
        edge = self.slack + (kind == "misaligned")
        start = self.bytes.size - length - edge if at_end else edge
        self.window = self.bytes[max(start - BESIDE, 0) : start + length + BESIDE]
        self.window[...] = EVERYTHING
        offset = start + before - max(start - BESIDE, 0)
        self.geometry = {
            "shape": array.shape,
            "dtype": dtype,
            "offset": offset if array.size else 0,
            "strides": strides,
        }
        self.view = np.ndarray(buffer=self.window, **self.geometry)
        self.view[...] = array
        self.saved = self.window.copy()
        return self.view

    def is_untouched(self, but_for_the_array):
        """Tell whether no byte has changed since, but for those of the array itself."""
        now = self.window
        if but_for_the_array and self.view.size:
            now = now.copy()
            for memory in (now, self.saved):
                np.ndarray(buffer=memory, **self.geometry)[...] = 0
        return np.array_equal(now, self.saved)


class Bench:
    """Where calls are made on arrays in hostile memory, and what was done last."""

    def __init__(self, size, guarded, log=None):
        self.memories = [Memory(size, guarded) for _ in range(9)]
        self.guarded = guarded
        self.log = log
        self.count = 0

    def call(self, op, method, arguments, options, rng):
        """Make one call twice, in ordinary memory and in hostile memory, and compare."""
        function = op.call(method)
        free = iter(self.memories)
        used, kinds = [], []

        def put(array, kinds_allowed=KINDS):
            memory = next(free)
            kind = kinds_allowed[rng.integers(len(kinds_allowed))]
            used.append(memory)
            kinds.append(kind)
            return memory.place(array, kind, not self.guarded or bool(rng.integers(4)))

        given = [put(a) if isinstance(a, np.ndarray) else a for a in arguments]
        chosen = {k: put(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        ordinary = [np.array(a) if isinstance(a, np.ndarray) else a for a in given]
        alike = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in chosen.items()}
        for array in (*ordinary, *alike.values()):
            assert not isinstance(array, np.ndarray) or array.flags.owndata
        want = function(*ordinary, **alike)
        written = set()
        if takes_out(op, function) and rng.integers(4):
            results = [np.asarray(part) for part in parts(want)]
            results = results[-1:] if method == "value_and_grad" else results
            results = results[:1] if op.name == "logsumexp" else results
            outs = []
            for result in results:
                written.add(len(used))
                outs.append(put(np.full_like(result, np.nan), KINDS[:-1]))
            own = given[op.name == "logsumexp_backward"]
            if op.name != "logsumexp" and not rng.integers(4) and 0 not in own.strides:
                # in place
                written.add(int(op.name == "logsumexp_backward"))
                outs[rng.integers(len(outs))] = own
            chosen["out"] = tuple(outs) if len(outs) > 1 else outs[0]
        label = (op, method, [a.shape for a in arguments], given[0].dtype, sorted(chosen), kinds)
        if self.log is not None:
            os.pwrite(self.log, f"{label}".ljust(400).encode(), 0)
        got = function(*given, **chosen)
        assert_close(native(got), native(want), ULPS, label, least=1.0)
        for i, memory in enumerate(used):
            assert memory.is_untouched(i in written), f"array {i} of {label}"
        self.count += 1

    def calls(self, op, shape, dtype, axis, rng, every):
        """Make each call of a row of the registry."""
        how = REDUCTIONS[rng.integers(3)]
        for _, method, arguments, options in calls(
            op, shape, dtype, axis=axis, every=every, reductions=(how,)
        ):
            self.call(op, method, arguments, options, rng)


def takes_out(op, function):
    """Tell whether a function has an `out`."""
    return isinstance(function, np.ufunc) or "out" in inspect.signature(function).parameters


def native(result):
    """Give results in the machine's byte order."""
    return tuple(np.asarray(p).astype(np.asarray(p).dtype.newbyteorder("=")) for p in parts(result))


def shapes(rng, k):
    """Give a batch and where its classes are: last (rows), first (tiles) and in the middle."""
    n = BATCHES[rng.integers(len(BATCHES))]
    return [((n, k), -1), ((n, k), 0), ((2, n, k), 1)][rng.integers(3)]


@pytest.mark.core
@over("op", ROWS)
def test_canaries(op):
    """Every option: what lies around and between the elements neither changes nor counts."""
    bench = Bench(1 << 20, guarded=False)
    rng = seeded("canaries", op.id)
    for dtype in DTYPES:
        for k in (1, 2, 3, 7, 16, 33, 64, 65, 200):
            bench.calls(op, *_given(shapes(rng, k), dtype), rng, every=True)
    assert bench.count >= 18


def _given(shape_and_axis, dtype):
    shape, axis = shape_and_axis
    return shape, dtype, axis


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called as on Linux")
def test_forbidden_pages(tmp_path):
    """Every operation, next to pages whose touch ends the process; so in one of its own."""
    log = tmp_path / "last_call"
    log.touch()
    run = run_python(None, timeout=500, arguments=[__file__, str(log)])
    last = log.read_text().strip()
    assert run.returncode == 0, f"{last}\n{run.stdout[-2000:]}{run.stderr[-4000:]}"
    assert int(run.stdout) >= CASES


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called as on Linux")
@pytest.mark.parametrize("place", ["-1", "x.size"])
def test_pages_are_forbidden(place):
    """One item before and one after the memory end a process: the test above can fail."""
    code = (
        "import sys, ctypes, numpy as np; sys.path.insert(0, sys.argv[1]); import test_hostile\n"
        "memory = test_hostile.Memory(1 << 16, guarded=True)\n"
        f"x = memory.place(np.zeros(8), 'contiguous', {place != '-1'})\n"
        "item = ctypes.cast(x.ctypes.data, ctypes.POINTER(ctypes.c_double))\n"
        f"print(item[0], item[x.size - 1], flush=True); item[{place}]"
    )
    # this crash is meant: no sanitizer shall report it
    sanitizer = {"ASAN_OPTIONS": "handle_segv=0:detect_leaks=0"}
    run = run_python(code, arguments=[os.path.dirname(__file__)], environment=sanitizer)
    assert run.stdout.split() == ["0.0", "0.0"], run.stderr
    assert run.returncode != 0


def main(log):
    """Make all the calls between forbidden pages, and print how many."""
    faulthandler.enable()
    fastce.set_num_threads(2)
    descriptor = os.open(log, os.O_WRONLY)
    bench = Bench(1 << 21, guarded=True, log=descriptor)
    for op in ROWS:
        rng = seeded("pages", op.id)
        for k in ROW_LENGTHS:
            for dtype in DTYPES:
                bench.calls(op, *_given(shapes(rng, k), dtype), rng, every=k % 8 == 1)
                bench.calls(op, *_given(shapes(rng, k), dtype), rng, every=False)
    large = Bench(1 << 23, guarded=True, log=descriptor)
    for op in ROWS:
        for i, shape in enumerate(LARGE):
            large.calls(op, shape, DTYPES[i % 2], -1, seeded("large", op.id, i), every=False)
    print(bench.count + large.count)


if __name__ == "__main__":
    main(sys.argv[1])
