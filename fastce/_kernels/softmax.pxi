# softmax, log_softmax, logsumexp and the entropy of logits, and the backward functions.
#
# With e_j = e**(x_j - N) 2**LIFT, s their sum, e_m that of the largest x_m = m, and
# below = s - e_m summed without it:
#   softmax       e_j / s
#   logsumexp     m + log1p(below/e_m)
#   log_softmax   (x_j - N) - log s; for the largest, where it leads: -log1p(below/e_m)
#   entropy       (sum_{j != m} e_j (N - x_j + log s) + e_m log1p(below/e_m)) / s
# Nothing is subtracted that could cancel. (N stands for centre + n ln 2.)

cdef enum:
    SOFTMAX
    LOG_SOFTMAX
    LOGSUMEXP
    LOGSUMEXP_BACKWARD              # `row` holds grad_output
    ENTROPY


cdef inline bint span_has_nan(const real* x, const Span* span, const Tile* tile,
                              Py_ssize_t l) noexcept nogil:
    # Of row l of the tile. Only asked of rows whose largest value is infinite.
    cdef Py_ssize_t i, lane
    cdef Py_ssize_t lanes = 1
    cdef real value
    if tile.single:
        lanes = LANES
    for i in range(tile.steps):
        if tile.single and i == tile.steps - 1:
            lanes = tile.last
        for lane in range(lanes):
            value = x[(span.lane[0] + lane if span.unit else span.lane[l + lane]) + i * span.step]
            if value != value:
                return True
    return False


cdef inline void entropy_pass(const real* b, Py_ssize_t steps, const real* centre, const real* n,
                              const real* low, const real* magic, const real* m, real* total,
                              real* lost) noexcept nogil:
    # total = sum of e_j (n ln 2 - y_j) without the largest.
    cdef Py_ssize_t i, l
    cdef real s[LANES]
    cdef real y, e
    for i in range(steps):
        for l in range(LANES):
            y = b[i * LANES + l] - centre[l]
            y = low[l] if low[l] > y else y
            e = exp_scaled(y, magic[l])
            e = e * ((n[l] * ln2_high(y) - y) + n[l] * ln2_low(y))
            s[l] = <real> 0.0 if b[i * LANES + l] == m[l] else e
        two_sum(total, lost, s)


cdef void softmax_tile(int op, const Geometry* g, const Array3* xa, const Array3* ya, real* row,
                       const Tile* tile, real kind) noexcept nogil:
    # x (outer, k, inner); y the same, or row (outer * inner,) for LOGSUMEXP and ENTROPY.
    cdef const real* x = <const real*> xa.data
    cdef real* out = <real*> ya.data
    cdef Span xs
    cdef Span ys
    cdef real b[CHUNK * LANES]
    cdef real m[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real total[LANES]
    cdef real lost[LANES]
    cdef real below[LANES]
    cdef real below_lost[LANES]
    cdef real top_e[LANES]
    cdef real top_count[LANES]
    cdef real weighted[LANES]
    cdef real weighted_lost[LANES]
    cdef real factor[LANES]
    cdef real top[LANES]
    cdef real top_x[LANES]
    cdef bint whole = tile.chunks == 1
    cdef bint shifted
    cdef bint by_top = op == LOG_SOFTMAX or op == LOGSUMEXP or op == ENTROPY
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real infinity = <real> INFINITY
    cdef real unlift = <real> 1.0 / lift_factor(kind)
    cdef real ratio, y
    cdef const real* ahead = NULL
    cdef real* result = NULL

    place(xa, g, tile, &xs)
    nowhere(&ys)
    if out != NULL:
        place(ya, g, tile, &ys)
    if whole:
        i = next_row(xa, g, tile)
        if i >= 0:
            ahead = x + i
        if out != NULL and tile.single and ya.k == 1:
            result = out + ys.lane[0]
    shifted = True
    if whole and (op == SOFTMAX or op == LOGSUMEXP or op == LOGSUMEXP_BACKWARD):
        shifted = not exp_tile(x, &xs, tile, ahead, result, NULL, b, total, lost)
        if not shifted and op == LOGSUMEXP:
            settle(total, lost, tile.single)
            for l in range(tile.rows):
                factor[l] = log(total[l])
                # A logarithm that is small needs the other way.
                shifted = shifted or not (factor[l] > <real> 1.0 or factor[l] < <real> -1.0)
            if not shifted:
                for l in range(tile.rows):
                    row[tile.first + l] = factor[l]
                return
    if shifted:
        fill_lanes(m, -infinity)
        for chunk in range(tile.chunks):
            start = chunk * CHUNK
            steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
            load_max(x, &xs, tile, start, steps, b, m)
        if tile.single:
            max_in_all(m)
        choose_shift(m, centre, n, low, magic)

        fill_lanes(total, <real> 0.0)
        fill_lanes(lost, <real> 0.0)
        if by_top:
            fill_lanes(below, <real> 0.0)
            fill_lanes(below_lost, <real> 0.0)
            fill_lanes(top_e, <real> 0.0)
            fill_lanes(top_count, <real> 0.0)
            fill_lanes(weighted, <real> 0.0)
            fill_lanes(weighted_lost, <real> 0.0)
        for chunk in range(tile.chunks):
            start = chunk * CHUNK
            steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
            if not whole:
                load(x, &xs, tile, start, steps, -infinity, b)
                ahead = x + xs.lane[0] + (start + CHUNK) * LANES if tile.single and xs.unit else NULL
            if op == ENTROPY:
                entropy_pass(b, steps, centre, n, low, magic, m, weighted, weighted_lost)
            if by_top:
                exp_pass(b, steps, centre, low, magic, ahead, NULL, False, <real> 0.0, total, lost,
                         True, m, top_e, top_count, below, below_lost)
            else:
                exp_pass(b, steps, centre, low, magic, ahead, result, True, <real> 0.0, total, lost,
                         False, NULL, NULL, NULL, NULL, NULL)
                if not whole:
                    store(out, &ys, tile, start, steps, b)
    settle(total, lost, tile.single)
    if by_top:
        settle(below, below_lost, tile.single)
        settle(weighted, weighted_lost, tile.single)
        if tile.single:
            max_in_all(top_e)
            sum_in_all(top_count)

    if op == SOFTMAX:
        for l in range(LANES):
            factor[l] = <real> 1.0 / total[l]
    elif op == LOGSUMEXP_BACKWARD:
        for l in range(tile.rows):
            factor[l] = row[tile.first + l] / total[l]
        for l in range(tile.rows, LANES):
            factor[l] = factor[0]
    else:
        for l in range(tile.rows):
            ratio = (below[l] + (top_count[l] - <real> 1.0) * top_e[l]) / top_e[l]
            top[l] = log1p(ratio)
            factor[l] = log1p(total[l] * unlift - <real> 1.0)
            if op == LOG_SOFTMAX:
                # A value that leads is recognised by x_j == m.
                top_x[l] = m[l] if ratio < <real> 1.0 else infinity
                top[l] = <real> 0.0 - top[l]
                if m[l] == infinity:
                    # inf - inf and x - inf, unless a NaN spoils the row
                    factor[l] = <real> NAN if span_has_nan(x, &xs, tile, l) else <real> 0.0
        for l in range(tile.rows, LANES):
            top[l], top_x[l], factor[l] = top[0], top_x[0], factor[0]
        if op == LOGSUMEXP:
            for l in range(tile.rows):
                row[tile.first + l] = m[l] + top[l]
                if m[l] == infinity or m[l] == -infinity:
                    row[tile.first + l] = <real> NAN if span_has_nan(x, &xs, tile, l) else m[l]
            return
        if op == ENTROPY:
            for l in range(tile.rows):
                # Those equal to the largest are left out of `weighted`: their share is top.
                row[tile.first + l] = (weighted[l] + below[l] * factor[l]
                                       + top_count[l] * top_e[l] * top[l]) / total[l]
            return

    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if op == LOG_SOFTMAX:
            if not whole:
                load(x, &xs, tile, start, steps, -infinity, b)
            for i in range(steps):
                for l in range(LANES):
                    y = b[i * LANES + l]
                    b[i * LANES + l] = top[l] if y == top_x[l] else \
                        (((y - centre[l]) - n[l] * ln2_high(y)) - n[l] * ln2_low(y)) - factor[l]
            store(out, &ys, tile, start, steps, b)
        else:
            if not whole:
                load(<const real*> out, &ys, tile, start, steps, <real> 0.0, b)
            store_scaled(out, &ys, tile, start, steps, b, factor)


cdef void backward_tile(bint logarithm, const Geometry* g, const Array3* ga, const Array3* ya,
                        const Array3* oa, const Tile* tile, real kind) noexcept nogil:
    # Vector-Jacobian products, all arrays (outer, k, inner):
    #   softmax       y (g - sum g y)
    #   log_softmax   g - e**y sum g
    # A class without probability (y = 0, or -inf) gets 0 and adds nothing that is not finite.
    cdef const real* grad = <const real*> ga.data
    cdef const real* output = <const real*> ya.data
    cdef real* out = <real*> oa.data
    cdef Span gs
    cdef Span ys
    cdef Span os
    cdef real b[CHUNK * LANES]
    cdef real y[CHUNK * LANES]
    cdef real s[LANES]
    cdef real total[LANES]
    cdef real lost[LANES]
    cdef real infinity = <real> INFINITY
    cdef real low = lowest(<real> 0.0)
    cdef real magic = magic_of(lift(low))
    cdef real most
    cdef real e
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef bint whole = tile.chunks == 1
    # Log-probabilities are at most 0; a larger number only has to stay within range.
    if real is double:
        most = 600.0
    else:
        most = <float> 60.0
    place(ga, g, tile, &gs)
    place(ya, g, tile, &ys)
    place(oa, g, tile, &os)
    fill_lanes(total, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load(grad, &gs, tile, start, steps, <real> 0.0, b)
        load(output, &ys, tile, start, steps, <real> 0.0, y)
        for i in range(steps):
            for l in range(LANES):
                e = b[i * LANES + l]
                if not logarithm:
                    e = e * y[i * LANES + l] if y[i * LANES + l] != 0 else <real> 0.0
                s[l] = e
            two_sum(total, lost, s)
    settle(total, lost, tile.single)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if not whole:
            load(grad, &gs, tile, start, steps, <real> 0.0, b)
            load(output, &ys, tile, start, steps, <real> 0.0, y)
        if logarithm:
            for l in range(LANES):
                s[l] = total[l] * (<real> 1.0 / lift_factor(low))
            for i in range(steps):
                for l in range(LANES):
                    e = y[i * LANES + l]
                    e = low if low > e else e
                    e = b[i * LANES + l] - exp_scaled(most if e > most else e, magic) * s[l]
                    b[i * LANES + l] = <real> 0.0 if y[i * LANES + l] == -infinity else e
        else:
            for i in range(steps):
                for l in range(LANES):
                    e = y[i * LANES + l] * (b[i * LANES + l] - total[l]) + <real> 0.0
                    b[i * LANES + l] = <real> 0.0 if y[i * LANES + l] == 0 else e
        store(out, &os, tile, start, steps, b)


cdef inline bint side_by_side(const Geometry* g, const Array3* x) noexcept nogil:
    # Whether a tile of many rows suits.
    if g.outer * g.inner <= FEW_ROWS:
        return False
    return g.k <= FEW_CLASSES or (x.k != 1 and x.inner == 1 and g.inner >= LANES)


cdef inline Py_ssize_t tile_count(const Geometry* g, bint many) noexcept nogil:
    cdef Py_ssize_t rows = g.outer * g.inner
    return (rows + LANES - 1) // LANES if many else rows


cdef inline Tile tile_number(const Geometry* g, Py_ssize_t t, bint many) noexcept nogil:
    cdef Py_ssize_t rows = g.outer * g.inner
    if many:
        return tile_at(g, t * LANES, min(<Py_ssize_t> LANES, rows - t * LANES), False)
    return tile_at(g, t, 1, True)


cdef inline void softmax_tile_number(int op, const Geometry* g, const Array3* x, const Array3* y,
                                     void* row, bint many, Py_ssize_t t,
                                     bint wide) noexcept nogil:
    cdef Tile tile = tile_number(g, t, many)
    if wide:
        softmax_tile[double](op, g, x, y, <double*> row, &tile, 0)
    else:
        softmax_tile[float](op, g, x, y, <float*> row, &tile, 0)


cdef void array3(object array, Array3* out):
    # Pointer and strides of an (outer, k, inner) array; None leaves the pointer NULL.
    out.data = NULL
    out.outer = out.k = out.inner = 0
    if array is None:
        return
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(array)
    cdef cnp.npy_intp* strides = cnp.PyArray_STRIDES(array)
    out.data = cnp.PyArray_DATA(array)
    out.outer = strides[0] // item
    out.k = strides[1] // item
    out.inner = strides[2] // item


cdef void geometry_of(object array, Geometry* g):
    g.outer = cnp.PyArray_DIM(array, 0)
    g.k = cnp.PyArray_DIM(array, 1)
    g.inner = cnp.PyArray_DIM(array, 2)


OPERATIONS = {
    "softmax": SOFTMAX,
    "log_softmax": LOG_SOFTMAX,
    "logsumexp": LOGSUMEXP,
    "logsumexp_backward": LOGSUMEXP_BACKWARD,
    "entropy_from_logits": ENTROPY,
}


def softmax_family(int op, x, y, row):
    """Run `op` on x (outer, k, inner), writing y of that shape or row (outer * inner,)."""
    cdef Geometry g
    cdef Array3 xa
    cdef Array3 ya
    cdef bint wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    cdef void* row_data = NULL
    if row is not None:
        row_data = cnp.PyArray_DATA(row)
    geometry_of(x, &g)
    array3(x, &xa)
    array3(y, &ya)
    cdef bint many = side_by_side(&g, &xa)
    cdef Py_ssize_t tiles = tile_count(&g, many)
    cdef Py_ssize_t t
    cdef int threads = team(<double> g.outer * g.k * g.inner, tiles)
    with nogil:
        if threads == 1:
            for t in range(tiles):
                softmax_tile_number(op, &g, &xa, &ya, row_data, many, t, wide)
        else:
            for t in prange(tiles, num_threads=threads, schedule="static"):
                softmax_tile_number(op, &g, &xa, &ya, row_data, many, t, wide)
        feclearexcept(FE_ALL_EXCEPT)


cdef inline void backward_tile_number(bint logarithm, const Geometry* g, const Array3* grad,
                                      const Array3* y, const Array3* out, bint many,
                                      Py_ssize_t t, bint wide) noexcept nogil:
    cdef Tile tile = tile_number(g, t, many)
    if wide:
        backward_tile[double](logarithm, g, grad, y, out, &tile, 0)
    else:
        backward_tile[float](logarithm, g, grad, y, out, &tile, 0)


def softmax_backward(bint logarithm, grad, y, out):
    """Run the backward function of softmax or log_softmax; all arrays (outer, k, inner)."""
    cdef Geometry g
    cdef Array3 ga
    cdef Array3 ya
    cdef Array3 oa
    cdef bint wide = cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE
    geometry_of(y, &g)
    array3(grad, &ga)
    array3(y, &ya)
    array3(out, &oa)
    cdef bint many = side_by_side(&g, &ya)
    cdef Py_ssize_t tiles = tile_count(&g, many)
    cdef Py_ssize_t t
    cdef int threads = team(<double> g.outer * g.k * g.inner, tiles)
    with nogil:
        if threads == 1:
            for t in range(tiles):
                backward_tile_number(logarithm, &g, &ga, &ya, &oa, many, t, wide)
        else:
            for t in prange(tiles, num_threads=threads, schedule="static"):
                backward_tile_number(logarithm, &g, &ga, &ya, &oa, many, t, wide)
        feclearexcept(FE_ALL_EXCEPT)
