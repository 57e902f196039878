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


cdef double sum_of(const real* x, Py_ssize_t n) noexcept nogil:
    cdef double total[LANES]
    cdef double lost[LANES]
    cdef double s[LANES]
    cdef Py_ssize_t i, l
    if n == 1:
        return x[0]
    fill_lanes(total, 0.0)
    fill_lanes(lost, 0.0)
    for i in range(n // LANES):
        for l in range(LANES):
            s[l] = x[i * LANES + l]
        two_sum(total, lost, s)
    fill_lanes(s, 0.0)
    for l in range(n % LANES):
        s[l] = x[n - n % LANES + l]
    two_sum(total, lost, s)
    return lanes_total(total, lost)


cdef double sum_of_array(object x):
    if cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE:
        return sum_of[double](<const double*> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))
    return sum_of[float](<const float*> cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


def total(x):
    """Return the compensated sum of a contiguous array as a float."""
    return sum_of_array(x)
