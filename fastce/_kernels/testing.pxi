# The functions of vecmath and exp_lanes.h one by one, for the tests: nothing else calls them.

cdef inline void vector_math_block(int which, const real* x, real* out) noexcept nogil:
    cdef Py_ssize_t l
    cdef real magic[LANES]
    fill_lanes(magic, magic_of(<real> 0.0))
    if which == 0:
        exp_each(x, magic, out)
    elif which == 1:
        log_block(x, out, LANES)
    elif which == 2:
        log1p_block(x, out, LANES)
    else:
        for l in range(LANES):
            if which == 3:
                out[l] = exp_scaled(x[l], magic[l])
            elif which == 4:
                out[l] = log1p(x[l])
            else:
                out[l] = log(x[l])


VECTOR_MATH = ("exp in lanes", "log in lanes", "log1p in lanes", "exp", "log1p", "log")


def vector_math(str name, x):
    """Return the function of that name of a one-dimensional array."""
    cdef int which = VECTOR_MATH.index(name)
    cdef Py_ssize_t i
    cdef Py_ssize_t n = x.size
    cdef bint wide = x.dtype == "f8"
    padded = x.copy()
    padded.resize((n + LANES - 1) // LANES * LANES)
    out = padded.copy()
    cdef void* source = cnp.PyArray_DATA(padded)
    cdef void* result = cnp.PyArray_DATA(out)
    for i in range(0, n, LANES):
        if wide:
            vector_math_block[double](which, <double*> source + i, <double*> result + i)
        else:
            vector_math_block[float](which, <float*> source + i, <float*> result + i)
    return out[:n]
