"""Threads: the same bits with any number of them, what sets the number, fork and interruption."""

import concurrent.futures
import os
import sys
import time

import numpy as np
import pytest
from _support import ROWS, assert_same_bits, calls, dtypes, over, run_python, seeded

import fastce

# Large enough for several threads, with lengths on either side of the small-row kernels, and rows
# that are shared among threads.
LARGE = [
    ((30_000, 7), -1),
    ((3001, 129), -1),
    ((40, 10, 501), 1),
    ((1, 300_001), -1),
    ((300_001, 2), 0),
]


@dtypes
@over("op", ROWS)
def test_same_bits(op, dtype):
    """One, two and three threads give the same bits, the reduced value included."""
    for shape, axis in LARGE:
        for label, method, arguments, options in calls(
            op, shape, dtype, axis=axis, every=False, reductions=("mean",)
        ):
            fastce.set_num_threads(1)
            want = op.call(method)(*arguments, **options)
            for count in (2, 3):
                fastce.set_num_threads(count)
                assert_same_bits(op.call(method)(*arguments, **options), want, (count, label))


@pytest.mark.parametrize("shift", [-300_000, 300_000, -1])
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "sigmoid_backward"])
def test_results_over_a_part_of_an_input(name, shift):
    """What one thread writes is not what another one has still to read."""
    fastce.set_num_threads(2)
    n = 1_000_000
    function = getattr(fastce, name)
    first = (np.linspace(0, 1, n),) if name.endswith("backward") else ()
    for _ in range(5):
        memory = seeded(name, shift).random(n + 300_000)
        start = max(-shift, 0)
        x, out = memory[start : start + n], memory[start + shift : start + shift + n]
        want = function(*first, x.copy())
        assert_same_bits(function(*first, x, out=out), want)


@pytest.mark.parametrize("count", [1, 2, 3, np.int64(2)])
def test_set_and_get(count):
    """What is set is what is got, as an int."""
    fastce.set_num_threads(count)
    assert fastce.get_num_threads() == count
    assert type(fastce.get_num_threads()) is int


def test_the_default_is_what_the_process_may_use():
    """At the start it is at most the number of CPUs that the process may use."""
    run = run_python(
        "import fastce; print(fastce.get_num_threads())", environment={"OMP_NUM_THREADS": None}
    )
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    assert 1 <= int(run.stdout) <= len(allowed), run.stderr


@pytest.mark.parametrize("count", ["1", "2"])
def test_environment(count):
    """`OMP_NUM_THREADS` is respected."""
    run = run_python(
        "import fastce; print(fastce.get_num_threads())", environment={"OMP_NUM_THREADS": count}
    )
    assert int(run.stdout) == min(int(count), int(run.stdout)), run.stderr
    assert int(run.stdout) <= int(count), run.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
def test_affinity():
    """A process that may use one CPU has one thread."""
    run = run_python(
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import fastce\n"
        "print(fastce.get_num_threads())",
        environment={"OMP_NUM_THREADS": None},
    )
    assert run.stdout.strip() == "1", run.stderr


def test_threadpoolctl():
    """A limit of `threadpoolctl` holds inside it, and no longer."""
    pytest.importorskip("threadpoolctl")
    run = run_python(
        "import fastce\n"
        "from threadpoolctl import threadpool_limits\n"
        "before = fastce.get_num_threads()\n"
        "with threadpool_limits(limits=1):\n"
        "    inside = fastce.get_num_threads()\n"
        "print(inside, before == fastce.get_num_threads())"
    )
    assert run.stdout.split() == ["1", "True"], run.stderr


FORK = """
import os, warnings
import numpy as np
import fastce
warnings.simplefilter("ignore")  # Python warns of forking with threads: that is the subject
fastce.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(4000, 200))
want = fastce.softmax(x)
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(fastce.softmax(x), want) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(fastce.softmax(x), want)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork():
    """The child of a process that has used threads computes too, and does not hang."""
    run = run_python(FORK, timeout=60)
    assert run.stdout.strip() == "done", run.stderr


MULTIPROCESSING = """
import multiprocessing, warnings
import numpy as np
import fastce
warnings.simplefilter("ignore")
x = np.random.default_rng(0).normal(size=(4000, 200))
def work(i):
    return float(fastce.cross_entropy(x, np.full(4000, i)))
if __name__ == "__main__":
    fastce.set_num_threads(2)
    want = [work(i) for i in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(4)) == want
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_pool_of_forked_workers():
    """A pool of workers forked from a process that has used threads gives the same values."""
    run = run_python(MULTIPROCESSING, timeout=60)
    assert run.stdout.strip() == "done", run.stderr


def test_many_python_threads():
    """Python threads that call at once do not disturb each other."""
    fastce.set_num_threads(2)
    arrays = [seeded(i).normal(size=(300 + 50 * i, 101)) for i in range(8)]

    def work(x):
        target = np.arange(len(x)) % 101
        return fastce.softmax(x), *fastce.cross_entropy.value_and_grad(x, target)

    want = [work(x) for x in arrays]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, expected in zip(pool.map(work, arrays), want, strict=True):
                assert_same_bits(got, expected)


def test_number_of_threads_while_others_compute():
    """Setting the number of threads during a computation elsewhere changes no result."""
    x = seeded("while").normal(size=(3000, 101))
    want = fastce.softmax(x)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = [pool.submit(fastce.softmax, x) for _ in range(20)]
        for i in range(200):
            fastce.set_num_threads(1 + i % 3)
        for result in results:
            assert_same_bits(result.result(), want)


INTERRUPT = """
import signal, threading, os, time
import numpy as np
import fastce
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
x = np.zeros((2000, 500))
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        fastce.softmax(x)
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals here")
def test_keyboard_interrupt():
    """An interrupt during a computation is not lost."""
    run = run_python(INTERRUPT, timeout=60)
    assert run.stdout.strip() == "interrupted", run.stderr


def test_other_python_threads_run_meanwhile():
    """The interpreter's lock is released: a large call lets another thread count."""
    counting, counts = True, [0]

    def count():
        while counting:
            counts[0] += 1
            time.sleep(0)  # gives the lock back

    x = np.zeros((3000, 1000))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        counter = pool.submit(count)
        fastce.set_num_threads(1)
        before = counts[0]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000.0)  # only a release of the lock lets the other thread run
        try:
            for _ in range(20):
                fastce.softmax(x)
            during = counts[0] - before
        finally:
            sys.setswitchinterval(interval)
            counting = False
        counter.result()
    assert during > 0
