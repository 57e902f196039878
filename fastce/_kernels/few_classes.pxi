# Cross-entropy of rows of no more than FASTCE_FEW classes, a tile of many of them in a buffer: what
# a row needs beside its exponentials then counts most. With AVX-512 nearly all is one function in
# registers (fastce_few_batch in lanes_of_type.h); elsewhere index_batch has load_few and scale_few.
#
# (Beyond, targets are looked up one by one.)

cdef enum:
    FEWEST = 4                      # for 2 to 4 classes fastce_few_batch has functions


cdef inline bint are_fused(const Geometry* g, const void* class_weight,
                           double smoothing) noexcept nogil:
    # Whether few_batch will do for a tile of many rows. (Class weights and smoothing together give
    # every class a coefficient of its own.)
    return FASTCE_HAS_EXP_LANES and g.k <= FASTCE_FEW and (class_weight == NULL or smoothing == 0)


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


cdef inline void scale_few(real* out, const Array3* oa, const Geometry* g, const Tile* batch,
                           const real* step_of_target, real* b, const real* factor,
                           const real* factor_low, const real* at_target) noexcept nogil:
    # batch_store and store_at of the targets.
    cdef Span span
    cdef Py_ssize_t i, l
    cdef real y
    place(oa, g, batch, &span)
    for i in range(batch.steps):
        for l in range(LANES):
            y = b[i * LANES + l] * factor[l] + (b[i * LANES + l] * factor_low[l] + <real> 0.0)
            b[i * LANES + l] = at_target[l] if step_of_target[l] == <real> i else y
    store(out, &span, batch, 0, batch.steps, <const real*> b)


cdef inline bint is_run(const Array3* a, const Geometry* g, const Tile* batch) noexcept nogil:
    # Whether a tile of many rows is a run of memory, row after row, and whole.
    return rows_are_near(a, g) and g.k > 1 and batch.rows == LANES


cdef inline void store_few(fastce_few* few, real* out, const Array3* oa, const Geometry* g,
                           const Tile* batch, const Py_ssize_t* target,
                           bint in_run) noexcept nogil:
    # What few_batch makes, but nothing where the target is DONE.
    cdef Span span
    cdef real* e = <real*> few.e
    cdef real* run = <real*> few.run
    cdef const real* factor = <const real*> few.factor
    cdef const real* factor_low = <const real*> few.factor_low
    cdef const real* shift = <const real*> few.shift
    cdef const real* at_target = <const real*> few.at_target
    cdef const real* step_of_target = <const real*> few.step_of_target
    cdef real* first
    cdef real y
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t i, l
    for l in range(LANES):
        done += target[l] == DONE
    if in_run:
        first = out + batch.first * g.k
    else:
        place(oa, g, batch, &span)
        first = out + span.lane[0]
    if in_run or rows_follow(&span, batch):
        if few.into_run:
            pass
        elif real is double:
            fastce_few_run_d(few, batch.steps)
        else:
            fastce_few_run_f(few, batch.steps)
        for l in range(batch.rows if done > 0 else 0):
            if target[l] == DONE:
                memcpy(run + l * g.k, first + l * g.k, g.k * sizeof(real))
        write_run(first, <const real*> run, batch)
    elif span.unit and done == 0:
        if real is double:
            fastce_few_planes_d(few, batch.steps, first, span.step,
                                takes_lines(<const real*> out, &span, batch))
        else:
            fastce_few_planes_f(few, batch.steps, first, span.step,
                                takes_lines(<const real*> out, &span, batch))
    else:
        for i in range(batch.steps):
            for l in range(LANES):
                y = e[i * LANES + l] * factor[l] + (e[i * LANES + l] * factor_low[l] + shift[l])
                e[i * LANES + l] = at_target[l] if step_of_target[l] == <real> i else y
        store_but_done(out, oa, g, batch, target, e)


cdef inline void set_up(const Xent* a, const Tile* batch, fastce_few* few,
                        real kind) noexcept nogil:
    # What is the same for every batch; nothing is asked for but the gradient, if there is one.
    few.target = NULL
    few.weight = few.row_weight = few.result = few.cost = few.rows = few.c = NULL
    few.smooth = few.into_run = few.dense = few.curved = False
    few.odd = 0
    few.result_step = 0
    few.keep, few.share, few.c_factor = 1 - a.smoothing, 0, 0
    few.z_loss, few.per_logit, few.scale = a.z_loss, 1 / a.temperature, a.scale
    few.derived = a.grad.data != NULL
    few.ahead = near_tile(<const real*> a.x.data, &a.x, &a.g, batch, LANES, &few.ahead_step)


cdef void few_batch(const Xent* a, const Tile* batch, real kind) noexcept nogil:
    # index_batch with AVX-512.
    cdef const real* x = <const real*> a.x.data
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef fastce_few few
    cdef Span span
    cdef bint fewest = 1 < a.g.k <= FEWEST
    cdef bint any_ignored, in_run
    cdef Py_ssize_t target[LANES]
    cdef real w[LANES]
    cdef real omega[LANES]

    any_ignored = batch_targets(a, batch, target)
    set_up(a, batch, &few, kind)
    few.target = target
    if a.weight != NULL or a.row_weight != NULL:
        batch_weights(a, batch, target, w, omega)
        few.weight = <const void*> w if a.weight != NULL else NULL
        few.row_weight = <const void*> omega if a.row_weight != NULL else NULL
    few.smooth = a.smoothing != 0
    few.share = a.smoothing / a.g.k
    in_run = few.derived and is_run(&a.grad, &a.g, batch)
    few.into_run = in_run and fewest
    if few.derived and not in_run:
        place(&a.grad, &a.g, batch, &span)
    if few.derived and (not batch.streamed if in_run
                        else is_fetched(<const real*> grad, &span, batch)):
        few.result = near_tile(<const real*> grad, &a.grad, &a.g, batch, 0, &few.result_step)
    if value != NULL:
        value = value + batch.first
        few.cost = few.costs
        if batch.rows == LANES and not any_ignored:
            few.cost = value
    if fewest and a.x.divisor == 1 and is_run(&a.x, &a.g, batch):
        few.rows = x + batch.first * a.g.k
    else:
        place(&a.x, &a.g, batch, &span)
        load(x, &span, batch, 0, batch.steps, -<real> INFINITY, <real*> few.e)
    if real is double:
        fastce_few_batch_d(&few, batch.steps)
    else:
        fastce_few_batch_f(&few, batch.steps)
    if few.odd != 0:
        leave_to_tiles(a, batch, <const real*> few.left_out, <const real*> few.gaps, target)
    if few.cost == few.costs:
        store_values(value, batch.rows, target, <const real*> few.costs)
    if few.into_run and few.odd == 0:
        write_run(grad + batch.first * a.g.k, <const real*> few.run, batch)
    elif few.derived:
        store_few(&few, grad, &a.grad, &a.g, batch, target, in_run)


cdef inline bint are_fused_dense(const Xent* a) noexcept nogil:
    # Whether few_dense_batch will do for a tile of many rows.
    return FASTCE_HAS_EXP_LANES and a.g.k <= FASTCE_FEW


cdef inline void weigh_classes(const real* weight, Py_ssize_t steps, real factor, real share,
                               real* c) noexcept nogil:
    # c = weight (factor c + share), for many rows.
    cdef Py_ssize_t i, l
    for i in range(steps):
        for l in range(LANES):
            c[i * LANES + l] = weight[i] * (factor * c[i * LANES + l] + share)


cdef void few_dense_batch(const Xent* a, const Tile* batch, real kind) noexcept nogil:
    # dense_batch, or product_batch, with AVX-512. (Class weights and label smoothing together also
    # take this way.)
    cdef const real* x = <const real*> a.x.data
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef real* hess = <real*> a.hess.data
    cdef fastce_few few
    cdef Span span
    cdef Array3 weights
    cdef Coefficients of
    cdef Py_ssize_t target[LANES]
    cdef real w[LANES]
    cdef real omega[LANES]

    set_up(a, batch, &few, kind)
    if a.labels != NULL:
        batch_targets(a, batch, target)
        batch_weights(a, batch, target, w, omega)
        few.target = target
        few.weight = <const void*> w if a.weight != NULL else NULL
    else:
        memset(target, 0, sizeof(target))
        if a.row_weight != NULL:
            fill_lanes(omega, <real> 1.0)
            memcpy(omega, <const real*> a.row_weight + batch.first, batch.rows * sizeof(real))
    if a.row_weight != NULL:
        few.row_weight = <const void*> omega
    coefficients_of(a, &weights, &of)
    if a.v.data != NULL:
        of.given = &a.v
    few.dense = a.probabilities.data != NULL or a.smoothing != 0
    few.share, few.c_factor = of.share, of.factor
    few.curved = hess != NULL
    if value != NULL:
        few.cost = few.costs
    if of.given != NULL:
        place(of.given, &a.g, batch, &span)
        load(<const real*> of.given.data, &span, batch, 0, batch.steps, <real> 0.0,
             <real*> few.hess)
        few.c = few.hess
    if a.probabilities.data != NULL and a.weight != NULL:
        weigh_classes(<const real*> a.weight, batch.steps, <real> of.factor, <real> of.share,
                      <real*> few.hess)
        few.c_factor, few.share = 1, 0
    place(&a.x, &a.g, batch, &span)
    load(x, &span, batch, 0, batch.steps, -<real> INFINITY, <real*> few.e)
    if a.v.data != NULL:
        if real is double:
            fastce_few_product_d(&few, batch.steps)
        else:
            fastce_few_product_f(&few, batch.steps)
    elif real is double:
        fastce_few_dense_d(&few, batch.steps)
    else:
        fastce_few_dense_f(&few, batch.steps)
    if few.odd != 0:
        leave_to_tiles(a, batch, <const real*> few.left_out, <const real*> few.gaps, target)
    if value != NULL:
        store_values(value + batch.first, batch.rows, target, <const real*> few.costs)
    if few.derived:
        store_but_done(grad, &a.grad, &a.g, batch, target, <real*> few.e)
    if few.curved:
        store_but_done(hess, &a.hess, &a.g, batch, target, <real*> few.hess)


cdef inline void store_but_done(real* out, const Array3* oa, const Geometry* g, const Tile* batch,
                                const Py_ssize_t* target, real* b) noexcept nogil:
    # The inverse of `load` for many rows of few classes, but nothing where the target is DONE.
    cdef Span span
    place(oa, g, batch, &span)
    keep_done(<const real*> out, &span, batch, 0, batch.steps, target, b)
    store(out, &span, batch, 0, batch.steps, <const real*> b)
