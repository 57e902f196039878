# The short way in for the plain call: C-contiguous logits with the classes last, int64 labels, no
# options. It recognises such calls and answers None to all others, which fastce/_arrays.py then
# looks at closely; it raises nothing itself.

cdef enum:
    VALUE = 1
    GRAD = 2
    STACK_ROWS = 64


cdef extern from "numpy/arrayobject.h":
    object PyArray_Scalar(void* data, cnp.PyArray_Descr* descr, void* base)


cdef Py_ssize_t bad_label(const int64_t* labels, Py_ssize_t n, int64_t k, int64_t ignore,
                          Py_ssize_t* ignored) noexcept nogil:
    # The first label outside [0, k) that is not `ignore`, or -1; counts those that are.
    cdef Py_ssize_t i
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t bad = 0
    for i in range(n):
        count += labels[i] == ignore
        bad += (labels[i] != ignore) & ((labels[i] < 0) | (labels[i] >= k))
    ignored[0] = count
    if bad == 0:
        return -1
    for i in range(n):
        if labels[i] != ignore and (labels[i] < 0 or labels[i] >= k):
            return i
    return -1


def labels_are_plain(labels, int64_t k):
    """Tell whether all of a contiguous int64 array are in [0, k)."""
    cdef Py_ssize_t ignored
    return bad_label(<const int64_t*> cnp.PyArray_DATA(labels), cnp.PyArray_SIZE(labels), k, 0,
                     &ignored) < 0


cdef bint is_plain(object array) noexcept:
    return cnp.PyArray_CheckExact(array) and \
        cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED) and \
        cnp.PyArray_ISNOTSWAPPED(array)


def plain_cross_entropy(logits, target, int want):
    """Return the mean, its gradient or both, or None if the call is not a plain one."""
    if not is_plain(logits):
        return None
    cdef int kind = cnp.PyArray_TYPE(logits)
    cdef int nd = cnp.PyArray_NDIM(logits)
    cdef int64_t label
    cdef Xent a
    cdef Py_ssize_t i, n, ignored
    cdef double stack[STACK_ROWS]
    cdef double mean
    cdef float mean32
    if nd == 0 or (kind != cnp.NPY_DOUBLE and kind != cnp.NPY_FLOAT):
        return None
    if nd == 1 and type(target) is int:
        if not -1 < target < 0x7fffffff:
            return None
        label = target
        a.labels = &label
    elif (is_plain(target) and cnp.PyArray_TYPE(target) == cnp.NPY_INT64
          and cnp.PyArray_NDIM(target) == nd - 1):
        for i in range(nd - 1):
            if cnp.PyArray_DIM(target, i) != cnp.PyArray_DIM(logits, i):
                return None
        a.labels = <const int64_t*> cnp.PyArray_DATA(target)
    else:
        return None
    a.g.inner = 1
    a.g.k = cnp.PyArray_DIM(logits, nd - 1)
    if a.g.k == 0:
        return None
    n = a.g.outer = cnp.PyArray_SIZE(logits) // a.g.k
    a.ignore = -100
    if n == 0 or bad_label(a.labels, n, a.g.k, a.ignore, &ignored) >= 0 or ignored > 0:
        return None
    a.x.data = cnp.PyArray_DATA(logits)
    a.x.outer, a.x.k, a.x.inner = a.g.k, 1, 1
    a.probabilities.data = a.grad.data = a.hess.data = a.v.data = NULL
    a.weight = a.row_weight = NULL
    a.smoothing = a.z_loss = 0
    a.temperature = 1
    a.scale = 1.0 / n
    values = grad = None
    a.value = NULL
    if want & VALUE:
        if n <= STACK_ROWS:
            a.value = stack
        else:
            values = cnp.PyArray_EMPTY(1, <cnp.npy_intp*> &n, kind, 0)
            a.value = cnp.PyArray_DATA(values)
    if want & GRAD:
        grad = cnp.PyArray_EMPTY(nd, cnp.PyArray_DIMS(logits), kind, 0)
        a.grad = a.x
        a.grad.data = cnp.PyArray_DATA(grad)
    with nogil:
        xent_run(&a, kind == cnp.NPY_DOUBLE)
        if want & VALUE:
            if kind == cnp.NPY_DOUBLE:
                mean = sum_of[double](<const double*> a.value, n) / n
            else:
                mean32 = <float> (sum_of[float](<const float*> a.value, n) / n)
    if want == GRAD:
        return grad
    value = PyArray_Scalar(&mean if kind == cnp.NPY_DOUBLE else <void*> &mean32,
                           cnp.PyArray_DESCR(logits), NULL)
    return value if want == VALUE else (value, grad)
