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
# compiler vectorises; sums are kept a lane each with what rounding lost, and only for one row are
# the lanes added up, in a fixed order. So no result depends on how the work is shared.
#
# A tile of more than CHUNK steps is taken a chunk at a time.

cdef enum:
    LANES = 32
    CHUNK = 128                     # steps in a local buffer
    FEW_CLASSES = 128               # up to here many rows share a tile
    FEW_ROWS = 4                    # so few rows are not worth a tile of many
    IGNORED = -1                    # a row's target, if it does not count
    DONE = -2                       # the same, if another tile has its results already


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


cdef extern from "exp_lanes.h" nogil:
    bint FASTCE_HAS_EXP_LANES
    int FASTCE_FEW
    ctypedef struct fastce_pending:
        const void* e
        void* out
        Py_ssize_t k
        Py_ssize_t done
        Py_ssize_t masked
        double factor
        double factor_low
        double at_masked
    ctypedef struct fastce_few:
        const Py_ssize_t* target
        const void* weight
        const void* row_weight
        bint smooth
        double keep
        double share
        double z_loss
        double per_logit
        double scale
        const void* ahead
        const void* result
        Py_ssize_t ahead_step
        Py_ssize_t result_step
        void* cost
        bint derived
        const void* rows
        bint into_run
        int odd
        double* e
        double* step_of_target
        double* left_out
        double* gaps
        double* costs
        double* factor
        double* factor_low
        double* shift
        double* at_target
        double* run
        bint dense
        bint curved
        const void* c
        double c_factor
        double* hess
    void fastce_exp_each_d(const double* y, const double* magic, double* e)
    void fastce_exp_each_f(const float* y, const float* magic, float* e)
    void fastce_sweep_d(bint kept, double* b, Py_ssize_t steps, const double* low,
                        const double* magic, const double* anchor, const double* ahead,
                        Py_ssize_t ahead_step, const double* result, Py_ssize_t result_step,
                        double* total, double* lost)
    void fastce_sweep_f(bint kept, float* b, Py_ssize_t steps, const float* low,
                        const float* magic, const float* anchor, const float* ahead,
                        Py_ssize_t ahead_step, const float* result, Py_ssize_t result_step,
                        float* total, float* lost)
    void fastce_sweep_run_d(const double* x, Py_ssize_t count, double divisor, Py_ssize_t masked,
                            double low, double magic, double anchor, const double* ahead,
                            Py_ssize_t ahead_step, double* top, bint two, double* out,
                            fastce_pending* pending, bint folded, double* total,
                            double* lost)
    void fastce_sweep_run_f(const float* x, Py_ssize_t count, float divisor, Py_ssize_t masked,
                            float low, float magic, float anchor, const float* ahead,
                            Py_ssize_t ahead_step, float* top, bint two, float* out,
                            fastce_pending* pending, bint folded, float* total,
                            float* lost)
    void fastce_evens_run_d(const double* x, Py_ssize_t count, double* out, double* top)
    void fastce_evens_run_f(const float* x, Py_ssize_t count, float* out, float* top)
    void fastce_argmax_d(const double* b, Py_ssize_t steps, double* top, double* second,
                         double* step)
    void fastce_argmax_f(const float* b, Py_ssize_t steps, float* top, float* second, float* step)
    void fastce_log_run_d(const double* x, Py_ssize_t n, double* out)
    void fastce_log_run_f(const float* x, Py_ssize_t n, float* out)
    void fastce_log_sum_run_d(const double* x, const double* c, Py_ssize_t n, double* out)
    void fastce_log_sum_run_f(const float* x, const float* c, Py_ssize_t n, float* out)
    void fastce_terms_d(bint mixed, const double* x, const double* c, Py_ssize_t steps,
                        double* total, double* lost)
    void fastce_terms_f(bint mixed, const float* x, const float* c, Py_ssize_t steps,
                        float* total, float* lost)
    void fastce_log1p_run_d(const double* y, double scale, Py_ssize_t n, double* out)
    void fastce_log1p_run_f(const float* y, float scale, Py_ssize_t n, float* out)
    void fastce_scale_d(double* row, Py_ssize_t k, double factor, double factor_low, double shift)
    void fastce_scale_f(float* row, Py_ssize_t k, float factor, float factor_low, float shift)
    void fastce_gaps_d(const double* x, Py_ssize_t count, Py_ssize_t masked, double h,
                       double* total, double* lost)
    void fastce_gaps_f(const float* x, Py_ssize_t count, Py_ssize_t masked, float h,
                       float* total, float* lost)
    void fastce_costs_d(const double* x, const double* given, Py_ssize_t count, Py_ssize_t masked,
                        double h, double factor, double share, double* cost, double* cost_lost,
                        double* sum_c, double* lost)
    void fastce_costs_f(const float* x, const float* given, Py_ssize_t count, Py_ssize_t masked,
                        float h, float factor, float share, float* cost, float* cost_lost,
                        float* sum_c, float* lost)
    void fastce_derive_d(double* e, const double* given, double* hess, Py_ssize_t count,
                         double factor, double factor_low, double c_factor, double shift,
                         double inverse, double kappa, double z_loss, double slope)
    void fastce_derive_f(float* e, const float* given, float* hess, Py_ssize_t count,
                         float factor, float factor_low, float c_factor, float shift,
                         float inverse, float kappa, float z_loss, float slope)
    bint fastce_softmax_backward_d(const double* grad, const double* y, double* out, Py_ssize_t k)
    bint fastce_softmax_backward_f(const float* grad, const float* y, float* out, Py_ssize_t k)
    bint fastce_log_softmax_backward_d(const double* grad, const double* y, double* out,
                                       Py_ssize_t k, double least, double most, double magic)
    bint fastce_log_softmax_backward_f(const float* grad, const float* y, float* out, Py_ssize_t k,
                                       float least, float most, float magic)
    void fastce_backward_many_d(bint logarithm, const double* grad, Py_ssize_t grad_step,
                                const double* y, Py_ssize_t y_step, double* out,
                                Py_ssize_t out_step, Py_ssize_t k, double least, double most,
                                double magic)
    void fastce_backward_many_f(bint logarithm, const float* grad, Py_ssize_t grad_step,
                                const float* y, Py_ssize_t y_step, float* out,
                                Py_ssize_t out_step, Py_ssize_t k, float least, float most,
                                float magic)
    void fastce_dot_d(const double* e, const double* given, Py_ssize_t count, double reference,
                      double* total, double* lost)
    void fastce_dot_f(const float* e, const float* given, Py_ssize_t count, float reference,
                      float* total, float* lost)
    void fastce_product_d(double* e, const double* given, Py_ssize_t count, double reference,
                          double dot, double inverse, double kappa, double shift, double curve)
    void fastce_product_f(float* e, const float* given, Py_ssize_t count, float reference,
                          float dot, float inverse, float kappa, float shift, float curve)
    void fastce_sigmoid_d(const double* x, double* out, Py_ssize_t n, double least, double magic,
                          double up)
    void fastce_sigmoid_f(const float* x, float* out, Py_ssize_t n, float least, float magic,
                          float up)
    void fastce_lifted_block_d(const double* x, Py_ssize_t n, double least, double magic,
                               double* e)
    void fastce_lifted_block_f(const float* x, Py_ssize_t n, float least, float magic, float* e)
    void fastce_softplus_d(const double* x, double* out, Py_ssize_t n, bint negative,
                           double least, double magic)
    void fastce_softplus_f(const float* x, float* out, Py_ssize_t n, bint negative, float least,
                           float magic)
    void fastce_weighted_binary_d(const double* x, const double* t, const double* neither,
                                  const double* pos_weight, double* value, double* grad,
                                  double* hess, bint sloped, bint curved, Py_ssize_t n,
                                  double least, double magic)
    void fastce_weighted_binary_f(const float* x, const float* t, const float* neither,
                                  const float* pos_weight, float* value, float* grad, float* hess,
                                  bint sloped, bint curved, Py_ssize_t n, float least,
                                  float magic)
    void fastce_fractions_d(const double* p, const double* t, Py_ssize_t n, double* value,
                            double* grad)
    void fastce_fractions_f(const float* p, const float* t, Py_ssize_t n, float* value,
                            float* grad)
    void fastce_binary_d(const double* x, const double* t, Py_ssize_t n, bint hard, double least,
                         double magic, double up, double scale, double* grad, double* product,
                         double* low, double* total, double* lost)
    void fastce_binary_f(const float* x, const float* t, Py_ssize_t n, bint hard, float least,
                         float magic, float up, float scale, float* grad, float* product,
                         float* low, float* total, float* lost)
    void fastce_load_rows_d(const double* x, const Py_ssize_t* lane, Py_ssize_t steps, double* b)
    void fastce_load_rows_f(const float* x, const Py_ssize_t* lane, Py_ssize_t steps, float* b)
    void fastce_store_rows_d(double* x, const Py_ssize_t* lane, Py_ssize_t steps, const double* b)
    void fastce_store_rows_f(float* x, const Py_ssize_t* lane, Py_ssize_t steps, const float* b)
    void fastce_stream(void* to, const void* source, size_t n)
    void fastce_start_d(fastce_pending* row)
    void fastce_finish_d(const fastce_pending* row)
    void fastce_start_f(fastce_pending* row)
    void fastce_finish_f(const fastce_pending* row)
    void fastce_few_batch_d(fastce_few* few, Py_ssize_t steps)
    void fastce_few_batch_f(fastce_few* few, Py_ssize_t steps)
    void fastce_few_product_d(fastce_few* few, Py_ssize_t steps)
    void fastce_few_product_f(fastce_few* few, Py_ssize_t steps)
    void fastce_few_dense_d(fastce_few* few, Py_ssize_t steps)
    void fastce_few_dense_f(fastce_few* few, Py_ssize_t steps)
    void fastce_few_run_d(fastce_few* few, Py_ssize_t steps)
    void fastce_few_run_f(fastce_few* few, Py_ssize_t steps)
    void fastce_few_planes_d(const fastce_few* few, Py_ssize_t steps, double* out,
                             Py_ssize_t between, bint streamed)
    void fastce_few_planes_f(const fastce_few* few, Py_ssize_t steps, float* out,
                             Py_ssize_t between, bint streamed)
    void fastce_rows_of_d(double* run, Py_ssize_t steps, const double* b)
    void fastce_rows_of_f(float* run, Py_ssize_t steps, const float* b)


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
    double divisor                  # what `load` divides by: the temperature, or 1

cdef struct Tile:
    Py_ssize_t first                # its first row
    Py_ssize_t rows
    bint single                     # one row
    Py_ssize_t steps
    Py_ssize_t chunks
    bint whole                      # all of it has room in a buffer
    bint streamed                   # its results are written past the caches
    Py_ssize_t last                 # lanes in use at the last step
    Py_ssize_t lanes                # lanes in use at the others

cdef struct Span:
    # Lane l of step i is at lane[l] + i * step, in items. (Lanes that are not in use may have any.)
    Py_ssize_t lane[LANES]
    Py_ssize_t step
    bint unit                       # the lanes are neighbours: only lane[0] is set, if for one row
    double divisor                  # of the array


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
    tile.whole = tile.chunks == 1
    tile.streamed = False
    return tile


cdef inline void place(const Array3* a, const Geometry* g, const Tile* tile,
                       Span* span) noexcept nogil:
    cdef Py_ssize_t l, o, i, first
    cdef Py_ssize_t between         # from a lane to the next
    if g.inner == 1:
        o = tile.first
        i = 0
        between = a.outer
    else:
        o = tile.first // g.inner
        i = tile.first - o * g.inner
        between = a.inner
    if tile.single:
        between = a.k
    first = o * a.outer + i * a.inner
    span.lane[0] = first
    span.step = LANES * a.k if tile.single else a.k
    span.divisor = a.divisor
    span.unit = between == 1 and (tile.single or tile.rows == LANES)
    if tile.single and span.unit:
        return
    for l in range(LANES):
        span.lane[l] = first + l * between
    if not tile.single and g.inner > 1 and i + tile.rows > g.inner:
        # The tile goes on in the next block of rows.
        span.unit = False
        for l in range(1, tile.rows):
            i += 1
            if i == g.inner:
                i = 0
                o += 1
            span.lane[l] = o * a.outer + i * a.inner


cdef inline void nowhere(Span* span) noexcept nogil:
    # A span that is not used.
    span.lane[0] = span.step = 0
    span.unit = False
    span.divisor = 1


cdef inline bint gather_run(const real* x, Py_ssize_t step, Py_ssize_t count, real* run,
                            real* top) noexcept nogil:
    # run = every `step`-th item from x on. Tells whether it found the largest two, too: they are
    # in `top` then.
    cdef Py_ssize_t j
    if not FASTCE_HAS_EXP_LANES or step != 2:
        for j in range(count):
            run[j] = x[j * step]
        return False
    if real is double:
        fastce_evens_run_d(x, count, run, top)
    else:
        fastce_evens_run_f(x, count, run, top)
    return True


cdef inline void load(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                      Py_ssize_t steps, real fill, real* b) noexcept nogil:
    # b (steps, LANES) = the tile's steps start, start + 1, ..., divided by the span's divisor;
    # lanes not in use get `fill`. Where lanes are neighbours and steps apart, the next tile's are
    # fetched meanwhile (there may be none: that does no harm).
    cdef Py_ssize_t i, l
    cdef real two[2]
    cdef real divisor = <real> span.divisor
    cdef Py_ssize_t whole = steps
    cdef const real* lane
    if start + steps == tile.steps and tile.last < LANES and tile.single:
        whole -= 1
        for l in range(LANES):
            b[whole * LANES + l] = fill
        lane = x + (start + whole) * span.step
        for l in range(tile.last):
            b[whole * LANES + l] = lane[span.lane[0] + l if span.unit else span.lane[l]]
    if tile.single and not span.unit:
        gather_run(x + span.lane[0] + start * span.step, span.lane[1] - span.lane[0],
                   whole * LANES, b, two)
    elif span.unit and span.step == LANES:
        memcpy(b, x + span.lane[0] + start * LANES, whole * LANES * sizeof(real))
    elif span.unit:
        for i in range(whole):
            lane = x + span.lane[0] + (start + i) * span.step
            for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                FASTCE_PREFETCH(<const char*> (lane + 2 * LANES - 1) - 64 * l)
            memcpy(b + i * LANES, lane, LANES * sizeof(real))
    elif FASTCE_HAS_EXP_LANES and span.step == 1 and tile.lanes == LANES:
        if real is double:
            fastce_load_rows_d(x + start, span.lane, whole, b)
        else:
            fastce_load_rows_f(x + start, span.lane, whole, b)
    else:
        for l in range(tile.lanes):
            lane = x + span.lane[l] + start * span.step
            for i in range(whole):
                b[i * LANES + l] = lane[i * span.step]
        for l in range(tile.lanes, LANES):
            for i in range(whole):
                b[i * LANES + l] = fill
    if divisor != 1:
        for i in range(steps * LANES):
            b[i] = b[i] / divisor


cdef inline void max_pass(const real* b, Py_ssize_t steps, real* m) noexcept nogil:
    # m = max(m, b) over the steps. NaN is passed over (the sums carry it).
    cdef Py_ssize_t i, l
    cdef real t[LANES]
    memcpy(t, m, LANES * sizeof(real))
    for i in range(steps):
        for l in range(LANES):
            t[l] = b[i * LANES + l] if b[i * LANES + l] > t[l] else t[l]
    memcpy(m, t, LANES * sizeof(real))


cdef inline void max_run(const real* x, Py_ssize_t count, real* m) noexcept nogil:
    # m = max(m, x) by lanes, for a run of memory. NaN is passed over.
    cdef Py_ssize_t whole = count // LANES
    cdef Py_ssize_t l
    max_pass(x, whole, m)
    for l in range(count - whole * LANES):
        m[l] = x[whole * LANES + l] if x[whole * LANES + l] > m[l] else m[l]


cdef inline void store_scaled(real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                              Py_ssize_t steps, real* b, const real* factor,
                              const real* factor_low) noexcept nogil:
    # `store` b times the sum of two factors a lane. (+ 0.0: a factor below 0 would make -0.0 of 0.)
    cdef Py_ssize_t i, l
    cdef Py_ssize_t whole = 0
    cdef real* to
    if span.unit:
        whole = steps
        if tile.last < LANES and start + steps == tile.steps:
            whole -= 1
        if takes_lines(<const real*> x, span, tile):
            whole = 0
    for i in range(whole):
        to = x + span.lane[0] + (start + i) * span.step
        for l in range(LANES):
            to[l] = b[i * LANES + l] * factor[l] + (b[i * LANES + l] * factor_low[l] + <real> 0.0)
    if whole == steps:
        return
    for i in range(whole, steps):
        for l in range(LANES):
            b[i * LANES + l] = b[i * LANES + l] * factor[l] + \
                (b[i * LANES + l] * factor_low[l] + <real> 0.0)
    store(x, span, tile, start + whole, steps - whole, <const real*> b + whole * LANES)


cdef inline bint rows_follow(const Span* span, const Tile* tile) noexcept nogil:
    # Whether many rows are a run of memory, row after row.
    return not tile.single and span.step == 1 and tile.lanes == LANES \
        and span.lane[1] - span.lane[0] == tile.steps \
        and span.lane[LANES - 1] - span.lane[0] == (LANES - 1) * tile.steps


cdef inline bint takes_lines(const real* x, const Span* span, const Tile* tile) noexcept nogil:
    # Whether many rows that lie side by side are to be written past the caches: if they are whole
    # lines of memory.
    return tile.streamed and span.unit and not tile.single and \
        (<size_t> (x + span.lane[0]) | <size_t> span.step * sizeof(real)) % 64 == 0


cdef inline void write_run(real* x, const real* run, const Tile* tile) noexcept nogil:
    # Writes all that a tile of many rows holds.
    if tile.streamed:
        fastce_stream(x, run, tile.steps * LANES * sizeof(real))
    else:
        memcpy(x, run, tile.steps * LANES * sizeof(real))


cdef inline void store(real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                       Py_ssize_t steps, const real* b) noexcept nogil:
    # The inverse of `load`.
    cdef Py_ssize_t i, l, between
    cdef Py_ssize_t whole = steps
    cdef real* lane
    cdef real run[(CHUNK + 1) * LANES]
    if start + steps == tile.steps and tile.last < LANES and tile.single:
        whole -= 1
        lane = x + (start + whole) * span.step
        for l in range(tile.last):
            lane[span.lane[0] + l if span.unit else span.lane[l]] = b[whole * LANES + l]
    if tile.single and not span.unit:
        lane = x + span.lane[0] + start * span.step
        between = span.lane[1] - span.lane[0]
        for i in range(whole * LANES):
            lane[i * between] = b[i]
    elif span.unit and span.step == LANES:
        memcpy(x + span.lane[0] + start * LANES, b, whole * LANES * sizeof(real))
    elif span.unit and takes_lines(<const real*> x, span, tile):
        for i in range(whole):
            fastce_stream(x + span.lane[0] + (start + i) * span.step, b + i * LANES,
                          LANES * sizeof(real))
    elif span.unit:
        for i in range(whole):
            memcpy(x + span.lane[0] + (start + i) * span.step, b + i * LANES,
                   LANES * sizeof(real))
    elif FASTCE_HAS_EXP_LANES and tile.chunks == 1 and rows_follow(span, tile):
        if real is double:
            fastce_rows_of_d(run, steps, b)
        else:
            fastce_rows_of_f(run, steps, b)
        write_run(x + span.lane[0], run, tile)
    elif FASTCE_HAS_EXP_LANES and span.step == 1 and tile.lanes == LANES:
        if real is double:
            fastce_store_rows_d(x + start, span.lane, whole, b)
        else:
            fastce_store_rows_f(x + start, span.lane, whole, b)
    else:
        for l in range(tile.lanes):
            lane = x + span.lane[l] + start * span.step
            for i in range(whole):
                lane[i * span.step] = b[i * LANES + l]


cdef inline real* row_at(real* x, const Array3* a, const Geometry* g, Py_ssize_t r) noexcept nogil:
    # Where row r starts.
    cdef Py_ssize_t o
    if g.inner == 1:
        return x + r * a.outer
    o = r // g.inner
    return x + o * a.outer + (r - o * g.inner) * a.inner


cdef inline void fill_row(real* x, const Array3* a, const Geometry* g, Py_ssize_t r,
                          real value) noexcept nogil:
    # x may be NULL.
    cdef Py_ssize_t j
    cdef real* row
    if x != NULL:
        row = row_at(x, a, g, r)
        if a.k == 1:
            for j in range(g.k):
                row[j] = value
            return
        for j in range(g.k):
            row[j * a.k] = value


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


cdef inline void fold(real* total, real* lost, Py_ssize_t half) noexcept nogil:
    cdef Py_ssize_t l
    cdef real t, z
    for l in range(half):
        t = total[l] + total[l + half]
        z = t - total[l]
        lost[l] = lost[l] + lost[l + half] + ((total[l] - (t - z)) + (total[l + half] - z))
        total[l] = t


cdef inline void fold_lanes(real* total, real* lost, real* high, real* low) noexcept nogil:
    # high + low = the sum of all lanes; destroys them.
    fold(total, lost, <Py_ssize_t> 16)
    fold(total, lost, <Py_ssize_t> 8)
    fold(total, lost, <Py_ssize_t> 4)
    fold(total, lost, <Py_ssize_t> 2)
    fold(total, lost, <Py_ssize_t> 1)
    high[0] = total[0]
    low[0] = lost[0]


cdef inline void settle(real* total, real* lost, Py_ssize_t lanes) noexcept nogil:
    # `lost` becomes less than a unit in the last place of `total`.
    cdef Py_ssize_t l
    cdef real t, z
    for l in range(lanes):
        t = total[l] + lost[l]
        z = lost[l] - (t - total[l])
        total[l] = t if t == t else total[l]
        lost[l] = z if z == z else <real> 0.0


cdef inline void settle_tile(real* total, real* lost, bint single) noexcept nogil:
    # `settle`; for one row both become the sum over the lanes, in lane 0.
    if single:
        fold_lanes(total, lost, total, lost)
    settle(total, lost, 1 if single else LANES)


cdef inline real lanes_max(real* a) noexcept nogil:
    # The largest lane; destroys them.
    cdef Py_ssize_t l
    cdef real value
    for l in range(16):
        a[l] = a[l + 16] if a[l + 16] > a[l] else a[l]
    for l in range(8):
        a[l] = a[l + 8] if a[l + 8] > a[l] else a[l]
    value = a[0]
    for l in range(1, 8):
        value = a[l] if a[l] > value else value
    return value


cdef inline void two_pass(const real* x, Py_ssize_t lanes, real* m, real* second) noexcept nogil:
    # m and `second` become the largest two of both and x, a lane each. NaN is passed over.
    cdef Py_ssize_t l
    cdef real least
    for l in range(lanes):
        least = x[l] if x[l] < m[l] else m[l]
        m[l] = x[l] if x[l] > m[l] else m[l]
        second[l] = least if least > second[l] else second[l]


cdef inline void two_in_half(real* m, real* second, Py_ssize_t half) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(half):
        second[l] = second[l + half] if second[l + half] > second[l] else second[l]
    two_pass(<const real*> m + half, half, m, second)


cdef inline void lanes_two(real* m, real* second) noexcept nogil:
    # The largest two of all lanes, in lane 0; destroys them.
    two_in_half(m, second, <Py_ssize_t> 16)
    two_in_half(m, second, <Py_ssize_t> 8)
    two_in_half(m, second, <Py_ssize_t> 4)
    two_in_half(m, second, <Py_ssize_t> 2)
    two_in_half(m, second, <Py_ssize_t> 1)


cdef inline void max_in_all(real* a) noexcept nogil:
    # For one row: the largest lane in every lane.
    fill_lanes(a, lanes_max(a))


cdef inline void sum_in_all(real* a) noexcept nogil:
    # For one row: the sum of the lanes in every lane.
    fill_lanes(a, tree_sum(a))


cdef inline bint choose_shift(const real* m, Py_ssize_t lanes, real* centre, real* n, real* low,
                              real* magic) noexcept nogil:
    # e_j = e**(x_j - centre - n ln 2) 2**LIFT is what the passes compute, for n the nearest integer
    # to (m - centre)/ln 2, so that multiplying by 2**-n is exact and the largest e_j is about 1.
    # The centre is 0 while m is moderate, and m itself beyond, where subtracting it is exact for
    # every x_j whose e_j is not 0. Tells whether any centre is not 0.
    cdef Py_ssize_t l
    cdef Py_ssize_t centred = 0
    cdef real far
    if real is double:
        far = 4096.0
    else:
        far = <float> 512.0
    for l in range(lanes):
        centre[l] = m[l] if (m[l] > far) | (m[l] < -far) else <real> 0.0
    for l in range(lanes):
        n[l] = (m[l] if centre[l] == 0 else <real> 0.0) * <real> 1.4426950408889634
        n[l] = (n[l] + round_magic(far)) - round_magic(far)
        low[l] = lowest(n[l])
        magic[l] = magic_of(lift(far) - n[l])
        centred += centre[l] != 0
    return centred > 0


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


cdef inline void choose_anchor(const real* top, const real* m, Py_ssize_t lanes,
                               real* anchor) noexcept nogil:
    # Where the sums of e_j start that are at most that of `top` <= m: 2**(LIFT + 8) times it, or a
    # little more. An anchor is larger than any term, so that what rounding loses is
    # e - ((s + e) - s), exactly, and CHUNK terms at most double it, so that taking it off again is
    # exact too.
    cdef Py_ssize_t l
    cdef real least, d
    if real is double:
        least = -1000.0
    else:
        least = -110.0
    for l in range(lanes):
        d = (top[l] - m[l]) * <real> 1.4426950408889634
        d = d if d > least else least
        anchor[l] = power_of_two(magic_of(d)) * (<real> 256.0 * lift_factor(d))


cdef inline void sweep(real* b, bint kept, Py_ssize_t steps, bint far, const real* centre,
                       const real* low, const real* magic, const real* anchor, const real* ahead,
                       Py_ssize_t ahead_step, const real* result, Py_ssize_t result_step,
                       bint first, real* total, real* lost) noexcept nogil:
    # b = e_j, for at most CHUNK steps, or only less the centre if they are not to be kept; total +
    # lost are the sums of the chunks so far, of which this may be the first. Steps are added in
    # pairs. While this computes, memory is brought near: at `ahead` what will be read next, at
    # `result` what will be written, so many items from a step to the next (either may be NULL).
    cdef Py_ssize_t i, l
    cdef real s[LANES]
    cdef real q[LANES]
    cdef real e[LANES]
    cdef real f[LANES]
    cdef real t
    if far:
        for i in range(steps):
            for l in range(LANES):
                b[i * LANES + l] = b[i * LANES + l] - centre[l]
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_sweep_d(kept, b, steps, low, magic, anchor, ahead, ahead_step, result,
                           result_step, s, q)
        else:
            fastce_sweep_f(kept, b, steps, low, magic, anchor, ahead, ahead_step, result,
                           result_step, s, q)
    else:
        memcpy(s, anchor, LANES * sizeof(real))
        fill_lanes(q, <real> 0.0)
        for i in range(steps):
            for l in range(<Py_ssize_t> (LANES * sizeof(real)) // 64):
                if ahead != NULL:
                    FASTCE_PREFETCH(<const char*> (ahead + i * ahead_step) + 64 * l)
                if result != NULL:
                    FASTCE_PREFETCH_WRITE(<const char*> (result + i * result_step) + 64 * l)
            for l in range(LANES):
                t = b[i * LANES + l]
                e[l] = exp_scaled(low[l] if low[l] > t else t, magic[l])
                b[i * LANES + l] = e[l] if kept else t
            if i % 2 == 0 and i + 1 < steps:
                memcpy(f, e, LANES * sizeof(real))
                continue
            if i % 2 == 1:
                for l in range(LANES):
                    e[l] = f[l] + e[l]
            for l in range(LANES):
                t = s[l] + e[l]
                q[l] = q[l] + (e[l] - (t - s[l]))
                s[l] = t
        for l in range(LANES):
            s[l] = s[l] - anchor[l]
    add_chunk(s, q, first, total, lost)


cdef inline void add_chunk(const real* s, const real* q, bint first, real* total,
                           real* lost) noexcept nogil:
    # total + lost += s + q, or = if it is the first.
    cdef Py_ssize_t l
    if first:
        memcpy(total, s, LANES * sizeof(real))
        memcpy(lost, q, LANES * sizeof(real))
    else:
        for l in range(LANES):
            lost[l] = lost[l] + q[l]
        two_sum(total, lost, s)


cdef inline void sweep_run(const real* x, Py_ssize_t count, double divisor, Py_ssize_t masked,
                           real centre, real low, real magic, real anchor, const real* ahead,
                           Py_ssize_t ahead_step, real* top, bint two, real* out, real* b,
                           fastce_pending* pending, bint first, bint folded, real* total,
                           real* lost) noexcept nogil:
    # `sweep` of a chunk of one row that is a run of memory, from x, to be divided, to out, which
    # may be x, or NULL; as if x[masked] were -inf. b is room for a chunk, and may be x. Meanwhile a
    # part is written of the row that is pending, if it is not NULL; `count` items ahead, every one
    # or two, are fetched; and `top` becomes the largest of itself and of them, or the largest two.
    # `folded`: total and lost are not lanes but what they add up to, this being all of the row.
    # (Without AVX-512 `top` must be NULL and the divisor 1.)
    cdef Py_ssize_t step, i, l, rest
    cdef bint whole
    cdef real s[LANES]
    cdef real q[LANES]
    cdef real y[2 * LANES]
    cdef real t
    cdef const real* source
    if centre != 0:
        for i in range(count):
            b[i] = x[i] - centre
        x = b
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_sweep_run_d(x, count, divisor, masked, low, magic, anchor, ahead, ahead_step,
                               top, two, out, pending, folded, total if folded else s,
                               lost if folded else q)
        else:
            fastce_sweep_run_f(x, count, <float> divisor, masked, low, magic, anchor, ahead,
                               ahead_step, top, two, out, pending, folded, total if folded else s,
                               lost if folded else q)
        if folded:
            return
    else:
        fill_lanes(s, anchor)
        fill_lanes(q, <real> 0.0)
        for step in range((count + 2 * LANES - 1) // (2 * LANES)):
            i = step * 2 * LANES
            for l in range(<Py_ssize_t> (2 * LANES * sizeof(real)) // 64):
                if ahead != NULL:
                    FASTCE_PREFETCH(<const char*> (ahead + i) + 64 * l)
            rest = min(count - i, <Py_ssize_t> 2 * LANES)
            whole = rest == 2 * LANES and not i <= masked < i + 2 * LANES
            source = x + i
            if not whole:
                for l in range(2 * LANES):
                    y[l] = x[i + l] if l < rest and i + l != masked else -<real> INFINITY
                source = y
            for l in range(2 * LANES):
                t = source[l]
                y[l] = exp_scaled(low if low > t else t, magic)
            if out != NULL:
                memcpy(out + i, y, rest * sizeof(real))
            for l in range(LANES):
                y[l] = y[l] + y[l + LANES]
                t = s[l] + y[l]
                q[l] = q[l] + (y[l] - (t - s[l]))
                s[l] = t
        for l in range(LANES):
            s[l] = s[l] - anchor
        if folded:
            fold_lanes(s, q, total, lost)
            return
    add_chunk(s, q, first, total, lost)


cdef inline void exp_pass(real* b, Py_ssize_t steps, const real* centre, const real* low,
                          const real* magic, real mask_mark, real* total, real* lost,
                          const real* m, real* top_e, real* top_count, real* below,
                          real* below_lost) noexcept nogil:
    # b = e_j; total + lost += their sums, and below + below_lost the sums without those equal to m,
    # which are counted and left in top_e. mask_mark, if it is not 0, replaces -inf in b.
    cdef Py_ssize_t i, l
    cdef real y[LANES]
    cdef real e[LANES]
    cdef real x
    cdef bint top
    for i in range(steps):
        for l in range(LANES):
            x = b[i * LANES + l] - centre[l]
            y[l] = low[l] if low[l] > x else x
        exp_each(y, magic, e)
        two_sum(total, lost, e)
        for l in range(LANES):
            x = b[i * LANES + l]
            b[i * LANES + l] = mask_mark if (mask_mark != 0 and x == -<real> INFINITY) else e[l]
            top = x == m[l]
            top_e[l] = e[l] if top else top_e[l]
            top_count[l] = top_count[l] + (<real> 1.0 if top else <real> 0.0)
            e[l] = <real> 0.0 if top else e[l]
        two_sum(below, below_lost, e)


# What is made of a row's sums.

cdef inline real sum_error(real a, real b, real s) noexcept nogil:
    # a + b - s, for s = a + b rounded
    cdef real z = s - a
    return (a - (s - z)) + (b - z)


cdef inline real cost_near(real rest, real rest_low, real e, real e_low,
                           real inverse) noexcept nogil:
    # -log p = log1p(rest/e), inverse being 1/(rest + e); inf or NaN if the ratio is out of range.
    cdef real q = rest / e
    # What is left of the division, times 1/e.
    cdef real left = (rest_low - product_error(q, e, rest)) - q * e_low
    return log1p_sum(q, left * ((<real> 1.0 + q) * inverse))


cdef inline real cost_far(real x, real n, real s, real s_low) noexcept nogil:
    # -log p = (n ln 2 - x) + log s
    return ((n * ln2_high(x) - x) + n * ln2_low(x)) + log_parts(s, s_low, -lift(x))


cdef inline real cost_range(real x) noexcept nogil:
    # Below this cost_near holds.
    if real is double:
        return 600.0
    else:
        return <float> 80.0
