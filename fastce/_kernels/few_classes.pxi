# Cross-entropy of rows of no more than FEW_TARGETS classes, a tile of many of them in a buffer: what
# a row needs beside its exponentials then counts most. With AVX-512 nearly all of it is one function
# in registers (fastce_few_batch in lanes_of_type.h); elsewhere index_batch uses load_few and store_few.

cdef enum:
    FEW_TARGETS = 24                # classes; beyond, targets are looked up one by one


cdef inline bint are_fused(const Geometry* g, const void* class_weight,
                           double smoothing) noexcept nogil:
    # Whether few_batch will do for a tile of many rows. (Class weights and smoothing together give
    # every class a coefficient of its own.)
    return FASTCE_HAS_EXP_LANES and g.k <= FEW_TARGETS and (class_weight == NULL or smoothing == 0)


cdef inline void load_few(const Xent* a, const Tile* batch, const Py_ssize_t* target,
                          const real* step_of_target, real* b, real* top,
                          real* target_x) noexcept nogil:
    # take_at and batch_load of many rows with few classes: every logit is asked whether it
    # is the target's, which takes no detour over memory.
    cdef Span span
    cdef Py_ssize_t i, l
    cdef bint hit
    cdef bint any_ignored = False
    cdef real x
    place(&a.x, &a.g, batch, &span)
    load(<const real*> a.x.data, &span, batch, 0, batch.steps, -<real> INFINITY, b)
    for l in range(LANES):
        any_ignored |= target[l] == IGNORED
    if any_ignored:
        for i in range(batch.steps):
            for l in range(LANES):
                b[i * LANES + l] = <real> 0.0 if step_of_target[l] < 0 else b[i * LANES + l]
    fill_lanes(top, -<real> INFINITY)
    fill_lanes(target_x, <real> 0.0)
    for i in range(batch.steps):
        for l in range(LANES):
            x = b[i * LANES + l]
            hit = step_of_target[l] == <real> i
            target_x[l] = x if hit else target_x[l]
            x = -<real> INFINITY if hit else x
            top[l] = x if x > top[l] else top[l]
            b[i * LANES + l] = x


cdef inline void store_few(real* out, const Array3* oa, const Geometry* g, const Tile* batch,
                           const Py_ssize_t* target, const real* step_of_target, real* b,
                           const real* factor, const real* factor_low, const real* shift,
                           const real* at_target) noexcept nogil:
    # out = b times the sum of two factors + shift, but at_target at the target's step, and nothing
    # where the target is DONE.
    cdef Span span
    cdef Py_ssize_t i, l
    cdef Py_ssize_t done = 0
    cdef real y
    cdef real run[(FEW_TARGETS + 1) * LANES]
    cdef real* first
    place(oa, g, batch, &span)
    first = out + span.lane[0]
    for l in range(LANES):
        done += target[l] == DONE
    if FASTCE_HAS_EXP_LANES and rows_follow(&span, batch):
        if real is double:
            fastce_few_rows_d(run, batch.steps, b, factor, factor_low, shift, step_of_target,
                              at_target)
        else:
            fastce_few_rows_f(run, batch.steps, b, factor, factor_low, shift, step_of_target,
                              at_target)
        for l in range(batch.rows if done > 0 else 0):
            if target[l] == DONE:
                memcpy(run + l * g.k, first + l * g.k, g.k * sizeof(real))
        write_run(first, run, batch)
    elif FASTCE_HAS_EXP_LANES and span.unit and done == 0:
        if real is double:
            fastce_few_planes_d(first, span.step, batch.steps, b, factor, factor_low, shift,
                                step_of_target, at_target,
                                takes_lines(<const real*> out, &span, batch))
        else:
            fastce_few_planes_f(first, span.step, batch.steps, b, factor, factor_low, shift,
                                step_of_target, at_target,
                                takes_lines(<const real*> out, &span, batch))
    else:
        for i in range(batch.steps):
            for l in range(LANES):
                y = b[i * LANES + l] * factor[l] + (b[i * LANES + l] * factor_low[l] + shift[l])
                b[i * LANES + l] = at_target[l] if step_of_target[l] == <real> i else y
        keep_done(<const real*> out, &span, batch, 0, batch.steps, target, b)
        store(out, &span, batch, 0, batch.steps, <const real*> b)


cdef void few_batch(const Xent* a, const Tile* batch, real kind) noexcept nogil:
    # index_batch with AVX-512.
    cdef const real* x = <const real*> a.x.data
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef fastce_few few
    cdef Span span
    cdef bint any_ignored
    cdef Py_ssize_t target[LANES]
    cdef real w[LANES]
    cdef real omega[LANES]

    any_ignored = batch_targets(a, batch, target)
    few.target = target
    few.weight = few.row_weight = NULL
    if a.weight != NULL or a.row_weight != NULL:
        batch_weights(a, batch, target, w, omega)
        few.weight = <const void*> w if a.weight != NULL else NULL
        few.row_weight = <const void*> omega if a.row_weight != NULL else NULL
    few.smooth = a.smoothing != 0
    few.keep, few.share = 1 - a.smoothing, a.smoothing / a.g.k
    few.z_loss, few.per_logit, few.scale = a.z_loss, 1 / a.temperature, a.scale
    few.ahead = near_tile(x, &a.x, &a.g, batch, LANES, &few.ahead_step)
    few.result = NULL
    few.result_step = 0
    few.derived = grad != NULL
    if grad != NULL:
        place(&a.grad, &a.g, batch, &span)
        if is_fetched(<const real*> grad, &span, batch):
            few.result = near_tile(<const real*> grad, &a.grad, &a.g, batch, 0, &few.result_step)
    few.cost = NULL
    if value != NULL:
        value = value + batch.first
        few.cost = few.costs
        if batch.rows == LANES and not any_ignored and not few.smooth:
            few.cost = value
    place(&a.x, &a.g, batch, &span)
    load(x, &span, batch, 0, batch.steps, -<real> INFINITY, <real*> few.e)
    if real is double:
        fastce_few_batch_d(&few, batch.steps)
    else:
        fastce_few_batch_f(&few, batch.steps)
    if few.smooth:
        leave_to_tiles(a, batch, <const real*> few.target_x, <const real*> few.others, target)
    if few.cost == few.costs:
        store_values(value, batch.rows, target, <const real*> few.costs)
    if grad != NULL:
        store_few(grad, &a.grad, &a.g, batch, target, <const real*> few.step_of_target,
                  <real*> few.e, <const real*> few.factor, <const real*> few.factor_low,
                  <const real*> few.shift, <const real*> few.at_target)
