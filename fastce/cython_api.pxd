# The one-row kernels as C functions: `from fastce.cython_api cimport softmax`.
#
# x and the results are k contiguous numbers; k is at least 1, and targets are in [0, k): nothing is
# checked. No function needs the GIL, allocates or raises. Results are those of the Python functions
# for a single row; the instruction set is the one that fastce chose at import. `out` and `grad` may
# be x itself. Names ending in f are for float.

cdef double sigmoid(double x) noexcept nogil
cdef float sigmoidf(float x) noexcept nogil
cdef double log_sigmoid(double x) noexcept nogil
cdef float log_sigmoidf(float x) noexcept nogil
cdef double softplus(double x) noexcept nogil
cdef float softplusf(float x) noexcept nogil

cdef void softmax(const double* x, Py_ssize_t k, double* out) noexcept nogil
cdef void softmaxf(const float* x, Py_ssize_t k, float* out) noexcept nogil
cdef void log_softmax(const double* x, Py_ssize_t k, double* out) noexcept nogil
cdef void log_softmaxf(const float* x, Py_ssize_t k, float* out) noexcept nogil
cdef double logsumexp(const double* x, Py_ssize_t k) noexcept nogil
cdef float logsumexpf(const float* x, Py_ssize_t k) noexcept nogil

# The value; the gradient goes to `grad`, if that is not NULL.
cdef double cross_entropy(const double* x, Py_ssize_t k, Py_ssize_t target,
                          double* grad) noexcept nogil
cdef float cross_entropyf(const float* x, Py_ssize_t k, Py_ssize_t target,
                          float* grad) noexcept nogil
