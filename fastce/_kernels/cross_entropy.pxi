# Cross-entropy of logits, its gradient, the diagonal of its Hessian and its Hessian-vector product.
#
# A row's target is a class t with coefficient w_t, or coefficients c_j (target probabilities,
# label smoothing), or both; C is the sum of all of them. With z = logits / temperature,
# e_j = e**(z_j - N) 2**LIFT, s their sum, p_j = e_j/s, and ln 2's multiple N as in tiles.pxi:
#
#   -log p_j  = log1p((s - e_j)/e_j)        where class j leads (p_j > 1/2),
#             = (N - z_j) + log s           elsewhere: both terms are positive or small
#   value     = sum c_j (-log p_j) + z_loss lse**2
#   gradient  = kappa p_j - c_j,            kappa = C + 2 z_loss lse
#               at t: (kappa - w_t) p_t - w_t (s - e_t)/s
#   Hessian   = kappa (diag p - p p') + 2 z_loss p p'
#
# s - e_j is summed without e_j, never subtracted: for the target (`rest`) and, where it is needed,
# for the largest class (`below`).

cdef struct Xent:
    Geometry g
    Array3 x                        # logits
    Array3 probabilities            # targets, or data NULL
    Array3 grad                     # gradient, or the product if v is given
    Array3 hess
    Array3 v
    const int64_t* labels           # (rows,), or NULL
    int64_t ignore
    const void* weight              # (k,), or NULL
    const void* row_weight          # (rows,), or NULL
    void* value                     # (rows,), or NULL
    double smoothing
    double z_loss
    double temperature
    double scale                    # what the derivatives are multiplied by: 1 or 1/divisor


cdef inline void dense_targets(const Xent* a, const Tile* tile, const Span* ps, const Span* ws,
                               Py_ssize_t start, Py_ssize_t steps, const real* b, real masked,
                               const real* share, real* c) noexcept nogil:
    # c_j for a chunk: w_j ((1 - eps) t_j + share), the share for classes that are not masked, which
    # are those whose b is not `masked`.
    cdef Py_ssize_t i, l
    cdef real keep = <real> (1.0 - a.smoothing)
    cdef real w[CHUNK * LANES]
    if a.probabilities.data != NULL:
        load(<const real*> a.probabilities.data, ps, tile, start, steps, <real> 0.0, c)
    else:
        for i in range(steps):
            for l in range(LANES):
                c[i * LANES + l] = 0
    if a.smoothing != 0:
        for i in range(steps):
            for l in range(LANES):
                c[i * LANES + l] = keep * c[i * LANES + l] + \
                    (<real> 0.0 if b[i * LANES + l] == masked else share[l])
    if a.weight != NULL:
        load(<const real*> a.weight, ws, tile, start, steps, <real> 0.0, w)
        for i in range(steps):
            for l in range(LANES):
                c[i * LANES + l] = c[i * LANES + l] * w[i * LANES + l]


cdef inline void dense_pass(const real* b, const real* c, Py_ssize_t steps, const real* centre,
                            const real* n, const real* m, real* top_c, real* other_c,
                            real* other_lost, real* cost, real* cost_lost) noexcept nogil:
    # cost = sum of c_j (N - z_j), other_c = sum of c_j, both without the largest class, whose
    # c_j are in top_c.
    cdef Py_ssize_t i, l
    cdef real s[LANES]
    cdef real r[LANES]
    cdef real x, y, cj
    for i in range(steps):
        for l in range(LANES):
            x = b[i * LANES + l]
            cj = c[i * LANES + l]
            y = x - centre[l]
            y = (n[l] * ln2_high(y) - y) + n[l] * ln2_low(y)
            top_c[l] = top_c[l] + (cj if x == m[l] else <real> 0.0)
            cj = <real> 0.0 if x == m[l] else cj
            s[l] = cj
            r[l] = cj * y if cj != 0 else <real> 0.0
        two_sum(other_c, other_lost, s)
        two_sum(cost, cost_lost, r)


cdef inline void load_logits(const Xent* a, const real* x, const Span* span, const Tile* tile,
                             Py_ssize_t start, Py_ssize_t steps, const bint* ignored,
                             bint any_ignored, real* b) noexcept nogil:
    # What stands in ignored rows is not looked at: they become zeros.
    cdef Py_ssize_t i
    cdef real temperature = <real> a.temperature
    load(x, span, tile, start, steps, -<real> INFINITY, b)
    clear_ignored(ignored, any_ignored, steps, b)
    if temperature != 1:
        for i in range(steps * LANES):
            b[i] = b[i] / temperature


cdef inline void clear_ignored(const bint* ignored, bint any_ignored, Py_ssize_t steps,
                               real* b) noexcept nogil:
    cdef Py_ssize_t i, l
    if any_ignored:
        for l in range(LANES):
            if ignored[l]:
                for i in range(steps):
                    b[i * LANES + l] = 0


cdef inline void product_pass(const real* e, const real* v, Py_ssize_t steps,
                              const real* reference, real* dot, real* lost) noexcept nogil:
    # dot = sum of e_j (v_j - reference)
    cdef Py_ssize_t i, l
    cdef real s[LANES]
    for i in range(steps):
        for l in range(LANES):
            s[l] = e[i * LANES + l] * (v[i * LANES + l] - reference[l])
            s[l] = s[l] if e[i * LANES + l] != 0 else <real> 0.0
        two_sum(dot, lost, s)


cdef inline void hess_pass(const real* e, Py_ssize_t steps, const real* inverse, const real* kappa,
                           const real* top_e, const real* complement, const real* slope,
                           real per_logit, real z_loss, real* h) noexcept nogil:
    # h = slope/temperature (kappa p (1 - p) + 2 z_loss p**2)
    cdef Py_ssize_t i, l
    cdef real p, q
    for i in range(steps):
        for l in range(LANES):
            p = e[i * LANES + l] * inverse[l]
            q = complement[l] if e[i * LANES + l] == top_e[l] else <real> 1.0 - p
            h[i * LANES + l] = (slope[l] * per_logit) * \
                (p * (kappa[l] * q + <real> 2.0 * z_loss * p)) + <real> 0.0


cdef inline real times(real factor, real value) noexcept nogil:
    # factor * value, where a factor of 0 removes an infinite value (but not NaN).
    return <real> 0.0 if factor == 0 and value == value else factor * value


cdef void xent_tile(const Xent* a, const Tile* tile, real kind) noexcept nogil:
    cdef const real* x = <const real*> a.x.data
    cdef const real* weight = <const real*> a.weight
    cdef const real* row_weight = <const real*> a.row_weight
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef real* hess = <real*> a.hess.data
    cdef real infinity = <real> INFINITY
    cdef real unlift = <real> 1.0 / lift_factor(kind)
    cdef real z_loss = <real> a.z_loss
    cdef real per_logit = <real> (1.0 / a.temperature)
    cdef bint dense = a.probabilities.data != NULL or a.smoothing != 0
    cdef bint product = a.v.data != NULL
    cdef bint by_target = a.labels != NULL
    cdef bint by_top = dense or product or hess != NULL
    cdef bint whole = tile.chunks == 1
    cdef bint keep = grad != NULL
    cdef bint any_ignored = False
    cdef bint ignored[LANES]
    cdef real b[CHUNK * LANES]
    cdef real c[CHUNK * LANES]
    cdef real d[CHUNK * LANES]
    cdef Span xs, gs, hs, ps, vs, ws
    cdef Array3 weights
    cdef Py_ssize_t chunk, start, steps, i, l, j, label, special
    cdef bint leads
    cdef real mark = <real> -1.0 if a.smoothing != 0 and not whole else <real> 0.0
    cdef real p, q, lse
    # One number a lane: what is known of the row that the lane belongs to.
    cdef real m[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real target[LANES]         # the target's step, -1 where it is in another lane
    cdef real target_e[LANES]
    cdef real target_y[LANES]
    cdef real target_w[LANES]       # w_t (1 - eps)
    cdef real rest[LANES]
    cdef real lost1[LANES]
    cdef real below[LANES]
    cdef real lost2[LANES]
    cdef real top_e[LANES]
    cdef real top_count[LANES]
    cdef real top_c[LANES]
    cdef real other_c[LANES]
    cdef real lost3[LANES]
    cdef real cost[LANES]
    cdef real lost4[LANES]
    cdef real share[LANES]          # eps / number of classes that are not masked
    cdef real reference[LANES]      # v at the largest class
    cdef real dot[LANES]
    cdef real lost5[LANES]
    cdef real slope[LANES]          # scale * sample weight / temperature
    cdef real omega[LANES]          # sample weight
    cdef real factor[LANES]         # e_j -> kappa p_j
    cdef real at_target[LANES]
    cdef real at_top[LANES]
    cdef real inverse[LANES]
    cdef real kappa[LANES]
    cdef real raw[LANES]
    cdef real log_s[LANES]
    cdef real complement[LANES]     # 1 - p of a class that leads

    # 1. The rows' targets and weights.
    for l in range(tile.rows):
        ignored[l] = False
        target[l] = target_w[l] = <real> -1.0
        omega[l] = <real> 1.0 if row_weight == NULL else row_weight[tile.first + l]
        slope[l] = (<real> a.scale * omega[l]) * per_logit
        if by_target:
            if a.labels[tile.first + l] == a.ignore:
                ignored[l] = True
                any_ignored = True
            else:
                label = a.labels[tile.first + l]
                target[l] = <real> label
                target_w[l] = <real> (1.0 - a.smoothing)
                if weight != NULL:
                    target_w[l] = target_w[l] * weight[label]
    for l in range(tile.rows, LANES):
        ignored[l] = False
        target[l], slope[l] = -1, slope[0]
    place(&a.x, &a.g, tile, &xs)
    gs = hs = ps = vs = ws = xs
    if keep:
        place(&a.grad, &a.g, tile, &gs)
    if hess != NULL:
        place(&a.hess, &a.g, tile, &hs)
    if any_ignored and tile.single:
        if value != NULL:
            value[tile.first] = 0
        for i in range(min(tile.steps, <Py_ssize_t> CHUNK) * LANES):
            b[i] = 0
        for chunk in range(tile.chunks):
            start = chunk * CHUNK
            steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
            if keep:
                store(grad, &gs, tile, start, steps, b)
            if hess != NULL:
                store(hess, &hs, tile, start, steps, b)
        return
    special = -1                    # for one row, the only step that holds the target
    if by_target and tile.single:
        label = a.labels[tile.first]
        special = label // LANES
        target[0] = <real> -1.0
        target[label - special * LANES] = <real> special
    if a.probabilities.data != NULL:
        place(&a.probabilities, &a.g, tile, &ps)
    if product:
        place(&a.v, &a.g, tile, &vs)
    if weight != NULL:
        weights.outer = weights.inner = 0
        weights.k = 1
        place(&weights, &a.g, tile, &ws)

    # 2. The largest logit, and how many classes are not masked.
    fill_lanes(m, -infinity)
    fill_lanes(share, <real> 0.0)
    fill_lanes(reference, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load_logits(a, x, &xs, tile, start, steps, ignored, any_ignored, b)
        max_pass(b, steps, m)
        if a.smoothing != 0:
            for i in range(steps):
                for l in range(LANES):
                    share[l] = share[l] + (<real> 1.0 if b[i * LANES + l] > -infinity
                                           else <real> 0.0)
    if tile.single:
        same_in_all(m, True)
        same_in_all(share, False)
    if a.smoothing != 0:
        for l in range(LANES):
            share[l] = <real> a.smoothing / share[l]
    choose_shift(m, centre, n, low, magic)
    if product:
        # v at one of the largest classes: v_j minus it is what the product needs.
        for chunk in range(tile.chunks):
            start = chunk * CHUNK
            steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
            if not whole:
                load_logits(a, x, &xs, tile, start, steps, ignored, any_ignored, b)
            load(<const real*> a.v.data, &vs, tile, start, steps, <real> 0.0, d)
            for i in range(steps):
                for l in range(LANES):
                    if b[i * LANES + l] == m[l]:
                        reference[0 if tile.single else l] = d[i * LANES + l]
        if tile.single:
            fill_lanes(reference, reference[0])

    # 3. The sums.
    fill_lanes(target_e, <real> 0.0)
    fill_lanes(target_y, <real> 0.0)
    fill_lanes(rest, <real> 0.0)
    fill_lanes(lost1, <real> 0.0)
    fill_lanes(below, <real> 0.0)
    fill_lanes(lost2, <real> 0.0)
    fill_lanes(top_e, <real> 0.0)
    fill_lanes(top_count, <real> 0.0)
    fill_lanes(top_c, <real> 0.0)
    fill_lanes(other_c, <real> 0.0)
    fill_lanes(lost3, <real> 0.0)
    fill_lanes(cost, <real> 0.0)
    fill_lanes(lost4, <real> 0.0)
    fill_lanes(dot, <real> 0.0)
    fill_lanes(lost5, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if not whole:
            load_logits(a, x, &xs, tile, start, steps, ignored, any_ignored, b)
        if dense:
            dense_targets(a, tile, &ps, &ws, start, steps, b, -infinity, share, c)
            dense_pass(b, c, steps, centre, n, m, top_c, other_c, lost3, cost, lost4)
        if by_top:
            exp_pass(b, start, steps, centre, low, magic, True, mark,
                     True, target, target_e, target_y, rest, lost1,
                     True, m, top_e, top_count, below, lost2)
        elif not tile.single:
            exp_pass(b, start, steps, centre, low, magic, True, <real> 0.0,
                     True, target, target_e, target_y, rest, lost1,
                     False, NULL, NULL, NULL, NULL, NULL)
        else:
            i = special - start if start <= special < start + steps else steps
            exp_pass(b, start, i, centre, low, magic, True, <real> 0.0,
                     False, NULL, NULL, NULL, rest, lost1,
                     False, NULL, NULL, NULL, NULL, NULL)
            if i < steps:
                exp_pass(b + i * LANES, start + i, <Py_ssize_t> 1, centre, low, magic, True,
                         <real> 0.0, True, target, target_e, target_y, rest, lost1,
                         False, NULL, NULL, NULL, NULL, NULL)
                exp_pass(b + (i + 1) * LANES, start + i + 1, steps - i - 1, centre, low, magic,
                         True, <real> 0.0, False, NULL, NULL, NULL, rest, lost1,
                         False, NULL, NULL, NULL, NULL, NULL)
        if product:
            load(<const real*> a.v.data, &vs, tile, start, steps, <real> 0.0, d)
            product_pass(b, d, steps, reference, dot, lost5)
        if keep and not whole:
            store(grad, &gs, tile, start, steps, b)
    settle(rest, lost1, tile.single)
    if tile.single and by_target:
        same_in_all(target_e, False)
        same_in_all(target_y, False)
    if by_top:
        settle(below, lost2, tile.single)
        settle(other_c, lost3, tile.single)
        settle(cost, lost4, tile.single)
        settle(dot, lost5, tile.single)
        if tile.single:
            same_in_all(top_e, True)
            same_in_all(top_count, False)
            same_in_all(top_c, False)

    # 4. The value, and the numbers that the derivatives are made of.
    for l in range(tile.rows):
        inverse[l] = <real> 1.0 / (rest[l] + target_e[l])
        raw[l] = 0
        kappa[l] = 0                # without the target's own w_t until the end
    if by_target:
        for l in range(tile.rows):
            leads = target_e[l] >= rest[l]
            p = rest[l] / target_e[l] if leads else \
                (rest[l] + target_e[l]) * unlift - <real> 1.0
            q = <real> 0.0 if leads else \
                (n[l] * ln2_high(p) - target_y[l]) + n[l] * ln2_low(p)
            raw[l] = times(target_w[l], q + log1p(p))
    if dense or z_loss != 0:
        for l in range(tile.rows):
            log_s[l] = log1p((rest[l] + target_e[l]) * unlift - <real> 1.0)
    if dense:
        for l in range(tile.rows):
            below[l] = below[l] + (top_count[l] - <real> 1.0) * top_e[l]
            q = (n[l] * ln2_high(q) - (m[l] - centre[l])) + n[l] * ln2_low(q)
            q = log1p(below[l] / top_e[l]) if below[l] < top_e[l] else q + log_s[l]
            raw[l] = raw[l] + ((cost[l] + other_c[l] * log_s[l]) + times(top_c[l], q))
            kappa[l] = other_c[l] + top_c[l]
    if z_loss != 0:
        for l in range(tile.rows):
            lse = ((centre[l] + n[l] * ln2_high(lse)) + n[l] * ln2_low(lse)) + log_s[l]
            raw[l] = raw[l] + z_loss * lse * lse
            kappa[l] = kappa[l] + <real> 2.0 * z_loss * lse
    if value != NULL:
        for l in range(tile.rows):
            value[tile.first + l] = <real> 0.0 if ignored[l] else times(omega[l], raw[l])
    if not keep:
        return
    if by_top:
        # The class that leads, if one does, is known by its e_j.
        for l in range(tile.rows):
            leads = below[l] < top_e[l] and top_count[l] == 1
            complement[l] = below[l] * inverse[l]
            top_e[l] = top_e[l] if leads else <real> -1.0
    if dense:
        # C p - c = (C - c) p - c (1 - p), which does not cancel where p is nearly 1.
        for l in range(tile.rows):
            p = target_w[l] if by_target else <real> 0.0
            leads = by_target and target_e[l] == top_e[l]
            q = top_c[l] + (p if leads else <real> 0.0)
            p = (kappa[l] - top_c[l] if z_loss != 0 else other_c[l]) + \
                (<real> 0.0 if leads else p)
            at_top[l] = slope[l] * (p * (top_e[l] * inverse[l]) - q * complement[l]) + \
                <real> 0.0
    for l in range(tile.rows):
        p = target_e[l] * inverse[l]
        q = target_w[l] if by_target else <real> 0.0
        # (+ 0.0: no slope of 0 may give -0.0)
        at_target[l] = slope[l] * (kappa[l] * p - q * (rest[l] / (rest[l] + target_e[l]))) + \
            <real> 0.0
        kappa[l] = kappa[l] + q
        factor[l] = (slope[l] * kappa[l]) / (rest[l] + target_e[l])
    if product:
        for l in range(tile.rows):
            dot[l] = dot[l] * inverse[l]
    for l in range(tile.rows, LANES):
        inverse[l], factor[l], kappa[l], dot[l] = inverse[0], factor[0], kappa[0], dot[0]
        complement[l], top_e[l] = complement[0], top_e[0]
        at_target[l], at_top[l], target_e[l] = at_target[0], at_top[0], target_e[0]

    # 5. The derivatives.
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if not whole:
            load(<const real*> grad, &gs, tile, start, steps, <real> 0.0, b)
            if dense:
                dense_targets(a, tile, &ps, &ws, start, steps, b, mark, share, c)
            if mark != 0:
                for i in range(steps * LANES):
                    b[i] = <real> 0.0 if b[i] < 0 else b[i]
        if hess != NULL:
            hess_pass(b, steps, inverse, kappa, top_e, complement, slope, per_logit, z_loss, d)
            clear_ignored(ignored, any_ignored, steps, d)
            store(hess, &hs, tile, start, steps, d)
        if product:
            load(<const real*> a.v.data, &vs, tile, start, steps, <real> 0.0, d)
            for i in range(steps):
                for l in range(LANES):
                    p = b[i * LANES + l] * inverse[l]
                    q = kappa[l] * p * ((d[i * LANES + l] - reference[l]) - dot[l]) + \
                        <real> 2.0 * z_loss * p * (reference[l] + dot[l])
                    # An infinite v_j of a class without probability does not count.
                    b[i * LANES + l] = <real> 0.0 if p == 0 else (slope[l] * per_logit) * q
        else:
            # (+ 0.0: a factor below 0 would give -0.0 for masked classes)
            if dense:
                for i in range(steps):
                    for l in range(LANES):
                        p = b[i * LANES + l] * factor[l] + \
                            (<real> 0.0 - c[i * LANES + l] * slope[l])
                        b[i * LANES + l] = at_top[l] if b[i * LANES + l] == top_e[l] else p
            else:
                for i in range(steps):
                    for l in range(LANES):
                        b[i * LANES + l] = b[i * LANES + l] * factor[l] + <real> 0.0
            if by_target:
                for l in range(LANES if tile.single else tile.rows):
                    if start <= target[l] < start + steps:
                        j = (<Py_ssize_t> target[l] - start) * LANES + l
                        if not dense:
                            b[j] = at_target[l]
                        elif target_e[l] != top_e[l]:
                            b[j] = at_target[l] - c[j] * slope[l]
        clear_ignored(ignored, any_ignored, steps, b)
        store(grad, &gs, tile, start, steps, b)


cdef inline void xent_tile_number(const Xent* a, bint many, Py_ssize_t t,
                                  bint wide) noexcept nogil:
    cdef Tile tile = tile_number(&a.g, t, many)
    if wide:
        xent_tile[double](a, &tile, 0)
    else:
        xent_tile[float](a, &tile, 0)


cdef void xent_run(const Xent* a, bint wide) noexcept nogil:
    cdef bint many = side_by_side(&a.g, &a.x)
    cdef Py_ssize_t tiles = tile_count(&a.g, many)
    cdef Py_ssize_t t
    cdef int threads = team(<double> a.g.outer * a.g.k * a.g.inner, tiles)
    if threads == 1:
        for t in range(tiles):
            xent_tile_number(a, many, t, wide)
    else:
        for t in prange(tiles, num_threads=threads, schedule="static"):
            xent_tile_number(a, many, t, wide)
    feclearexcept(FE_ALL_EXCEPT)
