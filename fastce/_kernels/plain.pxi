# The short ways in for plain calls: C-contiguous arrays of one type with the classes last, int64
# labels, options of the very type that they are documented with. (Logits of two axes, and results,
# may also be columns of a larger array or in Fortran order.) They recognise such calls and answer
# None to all others, which fastce/_arrays.py then looks at closely; they raise nothing themselves.

cdef enum:
    VALUE = 1
    GRAD = 2
    HESS = 4
    PRODUCT = 8                     # of the Hessian with a vector, where the gradient goes else
    STACK_ROWS = 64

cdef enum:
    MEAN
    SUM
    NONE


cdef extern from "numpy/arrayobject.h":
    object PyArray_Scalar(void* data, cnp.PyArray_Descr* descr, void* base)
    object PyArray_NewLikeArray(cnp.ndarray array, cnp.NPY_ORDER order, cnp.PyArray_Descr* descr,
                                int subclass)


cdef Py_ssize_t bad_label(const int64_t* labels, Py_ssize_t n, int64_t k, int64_t ignore,
                          Py_ssize_t* ignored) noexcept nogil:
    # The first label outside [0, k) that is not `ignore`, or -1; counts those that are.
    cdef Py_ssize_t i
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t bad = 0
    for i in range(n):
        count += labels[i] == ignore
        # (As a number without a sign, a label below 0 is too large.)
        bad += (labels[i] != ignore) & (<uint64_t> labels[i] >= <uint64_t> k)
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


cdef bint is_open_matrix(object array) noexcept:
    # Whether it is a matrix of floats with room between its rows or columns, which do not overlap:
    # both go upwards, by whole items.
    cdef cnp.npy_intp item, row, column
    if not (cnp.PyArray_CheckExact(array) and cnp.PyArray_NDIM(array) == 2
            and cnp.PyArray_TYPE(array) in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT)
            and cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_ALIGNED)
            and cnp.PyArray_ISNOTSWAPPED(array) and cnp.PyArray_SIZE(array) > 0):
        return False
    item = cnp.PyArray_ITEMSIZE(array)
    row, column = cnp.PyArray_STRIDE(array, 0), cnp.PyArray_STRIDE(array, 1)
    return row >= item and column >= item and row % item == 0 and column % item == 0 and (
        row >= cnp.PyArray_DIM(array, 1) * column or column >= cnp.PyArray_DIM(array, 0) * row)


cdef bint is_plain_matrix(object array) noexcept:
    return is_plain_float(array) or is_open_matrix(array)


cdef const char* end_of(object array) noexcept:
    # Where an array whose axes go upwards ends in memory.
    cdef int i
    cdef const char* end = <const char*> cnp.PyArray_DATA(array)
    if cnp.PyArray_SIZE(array) == 0:
        return end
    for i in range(cnp.PyArray_NDIM(array)):
        end += (cnp.PyArray_DIM(array, i) - 1) * cnp.PyArray_STRIDE(array, i)
    return end + cnp.PyArray_ITEMSIZE(array)


cdef bint apart(object a, object b) noexcept:
    # Whether two arrays whose axes go upwards lie in memory one after the other.
    return end_of(a) <= <const char*> cnp.PyArray_DATA(b) \
        or end_of(b) <= <const char*> cnp.PyArray_DATA(a)


cdef bint alike(object a, object b) noexcept:
    # Whether two arrays whose axes go upwards have one type and shape, and are the same memory or
    # share none.
    cdef int i
    cdef bint same = cnp.PyArray_DATA(a) == cnp.PyArray_DATA(b)
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b) or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
        same &= (cnp.PyArray_STRIDE(a, i) == cnp.PyArray_STRIDE(b, i)
                 or cnp.PyArray_DIM(a, i) == 1)
    return same or apart(a, b)


cdef bint is_plain_out(object out, object array) noexcept:
    # Whether a result like a plain `array` can be written to `out`, which may be None.
    return out is None or (is_plain(out) and cnp.PyArray_ISWRITEABLE(out) and alike(out, array))


cdef bint is_matrix_out(object out, object array) noexcept:
    # The same for logits that may be an open matrix.
    return out is None or (is_plain_matrix(out) and cnp.PyArray_ISWRITEABLE(out)
                           and alike(out, array))


cdef enum Unit:
    OUTSIDE                         # not all are in [0, 1]
    SOFT
    HARD                            # all are 0 or 1


cdef enum:
    CHECKED_BYTES = 2048            # that are looked at before more are fetched
    CHECKED_AHEAD = 8192            # bytes from there to those


cdef inline void unit_bits(const real* x, Py_ssize_t n, uint64_t* signs,
                           uint64_t* edges) noexcept nogil:
    # Sets the upper bit of `signs` if a number is outside [0, 1], and in `edges` bits other than
    # the two of 1 (the ends of the exponent's ones, where neighbours differ) if one is neither 0
    # nor 1. As integers, the bits of numbers are in their order, and those of what is too large or
    # NaN leave a sign when taken from those of 1.
    cdef Py_ssize_t i
    cdef uint64_t bits64
    cdef uint64_t signs64 = 0
    cdef uint64_t edges64 = 0
    cdef uint32_t bits32
    cdef uint32_t signs32 = 0
    cdef uint32_t edges32 = 0
    for i in range(n):
        if real is double:
            memcpy(&bits64, &x[i], 8)
            signs64 |= bits64 | (<uint64_t> 0x3ff0000000000000 - bits64)
            edges64 |= bits64 ^ (bits64 + bits64)
        else:
            memcpy(&bits32, &x[i], 4)
            signs32 |= bits32 | (<uint32_t> 0x3f800000 - bits32)
            edges32 |= bits32 ^ (bits32 + bits32)
    signs[0] |= signs64 | <uint64_t> signs32 << 32
    edges[0] |= edges64 if real is double else edges32


cdef Unit in_unit_range(const real* x, Py_ssize_t n) noexcept nogil:
    # What the numbers are. (-0.0 is OUTSIDE.)
    cdef Py_ssize_t i, l
    cdef Py_ssize_t block = CHECKED_BYTES // <Py_ssize_t> sizeof(real)
    cdef uint64_t signs = 0
    cdef uint64_t edges = 0
    cdef uint64_t ends = 0x4010000000000000 if real is double else 0x40800000
    for i in range(n // block):
        for l in range(CHECKED_BYTES // 64):
            FASTCE_PREFETCH(<const char*> (x + i * block) + CHECKED_AHEAD + 64 * l)
        unit_bits(x + i * block, block, &signs, &edges)
    unit_bits(x + n // block * block, n % block, &signs, &edges)
    if signs >> 63 != 0:
        return OUTSIDE
    return SOFT if (edges | ends) != ends else HARD


def in_unit_interval(array):
    """Tell whether an array, not looked at unless it is plain, holds only numbers of [0, 1]."""
    if not is_plain_float(array):
        return False
    return plain_unit(array) != OUTSIDE


cdef bint none_negative(const real* x, Py_ssize_t n) noexcept nogil:
    # Whether all are at least 0, and none is NaN.
    cdef Py_ssize_t i
    cdef Py_ssize_t bad = 0
    for i in range(n):
        bad |= not x[i] >= 0
    return bad == 0


cdef bint plain_weights(object w, object logits, int first, int last, void** data) noexcept:
    # Whether w is None, or a plain array of valid weights in the type of the logits and the shape
    # of their axes `first` to `last` (exclusive); `data` becomes that of the array.
    cdef int i
    if w is None:
        return True
    if not (is_plain_float(w) and cnp.PyArray_TYPE(w) == cnp.PyArray_TYPE(logits)
            and cnp.PyArray_NDIM(w) == last - first):
        return False
    for i in range(first, last):
        if cnp.PyArray_DIM(w, i - first) != cnp.PyArray_DIM(logits, i):
            return False
    data[0] = cnp.PyArray_DATA(w)
    if cnp.PyArray_TYPE(w) == cnp.NPY_DOUBLE:
        return none_negative(<const double*> data[0], cnp.PyArray_SIZE(w))
    return none_negative(<const float*> data[0], cnp.PyArray_SIZE(w))


cdef bint plain_number(object value, double least, double most, double* number) noexcept:
    # Whether a float is in [least, most].
    if type(value) is not float:
        return False
    number[0] = value
    return least <= number[0] <= most


cdef int plain_reduction(object name) noexcept:
    # MEAN, SUM or NONE; -1 if it is none of their names.
    if type(name) is not str:
        return -1
    return MEAN if name == "mean" else SUM if name == "sum" else NONE if name == "none" else -1


cdef tuple plain_pair(object out, object logits, bint contiguous):
    # Where gradient and Hessian go, if to two plain arrays, or else to open matrices, or, both
    # None, to new ones; else None.
    if out is None:
        return (None, None)
    if type(out) is not tuple or len(out) != 2 or out[0] is None or out[1] is None:
        return None
    if contiguous and not (is_plain(out[0]) and is_plain(out[1])):
        return None
    if is_matrix_out(out[0], logits) and is_matrix_out(out[1], logits) and apart(out[0], out[1]):
        return out
    return None


cdef bint spared(object array, object grad, object hess) noexcept:
    # Whether writing the derivatives leaves an array as it is; the axes of all go upwards, and any
    # may be None.
    return array is None or ((grad is None or apart(grad, array))
                             and (hess is None or apart(hess, array)))


cdef object like(object array):
    if not cnp.PyArray_ISCARRAY_RO(array):
        return PyArray_NewLikeArray(<cnp.ndarray> array, cnp.NPY_KEEPORDER, NULL, 0)
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array),
                             cnp.PyArray_TYPE(array), 0)


cdef object scalar_of(double value, object array):
    # In the type of the array.
    cdef float value32 = <float> value
    return PyArray_Scalar(&value if cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE
                          else <void*> &value32, cnp.PyArray_DESCR(array), NULL)


cdef object reduced(int reduction, object values, double total, double divisor, object logits):
    # What a loss returns of its values, the array or their sum.
    if reduction == NONE:
        return values
    return scalar_of(total / divisor if reduction == MEAN else total, logits)


cdef object plain_result(int want, object value, object grad, object hess):
    if want == VALUE:
        return value
    if want == GRAD or want == PRODUCT:
        return grad
    return (grad, hess) if want & HESS else (value, grad)


cdef void flat_array(object array, Array2* a):
    a.data = cnp.PyArray_DATA(array)
    a.row, a.column, a.flat = cnp.PyArray_SIZE(array), 1, True


cdef Unit plain_unit(object array) noexcept:
    # in_unit_range of a plain array of floats.
    cdef Py_ssize_t n = cnp.PyArray_SIZE(array)
    cdef void* data = cnp.PyArray_DATA(array)
    cdef bint wide = cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE
    with nogil:
        if wide:
            return in_unit_range(<const double*> data, n)
        return in_unit_range(<const float*> data, n)


def plain_element_loss(int loss, frozenset own, logits, target, int want, out, dict options,
                       v=None):
    """Return what a loss's methods do, or None if the call is not a plain one.

    `loss` is one of POINTWISE_LOSSES, `own` what options it has beside those of every loss.
    """
    if not (is_plain_float(logits) and is_plain_float(target) and alike(target, logits)):
        return None
    cdef bint wide = cnp.PyArray_TYPE(logits) == cnp.NPY_DOUBLE
    cdef int nd = cnp.PyArray_NDIM(logits)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(logits)
    cdef int reduction = MEAN
    cdef double divisor = n
    cdef double positive = 1
    cdef float positive32
    cdef double total
    cdef Pointwise a
    cdef Unit unit
    cdef PyThreadState* state
    cdef Array2 absent
    cdef cnp.npy_intp pieces
    grad, hess = out, None
    if want & HESS:
        pair = plain_pair(out, logits, True)
        if pair is None:
            return None
        grad, hess = pair
    elif not is_plain_out(out, logits):
        return None
    if want & PRODUCT and not (is_plain_float(v) and alike(v, logits) and spared(v, grad, None)):
        return None
    if n == 0 or not (grad is None or alike(grad, target)) or \
            not (hess is None or alike(hess, target)):
        return None
    absent.data = NULL
    absent.row = absent.column = 0
    absent.flat = False
    a.loss = loss
    a.n = a.columns = n
    flat_array(logits, &a.x)
    flat_array(target, &a.t)
    a.weight = a.pos_weight = a.v = a.value = a.grad = a.hess = absent
    a.smoothing = 0
    a.alpha = 0.25 if loss == FOCAL else -1.0
    a.gamma = 2.0 if loss == FOCAL else 0.0
    if options:
        for name, given in options.items():
            if name == "reduction":
                reduction = plain_reduction(given)
                if reduction < 0:
                    return None
            elif name != "sample_weight" and name not in own:
                return None
            elif name == "label_smoothing":
                if not plain_number(given, 0, 1, &a.smoothing):
                    return None
            elif name == "alpha":
                if not plain_number(given, -INFINITY, 1, &a.alpha):
                    return None
            elif name == "gamma":
                if not plain_number(given, 0, 1e300, &a.gamma):
                    return None
            elif name == "pos_weight":
                if not plain_number(given, 0, INFINITY, &positive):
                    return None
                positive32 = <float> positive
                a.pos_weight.data = &positive if wide else <void*> &positive32
            elif name == "weight" or name == "sample_weight":
                if given is None:
                    continue
                if a.weight.data != NULL or \
                        not plain_weights(given, logits, 0, nd, &a.weight.data) or \
                        not spared(given, grad, hess):
                    return None
                flat_array(given, &a.weight)
                if name == "sample_weight":
                    divisor = sum_of_array(given)
            else:
                return None
    unit = SOFT if loss == SQUARED else plain_unit(target)
    if divisor == 0 or unit == OUTSIDE or \
            (loss == BINARY_CROSS_ENTROPY and plain_unit(logits) == OUTSIDE):
        return None
    a.hard = unit == HARD
    a.scale = 1.0 / divisor if reduction == MEAN else 1.0
    if want & (GRAD | HESS | PRODUCT):
        grad = like(logits) if grad is None else grad
        flat_array(grad, &a.grad)
    if want & HESS:
        hess = like(logits) if hess is None else hess
        flat_array(hess, &a.hess)
    if want & PRODUCT:
        flat_array(v, &a.v)
    values = None
    a.sums = NULL
    if want & VALUE and reduction == NONE:
        values = like(logits)
        flat_array(values, &a.value)
    elif want & VALUE:
        pieces = piece_count(&a)
        sums = cnp.PyArray_EMPTY(1, &pieces, cnp.NPY_DOUBLE, 0)
        a.sums = <double*> cnp.PyArray_DATA(sums)
    state = release(3.0 * n)
    total = pointwise_run(&a, wide)
    take_back(state)
    value = reduced(reduction, values, total, divisor, logits) if want & VALUE else None
    return plain_result(want, value, grad, hess)


cdef void classes_last(object array, Geometry* g, Array3* a):
    cdef int nd = cnp.PyArray_NDIM(array)
    g.k = cnp.PyArray_DIM(array, nd - 1)
    g.outer = cnp.PyArray_SIZE(array) // g.k if g.k > 0 else 0
    g.inner = 1
    strides_of(array, a)


cdef void strides_of(object array, Array3* a):
    # The classes being last; more than one axis before them only if all are contiguous.
    cdef int last = cnp.PyArray_NDIM(array) - 1
    a.data = cnp.PyArray_DATA(array)
    a.inner = 1
    a.divisor = 1
    if cnp.PyArray_ISCARRAY_RO(array):
        a.outer, a.k = cnp.PyArray_DIM(array, last), 1
    else:
        a.outer = cnp.PyArray_STRIDE(array, 0) // cnp.PyArray_ITEMSIZE(array)
        a.k = cnp.PyArray_STRIDE(array, 1) // cnp.PyArray_ITEMSIZE(array)


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
    cdef PyThreadState* state
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
        state = release(2.0 * g.outer * g.k)
        softmax_run(op, &g, &xa, &ya, row, kind == cnp.NPY_DOUBLE)
        take_back(state)
        return result if nd > 1 else cnp.PyArray_ToScalar(cnp.PyArray_DATA(result), result)
    if not is_plain_out(out, x):
        return None
    if out is None:
        out = cnp.PyArray_EMPTY(nd, cnp.PyArray_DIMS(x), kind, 0)
    ya.data = cnp.PyArray_DATA(out)
    state = release(2.0 * g.outer * g.k)
    softmax_run(op, &g, &xa, &ya, NULL, kind == cnp.NPY_DOUBLE)
    take_back(state)
    return out


def plain_softmax_backward(bint logarithm, grad, y, axis, out):
    """Return what the backward of softmax or log_softmax does, or None if no plain call."""
    if not (is_plain_float(grad) and is_plain_float(y) and alike(grad, y) and type(axis) is int
            and is_plain_out(out, y) and is_plain_out(out, grad)):
        return None
    cdef int nd = cnp.PyArray_NDIM(y)
    cdef Geometry g
    cdef Array3 ya
    cdef Array3 ga
    cdef Array3 oa
    cdef PyThreadState* state
    if axis != -1 and axis != nd - 1:
        return None
    classes_last(y, &g, &ya)
    if g.outer == 0:
        return None
    if out is None:
        out = like(y)
    ga = oa = ya
    ga.data = cnp.PyArray_DATA(grad)
    oa.data = cnp.PyArray_DATA(out)
    state = release(2.0 * g.outer * g.k)
    backward_run(logarithm, &g, &ga, &ya, &oa, cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE)
    take_back(state)
    return out


cdef double weights_of_targets(const Xent* a, Py_ssize_t ignored, real* weights) noexcept nogil:
    # The sum of the weights with which rows count; fills `weights` with them.
    cdef const real* weight = <const real*> a.weight
    cdef const real* row_weight = <const real*> a.row_weight
    cdef Py_ssize_t r
    if ignored == 0 and row_weight == NULL:
        for r in range(a.g.outer):
            weights[r] = weight[a.labels[r]]
        return sum_of[real](<const real*> weights, a.g.outer)
    for r in range(a.g.outer):
        if a.labels[r] == a.ignore:
            weights[r] = 0
            continue
        weights[r] = weight[a.labels[r]] if weight != NULL else <real> 1.0
        if row_weight != NULL:
            weights[r] = <real> 0.0 if weights[r] == 0 or row_weight[r] == 0 \
                else weights[r] * row_weight[r]
    return sum_of[real](<const real*> weights, a.g.outer)


cdef bint is_class_array(object target, object logits) noexcept:
    # Whether it is a plain array of classes in the shape of the logits without their last axis.
    cdef int i
    if not (is_plain(target) and cnp.PyArray_TYPE(target) == cnp.NPY_INT64
            and cnp.PyArray_NDIM(target) == cnp.PyArray_NDIM(logits) - 1):
        return False
    for i in range(cnp.PyArray_NDIM(target)):
        if cnp.PyArray_DIM(target, i) != cnp.PyArray_DIM(logits, i):
            return False
    return True


cdef bint plain_options(dict options, frozenset own, object logits, object grad, object hess,
                        Xent* a, int* reduction) noexcept:
    # Take the options into a and `reduction`; whether all are plain, and the loss's own or
    # everyone's.
    cdef int nd = cnp.PyArray_NDIM(logits)
    for name, given in options.items():
        if name == "reduction":
            reduction[0] = plain_reduction(given)
            if reduction[0] < 0:
                return False
        elif name == "sample_weight":
            if not (plain_weights(given, logits, 0, nd - 1, <void**> &a.row_weight)
                    and spared(given, grad, hess)):
                return False
        elif name not in own:
            return False
        elif name == "axis":
            if type(given) is not int or not (given == -1 or given == nd - 1):
                return False
        elif name == "ignore_index":
            if type(given) is not int or not -0x7fffffff < given < 0x7fffffff:
                return False
            a.ignore = given
        elif name == "label_smoothing":
            if not plain_number(given, 0, 1, &a.smoothing):
                return False
        elif name == "z_loss":
            if not plain_number(given, 0, 1e300, &a.z_loss):
                return False
        elif name == "temperature":
            if not plain_number(given, 1e-300, 1e300, &a.temperature):
                return False
        elif name == "weight":
            if not (plain_weights(given, logits, nd - 1, nd, <void**> &a.weight)
                    and spared(given, grad, hess)):
                return False
        else:
            return False
    return True


def plain_row_loss(int op, frozenset own, logits, target, int want, out, dict options, v=None):
    """Return what a loss's methods do, or None if the call is not a plain one.

    `op` is one of ROW_LOSSES, `own` what options it has beside those of every loss.
    """
    if not is_plain_matrix(logits):
        return None
    cdef bint wide = cnp.PyArray_TYPE(logits) == cnp.NPY_DOUBLE
    cdef int nd = cnp.PyArray_NDIM(logits)
    cdef int reduction = MEAN
    cdef int64_t label
    cdef Xent a
    cdef Py_ssize_t n
    cdef PyThreadState* state
    cdef Py_ssize_t ignored = 0
    cdef double stack[STACK_ROWS]
    cdef void* room = stack         # for a number of each row
    cdef double divisor
    cdef double total = 0
    grad, hess = out, None
    if want & HESS:
        pair = plain_pair(out, logits, False)
        if pair is None:
            return None
        grad, hess = pair
    elif not is_matrix_out(out, logits):
        return None
    if want & PRODUCT and not (is_plain_matrix(v) and alike(v, logits)
                               and spared(v, grad, None)):
        return None
    a.labels = NULL
    a.probabilities.data = a.grad.data = a.hess.data = a.v.data = NULL
    if nd == 1 and type(target) is int:
        if not -1 < target < 0x7fffffff:
            return None
        label = target
        a.labels = &label
    elif is_class_array(target, logits):
        a.labels = <const int64_t*> cnp.PyArray_DATA(target)
    elif not (is_plain_float(target) and alike(target, logits)):
        return None
    if op == (KL if a.labels != NULL else NLL) or (op == CCE and not in_unit_interval(logits)):
        return None
    if a.labels != &label and not spared(target, grad, hess):
        return None
    classes_last(logits, &a.g, &a.x)
    n = a.g.outer
    a.ignore = -100
    a.weight = a.row_weight = NULL
    a.smoothing = a.z_loss = 0
    a.temperature = 1
    if n == 0 or (options and not plain_options(options, own, logits, grad, hess, &a, &reduction)):
        return None
    a.x.divisor = a.temperature
    if a.labels != NULL:
        if bad_label(a.labels, n, a.g.k, a.ignore, &ignored) >= 0:
            return None
    else:
        if a.ignore >= 0 or not in_unit_interval(target):
            return None
        strides_of(target, &a.probabilities)
    values = None
    if n > STACK_ROWS or reduction == NONE:
        values = cnp.PyArray_EMPTY(nd - 1, cnp.PyArray_DIMS(logits),
                                   cnp.PyArray_TYPE(logits), 0)
        room = cnp.PyArray_DATA(values)
    divisor = n
    if reduction == MEAN and (ignored > 0 or a.row_weight != NULL
                              or (a.weight != NULL and a.labels != NULL)):
        if a.labels == NULL:
            divisor = (sum_of[double](<const double*> a.row_weight, n) if wide
                       else sum_of[float](<const float*> a.row_weight, n))
        elif wide:
            divisor = weights_of_targets[double](&a, ignored, <double*> room)
        else:
            divisor = weights_of_targets[float](&a, ignored, <float*> room)
        if divisor == 0:
            return None
    a.scale = 1.0 / divisor if reduction == MEAN else 1.0
    a.value = room if want & VALUE else NULL
    if want & (GRAD | HESS | PRODUCT):
        grad = like(logits) if grad is None else grad
        strides_of(grad, &a.grad)
    if want & HESS:
        hess = like(logits) if hess is None else hess
        strides_of(hess, &a.hess)
    if want & PRODUCT:
        strides_of(v, &a.v)
    state = release(3.0 * a.g.outer * a.g.k)
    if op == CROSS_ENTROPY:
        xent_run(&a, wide)
    else:
        probability_run(op, &a, wide)
    if want & VALUE and reduction != NONE:
        if wide:
            total = sum_of[double](<const double*> room, n)
        else:
            total = sum_of[float](<const float*> room, n)
    take_back(state)
    value = None
    if want & VALUE:
        if reduction == NONE and nd == 1:
            values = cnp.PyArray_ToScalar(room, values)
        value = reduced(reduction, values, total, divisor, logits)
    return plain_result(want, value, grad, hess)
