# Tiles: the unit of work of everything that runs along an axis.
#
# An array is seen as (outer, k, inner): k classes for each of outer * inner rows. A tile is LANES
# wide, in one of two ways:
#
#   one row     lane l of step i holds class i * LANES + l          (long rows)
#   many rows   lane l of step i holds class i of the tile's row l  (few classes, or rows that lie
#                                                                    side by side, as in axis=1)
#
# Either way the inner loop of every pass runs over LANES neighbours in a local buffer, which the
# compiler vectorises; sums are kept a lane each, and only for one row are the lanes added up, in a
# fixed order. So each formula stands once, and no result depends on how the work is shared.
#
# A tile of more than CHUNK steps is taken a chunk at a time.

cdef enum:
    LANES = 32
    CHUNK = 64                      # steps in a local buffer
    FLUSH = 4                       # additions to a lane before it is added to the total
    FEW_CLASSES = 64                # up to here many rows share a tile
    FEW_ROWS = 4                    # so few rows are not worth a tile of many


cdef struct Geometry:
    # shape (outer, k, inner), strides in items
    Py_ssize_t outer
    Py_ssize_t k
    Py_ssize_t inner

cdef struct Array3:
    void* data
    Py_ssize_t outer
    Py_ssize_t k
    Py_ssize_t inner

cdef struct Tile:
    Py_ssize_t first                # its first row
    Py_ssize_t rows
    bint single                     # one row
    Py_ssize_t steps
    Py_ssize_t chunks
    Py_ssize_t last                 # lanes in use at the last step
    Py_ssize_t lanes                # lanes in use at the others

cdef struct Span:
    # Lane l of step i is at lane[l] + i * step, in items.
    Py_ssize_t lane[LANES]
    Py_ssize_t step
    bint unit                       # the lanes are neighbours


cdef inline Tile tile_at(const Geometry* g, Py_ssize_t first, Py_ssize_t rows,
                         bint single) noexcept nogil:
    cdef Tile tile
    tile.first = first
    tile.rows = rows
    tile.single = single
    if single:
        tile.steps = (g.k + LANES - 1) // LANES
        tile.last = g.k - (tile.steps - 1) * LANES
        tile.lanes = LANES
    else:
        tile.steps = g.k
        tile.last = rows
        tile.lanes = rows
    tile.chunks = (tile.steps + CHUNK - 1) // CHUNK
    return tile


cdef inline void place(const Array3* a, const Geometry* g, const Tile* tile,
                       Span* span) noexcept nogil:
    cdef Py_ssize_t l
    cdef Py_ssize_t o = tile.first // g.inner
    cdef Py_ssize_t i = tile.first - o * g.inner
    if tile.single:
        span.lane[0] = o * a.outer + i * a.inner
        for l in range(1, LANES):
            span.lane[l] = span.lane[0] + l * a.k
        span.step = LANES * a.k
        span.unit = a.k == 1
        return
    span.unit = tile.rows == LANES
    for l in range(tile.rows):
        span.lane[l] = o * a.outer + i * a.inner
        span.unit = span.unit and span.lane[l] == span.lane[0] + l
        i += 1
        if i == g.inner:
            i = 0
            o += 1
    span.step = a.k


cdef inline void load(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                      Py_ssize_t steps, real fill, real* b) noexcept nogil:
    # b (steps, LANES) = the tile's steps start, start + 1, ...; lanes not in use get `fill`.
    cdef Py_ssize_t i, l
    cdef Py_ssize_t whole = steps
    cdef const real* lane
    if start + steps == tile.steps and tile.last < LANES and tile.single:
        whole -= 1
        for l in range(LANES):
            b[whole * LANES + l] = fill
        lane = x + (start + whole) * span.step
        for l in range(tile.last):
            b[whole * LANES + l] = lane[span.lane[l]]
    if span.unit and span.step == LANES:
        memcpy(b, x + span.lane[0] + start * LANES, whole * LANES * sizeof(real))
    elif span.unit:
        for i in range(whole):
            memcpy(b + i * LANES, x + span.lane[0] + (start + i) * span.step,
                   LANES * sizeof(real))
    else:
        for l in range(tile.lanes):
            lane = x + span.lane[l] + start * span.step
            for i in range(whole):
                b[i * LANES + l] = lane[i * span.step]
        for l in range(tile.lanes, LANES):
            for i in range(whole):
                b[i * LANES + l] = fill


cdef inline void store(real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                       Py_ssize_t steps, const real* b) noexcept nogil:
    # The inverse of `load`.
    cdef Py_ssize_t i, l
    cdef Py_ssize_t whole = steps
    cdef real* lane
    if start + steps == tile.steps and tile.last < LANES and tile.single:
        whole -= 1
        lane = x + (start + whole) * span.step
        for l in range(tile.last):
            lane[span.lane[l]] = b[whole * LANES + l]
    if span.unit and span.step == LANES:
        memcpy(x + span.lane[0] + start * LANES, b, whole * LANES * sizeof(real))
    elif span.unit:
        for i in range(whole):
            memcpy(x + span.lane[0] + (start + i) * span.step, b + i * LANES,
                   LANES * sizeof(real))
    else:
        for l in range(tile.lanes):
            lane = x + span.lane[l] + start * span.step
            for i in range(whole):
                lane[i * span.step] = b[i * LANES + l]


# What is known of each lane (for one row: the same in all lanes).

cdef inline void fill_lanes(real* a, real value) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        a[l] = value


cdef inline real tree_sum(real* a) noexcept nogil:
    # Sum of the lanes by halves; destroys them.
    cdef Py_ssize_t l
    for l in range(16):
        a[l] = a[l] + a[l + 16]
    for l in range(8):
        a[l] = a[l] + a[l + 8]
    for l in range(4):
        a[l] = a[l] + a[l + 4]
    return (a[0] + a[2]) + (a[1] + a[3])


cdef inline void two_sum(real* total, real* lost, const real* s) noexcept nogil:
    # total + lost += s, lost being what rounding the total loses (Knuth's two-sum).
    cdef Py_ssize_t l
    cdef real t, z
    for l in range(LANES):
        t = total[l] + s[l]
        z = t - total[l]
        lost[l] = lost[l] + ((total[l] - (t - z)) + (s[l] - z))
        total[l] = t


cdef inline void settle(real* total, real* lost, bint single) noexcept nogil:
    # total = total + lost; for one row, the sum over the lanes in every lane. (An infinite total
    # leaves NaN in `lost`.)
    cdef Py_ssize_t l
    for l in range(LANES):
        lost[l] = lost[l] if lost[l] == lost[l] else <real> 0.0
    cdef real low, high
    if single:
        low = tree_sum(lost)
        high = tree_sum(total)
        fill_lanes(total, high + low)
    else:
        for l in range(LANES):
            total[l] = total[l] + lost[l]


cdef inline void max_pass(const real* b, Py_ssize_t steps, real* m) noexcept nogil:
    # m = max(m, b) over the steps; NaN is passed over (the sums carry it).
    cdef Py_ssize_t i, l
    for i in range(steps):
        for l in range(LANES):
            m[l] = b[i * LANES + l] if b[i * LANES + l] > m[l] else m[l]


cdef inline void same_in_all(real* a, bint maximum) noexcept nogil:
    # For one row: the largest lane, or the only one that is not 0, in every lane.
    cdef Py_ssize_t l
    cdef real value = a[0]
    for l in range(1, LANES):
        value = (a[l] if a[l] > value else value) if maximum else value + a[l]
    fill_lanes(a, value)


cdef inline void choose_shift(const real* m, real* centre, real* n, real* low,
                              real* magic) noexcept nogil:
    # e_j = e**(x_j - centre - n ln 2) 2**LIFT is what the passes compute, for n the nearest integer
    # to (m - centre)/ln 2, so that multiplying by 2**-n is exact and the largest e_j is about 1.
    # The centre is 0 while m is moderate, and m itself beyond, where subtracting it is exact for
    # every x_j whose e_j is not 0.
    cdef Py_ssize_t l
    cdef real far
    if real is double:
        far = 4096.0
    else:
        far = <float> 512.0
    for l in range(LANES):
        centre[l] = m[l] if m[l] > far or m[l] < -far else <real> 0.0
        n[l] = (m[l] if centre[l] == 0 else <real> 0.0) * <real> 1.4426950408889634
        n[l] = (n[l] + round_magic(far)) - round_magic(far)
        low[l] = lowest(n[l])
        magic[l] = magic_of(lift(far) - n[l])


cdef inline void exp_pass(real* b, Py_ssize_t first, Py_ssize_t steps, const real* centre,
                          const real* low, const real* magic, bint keep, real mask_mark,
                          bint by_target, const real* target, real* target_e, real* target_y,
                          real* rest, real* rest_lost,
                          bint by_top, const real* m, real* top_e, real* top_count,
                          real* below, real* below_lost) noexcept nogil:
    # e_j of each element, and its sums a lane:
    #   rest    without the target's element (step target[l]), if by_target; of all otherwise
    #   below   without those equal to m, if by_top, which are counted
    # With `keep` the e_j replace the x_j in b (-inf becomes mask_mark, if that is not 0).
    cdef Py_ssize_t i, j, l, stop
    cdef real s[LANES]
    cdef real r[LANES]
    cdef real x, y, e, step
    cdef bint hit
    i = 0
    while i < steps:
        stop = min(i + FLUSH, steps)
        fill_lanes(s, <real> 0.0)
        fill_lanes(r, <real> 0.0)
        for j in range(i, stop):
            step = <real> (first + j)
            for l in range(LANES):
                x = b[j * LANES + l]
                y = x - centre[l]
                e = exp_scaled(low[l] if low[l] > y else y, magic[l])
                if by_target:
                    target_e[l] = e if target[l] == step else target_e[l]
                    target_y[l] = y if target[l] == step else target_y[l]
                    s[l] = s[l] + (<real> 0.0 if target[l] == step else e)
                else:
                    s[l] = s[l] + e
                if by_top:
                    top_e[l] = e if x == m[l] else top_e[l]
                    top_count[l] = top_count[l] + (<real> 1.0 if x == m[l] else <real> 0.0)
                    r[l] = r[l] + (<real> 0.0 if x == m[l] else e)
                if keep:
                    b[j * LANES + l] = mask_mark if (mask_mark != 0 and x == -<real> INFINITY) \
                        else e
        two_sum(rest, rest_lost, s)
        if by_top:
            two_sum(below, below_lost, r)
        i = stop
