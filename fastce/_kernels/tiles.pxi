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
    CHUNK = 128                     # steps in a local buffer
    FLUSH = 4                       # additions to a lane before it is added to the total
    FEW_CLASSES = 128               # up to here many rows share a tile
    FEW_ROWS = 4                    # so few rows are not worth a tile of many


cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FASTCE_PREFETCH(address) __builtin_prefetch(address)
    #define FASTCE_PREFETCH_WRITE(address) __builtin_prefetch(address, 1)
    #else
    #define FASTCE_PREFETCH(address) ((void) (address))
    #define FASTCE_PREFETCH_WRITE(address) ((void) (address))
    #endif
    """
    void FASTCE_PREFETCH(const void* address) nogil
    void FASTCE_PREFETCH_WRITE(const void* address) nogil


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
    bint unit                       # the lanes are neighbours: only lane[0] is set, if for one row


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
        span.step = LANES * a.k
        span.unit = a.k == 1
        if not span.unit:
            for l in range(1, LANES):
                span.lane[l] = span.lane[0] + l * a.k
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


cdef inline void nowhere(Span* span) noexcept nogil:
    # A span that is not used.
    span.lane[0] = span.step = 0
    span.unit = False


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
            b[whole * LANES + l] = lane[span.lane[0] + l if span.unit else span.lane[l]]
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


cdef inline void load_max(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                          Py_ssize_t steps, real* b, real* m) noexcept nogil:
    # `load`, filling with -inf, and m = max(m, b) over the steps. NaN is passed over (the sums
    # carry it).
    cdef Py_ssize_t i, l
    cdef real t[LANES]
    load(x, span, tile, start, steps, -<real> INFINITY, b)
    memcpy(t, m, LANES * sizeof(real))
    for i in range(steps):
        for l in range(LANES):
            t[l] = b[i * LANES + l] if b[i * LANES + l] > t[l] else t[l]
    memcpy(m, t, LANES * sizeof(real))


cdef inline void store_scaled(real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                              Py_ssize_t steps, real* b, const real* factor) noexcept nogil:
    # `store` b times a factor a lane. (+ 0.0: a factor below 0 would make -0.0 of 0.)
    cdef Py_ssize_t i, l
    cdef Py_ssize_t whole = 0
    cdef real* to
    if span.unit:
        whole = steps
        if tile.last < LANES and start + steps == tile.steps:
            whole -= 1
    for i in range(whole):
        to = x + span.lane[0] + (start + i) * span.step
        for l in range(LANES):
            to[l] = b[i * LANES + l] * factor[l] + <real> 0.0
    if whole == steps:
        return
    for i in range(whole, steps):
        for l in range(LANES):
            b[i * LANES + l] = b[i * LANES + l] * factor[l] + <real> 0.0
    store(x, span, tile, start + whole, steps - whole, <const real*> b + whole * LANES)


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
            lane[span.lane[0] + l if span.unit else span.lane[l]] = b[whole * LANES + l]
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


cdef inline void max_in_all(real* a) noexcept nogil:
    # For one row: the largest lane in every lane.
    cdef Py_ssize_t l
    cdef real value
    for l in range(16):
        a[l] = a[l + 16] if a[l + 16] > a[l] else a[l]
    for l in range(8):
        a[l] = a[l + 8] if a[l + 8] > a[l] else a[l]
    value = a[0]
    for l in range(1, 8):
        value = a[l] if a[l] > value else value
    fill_lanes(a, value)


cdef inline void sum_in_all(real* a) noexcept nogil:
    # For one row: the sum of the lanes in every lane.
    fill_lanes(a, tree_sum(a))


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


cdef extern from "exp_lanes.h" nogil:
    bint FASTCE_HAS_EXP_LANES
    void fastce_exp_same_d(const double* y, double magic, double* e)
    void fastce_exp_each_d(const double* y, const double* magic, double* e)
    void fastce_exp_same_f(const float* y, float magic, float* e)
    void fastce_exp_each_f(const float* y, const float* magic, float* e)


cdef inline void exp_same(const real* y, real magic, real* e) noexcept nogil:
    # e = exp_scaled(y, magic), LANES at a time.
    cdef Py_ssize_t l
    cdef real t[LANES]
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_exp_same_d(y, magic, e)
        else:
            fastce_exp_same_f(y, magic, e)
    else:
        for l in range(LANES):
            t[l] = exp_scaled(y[l], magic)
        memcpy(e, t, LANES * sizeof(real))


cdef inline void exp_each(const real* y, const real* magic, real* e) noexcept nogil:
    # e = exp_scaled(y, magic), each lane with its own magic; e is a local array.
    cdef Py_ssize_t l
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_exp_each_d(y, magic, e)
        else:
            fastce_exp_each_f(y, magic, e)
    else:
        for l in range(LANES):
            e[l] = exp_scaled(y[l], magic[l])


cdef inline Py_ssize_t next_row(const Array3* a, const Geometry* g,
                                const Tile* tile) noexcept nogil:
    # Where the row after a single one starts, or -1 if it is not one run of memory.
    cdef Py_ssize_t o = (tile.first + 1) // g.inner
    if not tile.single or a.k != 1 or o >= g.outer:
        return -1
    return o * a.outer + (tile.first + 1 - o * g.inner) * a.inner


cdef inline void exp_pass(real* b, Py_ssize_t steps, const real* centre, const real* low,
                          const real* magic, const real* ahead, const real* result, bint keep,
                          real mask_mark, real* total, real* lost, bint by_top,
                          const real* m, real* top_e, real* top_count, real* below,
                          real* below_lost) noexcept nogil:
    # e_j of each element, and the lanes' sums: total, and with `by_top` also below, the sum
    # without those equal to m, which are counted. With `keep` the e_j replace the x_j in b (and
    # mask_mark, if it is not 0, replaces -inf). While this computes, memory is brought near: from
    # `ahead` on what will be read next, and at `result` what will be written (either may be NULL).
    cdef Py_ssize_t i, j, l, stop
    cdef real s[LANES]
    cdef real r[LANES]
    cdef real y[LANES]
    cdef real e[LANES]
    cdef real x
    i = 0
    while i < steps:
        stop = min(i + FLUSH, steps)
        fill_lanes(s, <real> 0.0)
        if by_top:
            fill_lanes(r, <real> 0.0)
        for j in range(i, stop):
            if ahead != NULL:
                for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                    FASTCE_PREFETCH(<const char*> (ahead + j * LANES) + 64 * l)
            if result != NULL:
                for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                    FASTCE_PREFETCH_WRITE(<const char*> (result + j * LANES) + 64 * l)
            for l in range(LANES):
                x = b[j * LANES + l] - centre[l]
                y[l] = low[l] if low[l] > x else x
            exp_each(y, magic, e)
            for l in range(LANES):
                x = b[j * LANES + l]
                s[l] = s[l] + e[l]
                if by_top:
                    top_e[l] = e[l] if x == m[l] else top_e[l]
                    top_count[l] = top_count[l] + (<real> 1.0 if x == m[l] else <real> 0.0)
                    r[l] = r[l] + (<real> 0.0 if x == m[l] else e[l])
                if keep:
                    b[j * LANES + l] = mask_mark if (mask_mark != 0 and x == -<real> INFINITY) \
                        else e[l]
        two_sum(total, lost, s)
        if by_top:
            two_sum(below, below_lost, r)
        i = stop


# The short way for rows whose logits are all moderate: e_j = e**x_j, without a shift, so without
# looking for the largest first. Whether they were moderate is known only afterwards.

cdef inline real moderate(real x) noexcept nogil:
    # e**x and ratios of two of them, and of sums of them, stay well within the range.
    if real is double:
        return 250.0
    else:
        return <float> 35.0


cdef inline void exp_plain(const real* x, Py_ssize_t stride, Py_ssize_t first, Py_ssize_t steps,
                           const real* ahead, const real* result, bint by_target,
                           const real* target, real* b, real* total, real* lost,
                           real* extreme) noexcept nogil:
    # b = e**x for steps at x, x + stride, ...; total + lost += their sums (with `by_target` without
    # lane l of step target[l], counted from -first); extreme = max(extreme, |x|).
    cdef Py_ssize_t i, j, l, stop
    cdef real s[LANES]
    cdef real widest[LANES]
    cdef real magic = magic_of(<real> 0.0)
    cdef real v, step
    cdef real* e
    memcpy(widest, extreme, LANES * sizeof(real))
    i = 0
    while i < steps:
        stop = min(i + FLUSH, steps)
        fill_lanes(s, <real> 0.0)
        for j in range(i, stop):
            if ahead != NULL:
                for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                    FASTCE_PREFETCH(<const char*> (ahead + j * LANES) + 64 * l)
            if result != NULL:
                for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                    FASTCE_PREFETCH_WRITE(<const char*> (result + j * LANES) + 64 * l)
            step = <real> (first + j)
            e = b + j * LANES
            # (before e is written, which may be where x is)
            for l in range(LANES):
                v = x[j * stride + l]
                v = -v if v < 0 else v
                widest[l] = v if v > widest[l] else widest[l]
            exp_same(x + j * stride, magic, e)
            for l in range(LANES):
                if by_target:
                    s[l] = s[l] + (<real> 0.0 if target[l] == step else e[l])
                else:
                    s[l] = s[l] + e[l]
        two_sum(total, lost, s)
        i = stop
    memcpy(extreme, widest, LANES * sizeof(real))


cdef inline void exp_plain_step(const real* x, const Span* span, const Tile* tile, Py_ssize_t step,
                                Py_ssize_t left_out, real* b, real* total, real* lost,
                                real* extreme) noexcept nogil:
    # The same for one step of a single row, whose lane `left_out` (or -1), and lanes not in use,
    # count 0 in the sum and become 0.
    cdef Py_ssize_t l
    cdef real sums[LANES]
    cdef real none[LANES]
    load(x, span, tile, step, <Py_ssize_t> 1, <real> 0.0, b)
    fill_lanes(sums, <real> 0.0)
    fill_lanes(none, <real> 0.0)
    exp_plain(<const real*> b, <Py_ssize_t> LANES, <Py_ssize_t> 0, <Py_ssize_t> 1,
              <const real*> NULL, <const real*> NULL, False, <const real*> NULL, b, sums, none,
              extreme)
    if left_out >= 0:
        b[left_out] = 0
    if step == tile.steps - 1:
        for l in range(tile.last, LANES):
            b[l] = 0
    two_sum(total, lost, b)


cdef inline bint exp_tile(const real* x, const Span* span, const Tile* tile, const real* ahead,
                          const real* result, const Py_ssize_t* target, real* b, real* total,
                          real* lost) noexcept nogil:
    # e**x of a tile of one chunk into b, and the lanes' sums, without the rows' targets (if
    # target is not NULL). False if some logit is not moderate: then b and the sums are void.
    cdef Py_ssize_t i, l
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t special = -1
    cdef real extreme[LANES]
    cdef real step[LANES]
    cdef real widest = 0
    cdef const real* source = x + span.lane[0]
    fill_lanes(extreme, <real> 0.0)
    fill_lanes(total, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    if not tile.single:
        load(x, span, tile, <Py_ssize_t> 0, tile.steps, <real> 0.0, b)
        if target != NULL:
            for l in range(LANES):
                step[l] = <real> target[l]
            exp_plain(<const real*> b, <Py_ssize_t> LANES, <Py_ssize_t> 0, tile.steps, ahead,
                      result, True, <const real*> step, b, total, lost, extreme)
        else:
            exp_plain(<const real*> b, <Py_ssize_t> LANES, <Py_ssize_t> 0, tile.steps, ahead,
                      result, False, <const real*> NULL, b, total, lost, extreme)
    else:
        if target != NULL:
            special = target[0] // LANES
        while done < tile.steps:
            # As many steps as need no attention, then one that does.
            i = tile.steps if tile.last == LANES else tile.steps - 1
            if done <= special < i:
                i = special
            if i > done and span.unit:
                exp_plain(source + done * LANES, <Py_ssize_t> LANES, done, i - done,
                          ahead + done * LANES if ahead != NULL else ahead,
                          result + done * LANES if result != NULL else result, False,
                          <const real*> NULL, b + done * LANES, total, lost, extreme)
                done = i
            elif i > done:
                load(x, span, tile, done, i - done, <real> 0.0, b + done * LANES)
                exp_plain(<const real*> b + done * LANES, <Py_ssize_t> LANES, done, i - done,
                          <const real*> NULL, <const real*> NULL, False, <const real*> NULL,
                          b + done * LANES, total, lost, extreme)
                done = i
            if done < tile.steps:
                exp_plain_step(x, span, tile, done,
                               target[0] % LANES if done == special else <Py_ssize_t> -1,
                               b + done * LANES, total, lost, extreme)
                done += 1
    for l in range(LANES):
        widest = extreme[l] if extreme[l] > widest else widest
    return widest <= moderate(widest)
