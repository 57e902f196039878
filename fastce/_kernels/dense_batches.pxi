# Cross-entropy in batches (batches.pxi) where every class has a coefficient, or where the Hessian's
# diagonal is asked for: what index_batch is for a class a row. The notation is that of
# cross_entropy.pxi; the class m left out of the sums is the largest, so that neither its -log p nor
# its 1 - p is a difference, and as -log p_j = (z_m - z_j) + (-log p_m), no term is negative.
#
#   c_j = w_t [j = t] + factor given_j + share
#
# where `given` are target probabilities, or the weights of the classes, if either is there. Rows
# with masked classes (logits of -inf) or infinities are left to xent_tile, each alone, so that no
# row's result depends on another; that is done before anything is written, which may be over the
# logits.

cdef struct Coefficients:
    const Array3* given             # or NULL
    double factor
    double share


cdef inline void cost_step(const real* x, const real* c, Py_ssize_t lanes, real h, real factor,
                           real share, real* cost, real* cost_lost, real* sum_c,
                           real* lost) noexcept nogil:
    # cost += c_j (h - x_j) and sum_c += c_j, a lane each. (Without `given`: the share is put off.)
    cdef Py_ssize_t l
    cdef real s[LANES]
    cdef real r[LANES]
    fill_lanes(s, <real> 0.0)
    fill_lanes(r, <real> 0.0)
    if c == NULL:
        for l in range(lanes):
            r[l] = h - x[l]
    else:
        for l in range(lanes):
            s[l] = factor * c[l] + share
            r[l] = s[l] * (h - x[l])
        two_sum(sum_c, lost, s)
    two_sum(cost, cost_lost, r)


cdef inline void cost_run(const real* x, const real* c, Py_ssize_t count, real h, real factor,
                          real share, real* cost, real* cost_lost, real* sum_c,
                          real* lost) noexcept nogil:
    # cost_step for a run of memory; four steps are added before they meet the sums.
    cdef Py_ssize_t four = 4 * LANES
    cdef Py_ssize_t i, l, rest
    cdef real s[LANES]
    cdef real r[LANES]
    cdef const real* y
    cdef const real* d
    cdef real c0, c1, c2, c3
    for i in range(count // four):
        y = x + i * four
        if c == NULL:
            for l in range(LANES):
                r[l] = ((h - y[l]) + (h - y[l + LANES])) + \
                    ((h - y[l + 2 * LANES]) + (h - y[l + 3 * LANES]))
        else:
            d = c + i * four
            for l in range(<Py_ssize_t> (four * sizeof(real)) // 64):
                FASTCE_PREFETCH(<const char*> (d + 8 * four) + 64 * l)
            for l in range(LANES):
                c0 = factor * d[l] + share
                c1 = factor * d[l + LANES] + share
                c2 = factor * d[l + 2 * LANES] + share
                c3 = factor * d[l + 3 * LANES] + share
                s[l] = (c0 + c1) + (c2 + c3)
                r[l] = (c0 * (h - y[l]) + c1 * (h - y[l + LANES])) + \
                    (c2 * (h - y[l + 2 * LANES]) + c3 * (h - y[l + 3 * LANES]))
            two_sum(sum_c, lost, s)
        two_sum(cost, cost_lost, r)
    i = count // four * four
    while i < count:
        rest = min(count - i, <Py_ssize_t> LANES)
        cost_step(x + i, c + i if c != NULL else NULL, rest, h, factor, share, cost, cost_lost,
                  sum_c, lost)
        i += rest


cdef inline void gaps_run(const real* x, Py_ssize_t count, Py_ssize_t masked, real h,
                          real* total, real* lost) noexcept nogil:
    # With AVX-512: the sum of h - x_j of a run but for the class that is masked.
    if real is double:
        fastce_gaps_d(x, count, masked, h, total, lost)
    else:
        fastce_gaps_f(x, count, masked, h, total, lost)


cdef inline void costs_run(const real* x, const real* c, Py_ssize_t count, Py_ssize_t masked,
                           real h, real factor, real share, real* cost, real* cost_lost,
                           real* sum_c, real* lost) noexcept nogil:
    # With AVX-512: cost_run but for the class that is masked, all lanes added.
    if real is double:
        fastce_costs_d(x, c, count, masked, h, factor, share, cost, cost_lost, sum_c, lost)
    else:
        fastce_costs_f(x, c, count, masked, h, factor, share, cost, cost_lost, sum_c, lost)


cdef void cost_section(const real* x, const Span* xs, const real* given, const Span* cs,
                       const Coefficients* of, const Tile* tile, Py_ssize_t k, Py_ssize_t masked,
                       real h, Py_ssize_t s, real* result) noexcept nogil:
    # result = (cost, what it lost, sum of c, what it lost) of a section of one row.
    cdef Py_ssize_t chunk, count, cut
    cdef const real* run
    cdef const real* c = NULL
    cdef real factor = <real> of.factor
    cdef real share = <real> of.share
    cdef real cost[LANES]
    cdef real cost_lost[LANES]
    cdef real sum_c[LANES]
    cdef real lost[LANES]
    cdef real b[CHUNK * LANES]
    cdef real d[CHUNK * LANES]
    if FASTCE_HAS_EXP_LANES:
        result[0] = result[1] = result[2] = result[3] = 0
        sum_c[0] = lost[0] = 0
        for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
            run = run_of(x, xs, tile, k, chunk, &count, b)
            cut = masked - chunk * CHUNK * LANES
            if given == NULL:
                gaps_run(run, count, cut, h, cost, cost_lost)
            else:
                c = run_of(given, cs, tile, k, chunk, &count, d)
                costs_run(run, c, count, cut, h, factor, share, cost, cost_lost, sum_c, lost)
            add_sum(cost[0], cost_lost[0], &result[0], &result[1])
            add_sum(sum_c[0], lost[0], &result[2], &result[3])
        return
    fill_lanes(cost, <real> 0.0)
    fill_lanes(cost_lost, <real> 0.0)
    fill_lanes(sum_c, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
        if given != NULL:
            c = run_of(given, cs, tile, k, chunk, &count, d)
        run = run_of(x, xs, tile, k, chunk, &count, b)
        cut = masked - chunk * CHUNK * LANES
        if 0 <= cut < count:
            cost_run(run, c, cut, h, factor, share, cost, cost_lost, sum_c, lost)
            run += cut + 1
            if given != NULL:
                c += cut + 1
            count -= cut + 1
        cost_run(run, c, count, h, factor, share, cost, cost_lost, sum_c, lost)
    fold_lanes(cost, cost_lost, &result[0], &result[1])
    fold_lanes(sum_c, lost, &result[2], &result[3])


cdef inline void share_out(const Coefficients* of, Py_ssize_t k, real* cost,
                           real* sum_c) noexcept nogil:
    # Of one row, without `given`: the share that was put off.
    cost[0] = cost[0] * <real> of.share
    sum_c[0] = <real> (k - 1) * <real> of.share


cdef inline void cost_row(const real* x, const Span* xs, const real* given, const Span* cs,
                          const Coefficients* of, const Tile* tile, Py_ssize_t k,
                          Py_ssize_t masked, real h, real* cost, real* sum_c) noexcept nogil:
    # The same of the whole row, rounded.
    cdef Py_ssize_t s
    cdef int threads
    cdef real found[4 * SECTIONS]
    cdef real total[4]
    cdef Py_ssize_t i
    if section_count(tile) == 1:
        cost_section(x, xs, given, cs, of, tile, k, masked, h, 0, found)
    else:
        threads = team(0.4 * k, SECTIONS)
        if threads == 1:
            for s in range(SECTIONS):
                cost_section(x, xs, given, cs, of, tile, k, masked, h, s, &found[4 * s])
        else:
            for s in prange(SECTIONS, num_threads=threads, schedule="static"):
                cost_section(x, xs, given, cs, of, tile, k, masked, h, s, &found[4 * s])
    for i in range(4):
        total[i] = found[i]
    for s in range(1, section_count(tile)):
        for i in range(0, 4, 2):
            add_sum(found[4 * s + i], found[4 * s + i + 1], &total[i], &total[i + 1])
    cost[0] = total[0] + total[1]
    sum_c[0] = total[2] + total[3]
    if given == NULL:
        share_out(of, k, cost, sum_c)


cdef inline void many_gaps(const real* b, Py_ssize_t steps, const real* h, real* total,
                           real* lost) noexcept nogil:
    # total + lost += sums of h - b_j; four steps are added before they meet the sums.
    cdef Py_ssize_t i, l
    cdef const real* y
    cdef real s[LANES]
    for i in range(steps // 4):
        y = b + i * 4 * LANES
        for l in range(LANES):
            s[l] = ((h[l] - y[l]) + (h[l] - y[l + LANES])) + \
                ((h[l] - y[l + 2 * LANES]) + (h[l] - y[l + 3 * LANES]))
        two_sum(total, lost, s)
    for i in range(steps // 4 * 4, steps):
        for l in range(LANES):
            s[l] = h[l] - b[i * LANES + l]
        two_sum(total, lost, s)


cdef inline void many_terms(const real* b, const real* c, Py_ssize_t steps, const real* h,
                            real* cost, real* cost_lost, real* sum_c, real* lost) noexcept nogil:
    # cost + cost_lost += sums of c_j (h - b_j), sum_c + lost += those of c_j; four steps are added
    # before they meet the sums.
    cdef Py_ssize_t i, j, l
    cdef real s[LANES]
    cdef real r[LANES]
    for i in range(0, steps, 4):
        fill_lanes(s, <real> 0.0)
        fill_lanes(r, <real> 0.0)
        for j in range(i, min(i + 4, steps)):
            for l in range(LANES):
                s[l] = s[l] + c[j * LANES + l]
                r[l] = r[l] + c[j * LANES + l] * (h[l] - b[j * LANES + l])
        two_sum(sum_c, lost, s)
        two_sum(cost, cost_lost, r)


cdef inline void cost_many(const real* x, const Span* xs, const real* given, const Span* cs,
                           const Coefficients* of, const Tile* tile, const Py_ssize_t* masked,
                           const real* h, real* b, real* cost, real* sum_c) noexcept nogil:
    # The same of many rows, whose logits are in b if they are of a single chunk.
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real factor = <real> of.factor
    cdef real share = <real> of.share
    cdef real c[CHUNK * LANES]
    cdef real cost_lost[LANES]
    cdef real lost[LANES]
    cdef real none[LANES]
    fill_lanes(none, <real> 0.0)
    fill_lanes(cost, <real> 0.0)
    fill_lanes(cost_lost, <real> 0.0)
    fill_lanes(sum_c, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.chunks > 1:
            load_masked(x, xs, tile, start, steps, masked, b)
        if given == NULL:
            # (The share is put off. What is masked counts for nothing while it is h.)
            mask_targets(masked, LANES, False, start, steps, b, h)
            many_gaps(b, steps, h, cost, cost_lost)
            mask_targets(masked, LANES, False, start, steps, b, <const real*> NULL)
            continue
        load(given, cs, tile, start, steps, <real> 0.0, c)
        if factor != 1 or share != 0:
            for i in range(steps):
                for l in range(LANES):
                    c[i * LANES + l] = factor * c[i * LANES + l] + share
        mask_targets(masked, LANES, False, start, steps, b, h)
        mask_targets(masked, LANES, False, start, steps, c, none)
        many_terms(b, c, steps, h, cost, cost_lost, sum_c, lost)
        mask_targets(masked, LANES, False, start, steps, b, <const real*> NULL)
    for l in range(LANES):
        cost[l] = cost[l] + cost_lost[l]
        sum_c[l] = sum_c[l] + lost[l]
    if given == NULL:
        for l in range(LANES):
            cost[l] = cost[l] * share
            sum_c[l] = <real> (tile.steps - 1) * share


cdef inline void batch_costs(const Xent* a, const Tile* batch, const Coefficients* of,
                             const Py_ssize_t* masked, const real* h, real* b, real* cost,
                             real* sum_c, real* masked_c, layout how) noexcept nogil:
    # cost = sum of c_j (h - x_j) and sum_c = sum of c_j in each row, but for the class that is
    # masked, whose c_j is masked_c, and without any w_t.
    cdef const real* x = <const real*> a.x.data
    cdef const real* given = NULL
    cdef Py_ssize_t r
    cdef Span xs
    cdef Span cs
    cdef Tile tile
    cdef bint direct = (FASTCE_HAS_EXP_LANES and are_single_runs(&a.x, &a.g)
                        and (of.given == NULL or are_single_runs(of.given, &a.g)))
    cdef real total, lost, total_c, lost_c
    nowhere(&cs)
    fill_lanes(masked_c, <real> 0.0)
    if of.given != NULL:
        given = <const real*> of.given.data
        take_at(given, of.given, &a.g, batch, masked, masked_c)
    for r in range(LANES):
        masked_c[r] = <real> of.factor * masked_c[r] + <real> of.share
    if layout is many:
        place(&a.x, &a.g, batch, &xs)
        if given != NULL:
            place(of.given, &a.g, batch, &cs)
        cost_many(x, &xs, given, &cs, of, batch, masked, h, b, cost, sum_c)
    else:
        fill_lanes(cost, <real> 0.0)
        fill_lanes(sum_c, <real> 0.0)
        for r in range(batch.rows):
            if masked[r] == IGNORED:
                continue
            if direct and given == NULL:
                gaps_run(x + (batch.first + r) * a.x.outer, a.g.k, masked[r], h[r], &total, &lost)
                cost[r] = total + lost
                share_out(of, a.g.k, &cost[r], &sum_c[r])
                continue
            if direct:
                costs_run(x + (batch.first + r) * a.x.outer,
                          given + (batch.first + r) * of.given.outer, a.g.k, masked[r], h[r],
                          <real> of.factor, <real> of.share, &total, &lost, &total_c, &lost_c)
                cost[r] = total + lost
                sum_c[r] = total_c + lost_c
                continue
            tile = row_of(batch, r)
            place(&a.x, &a.g, &tile, &xs)
            if given != NULL:
                place(of.given, &a.g, &tile, &cs)
            cost_row(x, &xs, given, &cs, of, &tile, a.g.k, masked[r], h[r], &cost[r], &sum_c[r])


cdef inline void leave_to_tiles(const Xent* a, const Tile* batch, const real* masked_x,
                                const real* cost, Py_ssize_t* masked) noexcept nogil:
    # Rows with a cost or a masked logit that is not finite go to xent_tile and are DONE.
    cdef Py_ssize_t r
    cdef Tile tile
    for r in range(batch.rows):
        # (x - x is NaN unless x is finite)
        if masked[r] != IGNORED and not (cost[r] - cost[r] == 0
                                         and masked_x[r] - masked_x[r] == 0):
            tile = tile_at(&a.g, batch.first + r, 1, True)
            xent_tile(a, &tile, cost[r])
            masked[r] = DONE


cdef inline void derive_run(real* e, const real* c, real* h, Py_ssize_t count,
                            const Derivatives* d, double z_loss) noexcept nogil:
    # With AVX-512: hessian_run, unless h is NULL, and gradient_run.
    if real is double:
        fastce_derive_d(e, c, h, count, d.factor, d.factor_low, d.c_factor, d.shift, d.inverse,
                        d.kappa, z_loss, d.slope)
    else:
        fastce_derive_f(e, c, h, count, <float> d.factor, <float> d.factor_low,
                        <float> d.c_factor, <float> d.shift, <float> d.inverse, <float> d.kappa,
                        <float> z_loss, <float> d.slope)


cdef inline void gradient_run(real* e, const real* c, Py_ssize_t count, real factor,
                              real factor_low, real c_factor, real shift) noexcept nogil:
    # e_j times the sum of two factors, plus c_factor c_j + shift.
    cdef Py_ssize_t j
    if c == NULL:
        scale_run(e, count, factor, factor_low, shift)
    else:
        for j in range(count):
            e[j] = e[j] * factor + (e[j] * factor_low + (c_factor * c[j] + shift))


cdef inline void hessian_run(const real* e, real* h, Py_ssize_t count, real inverse, real kappa,
                             real z_loss, real slope) noexcept nogil:
    # h = slope (kappa p (1 - p) + 2 z_loss p**2)
    cdef Py_ssize_t j
    cdef real p
    for j in range(count):
        p = e[j] * inverse
        h[j] = slope * (p * (kappa * (<real> 1.0 - p) + <real> 2.0 * z_loss * p)) + <real> 0.0


cdef struct Derivatives:
    # What a row's derivatives are made of.
    double factor
    double factor_low
    double c_factor
    double shift
    double inverse
    double kappa
    double slope                    # of the Hessian


cdef void derive_section(const Xent* a, const Coefficients* of, const Tile* tile,
                         const Derivatives* d, Py_ssize_t s, real kind) noexcept nogil:
    # From the e_j of a section of one row, which are where its gradient will be: its derivatives.
    cdef const real* given = <const real*> of.given.data if of.given != NULL else NULL
    cdef real* grad = <real*> a.grad.data
    cdef real* hess = <real*> a.hess.data
    cdef Py_ssize_t chunk, start, steps, count
    cdef real* e
    cdef real* to
    cdef const real* c = NULL
    cdef Span gs
    cdef Span hs
    cdef Span cs
    cdef real b[CHUNK * LANES]
    cdef real h[CHUNK * LANES]
    cdef real room[CHUNK * LANES]
    place(&a.grad, &a.g, tile, &gs)
    nowhere(&hs)
    nowhere(&cs)
    if hess != NULL:
        place(&a.hess, &a.g, tile, &hs)
    if given != NULL:
        place(of.given, &a.g, tile, &cs)
    for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        e = <real*> run_of(<const real*> grad, &gs, tile, a.g.k, chunk, &count, b)
        if given != NULL:
            c = run_of(given, &cs, tile, a.g.k, chunk, &count, room)
        if FASTCE_HAS_EXP_LANES and gs.unit and (hess == NULL or hs.unit):
            to = hess + hs.lane[0] + start * LANES if hess != NULL else NULL
            derive_run(e, c, to, count, d, a.z_loss)
            continue
        if hess != NULL:
            to = hess + hs.lane[0] + start * LANES if hs.unit else h
            hessian_run(<const real*> e, to, count, <real> d.inverse, <real> d.kappa,
                        <real> a.z_loss, <real> d.slope)
            if not hs.unit:
                store(hess, &hs, tile, start, steps, <const real*> h)
        gradient_run(e, c, count, <real> d.factor, <real> d.factor_low, <real> d.c_factor,
                     <real> d.shift)
        if not gs.unit:
            store(grad, &gs, tile, start, steps, <const real*> b)


cdef inline void derive_row(const Xent* a, const Coefficients* of, const Tile* tile,
                            const Derivatives* d, real kind) noexcept nogil:
    # The same of the whole row.
    cdef Py_ssize_t s
    cdef int threads = 1 if section_count(tile) == 1 else team(0.4 * a.g.k, SECTIONS)
    if threads == 1:
        for s in range(section_count(tile)):
            derive_section(a, of, tile, d, s, kind)
    else:
        for s in prange(SECTIONS, num_threads=threads, schedule="static"):
            derive_section(a, of, tile, d, s, kind)


cdef inline void derive_many(const Xent* a, const Coefficients* of, const Tile* tile, real* b,
                             const real* factor, const real* factor_low, const real* c_factor,
                             const real* shift, const real* inverse, const real* kappa,
                             const real* slope, const Py_ssize_t* target) noexcept nogil:
    # The same of many rows, whose e_j are in b if they are of a single chunk.
    cdef const real* given = <const real*> of.given.data if of.given != NULL else NULL
    cdef real* grad = <real*> a.grad.data
    cdef real* hess = <real*> a.hess.data
    cdef real z_loss = <real> a.z_loss
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real c[CHUNK * LANES]
    cdef real h[CHUNK * LANES]
    cdef real e, p
    cdef Span gs
    cdef Span hs
    cdef Span cs
    nowhere(&hs)
    nowhere(&cs)
    place(&a.grad, &a.g, tile, &gs)
    if hess != NULL:
        place(&a.hess, &a.g, tile, &hs)
    if given != NULL:
        place(of.given, &a.g, tile, &cs)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.chunks > 1:
            load(<const real*> grad, &gs, tile, start, steps, <real> 0.0, b)
        if hess != NULL:
            for i in range(steps):
                for l in range(LANES):
                    p = b[i * LANES + l] * inverse[l]
                    h[i * LANES + l] = slope[l] * (p * (
                        kappa[l] * (<real> 1.0 - p) + <real> 2.0 * z_loss * p)) + <real> 0.0
            keep_done(<const real*> hess, &hs, tile, start, steps, target, h)
            store(hess, &hs, tile, start, steps, <const real*> h)
        if given == NULL:
            for i in range(steps):
                for l in range(LANES):
                    e = b[i * LANES + l]
                    b[i * LANES + l] = e * factor[l] + (e * factor_low[l] + shift[l])
        else:
            load(given, &cs, tile, start, steps, <real> 0.0, c)
            for i in range(steps):
                for l in range(LANES):
                    e = b[i * LANES + l]
                    b[i * LANES + l] = e * factor[l] + (
                        e * factor_low[l] + (c_factor[l] * c[i * LANES + l] + shift[l]))
        keep_done(<const real*> grad, &gs, tile, start, steps, target, b)
        store(grad, &gs, tile, start, steps, <const real*> b)


cdef inline void derive_batch(const Xent* a, const Tile* batch, const Coefficients* of, real* b,
                              const real* factor, const real* factor_low, const real* slope,
                              const real* inverse, const real* kappa, const real* curve,
                              const Py_ssize_t* target, layout how) noexcept nogil:
    # From the e_j: e_j times the sum of two factors - slope c_j, without any w_t, and, if asked,
    # the Hessian's diagonal. Zeros where the target is IGNORED, nothing where it is DONE.
    cdef Py_ssize_t l
    cdef Derivatives d
    cdef Tile tile
    cdef bint direct = (FASTCE_HAS_EXP_LANES and are_single_runs(&a.grad, &a.g)
                        and (of.given == NULL or are_single_runs(of.given, &a.g))
                        and (a.hess.data == NULL or are_single_runs(&a.hess, &a.g)))
    cdef real c_factor[LANES]
    cdef real shift[LANES]
    for l in range(LANES):
        c_factor[l] = -slope[l] * <real> of.factor
        shift[l] = <real> 0.0 - slope[l] * <real> of.share
    if layout is many:
        derive_many(a, of, batch, b, factor, factor_low, c_factor, shift, inverse, kappa, curve,
                    target)
    else:
        for l in range(batch.rows):
            if target[l] == DONE:
                continue
            if target[l] == IGNORED:
                fill_row(<real*> a.grad.data, &a.grad, &a.g, batch.first + l, <real> 0.0)
                fill_row(<real*> a.hess.data, &a.hess, &a.g, batch.first + l, <real> 0.0)
                continue
            d.factor, d.factor_low = factor[l], factor_low[l]
            d.c_factor, d.shift = c_factor[l], shift[l]
            d.inverse = d.kappa = d.slope = 0
            if a.hess.data != NULL:
                d.inverse, d.kappa, d.slope = inverse[l], kappa[l], curve[l]
            if direct:
                derive_run(<real*> a.grad.data + (batch.first + l) * a.grad.outer,
                           <const real*> of.given.data + (batch.first + l) * of.given.outer
                           if of.given != NULL else NULL,
                           <real*> a.hess.data + (batch.first + l) * a.hess.outer
                           if a.hess.data != NULL else NULL, a.g.k, &d, a.z_loss)
                continue
            tile = row_of(batch, l)
            derive_row(a, of, &tile, &d, factor[l])


cdef inline void coefficients_of(const Xent* a, Array3* weights, Coefficients* of) noexcept nogil:
    of.given = NULL
    of.factor = 0
    of.share = a.smoothing / a.g.k
    if a.probabilities.data != NULL:
        of.given = &a.probabilities
        of.factor = 1 - a.smoothing
    elif a.weight != NULL and a.smoothing != 0:
        weights.data = <void*> a.weight
        weights.outer = weights.inner = 0
        weights.k = 1
        weights.divisor = 1
        of.given = weights
        of.factor = of.share
        of.share = 0


cdef void dense_batch(const Xent* a, const Tile* batch, TopsAhead* tops_ahead, real kind,
                      layout how) noexcept nogil:
    cdef const real* x = <const real*> a.x.data
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef real z_loss = <real> a.z_loss
    cdef real per_logit = <real> (1.0 / a.temperature)
    cdef bint by_target = a.labels != NULL
    cdef bint dense = a.probabilities.data != NULL or a.smoothing != 0
    cdef bint far
    cdef Py_ssize_t rows = batch.rows
    cdef Py_ssize_t lanes = lanes_of(batch, kind)
    cdef Py_ssize_t l
    cdef Py_ssize_t* target = NULL
    cdef Py_ssize_t targets[LANES]
    cdef Py_ssize_t at[LANES]       # the largest class
    cdef Array3 weights
    cdef Coefficients of
    cdef real b[CHUNK * LANES]
    # One number a row:
    cdef real m[LANES]
    cdef real below[LANES]          # the largest logit but that
    cdef real anchor[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real w[LANES]              # w_t
    cdef real omega[LANES]          # the sample's weight
    cdef real target_x[LANES]
    cdef real target_c[LANES]       # c_t and c_m without w_t
    cdef real top_c[LANES]
    cdef real cost[LANES]           # sum of c_j (-log p_j)
    cdef real sum_c[LANES]          # sum of c_j but for the largest class and w_t
    cdef real rest[LANES]
    cdef real rest_low[LANES]
    cdef real top_e[LANES]
    cdef real s[LANES]
    cdef real s_low[LANES]
    cdef real inverse[LANES]
    cdef real inverse_low[LANES]
    cdef real complement[LANES]     # 1 - p of the largest
    cdef real pull[LANES]           # 2 z_loss logsumexp
    cdef real slope[LANES]
    cdef real kappa[LANES]
    cdef real factor[LANES]         # e_j -> kappa p_j
    cdef real factor_low[LANES]
    cdef real at_top[LANES]
    cdef real at_target[LANES]
    cdef real curve[LANES]          # slope / temperature
    cdef real curve_at_top[LANES]
    cdef bint leads[LANES]          # the largest class is the target
    cdef real top_cost, y, p, q

    coefficients_of(a, &weights, &of)
    fill_lanes(omega, <real> 1.0)
    fill_lanes(w, <real> 0.0)
    fill_lanes(target_x, <real> 0.0)
    fill_lanes(target_c, <real> 0.0)
    fill_lanes(top_c, <real> 0.0)
    if by_target:
        target = targets
        batch_targets(a, batch, targets)
        batch_weights(a, batch, targets, w, omega)
        for l in range(LANES):
            w[l] = <real> (1.0 - a.smoothing) * w[l]
        take_at(x, &a.x, &a.g, batch, target, target_x)
    elif a.row_weight != NULL:
        for l in range(rows):
            omega[l] = (<const real*> a.row_weight)[batch.first + l]
    batch_argmax(x, &a.x, &a.g, batch, target, b, at, m, below, tops_ahead, how)
    choose_anchor(below, m, lanes, anchor)
    far = choose_shift(m, lanes, centre, n, low, magic)
    if dense:
        batch_costs(a, batch, &of, at, m, b, cost, sum_c, top_c, how)
        if by_target:
            if of.given != NULL:
                take_at(<const real*> of.given.data, of.given, &a.g, batch, target, target_c)
            for l in range(lanes):
                target_c[l] = <real> of.factor * target_c[l] + <real> of.share
    else:
        fill_lanes(cost, <real> 0.0)
        fill_lanes(sum_c, <real> 0.0)
    leave_to_tiles(a, batch, m, cost, at)
    for l in range(rows):
        if by_target and at[l] == DONE:
            targets[l] = DONE
    for l in range(lanes):
        leads[l] = by_target and targets[l] == at[l]
    batch_sums(x, &a.x, &a.g, batch, at, centre, low, magic, anchor, far, b, grad, &a.grad, NULL,
               tops_ahead, rest, rest_low, how)

    for l in range(lanes):
        top_e[l] = exp_parts(m[l] - centre[l], magic[l], &y)
        s[l] = rest[l] + top_e[l]
        s_low[l] = sum_error(rest[l], top_e[l], s[l]) + (rest_low[l] + y)
        inverse[l] = <real> 1.0 / s[l]
        inverse_low[l] = reciprocal_low(s[l], s_low[l], inverse[l])
        top_cost = cost_near(rest[l], rest_low[l], top_e[l], y, inverse[l])
        cost[l] = cost[l] + (sum_c[l] + top_c[l]) * top_cost
        cost[l] = cost[l] + times(w[l], (m[l] - target_x[l]) + top_cost)
        pull[l] = 0
    if z_loss != 0:
        for l in range(lanes):
            y = n[l] * ln2_low(kind) + log_parts(s[l], s_low[l], -lift(kind))
            y = (n[l] * ln2_high(kind) + centre[l]) + y
            pull[l] = <real> 2.0 * z_loss * y
            cost[l] = cost[l] + z_loss * y * y
    for l in range(lanes):
        cost[l] = times(omega[l], cost[l])
    if value != NULL:
        store_values(value + batch.first, rows, at, cost)
    if grad == NULL:
        return
    for l in range(lanes):
        slope[l] = (<real> a.scale * omega[l]) * per_logit
        slope[l] = <real> 0.0 if at[l] == IGNORED else slope[l]
        complement[l] = rest[l] * inverse[l] + \
            (rest[l] * inverse_low[l] + rest_low[l] * inverse[l])
        # C p - c = (C - c) p - c (1 - p)
        p = top_e[l] * inverse[l]
        q = top_c[l] + (w[l] if leads[l] else <real> 0.0)
        y = (sum_c[l] + (<real> 0.0 if leads[l] else w[l])) + pull[l]
        at_top[l] = slope[l] * (y * p - q * complement[l]) + <real> 0.0
        kappa[l] = y + q
        curve[l] = slope[l] * per_logit
        curve_at_top[l] = curve[l] * (
            p * (kappa[l] * complement[l] + <real> 2.0 * z_loss * p)) + <real> 0.0
        y = target_x[l] - centre[l]
        p = exp_scaled(low[l] if low[l] > y else y, magic[l]) * inverse[l]
        y = (kappa[l] - w[l]) * p - w[l] * (<real> 1.0 - p)
        at_target[l] = slope[l] * (y - target_c[l]) + <real> 0.0
        p = slope[l] * kappa[l]
        factor[l] = p * inverse[l]
        factor_low[l] = product_error(p, inverse[l], factor[l]) + p * inverse_low[l]
    derive_batch(a, batch, &of, b, factor, factor_low, slope, inverse, kappa, curve, at, how)
    if by_target:
        store_at(grad, &a.grad, &a.g, batch, target, at_target)
    store_at(grad, &a.grad, &a.g, batch, at, at_top)
    if a.hess.data != NULL:
        store_at(<real*> a.hess.data, &a.hess, &a.g, batch, at, curve_at_top)


# The product of the Hessian with a vector v, where the targets are classes. With the largest class
# m left out of the sum as well, so that what is near 0 is not a difference:
#
#   d = sum of p_j (v_j - v_m)
#   slope/temperature p_j (kappa ((v_j - v_m) - d) + 2 z_loss (v_m + d))

cdef inline void dot_run(const real* e, const real* v, Py_ssize_t count, real v_top, real* dot,
                         real* lost) noexcept nogil:
    # dot + lost += e_j (v_j - v_m), by lanes. An infinite v_j whose e_j is 0 does not count.
    cdef Py_ssize_t i, l, lanes
    cdef real s[LANES]
    cdef real y
    for i in range((count + LANES - 1) // LANES):
        lanes = min(count - i * LANES, <Py_ssize_t> LANES)
        fill_lanes(s, <real> 0.0)
        for l in range(lanes):
            y = e[i * LANES + l] * (v[i * LANES + l] - v_top)
            s[l] = y if e[i * LANES + l] != 0 else <real> 0.0
        two_sum(dot, lost, s)


cdef inline void product_run(real* e, const real* v, Py_ssize_t count, real v_top, real d,
                             real inverse, real kappa, real shift, real curve) noexcept nogil:
    # e becomes the product; shift is 2 z_loss (v_m + d). (A NaN in the row spoils all of it.)
    cdef Py_ssize_t j
    cdef real y
    cdef bint spoiled = inverse != inverse
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_product_d(e, v, count, v_top, d, inverse, kappa, shift, curve)
        else:
            fastce_product_f(e, v, count, v_top, d, inverse, kappa, shift, curve)
        return
    for j in range(count):
        y = (curve * (e[j] * inverse)) * (kappa * ((v[j] - v_top) - d) + shift) + <real> 0.0
        e[j] = y if (e[j] != 0) | spoiled else <real> 0.0


cdef inline real row_dot(const Xent* a, const Tile* tile, real v_top, const Span* gs,
                         const Span* vs) noexcept nogil:
    cdef Py_ssize_t chunk, count
    cdef const real* e
    cdef const real* v
    cdef real dot[LANES]
    cdef real lost[LANES]
    cdef real b[CHUNK * LANES]
    cdef real c[CHUNK * LANES]
    cdef real total = 0
    cdef real rest = 0
    fill_lanes(dot, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for chunk in range(tile.chunks):
        e = run_of(<const real*> a.grad.data, gs, tile, a.g.k, chunk, &count, b)
        v = run_of(<const real*> a.v.data, vs, tile, a.g.k, chunk, &count, c)
        if not FASTCE_HAS_EXP_LANES:
            dot_run(e, v, count, v_top, dot, lost)
            continue
        if real is double:
            fastce_dot_d(e, v, count, v_top, dot, lost)
        else:
            fastce_dot_f(e, v, count, v_top, dot, lost)
        add_sum(dot[0], lost[0], &total, &rest)
    if FASTCE_HAS_EXP_LANES:
        return total + rest
    fold_lanes(dot, lost, dot, lost)
    return dot[0] + lost[0]


cdef inline void row_product(const Xent* a, const Tile* tile, real v_top, real d, real inverse,
                             real kappa, real shift, real curve, const Span* gs,
                             const Span* vs) noexcept nogil:
    cdef Py_ssize_t chunk, count, start
    cdef real* e
    cdef const real* v
    cdef real b[CHUNK * LANES]
    cdef real c[CHUNK * LANES]
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        e = <real*> run_of(<const real*> a.grad.data, gs, tile, a.g.k, chunk, &count, b)
        v = run_of(<const real*> a.v.data, vs, tile, a.g.k, chunk, &count, c)
        product_run(e, v, count, v_top, d, inverse, kappa, shift, curve)
        if not gs.unit:
            store(<real*> a.grad.data, gs, tile, start,
                  min(tile.steps - start, <Py_ssize_t> CHUNK), <const real*> b)


cdef inline void many_dots(const Xent* a, const Tile* tile, const real* v_top, const Span* gs,
                           const Span* vs, real* b, real* dot) noexcept nogil:
    # row_dot of many rows, whose e_j are in b if they are of a single chunk.
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real c[CHUNK * LANES]
    cdef real lost[LANES]
    cdef real s[LANES]
    fill_lanes(dot, <real> 0.0)
    fill_lanes(lost, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.chunks > 1:
            load(<const real*> a.grad.data, gs, tile, start, steps, <real> 0.0, b)
        load(<const real*> a.v.data, vs, tile, start, steps, <real> 0.0, c)
        for i in range(steps):
            for l in range(LANES):
                s[l] = b[i * LANES + l] * (c[i * LANES + l] - v_top[l])
                s[l] = s[l] if b[i * LANES + l] != 0 else <real> 0.0
            two_sum(dot, lost, s)
    for l in range(LANES):
        dot[l] = dot[l] + lost[l]


cdef inline void many_products(const Xent* a, const Tile* tile, const Py_ssize_t* at,
                               const real* v_top, const real* d, const real* inverse,
                               const real* kappa, const real* shift, const real* curve,
                               const Span* gs, const Span* vs, real* b) noexcept nogil:
    # row_product of many rows; zeros where `at` is IGNORED.
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef real c[CHUNK * LANES]
    cdef real y
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.chunks > 1:
            load(<const real*> a.grad.data, gs, tile, start, steps, <real> 0.0, b)
        load(<const real*> a.v.data, vs, tile, start, steps, <real> 0.0, c)
        for i in range(steps):
            for l in range(LANES):
                y = (curve[l] * (b[i * LANES + l] * inverse[l])) * (
                    kappa[l] * ((c[i * LANES + l] - v_top[l]) - d[l]) + shift[l]) + <real> 0.0
                b[i * LANES + l] = y if (b[i * LANES + l] != 0) | (inverse[l] != inverse[l]) \
                    else <real> 0.0
        mask_ignored(at, steps, b)
        keep_done(<const real*> a.grad.data, gs, tile, start, steps, at, b)
        store(<real*> a.grad.data, gs, tile, start, steps, <const real*> b)


cdef void product_batch(const Xent* a, const Tile* batch, TopsAhead* tops_ahead, real kind,
                        layout how) noexcept nogil:
    cdef const real* x = <const real*> a.x.data
    cdef real* grad = <real*> a.grad.data
    cdef real z_loss = <real> a.z_loss
    cdef real per_logit = <real> (1.0 / a.temperature)
    cdef bint far
    cdef Py_ssize_t rows = batch.rows
    cdef Py_ssize_t lanes = lanes_of(batch, kind)
    cdef Py_ssize_t l
    cdef Py_ssize_t target[LANES]
    cdef Py_ssize_t at[LANES]       # the largest class
    cdef Span gs
    cdef Span vs
    cdef Tile tile
    cdef real b[CHUNK * LANES]
    # One number a row:
    cdef real m[LANES]
    cdef real below[LANES]          # the largest logit but that
    cdef real anchor[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real w[LANES]              # the weight of its class
    cdef real omega[LANES]          # its own
    cdef real rest[LANES]
    cdef real rest_low[LANES]
    cdef real v_top[LANES]
    cdef real d[LANES]
    cdef real top_p[LANES]
    cdef real inverse[LANES]
    cdef real shift[LANES]
    cdef real curve[LANES]
    cdef real at_top[LANES]
    cdef real s, s_low, y

    batch_targets(a, batch, target)
    batch_weights(a, batch, target, w, omega)
    batch_argmax(x, &a.x, &a.g, batch, target, b, at, m, below, tops_ahead, how)
    fill_lanes(d, <real> 0.0)
    leave_to_tiles(a, batch, m, d, at)
    choose_anchor(below, m, lanes, anchor)
    far = choose_shift(m, lanes, centre, n, low, magic)
    batch_sums(x, &a.x, &a.g, batch, at, centre, low, magic, anchor, far, b, grad, &a.grad, NULL,
               tops_ahead, rest, rest_low, how)
    take_at(<const real*> a.v.data, &a.v, &a.g, batch, at, v_top)
    if layout is many:
        place(&a.grad, &a.g, batch, &gs)
        place(&a.v, &a.g, batch, &vs)
        many_dots(a, batch, v_top, &gs, &vs, b, d)
    else:
        for l in range(rows):
            if at[l] >= 0:
                tile = row_of(batch, l)
                place(&a.grad, &a.g, &tile, &gs)
                place(&a.v, &a.g, &tile, &vs)
                d[l] = row_dot(a, &tile, v_top[l], &gs, &vs)
    for l in range(lanes):
        y = exp_parts(m[l] - centre[l], magic[l], &s_low)
        s = rest[l] + y
        s_low = sum_error(rest[l], y, s) + (rest_low[l] + s_low)
        inverse[l] = <real> 1.0 / s
        top_p[l] = y * inverse[l]
        d[l] = d[l] * inverse[l]
        y = ((centre[l] + n[l] * ln2_high(y)) + n[l] * ln2_low(y)) + log_parts(s, s_low, -lift(y))
        w[l] = w[l] + <real> 2.0 * z_loss * y
        shift[l] = <real> 2.0 * z_loss * (v_top[l] + d[l]) if z_loss != 0 else <real> 0.0
        curve[l] = ((<real> a.scale * omega[l]) * per_logit) * per_logit
        at_top[l] = (curve[l] * top_p[l]) * (shift[l] - w[l] * d[l]) + <real> 0.0
    if layout is many:
        many_products(a, batch, at, v_top, d, inverse, w, shift, curve, &gs, &vs, b)
    else:
        for l in range(rows):
            if at[l] == IGNORED:
                fill_row(grad, &a.grad, &a.g, batch.first + l, <real> 0.0)
            elif at[l] >= 0:
                tile = row_of(batch, l)
                place(&a.grad, &a.g, &tile, &gs)
                place(&a.v, &a.g, &tile, &vs)
                row_product(a, &tile, v_top[l], d[l], inverse[l], w[l], shift[l], curve[l], &gs,
                            &vs)
    store_at(grad, &a.grad, &a.g, batch, at, at_top)
