# The short ways in for plain calls: C-contiguous arrays with the classes last, int64 labels, no
# options but `out`. They recognise such calls and answer None to all others, which
# fastce/_arrays.py then looks at closely; they raise nothing themselves.

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


cdef bint is_plain_float(object array) noexcept:
    return is_plain(array) and cnp.PyArray_NDIM(array) > 0 and \
        cnp.PyArray_TYPE(array) in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT)


cdef bint apart(object a, object b) noexcept:
    # Whether two contiguous arrays share no memory.
    cdef const char* first = <const char*> cnp.PyArray_DATA(a)
    cdef const char* second = <const char*> cnp.PyArray_DATA(b)
    return first + cnp.PyArray_NBYTES(a) <= second or second + cnp.PyArray_NBYTES(b) <= first


cdef bint alike(object a, object b) noexcept:
    # Whether two plain arrays have one type and shape, and are the same memory or share none.
    cdef int i
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b) or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return cnp.PyArray_DATA(a) == cnp.PyArray_DATA(b) or apart(a, b)


cdef bint is_plain_out(object out, object array) noexcept:
    # Whether a result like a plain `array` can be written to `out`, which may be None.
    return out is None or (is_plain(out) and cnp.PyArray_ISWRITEABLE(out) and alike(out, array))


cdef bint in_unit_range(const real* x, Py_ssize_t n) noexcept nogil:
    # Whether all are in [0, 1], -0.0 not being accepted: as integers, their bits are in the order of
    # the numbers, and those of what is too large or NaN leave a sign when taken from those of 1.
    cdef Py_ssize_t i
    cdef uint64_t bits64
    cdef uint64_t signs64 = 0
    cdef uint32_t bits32
    cdef uint32_t signs32 = 0
    for i in range(n):
        if real is double:
            memcpy(&bits64, &x[i], 8)
            signs64 |= bits64 | (<uint64_t> 0x3ff0000000000000 - bits64)
        else:
            memcpy(&bits32, &x[i], 4)
            signs32 |= bits32 | (<uint32_t> 0x3f800000 - bits32)
    return signs64 >> 63 == 0 and signs32 >> 31 == 0


def in_unit_interval(array):
    """Tell whether an array holds only numbers of [0, 1]; one that is not plain is not looked at."""
    if not is_plain_float(array):
        return False
    if cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE:
        return in_unit_range(<const double*> cnp.PyArray_DATA(array), cnp.PyArray_SIZE(array))
    return in_unit_range(<const float*> cnp.PyArray_DATA(array), cnp.PyArray_SIZE(array))


def plain_binary(logits, target, int want, out):
    """Return the mean sigmoid cross-entropy, its gradient or both, or None if it is not plain."""
    if not (is_plain_float(logits) and is_plain_float(target) and is_plain_out(out, logits)
            and alike(target, logits) and (out is None or alike(out, target))):
        return None
    cdef int kind = cnp.PyArray_TYPE(logits)
    cdef bint wide = kind == cnp.NPY_DOUBLE
    cdef Py_ssize_t n = cnp.PyArray_SIZE(logits)
    cdef bint fits
    cdef Pointwise a
    cdef Array2 absent
    cdef cnp.npy_intp pieces
    cdef double mean
    cdef float mean32
    if n == 0:
        return None
    absent.data = NULL
    absent.row = absent.column = 0
    absent.flat = False
    a.loss = SIGMOID_CROSS_ENTROPY
    a.n = a.columns = n
    a.x.data, a.x.row, a.x.column, a.x.flat = cnp.PyArray_DATA(logits), n, 1, True
    a.t = a.grad = a.x
    a.t.data = cnp.PyArray_DATA(target)
    with nogil:
        if wide:
            fits = in_unit_range(<const double*> a.t.data, n)
        else:
            fits = in_unit_range(<const float*> a.t.data, n)
    if not fits:
        return None
    a.weight = a.pos_weight = a.v = a.value = a.hess = absent
    a.smoothing = a.gamma = 0
    a.alpha = -1
    a.scale = 1.0 / n
    if want & GRAD:
        if out is None:
            out = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(logits), cnp.PyArray_DIMS(logits), kind, 0)
        a.grad.data = cnp.PyArray_DATA(out)
    else:
        a.grad = absent
    a.sums = NULL
    if want & VALUE:
        pieces = piece_count(&a)
        sums = cnp.PyArray_EMPTY(1, &pieces, cnp.NPY_DOUBLE, 0)
        a.sums = <double*> cnp.PyArray_DATA(sums)
    with nogil:
        mean = pointwise_run(&a, wide) / n
    if want == GRAD:
        return out
    if not wide:
        mean32 = <float> mean
    value = PyArray_Scalar(&mean if wide else <void*> &mean32, cnp.PyArray_DESCR(logits), NULL)
    return value if want == VALUE else (value, out)


cdef void classes_last(object array, Geometry* g, Array3* a):
    cdef int nd = cnp.PyArray_NDIM(array)
    g.k = cnp.PyArray_DIM(array, nd - 1)
    g.outer = cnp.PyArray_SIZE(array) // g.k if g.k > 0 else 0
    g.inner = 1
    a.data = cnp.PyArray_DATA(array)
    a.outer, a.k, a.inner = g.k, 1, 1
    a.divisor = 1


def plain_softmax_family(int op, x, axis, out):
    """Return what softmax, log_softmax or logsumexp do, or None if the call is not a plain one."""
    if not (is_plain_float(x) and type(axis) is int):
        return None
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef int nd = cnp.PyArray_NDIM(x)
    cdef Geometry g
    cdef Array3 xa
    cdef Array3 ya
    cdef void* row
    if axis != -1 and axis != nd - 1:
        return None
    classes_last(x, &g, &xa)
    if g.outer == 0:
        return None
    ya = xa
    if op == LOGSUMEXP:
        if out is not None:
            return None
        result = cnp.PyArray_EMPTY(nd - 1, cnp.PyArray_DIMS(x), kind, 0)
        row = cnp.PyArray_DATA(result)
        ya.data = NULL
        with nogil:
            softmax_run(op, &g, &xa, &ya, row, kind == cnp.NPY_DOUBLE)
        return result if nd > 1 else cnp.PyArray_ToScalar(cnp.PyArray_DATA(result), result)
    if not is_plain_out(out, x):
        return None
    if out is None:
        out = cnp.PyArray_EMPTY(nd, cnp.PyArray_DIMS(x), kind, 0)
    ya.data = cnp.PyArray_DATA(out)
    with nogil:
        softmax_run(op, &g, &xa, &ya, NULL, kind == cnp.NPY_DOUBLE)
    return out


def plain_cross_entropy(logits, target, int want, out):
    """Return the mean, its gradient or both, or None if the call is not a plain one."""
    if not (is_plain_float(logits) and is_plain_out(out, logits)):
        return None
    cdef int kind = cnp.PyArray_TYPE(logits)
    cdef int nd = cnp.PyArray_NDIM(logits)
    cdef int64_t label
    cdef Xent a
    cdef Py_ssize_t i, n, ignored
    cdef double stack[STACK_ROWS]
    cdef double mean
    cdef float mean32
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
        if out is not None and not apart(out, target):
            return None
        a.labels = <const int64_t*> cnp.PyArray_DATA(target)
    else:
        return None
    classes_last(logits, &a.g, &a.x)
    n = a.g.outer
    a.ignore = -100
    if n == 0 or bad_label(a.labels, n, a.g.k, a.ignore, &ignored) >= 0 or ignored > 0:
        return None
    a.probabilities.data = a.grad.data = a.hess.data = a.v.data = NULL
    a.weight = a.row_weight = NULL
    a.smoothing = a.z_loss = 0
    a.temperature = 1
    a.scale = 1.0 / n
    values = None
    grad = out
    a.value = NULL
    if want & VALUE:
        if n <= STACK_ROWS:
            a.value = stack
        else:
            values = cnp.PyArray_EMPTY(1, <cnp.npy_intp*> &n, kind, 0)
            a.value = cnp.PyArray_DATA(values)
    if want & GRAD:
        if grad is None:
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
