# Cross-entropy of logits, its gradient, the diagonal of its Hessian and its Hessian-vector product.
#
# A row's target is a class t with coefficient w_t, or coefficients c_j (target probabilities,
# label smoothing), or both; C is the sum of all of them. With z = logits / temperature,
# e_j = e**(z_j - N) 2**LIFT, s their sum, p_j = e_j/s, and ln 2's multiple N as in tiles.pxi:
#
#   -log p_j  = log1p((s - e_j)/e_j)        for the target, and for a class that leads,
#             = (N - z_j) + log s           elsewhere, and where e_j underflows: both terms are
#                                           positive or small
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


cdef inline void load_logits(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                             Py_ssize_t steps, const Py_ssize_t* ignored, bint any_ignored,
                             real* b) noexcept nogil:
    # What stands in ignored rows is not looked at: they become zeros.
    load(x, span, tile, start, steps, -<real> INFINITY, b)
    clear_ignored(ignored, any_ignored, steps, b)


cdef inline void clear_ignored(const Py_ssize_t* ignored, bint any_ignored, Py_ssize_t steps,
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
            # (Masked classes may be marked by a number below 0.)
            s[l] = <real> 0.0 if e[i * LANES + l] <= 0 else s[l]
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
    cdef real product = factor * value
    return <real> 0.0 if (factor == 0) & (value == value) else product


cdef inline void clear_row(const Xent* a, const Tile* tile, const Span* gs, const Span* hs,
                           real* b) noexcept nogil:
    # A single row that is ignored: everything is 0.
    cdef Py_ssize_t chunk, start, steps, i
    if a.value != NULL:
        (<real*> a.value)[tile.first] = 0
    for i in range(CHUNK * LANES):
        b[i] = 0
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if a.grad.data != NULL:
            store(<real*> a.grad.data, gs, tile, start, steps, b)
        if a.hess.data != NULL:
            store(<real*> a.hess.data, hs, tile, start, steps, b)


cdef inline void mask_targets(const Py_ssize_t* target, Py_ssize_t rows, bint single,
                              Py_ssize_t start, Py_ssize_t steps, real* b,
                              const real* replacement) noexcept nogil:
    # The rows' targets in a chunk become -inf, or what is given for each row.
    cdef Py_ssize_t l, lane, step
    for l in range(rows):
        lane = target[l] % LANES if single else l
        step = (target[l] // LANES if single else target[l]) - start
        if target[l] >= 0 and 0 <= step < steps:
            b[step * LANES + lane] = -<real> INFINITY if replacement == NULL else replacement[l]


cdef inline bint batch_targets(const Xent* a, const Tile* batch,
                               Py_ssize_t* target) noexcept nogil:
    # The rows' targets, or IGNORED, and whether any is; lanes without a row are as of class 0.
    cdef const int64_t* label = a.labels + batch.first
    cdef int64_t padded[LANES]
    cdef bint any_ignored = False
    cdef Py_ssize_t l
    if batch.rows < LANES:
        memset(padded, 0, sizeof(padded))
        memcpy(padded, label, batch.rows * sizeof(int64_t))
        label = padded
    for l in range(LANES):
        any_ignored |= label[l] == a.ignore
        target[l] = IGNORED if label[l] == a.ignore else label[l]
    return any_ignored


cdef inline void batch_weights(const Xent* a, const Tile* batch, const Py_ssize_t* target, real* w,
                               real* omega) noexcept nogil:
    # The weights of the targets and of the rows.
    cdef const real* weight = <const real*> a.weight
    cdef const real* row_weight = <const real*> a.row_weight
    cdef Py_ssize_t l
    fill_lanes(w, <real> 1.0)
    fill_lanes(omega, <real> 1.0)
    if weight != NULL:
        for l in range(batch.rows):
            w[l] = weight[max(target[l], <Py_ssize_t> 0)]
    if row_weight != NULL:
        for l in range(batch.rows):
            omega[l] = row_weight[batch.first + l]


cdef inline void store_values(real* value, Py_ssize_t rows, const Py_ssize_t* target,
                              const real* cost) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(rows):
        if target[l] != DONE:
            value[l] = <real> 0.0 if target[l] == IGNORED else cost[l]


cdef void index_batch(const Xent* a, const Tile* batch, void* room, TopsAhead* tops_ahead,
                      real kind, layout how) noexcept nogil:
    # Value and gradient where the targets are classes. (With label smoothing, where the other
    # classes have coefficients, dense_batches.pxi does its part.)
    cdef const real* x = <const real*> a.x.data
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef bint weighted = a.weight != NULL or a.row_weight != NULL
    cdef real z_loss = <real> a.z_loss
    cdef real per_logit = <real> (1.0 / a.temperature)
    cdef bint smooth = a.smoothing != 0
    cdef bint beyond = False
    cdef bint few = False
    cdef bint far
    cdef Py_ssize_t rows = batch.rows
    cdef Py_ssize_t lanes = lanes_of(batch, kind)
    cdef Py_ssize_t l
    cdef Py_ssize_t target[LANES]
    cdef real chunk[CHUNK * LANES]
    cdef real* b = <real*> room if layout is many and room != NULL else chunk
    cdef Pile* pile = <Pile*> room if layout is in_turn else NULL
    cdef real* e = grad
    cdef Array3 waiting = a.grad
    # One number a row:
    cdef real below[LANES]          # the largest logit but the target's
    cdef real m[LANES]
    cdef real anchor[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real w[LANES]              # the weight of its class
    cdef real omega[LANES]          # its own
    cdef real step_of_target[LANES]
    cdef real target_x[LANES]
    cdef real target_e[LANES]
    cdef real target_low[LANES]
    cdef real rest[LANES]
    cdef real rest_low[LANES]
    cdef real s[LANES]
    cdef real s_low[LANES]
    cdef real inverse[LANES]
    cdef real inverse_low[LANES]
    cdef real cost[LANES]           # -log p of the target
    cdef real factor[LANES]         # e_j -> gradient
    cdef real factor_low[LANES]
    cdef real at_target[LANES]
    cdef real lse[LANES]
    cdef real pull[LANES]           # 2 z_loss lse, and the coefficients of the other classes
    cdef real h[LANES]              # N but for n ln2_low
    cdef real others[LANES]         # sum of c_j (-log p_j) over the other classes
    cdef real sum_c[LANES]          # that of c_j
    cdef real target_c[LANES]       # c_t without w
    cdef Array3 weights
    cdef Coefficients of
    cdef real y

    if layout is many:
        few = a.g.k <= FASTCE_FEW
    batch_targets(a, batch, target)
    batch_weights(a, batch, target, w, omega)
    coefficients_of(a, &weights, &of)
    if few:
        for l in range(lanes):
            step_of_target[l] = <real> target[l]
        load_few(a, batch, target, step_of_target, b, below, target_x)
    else:
        take_at(x, &a.x, &a.g, batch, target, target_x)
        batch_load(x, &a.x, &a.g, batch, target, target_x, b, below, tops_ahead, how)
    for l in range(lanes):
        m[l] = target_x[l] if target_x[l] > below[l] else below[l]
    choose_anchor(below, m, lanes, anchor)
    far = choose_shift(m, lanes, centre, n, low, magic)
    if smooth:
        for l in range(lanes):
            h[l] = n[l] * ln2_high(kind) + centre[l]
        batch_costs(a, batch, &of, target, h, b, others, sum_c, target_c, how)
        leave_to_tiles(a, batch, target_x, others, target)
        for l in range(lanes):
            w[l] = <real> (1.0 - a.smoothing) * w[l] + target_c[l]
    if pile != NULL:
        e = wait_in(pile, &a.g, batch, kind, &a.grad, &waiting)
    batch_sums(x, &a.x, &a.g, batch, target, centre, low, magic, anchor, far, b, e, &waiting, pile,
               tops_ahead, rest, rest_low, how)
    for l in range(lanes):
        y = target_x[l] - centre[l]
        target_e[l] = exp_parts(low[l] if low[l] > y else y, magic[l], &target_low[l])
    for l in range(lanes):
        s[l] = rest[l] + target_e[l]
        s_low[l] = sum_error(rest[l], target_e[l], s[l]) + (rest_low[l] + target_low[l])
        inverse[l] = <real> 1.0 / s[l]
        inverse_low[l] = reciprocal_low(s[l], s_low[l], inverse[l])
    if smooth or z_loss != 0:
        for l in range(lanes):
            lse[l] = n[l] * ln2_low(kind) + log_parts(s[l], s_low[l], -lift(kind))
            pull[l] = 0
        if smooth:
            for l in range(lanes):
                others[l] = others[l] + sum_c[l] * lse[l]
                pull[l] = sum_c[l]
        for l in range(lanes):
            lse[l] = (centre[l] + n[l] * ln2_high(kind)) + lse[l]
            pull[l] = pull[l] + <real> 2.0 * z_loss * lse[l]
    if value != NULL:
        for l in range(lanes):
            cost[l] = cost_near(rest[l], rest_low[l], target_e[l], target_low[l], inverse[l])
        for l in range(lanes):
            beyond |= not cost[l] < cost_range(kind)
        if beyond:
            for l in range(lanes):
                y = cost_far(target_x[l] - centre[l], n[l], s[l], s_low[l])
                cost[l] = cost[l] if cost[l] < cost_range(kind) else y
        if weighted or smooth:
            for l in range(lanes):
                cost[l] = times(w[l], cost[l])
        if smooth:
            for l in range(lanes):
                cost[l] = cost[l] + others[l]
        if z_loss != 0:
            for l in range(lanes):
                cost[l] = cost[l] + z_loss * lse[l] * lse[l]
        if weighted:
            for l in range(lanes):
                cost[l] = times(omega[l], cost[l])
        store_values(value + batch.first, rows, target, cost)
    if grad == NULL:
        return
    for l in range(lanes):
        omega[l] = (<real> a.scale * omega[l]) * per_logit
        omega[l] = <real> 0.0 if target[l] == IGNORED else omega[l]
    for l in range(lanes):
        w[l] = times(omega[l], w[l])
        y = rest[l] * inverse[l] + (rest[l] * inverse_low[l] + rest_low[l] * inverse[l])
        # (0.0 - : a weight of 0 gives no -0.0)
        at_target[l] = <real> 0.0 - w[l] * y
    if smooth or z_loss != 0:
        for l in range(lanes):
            y = omega[l] * pull[l]
            at_target[l] = at_target[l] + y * (target_e[l] * inverse[l])
            w[l] = w[l] + y
    for l in range(lanes):
        factor[l] = w[l] * inverse[l]
        factor_low[l] = product_error(w[l], inverse[l], factor[l]) + w[l] * inverse_low[l]
    if smooth:
        derive_batch(a, batch, &of, b, factor, factor_low, omega, <const real*> NULL,
                     <const real*> NULL, <const real*> NULL, target, how)
        store_at(grad, &a.grad, &a.g, batch, target, at_target)
    elif few:
        scale_few(grad, &a.grad, &a.g, batch, step_of_target, b, factor, factor_low, at_target)
    else:
        batch_store(grad, &a.grad, <const real*> e, &waiting, pile, &a.g, batch, target, at_target,
                    b, factor, factor_low, how)


cdef void xent_tile(const Xent* a, const Tile* tile, real kind) noexcept nogil:
    cdef const real* x = <const real*> a.x.data
    cdef const real* weight = <const real*> a.weight
    cdef const real* row_weight = <const real*> a.row_weight
    cdef real* value = <real*> a.value
    cdef real* grad = <real*> a.grad.data
    cdef real* hess = <real*> a.hess.data
    cdef real infinity = <real> INFINITY
    cdef real z_loss = <real> a.z_loss
    cdef real per_logit = <real> (1.0 / a.temperature)
    cdef bint dense = a.probabilities.data != NULL or a.smoothing != 0
    cdef bint product = a.v.data != NULL
    cdef bint by_target = a.labels != NULL
    cdef bint by_top = dense or product or hess != NULL
    cdef bint simple_load = a.temperature == 1
    cdef bint whole = tile.chunks == 1
    cdef bint keep = grad != NULL
    cdef bint any_ignored = False
    cdef bint leads, far
    cdef Py_ssize_t ignored[LANES]
    cdef Py_ssize_t target[LANES]   # class, or -1
    cdef Py_ssize_t rows = tile.rows
    cdef Py_ssize_t lanes = 1 if tile.single else LANES
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef Span xs, gs, hs, ps, vs, ws
    cdef Array3 weights
    cdef real b[CHUNK * LANES]
    cdef real c[CHUNK * LANES]
    cdef real d[CHUNK * LANES]
    cdef real mark = <real> -1.0 if a.smoothing != 0 and not whole else <real> 0.0
    cdef real p, q, y, lse
    cdef bint beyond
    # One number a lane: what is known of the row that the lane belongs to.
    cdef real m[LANES]
    cdef real centre[LANES]
    cdef real n[LANES]
    cdef real low[LANES]
    cdef real magic[LANES]
    cdef real target_x[LANES]
    cdef real target_e[LANES]
    cdef real target_low[LANES]
    cdef real anchor[LANES]
    cdef real target_w[LANES]       # w_t (1 - eps), 0 without a target
    cdef real target_c[LANES]       # the dense c_t
    cdef real rest[LANES]
    cdef real lost1[LANES]
    cdef real below[LANES]
    cdef real lost2[LANES]
    cdef real top_e[LANES]
    cdef real top_count[LANES]
    cdef real top_c[LANES]
    cdef real other_c[LANES]
    cdef real lost3[LANES]
    cdef real cost[LANES]           # -log p of the target
    cdef real lost4[LANES]
    cdef real share[LANES]          # eps / number of classes that are not masked
    cdef real reference[LANES]      # v at the largest class
    cdef real dot[LANES]
    cdef real lost5[LANES]
    cdef real slope[LANES]          # scale * sample weight / temperature
    cdef real omega[LANES]          # sample weight
    cdef real factor[LANES]         # e_j -> kappa p_j
    cdef real factor_low[LANES]
    cdef real at_target[LANES]
    cdef real at_top[LANES]
    cdef real s[LANES]
    cdef real s_low[LANES]
    cdef real inverse[LANES]
    cdef real inverse_low[LANES]
    cdef real kappa[LANES]
    cdef real raw[LANES]
    cdef real log_s[LANES]
    cdef real complement[LANES]     # 1 - p of a class that leads

    # 1. The rows: where they are, their targets and weights.
    place(&a.x, &a.g, tile, &xs)
    nowhere(&gs)
    nowhere(&hs)
    nowhere(&ps)
    nowhere(&vs)
    nowhere(&ws)
    if keep:
        place(&a.grad, &a.g, tile, &gs)
    if hess != NULL:
        place(&a.hess, &a.g, tile, &hs)
    if a.probabilities.data != NULL:
        place(&a.probabilities, &a.g, tile, &ps)
    if product:
        place(&a.v, &a.g, tile, &vs)
    if weight != NULL:
        weights.outer = weights.inner = 0
        weights.k = 1
        weights.divisor = 1
        place(&weights, &a.g, tile, &ws)
    for l in range(lanes):
        ignored[l] = False
        target[l] = IGNORED
        target_w[l] = target_x[l] = 0
        omega[l] = 1
    if by_target:
        for l in range(rows):
            target[l] = a.labels[tile.first + l]
            if target[l] == a.ignore:
                ignored[l] = any_ignored = True
                target[l] = IGNORED
            elif tile.single:
                target_x[l] = x[xs.lane[0] + target[l] * a.x.k]
            else:
                target_x[l] = x[xs.lane[l] + target[l] * a.x.k]
            target_w[l] = <real> (1.0 - a.smoothing)
        if weight != NULL:
            for l in range(rows):
                target_w[l] = target_w[l] * weight[max(target[l], <Py_ssize_t> 0)]
        if not simple_load:
            for l in range(rows):
                target_x[l] = target_x[l] / <real> a.temperature
        if any_ignored and tile.single:
            clear_row(a, tile, &gs, &hs, b)
            return
    if row_weight != NULL:
        for l in range(rows):
            omega[l] = row_weight[tile.first + l]
    for l in range(lanes):
        slope[l] = (<real> a.scale * omega[l]) * per_logit
    if tile.single and by_top:
        fill_lanes(slope, slope[0])

    # 2. The largest logit, and how many classes are not masked.
    fill_lanes(m, -infinity)
    fill_lanes(share, <real> 0.0)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        load_logits(x, &xs, tile, start, steps, ignored, any_ignored, b)
        if by_target and not by_top:
            mask_targets(target, rows, tile.single, start, steps, b, <const real*> NULL)
        max_pass(b, steps, m)
        if a.smoothing != 0:
            for i in range(steps):
                for l in range(LANES):
                    share[l] = share[l] + (<real> 1.0 if b[i * LANES + l] > -infinity
                                           else <real> 0.0)
    if tile.single:
        max_in_all(m)
        fill_lanes(target_x, target_x[0])
    if not by_top:
        memcpy(below, m, LANES * sizeof(real))
        for l in range(LANES):
            m[l] = target_x[l] if by_target and target_x[l] > m[l] else m[l]
        choose_anchor(below, m, LANES, anchor)
    far = choose_shift(m, LANES, centre, n, low, magic)
    for l in range(lanes):
        target_e[l] = target_low[l] = 0
        if by_target:
            y = target_x[l] - centre[l]
            target_e[l] = exp_parts(low[l] if low[l] > y else y, magic[l], &target_low[l])
    if any_ignored:
        for l in range(rows):
            if ignored[l]:
                target_e[l] = target_low[l] = 0
    if a.smoothing != 0:
        if tile.single:
            sum_in_all(share)
        for l in range(LANES):
            share[l] = <real> a.smoothing / share[l]
    if product:
        # v at one of the largest classes: v_j minus it is what the product needs.
        fill_lanes(reference, <real> 0.0)
        for chunk in range(tile.chunks):
            start = chunk * CHUNK
            steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
            if not whole:
                load_logits(x, &xs, tile, start, steps, ignored, any_ignored, b)
            load(<const real*> a.v.data, &vs, tile, start, steps, <real> 0.0, d)
            for i in range(steps):
                for l in range(LANES):
                    if b[i * LANES + l] == m[l]:
                        reference[0 if tile.single else l] = d[i * LANES + l]
        if tile.single:
            fill_lanes(reference, reference[0])

    # 3. The sums, over all classes but the target, which is masked for the purpose.
    fill_lanes(rest, <real> 0.0)
    fill_lanes(lost1, <real> 0.0)
    if by_top:
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
            load_logits(x, &xs, tile, start, steps, ignored, any_ignored, b)
        if dense:
            dense_targets(a, tile, &ps, &ws, start, steps, b, -infinity, share, c)
            dense_pass(b, c, steps, centre, n, m, top_c, other_c, lost3, cost, lost4)
        if by_target:
            mask_targets(target, rows, tile.single, start, steps, b, <const real*> NULL)
        if by_top:
            exp_pass(b, steps, centre, low, magic, mark, rest, lost1, m, top_e, top_count,
                     below, lost2)
        else:
            sweep(b, True, steps, far, centre, low, magic, anchor, <const real*> NULL, 0,
                  <const real*> NULL, 0, start == 0, rest, lost1)
        if by_top and by_target and (product or not whole):
            mask_targets(target, rows, tile.single, start, steps, b, target_e)
        if product:
            load(<const real*> a.v.data, &vs, tile, start, steps, <real> 0.0, d)
            product_pass(b, d, steps, reference, dot, lost5)
        if keep and not whole:
            store(grad, &gs, tile, start, steps, b)
    settle_tile(rest, lost1, tile.single)
    if by_top:
        settle_tile(below, lost2, tile.single)
        settle_tile(other_c, lost3, tile.single)
        settle_tile(cost, lost4, tile.single)
        settle_tile(dot, lost5, tile.single)
        if tile.single:
            max_in_all(top_e)
            sum_in_all(top_count)
            sum_in_all(top_c)

    # 4. The value, and the numbers that the derivatives are made of.
    for l in range(lanes):
        raw[l] = log_s[l] = 0
        kappa[l] = 0                # without the target's own w_t until the end
        s[l] = rest[l] + target_e[l]
        s_low[l] = sum_error(rest[l], target_e[l], s[l]) + (lost1[l] + target_low[l])
        inverse[l] = <real> 1.0 / s[l]
        inverse_low[l] = reciprocal_low(s[l], s_low[l], inverse[l])
    if dense or z_loss != 0:
        for l in range(rows):
            log_s[l] = log_parts(s[l], s_low[l], -lift(<real> 0.0))
    if by_target and value != NULL:
        beyond = False
        for l in range(lanes):
            raw[l] = cost_near(rest[l], lost1[l], target_e[l], target_low[l], inverse[l])
        for l in range(lanes):
            beyond = beyond or not raw[l] < cost_range(kind)
        if beyond:
            for l in range(lanes):
                y = cost_far(target_x[l] - centre[l], n[l], s[l], s_low[l])
                raw[l] = raw[l] if raw[l] < cost_range(kind) else y
        for l in range(lanes):
            raw[l] = times(target_w[l], raw[l])
    if by_top:
        for l in range(rows):
            # The target was left out of these sums as well.
            leads = by_target and not ignored[l] and target_x[l] == m[l]
            if leads:
                top_count[l] = top_count[l] + <real> 1.0
                top_e[l] = target_e[l]
            elif by_target:
                below[l] = below[l] + target_e[l]
            below[l] = below[l] + (top_count[l] - <real> 1.0) * top_e[l]
    if dense:
        for l in range(rows):
            q = (n[l] * ln2_high(q) - (m[l] - centre[l])) + n[l] * ln2_low(q)
            q = log1p(below[l] / top_e[l]) if below[l] < top_e[l] else q + log_s[l]
            raw[l] = raw[l] + ((cost[l] + other_c[l] * log_s[l]) + times(top_c[l], q))
            kappa[l] = other_c[l] + top_c[l]
    if z_loss != 0:
        for l in range(rows):
            lse = ((centre[l] + n[l] * ln2_high(lse)) + n[l] * ln2_low(lse)) + log_s[l]
            raw[l] = raw[l] + z_loss * lse * lse
            kappa[l] = kappa[l] + <real> 2.0 * z_loss * lse
    if value != NULL:
        for l in range(rows):
            value[tile.first + l] = <real> 0.0 if ignored[l] else times(omega[l], raw[l])
    if not keep:
        return
    if by_top:
        # The class that leads, if one does, is known by its e_j.
        for l in range(rows):
            leads = below[l] < top_e[l] and top_count[l] == 1
            complement[l] = below[l] * inverse[l]
            top_e[l] = top_e[l] if leads else <real> -1.0
    if dense:
        # C p - c = (C - c) p - c (1 - p), which does not cancel where p is nearly 1.
        for l in range(rows):
            leads = by_target and target_e[l] == top_e[l]
            q = top_c[l] + (target_w[l] if leads else <real> 0.0)
            p = (kappa[l] - top_c[l] if z_loss != 0 else other_c[l]) + \
                (<real> 0.0 if leads else target_w[l])
            at_top[l] = slope[l] * (p * (top_e[l] * inverse[l]) - q * complement[l]) + \
                <real> 0.0
    if by_target:
        for l in range(lanes):
            # (+ 0.0: a slope of 0 would give -0.0)
            p = kappa[l] * (target_e[l] * inverse[l])
            q = rest[l] * inverse[l] + (rest[l] * inverse_low[l] + lost1[l] * inverse[l])
            at_target[l] = slope[l] * (p - target_w[l] * q) + <real> 0.0
        if dense:
            for l in range(rows):
                target_c[l] = share[l] if target_x[l] > -infinity else <real> 0.0
                if weight != NULL:
                    target_c[l] = target_c[l] * weight[max(target[l], <Py_ssize_t> 0)]
                at_target[l] = at_target[l] - slope[l] * target_c[l]
                at_target[l] = at_top[l] if target_e[l] == top_e[l] else at_target[l]
    for l in range(lanes):
        kappa[l] = kappa[l] + target_w[l]
        p = slope[l] * kappa[l]
        factor[l] = p * inverse[l]
        factor_low[l] = product_error(p, inverse[l], factor[l]) + p * inverse_low[l]
    if product:
        for l in range(rows):
            dot[l] = dot[l] * inverse[l]
    if tile.single:
        fill_lanes(factor, factor[0])
        fill_lanes(factor_low, factor_low[0])
        if by_top:
            fill_lanes(inverse, inverse[0])
            fill_lanes(kappa, kappa[0])
            fill_lanes(dot, dot[0])
            fill_lanes(complement, complement[0])
            fill_lanes(top_e, top_e[0])
            fill_lanes(at_top, at_top[0])

    # 5. The derivatives.
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if not whole:
            load(<const real*> grad, &gs, tile, start, steps, <real> 0.0, b)
        elif by_target and by_top:
            mask_targets(target, rows, tile.single, start, steps, b, target_e)
        if not by_top:
            if any_ignored:
                clear_ignored(ignored, any_ignored, steps, b)
                for l in range(rows):
                    if ignored[l]:
                        factor[l] = factor_low[l] = 0
            store_scaled(grad, &gs, tile, start, steps, b, factor, factor_low)
            continue
        if dense and not whole:
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
                    b[i * LANES + l] = <real> 0.0 if p == 0 else \
                        (slope[l] * per_logit) * q + <real> 0.0
        elif dense:
            for i in range(steps):
                for l in range(LANES):
                    p = b[i * LANES + l] * factor[l] + \
                        (<real> 0.0 - c[i * LANES + l] * slope[l])
                    b[i * LANES + l] = at_top[l] if b[i * LANES + l] == top_e[l] else p
        else:
            for i in range(steps):
                for l in range(LANES):
                    b[i * LANES + l] = b[i * LANES + l] * factor[l] + <real> 0.0
        if by_target and not product:
            mask_targets(target, rows, tile.single, start, steps, b, at_target)
        clear_ignored(ignored, any_ignored, steps, b)
        store(grad, &gs, tile, start, steps, b)
    if not by_top and by_target:
        store_at(grad, &a.grad, &a.g, tile, target, at_target)


cdef inline bint by_index(const Xent* a) noexcept nogil:
    # Whether index_batch will do.
    return a.labels != NULL and a.hess.data == NULL and a.v.data == NULL


cdef inline bint in_batches(const Xent* a, const Work* work) noexcept nogil:
    # Whether batches of rows will do, and not only tiles.
    if a.v.data != NULL:
        return a.labels != NULL and a.smoothing == 0
    return a.probabilities.data == NULL or a.weight == NULL \
        or (work.beside and are_fused_dense(a))


cdef inline void xent_batch(const Xent* a, const Tile* batch, void* room, TopsAhead* tops_ahead,
                            real kind, layout how) noexcept nogil:
    if layout is many and by_index(a) and are_fused(&a.g, a.weight, a.smoothing):
        few_batch(a, batch, kind)
    elif layout is many and are_fused_dense(a) and (
            not by_index(a) or (a.weight != NULL and a.smoothing != 0)):
        few_dense_batch(a, batch, kind)
    elif by_index(a):
        index_batch(a, batch, room, tops_ahead, kind, how)
    elif a.v.data != NULL:
        product_batch(a, batch, tops_ahead, kind, how)
    else:
        dense_batch(a, batch, tops_ahead, kind, how)


cdef inline void xent_number(const Xent* a, const Work* work, Py_ssize_t t, int thread,
                             bint wide) noexcept nogil:
    # Batch number t, or tile number t.
    cdef Xent gathered
    cdef Tile tile
    cdef void* room = room_of(work, thread)
    cdef TopsAhead* tops_ahead
    cdef bint batches = in_batches(a, work)
    tile = batch_number(&a.g, t, work) if batches else tile_number(&a.g, t, work.beside)
    if work.gathered:
        gathered = a[0]
        gathered.x = gather_batch(&a.x, &a.grad, &a.g, &tile, tops_ahead_of(work, thread), wide)
        a = &gathered
    if not batches:
        if wide:
            xent_tile[double](a, &tile, 0)
        else:
            xent_tile[float](a, &tile, 0)
        return
    tops_ahead = tops_ahead_of(work, thread)
    if work.beside:
        if wide:
            xent_batch[double, many](a, &tile, room, tops_ahead, 0, 0)
        else:
            xent_batch[float, many](a, &tile, room, tops_ahead, 0, 0)
    elif wide:
        xent_batch[double, in_turn](a, &tile, room, tops_ahead, 0, 0)
    else:
        xent_batch[float, in_turn](a, &tile, room, tops_ahead, 0, 0)


cdef void xent_run(const Xent* a, bint wide) noexcept nogil:
    cdef Work work = work_on(&a.g, &a.x, &a.grad, wide)
    cdef Py_ssize_t t
    if not in_batches(a, &work):
        work.count = tile_count(&a.g, work.beside)
        work.threads = team(<double> a.g.outer * a.g.k * a.g.inner, work.count)
    elif work.beside and are_fused_dense(a):
        pass
    elif by_index(a) and a.smoothing == 0:
        make_room(&work, &a.g, &a.grad, wide)
    else:
        # Single numbers are written into the results afterwards.
        work.streamed = False
    if in_batches(a, &work):
        look_ahead(&work, &a.g, &a.x, &a.grad, not by_index(a), wide)
    if work.threads == 1:
        for t in range(work.count):
            xent_number(a, &work, t, 0, wide)
    else:
        for t in prange(work.count, num_threads=work.threads, schedule="static"):
            xent_number(a, &work, t, threadid(), wide)
    clear_room(&work, wide)
    fastce_clear_flags()
