# Batches of rows: what softmax, log_softmax, logsumexp and the cross-entropy of classes share.
#
# A batch is up to LANES rows, and lane l of what is known of its rows (the largest logit, the sum of
# the e_j, ...) belongs to row l, so that all of this is computed for the whole batch at once. The
# classes are in a tile of many rows or, where the rows are long, in one tile for each row, `many`
# and `in_turn`: those of row r stand from b + r * steps * LANES on. Where even one tile is more than
# a buffer holds, it is taken a chunk at a time, and the e_j wait in the result.

ctypedef char in_turn
ctypedef short many

ctypedef fused layout:
    in_turn
    many


cdef inline Py_ssize_t batch_size(const Geometry* g, bint side_by_side) noexcept nogil:
    cdef Py_ssize_t steps = (g.k + LANES - 1) // LANES
    if side_by_side:
        return LANES
    return max(<Py_ssize_t> 1, min(<Py_ssize_t> LANES, CHUNK // steps))


cdef inline Tile batch_number(const Geometry* g, Py_ssize_t t, bint side_by_side) noexcept nogil:
    cdef Py_ssize_t size = batch_size(g, side_by_side)
    return tile_at(g, t * size, min(size, g.outer * g.inner - t * size), not side_by_side)


cdef inline Py_ssize_t batch_count(const Geometry* g, bint side_by_side) noexcept nogil:
    cdef Py_ssize_t size = batch_size(g, side_by_side)
    return (g.outer * g.inner + size - 1) // size


cdef inline Tile row_of(const Tile* batch, Py_ssize_t r) noexcept nogil:
    cdef Tile tile = batch[0]
    tile.first += r
    tile.rows = 1
    return tile


cdef inline void mask_targets_of(const Tile* tile, Py_ssize_t start, Py_ssize_t steps,
                                 const Py_ssize_t* target, real* b) noexcept nogil:
    # The target of each row becomes -inf in b; where it is IGNORED, the whole row becomes zeros.
    cdef Py_ssize_t l, i, lane, step
    for l in range(tile.rows):
        lane = target[l] % LANES if tile.single else l
        step = (target[l] // LANES if tile.single else target[l]) - start
        if target[l] >= 0 and 0 <= step < steps:
            b[step * LANES + lane] = -<real> INFINITY
        elif target[l] == IGNORED:
            for i in range(steps):
                for lane in range(0 if tile.single else l, LANES if tile.single else l + 1):
                    b[i * LANES + lane] = 0


cdef inline void load_masked(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                             Py_ssize_t steps, const Py_ssize_t* target, real* b) noexcept nogil:
    load(x, span, tile, start, steps, -<real> INFINITY, b)
    if target != NULL:
        mask_targets_of(tile, start, steps, target, b)


cdef inline void batch_load(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                            const Py_ssize_t* target, real* b, real* top,
                            layout how) noexcept nogil:
    # The logits into b, their targets masked, and the largest of each row that is left into `top`.
    cdef Py_ssize_t r, chunk, start, steps
    cdef bint again
    cdef Span span
    cdef Tile tile
    cdef real* row
    cdef real m[LANES]
    fill_lanes(top, -<real> INFINITY)
    if layout is many:
        place(xa, g, batch, &span)
        for chunk in range(batch.chunks):
            start = chunk * CHUNK
            steps = min(batch.steps - start, <Py_ssize_t> CHUNK)
            load_masked(x, &span, batch, start, steps, target, b)
            max_pass(b, steps, top)
    else:
        for r in range(batch.rows):
            tile = row_of(batch, r)
            place(xa, g, &tile, &span)
            fill_lanes(m, -<real> INFINITY)
            if batch.chunks == 1:
                row = b + r * batch.steps * LANES
                load_max(x, &span, &tile, row, m)
                top[r] = lanes_max(m)
                if target == NULL:
                    continue
                again = target[r] == IGNORED or row[target[r]] == top[r]
                mask_targets_of(&tile, 0, batch.steps, target + r, row)
                if not again:
                    continue
                fill_lanes(m, -<real> INFINITY)
                max_pass(<const real*> row, batch.steps, m)
            else:
                for chunk in range(batch.chunks):
                    start = chunk * CHUNK
                    steps = min(batch.steps - start, <Py_ssize_t> CHUNK)
                    load_masked(x, &span, &tile, start, steps, target, b)
                    max_pass(b, steps, m)
            top[r] = lanes_max(m)


cdef inline const real* near_row(const real* x, const Array3* a, const Geometry* g,
                                 const Tile* batch, Py_ssize_t r) noexcept nogil:
    # Where row r after the batch's first one starts, if rows are runs of memory and follow each
    # other. (It may be beyond the array: it is for prefetching.)
    if x == NULL or a.k != 1 or g.inner != 1 or a.outer != g.k:
        return NULL
    return x + (batch.first + r) * g.k


cdef inline void sweep_chunks(const real* x, const Array3* xa, const Geometry* g, const Tile* tile,
                              const Py_ssize_t* target, const real* centre, const real* low,
                              const real* magic, const real* anchor, bint far, real* b, real* out,
                              const Array3* oa, real* total, real* lost) noexcept nogil:
    # `sweep` of a tile of several chunks; the e_j go to `out`, if it is not NULL.
    cdef Py_ssize_t chunk, start, steps
    cdef Span xs
    cdef Span os
    place(xa, g, tile, &xs)
    if out != NULL:
        place(oa, g, tile, &os)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load_masked(x, &xs, tile, start, steps, target, b)
        sweep(b, steps, far, centre, low, magic, anchor, <const real*> NULL, <const real*> NULL,
              chunk == 0, total, lost)
        if out != NULL:
            store(out, &os, tile, start, steps, <const real*> b)


cdef inline void batch_sums(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                            const Py_ssize_t* target, const real* centre, const real* low,
                            const real* magic, const real* anchor, bint far, real* b, real* out,
                            const Array3* oa, real* total, real* lost, layout how) noexcept nogil:
    # b = e_j, and their sum in each row. The e_j of a row that is longer than b go to `out`, if it
    # is not NULL.
    cdef Py_ssize_t r
    cdef real centres[LANES]
    cdef real lows[LANES]
    cdef real magics[LANES]
    cdef real anchors[LANES]
    cdef real sums[LANES]
    cdef real rests[LANES]
    if layout is many:
        if batch.chunks == 1:
            sweep(b, batch.steps, far, centre, low, magic, anchor,
                  near_row(x, xa, g, batch, LANES), near_row(out, oa, g, batch, 0), True, total,
                  lost)
        else:
            sweep_chunks(x, xa, g, batch, target, centre, low, magic, anchor, far, b, out, oa,
                         total, lost)
    else:
        fill_lanes(total, <real> 1.0)
        fill_lanes(lost, <real> 0.0)
        for r in range(batch.rows):
            fill_lanes(centres, centre[r])
            fill_lanes(lows, low[r])
            fill_lanes(magics, magic[r])
            fill_lanes(anchors, anchor[r])
            if batch.chunks == 1:
                sweep(b + r * batch.steps * LANES, batch.steps, far, centres, lows, magics, anchors,
                      near_row(x, xa, g, batch, batch.rows + r), near_row(out, oa, g, batch, r),
                      True, sums, rests)
            else:
                sweep_chunks(x, xa, g, batch, target, centres, lows, magics, anchors, far, b, out,
                             oa, sums, rests)
            fold_lanes(sums, rests, &total[r], &lost[r])
    settle(total, lost, False)


cdef inline void scale_tile(real* out, const Array3* oa, const Geometry* g, const Tile* tile,
                            real* b, const real* factor, const real* factor_low) noexcept nogil:
    # batch_store of one tile.
    cdef Py_ssize_t chunk, start, steps
    cdef Span span
    place(oa, g, tile, &span)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.chunks > 1:
            load(<const real*> out, &span, tile, start, steps, <real> 0.0, b)
        store_scaled(out, &span, tile, start, steps, b, factor, factor_low)


cdef inline void batch_store(real* out, const Array3* oa, const Geometry* g, const Tile* batch,
                             real* b, const real* factor, const real* factor_low,
                             layout how) noexcept nogil:
    # out = e_j times the sum of two factors a row.
    cdef Py_ssize_t r
    cdef Tile tile
    cdef real factors[LANES]
    cdef real lows[LANES]
    if layout is many:
        scale_tile(out, oa, g, batch, b, factor, factor_low)
    else:
        for r in range(batch.rows):
            tile = row_of(batch, r)
            fill_lanes(factors, factor[r])
            fill_lanes(lows, factor_low[r])
            scale_tile(out, oa, g, &tile, b + r * batch.steps * LANES if batch.chunks == 1 else b,
                       factors, lows)
