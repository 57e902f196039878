# Sums over samples, compensated and in one order whatever the threads.

cdef double lanes_total(const double* total, const double* lost) noexcept nogil:
    cdef double high = total[0]
    cdef double low = lost[0]
    cdef double t, z
    cdef Py_ssize_t l
    for l in range(1, LANES):
        t = high + total[l]
        z = t - high
        low += ((high - (t - z)) + (total[l] - z)) + lost[l]
        high = t
    # Infinities leave NaN in `low`.
    return high + low if low == low else high


cdef inline void add_values(const real* value, Py_ssize_t n, bint positive, double* sums,
                            double* lost) noexcept nogil:
    # sums + lost += the values, by lanes. Of float32 that is nowhere negative two are added first:
    # as float64, that loses next to nothing of their sum.
    cdef double lane[LANES]
    cdef bint pairs = positive and real is float
    cdef Py_ssize_t step = 2 * LANES if pairs else LANES
    cdef Py_ssize_t i, l
    for i in range(n // step):
        for l in range(LANES):
            lane[l] = value[i * step + l]
            if pairs:
                lane[l] = lane[l] + <double> value[i * step + LANES + l]
        two_sum(sums, lost, lane)
    i = n // step * step
    while i < n:
        fill_lanes(lane, 0.0)
        for l in range(min(n - i, <Py_ssize_t> LANES)):
            lane[l] = value[i + l]
        two_sum(sums, lost, lane)
        i += LANES


cdef double sum_of(const real* x, Py_ssize_t n) noexcept nogil:
    cdef double total[LANES]
    cdef double lost[LANES]
    if n == 1:
        return x[0]
    fill_lanes(total, 0.0)
    fill_lanes(lost, 0.0)
    add_values(x, n, False, total, lost)
    return lanes_total(total, lost)


cdef double sum_of_array(object x):
    if cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE:
        return sum_of[double](<const double*> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
    return sum_of[float](<const float*> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


def total(x):
    """Return the compensated sum of a contiguous array as a float."""
    return sum_of_array(x)
