# How many threads a call may use. The number never changes a result: work is cut into the same
# pieces, and partial sums are added in the same order, whoever computes them.

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define FASTCE_OPENMP 1
    #else
    #define FASTCE_OPENMP 0
    #define omp_get_max_threads() 1
    #define omp_in_parallel() 0
    #endif
    """
    int FASTCE_OPENMP
    int omp_get_max_threads() nogil
    int omp_in_parallel() nogil


cdef extern from "Python.h":
    ctypedef struct PyThreadState
    PyThreadState* PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState* state)


cdef extern from *:
    """
    #if defined(__SSE2_MATH__)
    #include <xmmintrin.h>
    #define FASTCE_FLAGS 0x3fu
    /* The kernels' arithmetic leaves nothing in the flags of the x87, which take long to clear. */
    static inline void fastce_clear_flags(void)
    {
        const unsigned state = _mm_getcsr();
        if (state & FASTCE_FLAGS)
            _mm_setcsr(state & ~FASTCE_FLAGS);
    }
    #else
    #include <fenv.h>
    static inline void fastce_clear_flags(void) { feclearexcept(FE_ALL_EXCEPT); }
    #endif
    """
    # Underflow is meant, and ±inf and NaN are results like others: NumPy shall not warn.
    void fastce_clear_flags() nogil


cdef enum:
    NANOSECONDS_A_THREAD = 50000   # less work than this does not pay for waking a thread
    NANOSECONDS_HELD = 5000        # less does not pay for letting other Python threads run

cdef int requested_threads = 0      # set_num_threads; 0: never called
cdef int openmp_at_request = 0      # what OpenMP would have used then
cdef int quota_threads = 1 << 30    # the container's CPU quota
cdef bint used_threads = False      # OpenMP has started its threads in this process
cdef bint orphaned = False          # forked from a process whose OpenMP threads are gone


cdef int max_threads() noexcept nogil:
    cdef int openmp = omp_get_max_threads()
    if orphaned:
        return 1
    if requested_threads == 0:
        return min(openmp, quota_threads)
    # A limit put on OpenMP since (by threadpoolctl, say) holds here too.
    return min(requested_threads, openmp) if openmp < openmp_at_request else requested_threads


cdef int team(double nanoseconds, Py_ssize_t pieces) noexcept nogil:
    # How many threads to use for so much work in so many pieces.
    global used_threads
    cdef double threads
    if nanoseconds < 2 * NANOSECONDS_A_THREAD or not FASTCE_OPENMP or omp_in_parallel():
        return 1
    threads = min(nanoseconds / NANOSECONDS_A_THREAD, <double> max_threads())
    threads = min(threads, <double> pieces)
    if threads > 1:
        used_threads = True
    return <int> threads


cdef inline PyThreadState* release(double nanoseconds) noexcept:
    # Lets other Python threads run during so much work, if it is enough; to be taken back.
    return PyEval_SaveThread() if nanoseconds > NANOSECONDS_HELD else NULL


cdef inline void take_back(PyThreadState* state) noexcept:
    if state != NULL:
        PyEval_RestoreThread(state)


def set_threads(int n):
    global requested_threads, openmp_at_request
    openmp_at_request = omp_get_max_threads()
    requested_threads = n


def set_quota(int n):
    global quota_threads
    quota_threads = n


def get_threads():
    return max_threads()


def after_fork():
    global orphaned
    orphaned = used_threads


def has_openmp():
    return bool(FASTCE_OPENMP)
