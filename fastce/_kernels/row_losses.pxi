# The way in for every loss along an axis.

cdef enum:
    CROSS_ENTROPY = -1              # the other codes are in probability_losses.pxi

ROW_LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "nll_loss": NLL,
    "categorical_cross_entropy": CCE,
    "kl_divergence": KL,
    "entropy": ENTROPY_P,
    "js_divergence": JS,
}


cdef void* data_or_null(object array):
    return NULL if array is None else cnp.PyArray_DATA(array)


def row_loss(int op, x, labels, probabilities, weight, row_weight, double smoothing,
             double z_loss, double temperature, double scale, value, grad, hess, v):
    """Fill `value` (rows,), `grad` and `hess` (outer, k, inner), those that are not None.

    `op` is one of ROW_LOSSES. A label of -1 means that the row is ignored.

    With `v` given, `grad` receives the Hessian-vector product. Value and derivatives are multiplied
    by `row_weight`, the derivatives by `scale` too. All arrays have the type of `x`; `labels` is
    int64, contiguous and checked, as are the one-dimensional ones.
    """
    cdef Xent a
    geometry_of(x, &a.g)
    array3(x, &a.x)
    a.x.divisor = temperature
    array3(probabilities, &a.probabilities)
    array3(grad, &a.grad)
    array3(hess, &a.hess)
    array3(v, &a.v)
    a.labels = <const int64_t*> data_or_null(labels)
    a.ignore = -1
    a.weight = data_or_null(weight)
    a.row_weight = data_or_null(row_weight)
    a.value = data_or_null(value)
    a.smoothing, a.z_loss, a.temperature, a.scale = smoothing, z_loss, temperature, scale
    cdef bint wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    with nogil:
        if op == CROSS_ENTROPY:
            xent_run(&a, wide)
        else:
            probability_run(op, &a, wide)
