# softmax, log_softmax, logsumexp and the entropy of logits, and the backward functions.
#
# With e_j = e**(x_j - N) 2**LIFT, s their sum, e_m that of the largest x_m = m, and
# below = s - e_m summed without it:
#   softmax       e_j / s
#   logsumexp     N + log s, or log1p(s - 1) where that is near 0
#   log_softmax   (x_j - N) - log s; for the largest, where it leads: -log1p(below/e_m)
#   entropy       (sum_{j != m} e_j (N - x_j + log s) + e_m log1p(below/e_m)) / s
# Nothing is subtracted that could cancel. (N stands for centre + n ln 2.)

cdef enum:
    WRITE_AHEAD = 16                # steps from what is written to what is fetched for it

cdef enum:
    SOFTMAX
    LOG_SOFTMAX
    LOGSUMEXP
    LOGSUMEXP_BACKWARD              # `row` holds grad_output
    ENTROPY


cdef inline bint row_has_nan(const real* x, const Array3* a, const Geometry* g,
                             Py_ssize_t r) noexcept nogil:
    # Only asked of rows whose largest value is infinite.
    cdef const real* row = row_at(<real*> x, a, g, r)
    cdef Py_ssize_t j
    for j in range(g.k):
        if row[j * a.k] != row[j * a.k]:
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


cdef void sums_near_one(const real* x, const Span* span, const Tile* tile, const real* m, real* b,
                        real* excess, real* low) noexcept nogil:
    # excess + low = (sum of e**x_j) - 1 of each row with abs(m) < 1. What rounding the e**x_j loses
    # is summed too, and the 1 is taken from that of the largest.
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real least = lowest(<real> 0.0)
    cdef real magic = magic_of(lift(least))
    cdef real up = lift_factor(least)
    cdef real s[LANES]
    cdef real count[LANES]
    cdef real y, e, tail
    fill_lanes(excess, <real> 0.0)
    fill_lanes(low, <real> 0.0)
    fill_lanes(count, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load(x, span, tile, start, steps, -<real> INFINITY, b)
        for i in range(steps):
            for l in range(LANES):
                y = b[i * LANES + l]
                e = exp_parts(least if least > y else y, magic, &tail)
                count[l] = count[l] + (<real> 1.0 if y == m[l] else <real> 0.0)
                s[l] = e - up if y == m[l] else e
                low[l] = low[l] + (tail + (e - (s[l] + up) if y == m[l] else <real> 0.0))
            two_sum(excess, low, s)
    if tile.single:
        sum_in_all(count)
    settle_tile(excess, low, tile.single)
    for l in range(1 if tile.single else LANES):
        # Each of those that share the maximum has lost a 1.
        e = (count[l] - <real> 1.0) * up
        y = excess[l] + e
        low[l] = (low[l] + sum_error(excess[l], e, y)) * (<real> 1.0 / up)
        excess[l] = y * (<real> 1.0 / up)


cdef inline void rows_near_one(const real* x, const Array3* xa, const Geometry* g,
                               const Tile* batch, const real* m, real* b, real* excess, real* low,
                               layout how) noexcept nogil:
    # sums_near_one of each row.
    cdef Py_ssize_t r
    cdef Span span
    cdef Tile tile
    cdef real top[LANES]
    cdef real sums[LANES]
    cdef real rests[LANES]
    if layout is many:
        place(xa, g, batch, &span)
        sums_near_one(x, &span, batch, m, b, excess, low)
    else:
        for r in range(batch.rows):
            tile = row_of(batch, r)
            place(xa, g, &tile, &span)
            fill_lanes(top, m[r])
            sums_near_one(x, &span, &tile, top, b, sums, rests)
            excess[r], low[r] = sums[0], rests[0]


cdef inline void signs_to_infinity(real* row, Py_ssize_t step, Py_ssize_t k) noexcept nogil:
    # Numbers but 0 become infinite.
    cdef Py_ssize_t j
    for j in range(k):
        if row[j * step] != 0:
            row[j * step] = row[j * step] * <real> INFINITY


cdef void softmax_batch(int op, const Geometry* g, const Array3* xa, const Array3* ya, real* row,
                        const Tile* batch, void* room, TopsAhead* tops_ahead, real kind,
                        layout how) noexcept nogil:
    # SOFTMAX, LOGSUMEXP and its backward. x (outer, k, inner); y the same, or row (outer * inner,).
    cdef const real* x = <const real*> xa.data
    cdef real* out = <real*> ya.data
    cdef real infinity = <real> INFINITY
    cdef bint far
    cdef bint near_one = False
    cdef Py_ssize_t lanes = lanes_of(batch, kind)
    cdef Py_ssize_t l
    cdef real chunk[CHUNK * LANES]
    cdef real* b = <real*> room if layout is many and room != NULL else chunk
    cdef Pile* pile = <Pile*> room if layout is in_turn else NULL
    cdef real* e = out
    cdef Array3 waiting = ya[0]
    # One number a row:
    cdef real m[LANES]
    cdef real anchor[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real total[LANES]
    cdef real lost[LANES]
    cdef real of_row[LANES]         # grad_output, or 1
    cdef int endless[LANES]         # 1 or -1 where it is infinite
    cdef real factor[LANES]
    cdef real factor_low[LANES]
    cdef real y

    if pile != NULL:
        e = wait_in(pile, g, batch, kind, ya, &waiting)
    batch_load(x, xa, g, batch, <const Py_ssize_t*> NULL, <const real*> NULL, b, m,
               tops_ahead, how)
    choose_anchor(m, m, lanes, anchor)
    far = choose_shift(m, lanes, centre, n, low, magic)
    batch_sums(x, xa, g, batch, <const Py_ssize_t*> NULL, centre, low, magic, anchor, far, b, e,
               &waiting, pile, tops_ahead, total, lost, how)
    if op == LOGSUMEXP:
        for l in range(lanes):
            of_row[l] = centre[l] + log_parts(total[l], lost[l], n[l] - lift(kind))
        for l in range(batch.rows):
            near_one |= (m[l] < 1) & (m[l] > -1) & (of_row[l] < 1) & (of_row[l] > -1)
        if near_one:
            # Here the rounding of the e_j would be more than that of the result.
            rows_near_one(x, xa, g, batch, m, b, total, lost, how)
            for l in range(lanes):
                y = log1p_sum(total[l], lost[l])
                of_row[l] = y if (m[l] < 1) & (m[l] > -1) & (of_row[l] < 1) & (of_row[l] > -1) \
                    else of_row[l]
        for l in range(batch.rows):
            row[batch.first + l] = of_row[l]
            if m[l] == infinity or m[l] == -infinity:
                row[batch.first + l] = m[l]
                if row_has_nan(x, xa, g, batch.first + l):
                    row[batch.first + l] = <real> NAN
        return
    fill_lanes(of_row, <real> 1.0)
    if op == LOGSUMEXP_BACKWARD:
        for l in range(batch.rows):
            of_row[l] = row[batch.first + l]
    for l in range(lanes):
        # An infinite factor comes last, as it must not meet a probability of 0.
        endless[l] = (of_row[l] == infinity) - (of_row[l] == -infinity)
        of_row[l] = <real> endless[l] if endless[l] != 0 else of_row[l]
        y = <real> 1.0 / total[l]
        factor[l] = of_row[l] * y
        factor_low[l] = product_error(of_row[l], y, factor[l]) + \
            of_row[l] * reciprocal_low(total[l], lost[l], y)
    batch_store(out, ya, <const real*> e, &waiting, pile, g, batch, <const Py_ssize_t*> NULL,
                <const real*> NULL, b, factor, factor_low, how)
    for l in range(batch.rows):
        if endless[l] != 0:
            signs_to_infinity(row_at(out, ya, g, batch.first + l), ya.k, g.k)


cdef void log_softmax_section(const real* x, const Span* xs, real* out, const Span* ys,
                              const Tile* tile, Py_ssize_t k, Py_ssize_t s, real centre, real high,
                              real low, real top_x, real top) noexcept nogil:
    # out = ((x - centre) - high) - low, and `top` for those equal to top_x, in a section of one
    # row; x may be out.
    cdef Py_ssize_t chunk, start, count, i, j, l
    cdef const real* run
    cdef real* to
    cdef real b[CHUNK * LANES]
    for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
        start = chunk * CHUNK
        run = run_of(x, xs, tile, k, chunk, &count, b)
        to = out + ys.lane[0] + start * LANES if ys.unit else b
        for i in range(0, count // LANES):
            for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                FASTCE_PREFETCH_WRITE(<const char*> (to + (i + WRITE_AHEAD) * LANES) + 64 * l)
            for j in range(i * LANES, (i + 1) * LANES):
                to[j] = top if run[j] == top_x else ((run[j] - centre) - high) - low
        for j in range(count // LANES * LANES, count):
            to[j] = top if run[j] == top_x else ((run[j] - centre) - high) - low
        if not ys.unit:
            store(out, ys, tile, start, min(tile.steps - start, <Py_ssize_t> CHUNK),
                  <const real*> b)


cdef inline void log_softmax_row(const real* x, const Span* xs, real* out, const Span* ys,
                                 const Tile* tile, Py_ssize_t k, real centre, real high, real low,
                                 real top_x, real top) noexcept nogil:
    # The same of the whole row.
    cdef Py_ssize_t s
    cdef int threads = 1 if section_count(tile) == 1 else team(0.3 * k, SECTIONS)
    if threads == 1:
        for s in range(section_count(tile)):
            log_softmax_section(x, xs, out, ys, tile, k, s, centre, high, low, top_x, top)
    else:
        for s in prange(SECTIONS, num_threads=threads, schedule="static"):
            log_softmax_section(x, xs, out, ys, tile, k, s, centre, high, low, top_x, top)


cdef void log_softmax_batch(const Geometry* g, const Array3* xa, const Array3* ya,
                            const Tile* batch, real kind, layout how) noexcept nogil:
    # LOG_SOFTMAX. x and y (outer, k, inner).
    cdef const real* x = <const real*> xa.data
    cdef real* out = <real*> ya.data
    cdef real infinity = <real> INFINITY
    cdef bint far
    cdef Py_ssize_t lanes = lanes_of(batch, kind)
    cdef Py_ssize_t chunk, start, steps, i, l, r
    cdef Tile tile
    cdef Span xs
    cdef Span ys
    cdef real b[CHUNK * LANES]
    # One number a row; the largest value is what cross-entropy calls the target:
    cdef Py_ssize_t at[LANES]
    cdef real m[LANES]
    cdef real below[LANES]          # the largest but that
    cdef real anchor[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real rest[LANES]
    cdef real rest_low[LANES]
    cdef real log_s[LANES]
    cdef real high[LANES]
    cdef real top[LANES]            # its result
    cdef real top_x[LANES]          # m where it leads, alone; else infinite
    cdef real e, e_low, s, s_low

    batch_argmax(x, xa, g, batch, <const Py_ssize_t*> NULL, b, at, m, below,
                 <const TopsAhead*> NULL, how)
    choose_anchor(below, m, lanes, anchor)
    far = choose_shift(m, lanes, centre, n, low, magic)
    batch_sums(x, xa, g, batch, at, centre, low, magic, anchor, far, b, <real*> NULL, ya, NULL,
               NULL, rest, rest_low, how)
    for l in range(lanes):
        e = exp_parts(m[l] - centre[l], magic[l], &e_low)
        s = rest[l] + e
        s_low = sum_error(rest[l], e, s) + (rest_low[l] + e_low)
        top[l] = cost_near(rest[l], rest_low[l], e, e_low, <real> 1.0 / s)
        top_x[l] = m[l] if top[l] < <real> 0.7 and below[l] < m[l] else infinity
        top[l] = <real> 0.0 - top[l]
        log_s[l] = log_parts(s, s_low, -lift(kind)) + n[l] * ln2_low(kind)
        high[l] = n[l] * ln2_high(kind)
    for l in range(batch.rows):
        if m[l] == infinity:
            # inf - inf and x - inf, unless a NaN spoils the row
            log_s[l] = <real> NAN if row_has_nan(x, xa, g, batch.first + l) else <real> 0.0

    if layout is many and batch.chunks == 1:
        # b has what is left of the logits, the largest masked.
        place(ya, g, batch, &ys)
        for i in range(batch.steps):
            for l in range(LANES):
                b[i * LANES + l] = (b[i * LANES + l] - high[l]) - log_s[l]
        for l in range(batch.rows):
            b[at[l] * LANES + l] = top[l] if m[l] == top_x[l] else \
                ((m[l] - centre[l]) - high[l]) - log_s[l]
        store(out, &ys, batch, 0, batch.steps, <const real*> b)
    elif layout is many:
        place(xa, g, batch, &xs)
        place(ya, g, batch, &ys)
        for chunk in range(batch.chunks):
            start = chunk * CHUNK
            steps = min(batch.steps - start, <Py_ssize_t> CHUNK)
            load(x, &xs, batch, start, steps, -infinity, b)
            for i in range(steps):
                for l in range(LANES):
                    s = b[i * LANES + l]
                    b[i * LANES + l] = top[l] if s == top_x[l] else \
                        ((s - centre[l]) - high[l]) - log_s[l]
            store(out, &ys, batch, start, steps, <const real*> b)
    else:
        for r in range(batch.rows):
            tile = row_of(batch, r)
            place(xa, g, &tile, &xs)
            place(ya, g, &tile, &ys)
            log_softmax_row(x, &xs, out, &ys, &tile, g.k, centre[r], high[r], log_s[r], top_x[r],
                            top[r])


cdef void entropy_tile(const Geometry* g, const Array3* xa, real* row, const Tile* tile,
                       real kind) noexcept nogil:
    # ENTROPY. x (outer, k, inner), row (outer * inner,).
    cdef const real* x = <const real*> xa.data
    cdef Span xs
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
    cdef bint whole = tile.chunks == 1
    cdef Py_ssize_t lanes = 1 if tile.single else LANES
    cdef Py_ssize_t chunk, start, steps, l
    cdef real infinity = <real> INFINITY
    cdef real ratio, y

    place(xa, g, tile, &xs)
    fill_lanes(m, -infinity)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load(x, &xs, tile, start, steps, -infinity, b)
        max_pass(b, steps, m)
    if tile.single:
        max_in_all(m)
    choose_shift(m, LANES, centre, n, low, magic)

    fill_lanes(total, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
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
        entropy_pass(b, steps, centre, n, low, magic, m, weighted, weighted_lost)
        exp_pass(b, steps, centre, low, magic, <real> 0.0, total, lost, m, top_e, top_count, below,
                 below_lost)
    settle_tile(total, lost, tile.single)
    settle_tile(below, below_lost, tile.single)
    settle_tile(weighted, weighted_lost, tile.single)
    if tile.single:
        max_in_all(top_e)
        sum_in_all(top_count)

    for l in range(lanes):
        y = exp_parts(m[l] - centre[l], magic[l], &ratio)
        top[l] = (top_count[l] - <real> 1.0) * top_e[l]
        top[l] = cost_near(below[l] + top[l], below_lost[l], y, ratio, <real> 1.0 / total[l])
        factor[l] = log_parts(total[l], lost[l], -lift(<real> 0.0))
    for l in range(tile.rows):
        # Those equal to the largest are left out of `weighted`: their share is top.
        row[tile.first + l] = (weighted[l] + below[l] * factor[l]
                               + top_count[l] * top_e[l] * top[l]) / total[l] + <real> 0.0


cdef enum:
    BACKWARD_ROW = 32               # classes of the shortest rows that are taken one by one


cdef inline real most_log(real kind) noexcept nogil:
    # Log-probabilities are at most 0; a larger number only has to stay within range.
    if real is double:
        return 600.0
    else:
        return <float> 60.0


cdef inline void backward_lanes_of_many(bint logarithm, const real* grad, Py_ssize_t grad_step,
                                        const real* y, Py_ssize_t y_step, real* out,
                                        Py_ssize_t out_step, Py_ssize_t k, real low, real most,
                                        real magic) noexcept nogil:
    # backward_tile of LANES lanes, neighbours in every array at each step, with AVX-512. `out` may
    # be grad or y.
    if real is double:
        fastce_backward_many_d(logarithm, grad, grad_step, y, y_step, out, out_step, k, low, most,
                               magic)
    else:
        fastce_backward_many_f(logarithm, grad, grad_step, y, y_step, out, out_step, k, low, most,
                               magic)


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
    cdef real most = most_log(low)
    cdef real e
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef bint whole = tile.chunks == 1
    if tile.single and ga.k == 1 and ya.k == 1 and oa.k == 1:
        backward_row(logarithm, row_at(<real*> ga.data, ga, g, tile.first),
                     row_at(<real*> ya.data, ya, g, tile.first),
                     row_at(out, oa, g, tile.first), g.k)
        return
    place(ga, g, tile, &gs)
    place(ya, g, tile, &ys)
    place(oa, g, tile, &os)
    if FASTCE_HAS_EXP_LANES and whole and not tile.single:
        load(grad, &gs, tile, 0, tile.steps, <real> 0.0, b)
        load(output, &ys, tile, 0, tile.steps, <real> 0.0, y)
        backward_lanes_of_many(logarithm, b, LANES, y, LANES, b, LANES, g.k, low, most, magic)
        store(out, &os, tile, 0, tile.steps, <const real*> b)
        return
    if FASTCE_HAS_EXP_LANES and not tile.single and gs.unit and ys.unit and os.unit:
        backward_lanes_of_many(logarithm, grad + gs.lane[0], gs.step, output + ys.lane[0], ys.step,
                               out + os.lane[0], os.step, g.k, low, most, magic)
        return
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
                    e = e * y[i * LANES + l] if y[i * LANES + l] != 0 or e != e else <real> 0.0
                s[l] = e
            two_sum(total, lost, s)
    settle_tile(total, lost, tile.single)
    if tile.single:
        fill_lanes(total, total[0])
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
                    e = e + <real> 0.0
                    b[i * LANES + l] = <real> 0.0 if y[i * LANES + l] == -infinity else e
        else:
            for i in range(steps):
                for l in range(LANES):
                    e = y[i * LANES + l] * (b[i * LANES + l] - total[l]) + <real> 0.0
                    # (A NaN spoils the whole row.)
                    b[i * LANES + l] = <real> 0.0 \
                        if y[i * LANES + l] == 0 and total[l] == total[l] else e
        store(out, &os, tile, start, steps, b)


cdef inline void backward_step(bint logarithm, const real* grad, const real* y, Py_ssize_t lanes,
                               real* total, real* lost) noexcept nogil:
    # total + lost += what backward_tile sums, of a step.
    cdef Py_ssize_t l
    cdef bint counts
    cdef real s[LANES]
    fill_lanes(s, <real> 0.0)
    for l in range(lanes):
        counts = (y[l] != 0) | (grad[l] != grad[l])
        s[l] = grad[l] if logarithm else (grad[l] * y[l] if counts else <real> 0.0)
    two_sum(total, lost, s)


cdef inline bint backward_lanes(bint logarithm, const real* grad, const real* y, real* out,
                                Py_ssize_t k, real low, real most, real magic) noexcept nogil:
    # backward_row in registers, if there is AVX-512 and the sum is finite: whether it was done.
    cdef bint done
    if real is double:
        done = fastce_log_softmax_backward_d(grad, y, out, k, low, most, magic) if logarithm \
            else fastce_softmax_backward_d(grad, y, out, k)
    else:
        done = fastce_log_softmax_backward_f(grad, y, out, k, low, most, magic) if logarithm \
            else fastce_softmax_backward_f(grad, y, out, k)
    return done


cdef void backward_row(bint logarithm, const real* grad, const real* y, real* out,
                       Py_ssize_t k) noexcept nogil:
    # backward_tile for one row of which all is in runs of memory. `out` may be grad or y.
    cdef Py_ssize_t whole = k // LANES * LANES
    cdef Py_ssize_t i, l, lanes
    cdef real low = lowest(<real> 0.0)
    cdef real magic = magic_of(lift(low))
    cdef real most = most_log(low)
    cdef real sum_lost, e, s
    cdef real p[LANES]
    cdef real total[LANES]
    cdef real lost[LANES]
    if backward_lanes(logarithm, grad, y, out, k, low, most, magic):
        return
    fill_lanes(total, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for i in range(k // LANES):
        backward_step(logarithm, grad + i * LANES, y + i * LANES, LANES, total, lost)
    backward_step(logarithm, grad + whole, y + whole, k - whole, total, lost)
    fold_lanes(total, lost, &s, &sum_lost)
    settle(&s, &sum_lost, 1)
    if logarithm:
        s = s * (<real> 1.0 / lift_factor(low))
        fill_lanes(total, magic)
        fill_lanes(lost, <real> 0.0)
        for i in range((k + LANES - 1) // LANES):
            lanes = min(k - i * LANES, <Py_ssize_t> LANES)
            for l in range(lanes):
                e = low if low > y[i * LANES + l] else y[i * LANES + l]
                lost[l] = most if e > most else e
            exp_each(lost, total, p)
            for l in range(lanes):
                e = grad[i * LANES + l] - p[l] * s + <real> 0.0
                out[i * LANES + l] = <real> 0.0 if y[i * LANES + l] == -<real> INFINITY else e
    elif s != s:
        for i in range(k):
            out[i] = s
    else:
        for i in range(k):
            e = y[i] * (grad[i] - s) + <real> 0.0
            out[i] = <real> 0.0 if y[i] == 0 else e


cdef inline bint side_by_side(const Geometry* g, const Array3* x) noexcept nogil:
    # Whether a tile of many rows suits: for few classes, and where rows lie side by side.
    if g.outer * g.inner <= FEW_ROWS:
        return False
    if g.k <= FEW_CLASSES:
        return True
    if g.inner == 1:
        return x.k != 1 and x.outer == 1 and g.outer >= LANES
    return x.k != 1 and x.inner == 1 and g.inner >= LANES


cdef inline Py_ssize_t tile_count(const Geometry* g, bint beside) noexcept nogil:
    cdef Py_ssize_t rows = g.outer * g.inner
    return (rows + LANES - 1) // LANES if beside else rows


cdef inline Tile tile_number(const Geometry* g, Py_ssize_t t, bint beside) noexcept nogil:
    cdef Py_ssize_t rows = g.outer * g.inner
    if beside:
        return tile_at(g, t * LANES, min(<Py_ssize_t> LANES, rows - t * LANES), False)
    return tile_at(g, t, 1, True)


cdef inline bint op_in_batches(int op) noexcept nogil:
    return op != ENTROPY


cdef inline void any_batch(int op, const Geometry* g, const Array3* x, const Array3* y, real* row,
                           const Tile* batch, void* room, TopsAhead* tops_ahead, real kind,
                           layout how) noexcept nogil:
    if op == LOG_SOFTMAX:
        log_softmax_batch(g, x, y, batch, kind, how)
    else:
        softmax_batch(op, g, x, y, row, batch, room, tops_ahead, kind, how)


cdef inline void softmax_tile_number(int op, const Geometry* g, const Array3* x, const Array3* y,
                                     void* row, const Work* work, Py_ssize_t t, int thread,
                                     bint wide) noexcept nogil:
    # Tile number t, or batch number t.
    cdef Tile tile
    cdef Array3 gathered
    cdef void* room = room_of(work, thread)
    cdef TopsAhead* tops_ahead
    if not op_in_batches(op):
        tile = tile_number(g, t, work.beside)
        if wide:
            entropy_tile[double](g, x, <double*> row, &tile, 0)
        else:
            entropy_tile[float](g, x, <float*> row, &tile, 0)
        return
    tile = batch_number(g, t, work)
    if work.gathered:
        gathered = gather_batch(x, y, g, &tile, tops_ahead_of(work, thread), wide)
        x = &gathered
    tops_ahead = tops_ahead_of(work, thread)
    if work.beside:
        if wide:
            any_batch[double, many](op, g, x, y, <double*> row, &tile, room, tops_ahead, 0, 0)
        else:
            any_batch[float, many](op, g, x, y, <float*> row, &tile, room, tops_ahead, 0, 0)
    elif wide:
        any_batch[double, in_turn](op, g, x, y, <double*> row, &tile, room, tops_ahead, 0, 0)
    else:
        any_batch[float, in_turn](op, g, x, y, <float*> row, &tile, room, tops_ahead, 0, 0)


cdef void array3(object array, Array3* out):
    # Pointer and strides of an (outer, k, inner) array; None leaves the pointer NULL.
    out.data = NULL
    out.outer = out.k = out.inner = 0
    out.divisor = 1
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


cdef void softmax_run(int op, const Geometry* g, const Array3* x, const Array3* y, void* row,
                      bint wide) noexcept nogil:
    cdef Work work = work_on(g, x, y, wide)
    cdef Py_ssize_t t
    if not op_in_batches(op):
        work.count = tile_count(g, work.beside)
        work.threads = team(<double> g.outer * g.k * g.inner, work.count)
    elif op != LOG_SOFTMAX:
        # (The backward of logsumexp goes over rows once more, which must not wait in a pile.)
        work.streamed = work.streamed and (work.beside or op == SOFTMAX)
        make_room(&work, g, y, wide)
        look_ahead(&work, g, x, y, False, wide)
    if work.threads == 1:
        for t in range(work.count):
            softmax_tile_number(op, g, x, y, row, &work, t, 0, wide)
    else:
        for t in prange(work.count, num_threads=work.threads, schedule="static"):
            softmax_tile_number(op, g, x, y, row, &work, t, threadid(), wide)
    clear_room(&work, wide)
    fastce_clear_flags()


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
    with nogil:
        softmax_run(op, &g, &xa, &ya, row_data, wide)


cdef inline void backward_tile_number(bint logarithm, const Geometry* g, const Array3* grad,
                                      const Array3* y, const Array3* out, bint beside,
                                      Py_ssize_t t, bint wide) noexcept nogil:
    cdef Tile tile = tile_number(g, t, beside)
    if wide:
        backward_tile[double](logarithm, g, grad, y, out, &tile, 0)
    else:
        backward_tile[float](logarithm, g, grad, y, out, &tile, 0)


cdef void backward_run(bint logarithm, const Geometry* g, const Array3* grad, const Array3* y,
                       const Array3* out, bint wide) noexcept nogil:
    cdef bint runs = grad.k == 1 and y.k == 1 and out.k == 1
    cdef bint beside = side_by_side(g, y) and not (
        FASTCE_HAS_EXP_LANES and runs and g.k >= BACKWARD_ROW)
    cdef Py_ssize_t tiles = tile_count(g, beside)
    cdef Py_ssize_t t
    cdef int threads = team(<double> g.outer * g.k * g.inner, tiles)
    if threads == 1:
        for t in range(tiles):
            backward_tile_number(logarithm, g, grad, y, out, beside, t, wide)
    else:
        for t in prange(tiles, num_threads=threads, schedule="static"):
            backward_tile_number(logarithm, g, grad, y, out, beside, t, wide)
    fastce_clear_flags()


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
    with nogil:
        backward_run(logarithm, &g, &ga, &ya, &oa, wide)
