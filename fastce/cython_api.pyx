# See cython_api.pxd.

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t

from fastce._kernels cimport vecmath

from fastce._dispatch import kernels

ctypedef void (*SoftmaxFamily)(int op, bint wide, const void* x, Py_ssize_t k, void* out,
                               void* row) noexcept nogil
ctypedef void (*CrossEntropy)(bint wide, const void* x, Py_ssize_t k, int64_t target,
                              void* value, void* grad) noexcept nogil

cdef SoftmaxFamily softmax_family = <SoftmaxFamily> PyCapsule_GetPointer(
    kernels.CAPSULES["softmax_family"], "fastce.softmax_family")
cdef CrossEntropy xent = <CrossEntropy> PyCapsule_GetPointer(
    kernels.CAPSULES["cross_entropy"], "fastce.cross_entropy")
cdef int SOFTMAX = kernels.OPERATIONS["softmax"]
cdef int LOG_SOFTMAX = kernels.OPERATIONS["log_softmax"]
cdef int LOGSUMEXP = kernels.OPERATIONS["logsumexp"]


cdef double sigmoid(double x) noexcept nogil:
    return vecmath.sigmoid(x)


cdef float sigmoidf(float x) noexcept nogil:
    return vecmath.sigmoid(x)


cdef double log_sigmoid(double x) noexcept nogil:
    return (x if x < 0 else 0.0) - vecmath.log1p_exp_minus(x)


cdef float log_sigmoidf(float x) noexcept nogil:
    return (x if x < 0 else <float> 0.0) - vecmath.log1p_exp_minus(x)


cdef double softplus(double x) noexcept nogil:
    return (x if x > 0 else 0.0) + vecmath.log1p_exp_minus(x)


cdef float softplusf(float x) noexcept nogil:
    return (x if x > 0 else <float> 0.0) + vecmath.log1p_exp_minus(x)


cdef void softmax(const double* x, Py_ssize_t k, double* out) noexcept nogil:
    softmax_family(SOFTMAX, True, x, k, out, NULL)


cdef void softmaxf(const float* x, Py_ssize_t k, float* out) noexcept nogil:
    softmax_family(SOFTMAX, False, x, k, out, NULL)


cdef void log_softmax(const double* x, Py_ssize_t k, double* out) noexcept nogil:
    softmax_family(LOG_SOFTMAX, True, x, k, out, NULL)


cdef void log_softmaxf(const float* x, Py_ssize_t k, float* out) noexcept nogil:
    softmax_family(LOG_SOFTMAX, False, x, k, out, NULL)


cdef double logsumexp(const double* x, Py_ssize_t k) noexcept nogil:
    cdef double result
    softmax_family(LOGSUMEXP, True, x, k, NULL, &result)
    return result


cdef float logsumexpf(const float* x, Py_ssize_t k) noexcept nogil:
    cdef float result
    softmax_family(LOGSUMEXP, False, x, k, NULL, &result)
    return result


cdef double cross_entropy(const double* x, Py_ssize_t k, Py_ssize_t target,
                          double* grad) noexcept nogil:
    cdef double value
    xent(True, x, k, target, &value, grad)
    return value


cdef float cross_entropyf(const float* x, Py_ssize_t k, Py_ssize_t target,
                          float* grad) noexcept nogil:
    cdef float value
    xent(False, x, k, target, &value, grad)
    return value
