# Losses whose first argument holds probabilities or log-probabilities, and the entropies of
# probabilities: sums along the row of a term for each class, with its derivatives.
#
#   op         term                                first derivative    second
#   NLL        -c x                                -c                  0
#   CCE        -c log x                            -c/x                c/x**2
#   KL         c (log c - x)                       -c                  0
#   ENTROPY_P  -x log x
#   JS         (x log(x/m) + c log(c/m))/2, m = (x + c)/2
#
# (x + 0 makes 0 of -0.) c are the targets, or the weight of the target class; where c is 0 all
# three are 0.

cdef enum:
    NLL
    CCE
    KL
    ENTROPY_P
    JS


cdef inline void js_terms(const real* p, const real* q, Py_ssize_t n, real* value) noexcept nogil:
    # (p + q)/4 f(a), a = |p - q|/(p + q), f(a) = (1 + a) log(1 + a) + (1 - a) log(1 - a), which is
    # a (log1p(a) - log1p(-a)) + log1p(-a**2): the first form where a is large, the second where
    # its terms would cancel.
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real s, r, near, far
    cdef real a[BLOCK]
    cdef real up[BLOCK]             # log(1 + a)
    cdef real u[BLOCK]              # 1 - a
    cdef real c[BLOCK]              # what rounding lost of it, then its logarithm
    for i in range(n):
        s = p[i] + q[i]
        a[i] = (p[i] - q[i] if p[i] > q[i] else q[i] - p[i]) / s
        r = <real> 2.0 * (q[i] if p[i] > q[i] else p[i]) / s
        u[i] = one - a[i] if a[i] < <real> 0.5 else r
        c[i] = (one - u[i]) - a[i] if a[i] < <real> 0.5 else <real> 0.0
    log1p_block(<const real*> a, up, n)
    log_sum_block(<const real*> u, <const real*> c, c, n)
    for i in range(n):
        value[i] = -a[i] * a[i] if a[i] < <real> 0.5 else <real> 0.0
    log1p_block(<const real*> value, value, n)
    for i in range(n):
        s = p[i] + q[i]
        near = a[i] * (up[i] - c[i]) + value[i]
        far = (one + a[i]) * up[i] + (u[i] * c[i] if u[i] != 0 else <real> 0.0)
        value[i] = <real> 0.0 if s == 0 else <real> 0.25 * s * (near if a[i] < <real> 0.5 else far)


cdef inline void terms(int op, const real* x, const real* c, Py_ssize_t n,
                       real* value) noexcept nogil:
    # The terms of n classes, at most BLOCK.
    cdef Py_ssize_t i
    cdef real counts
    if op == NLL:
        for i in range(n):
            value[i] = -c[i] * x[i]
    elif op == JS:
        js_terms(x, c, n, value)
    else:
        log_block(c if op == KL else x, value, n)
        if op == KL:
            for i in range(n):
                value[i] = c[i] * (value[i] - x[i])
        elif op == CCE:
            for i in range(n):
                value[i] = -c[i] * value[i]
        else:
            for i in range(n):
                value[i] = -x[i] * value[i]
    for i in range(n):
        counts = x[i] + c[i] if op == JS else x[i] if op == ENTROPY_P else c[i]
        value[i] = <real> 0.0 if counts == 0 else value[i]
        # A NaN counts wherever it stands.
        value[i] = value[i] if x[i] == x[i] else x[i]


cdef inline void terms_of(int op, const real* x, const real* c, Py_ssize_t steps,
                          real* value) noexcept nogil:
    # value[l] += the terms of the steps.
    cdef Py_ssize_t i, l
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t count
    cdef real total[LANES]
    cdef real lost[LANES]
    cdef real s[BLOCK]
    memcpy(total, value, LANES * sizeof(real))
    fill_lanes(lost, <real> 0.0)
    if FASTCE_HAS_EXP_LANES and op in (CCE, KL, ENTROPY_P):
        if real is double:
            fastce_terms_d(op == KL, x, x if op == ENTROPY_P else c, steps, total, lost)
        else:
            fastce_terms_f(op == KL, x, x if op == ENTROPY_P else c, steps, total, lost)
        start = steps
    while start < steps:
        count = min(steps - start, <Py_ssize_t> BLOCK // LANES)
        terms(op, x + start * LANES, c + start * LANES, count * LANES, s)
        for i in range(count):
            two_sum(total, lost, <const real*> s + i * LANES)
        start += count
    for l in range(LANES):
        # (infinite terms leave NaN in `lost`)
        value[l] = total[l] + lost[l] if lost[l] == lost[l] else total[l]


cdef inline void sum_terms(int op, const real* x, const real* c, Py_ssize_t steps,
                           real* value) noexcept nogil:
    # terms_of, with a loop of its own for each op: a choice inside keeps it from being vectorised.
    if op == NLL:
        terms_of(NLL, x, c, steps, value)
    elif op == CCE:
        terms_of(CCE, x, c, steps, value)
    elif op == KL:
        terms_of(KL, x, c, steps, value)
    elif op == ENTROPY_P:
        terms_of(ENTROPY_P, x, c, steps, value)
    else:
        terms_of(JS, x, c, steps, value)


cdef inline void derivatives(int op, const real* x, const real* c, Py_ssize_t n, real* grad,
                             real* hess) noexcept nogil:
    # Of n terms; grad may be x, and hess NULL.
    cdef Py_ssize_t i
    cdef real zero = <real> 0.0
    if hess != NULL:
        for i in range(n):
            hess[i] = zero if op != CCE or c[i] == 0 else c[i] / x[i] / x[i]
    if op == CCE:
        for i in range(n):
            grad[i] = zero if c[i] == 0 else -c[i] / (x[i] + zero)
    else:
        for i in range(n):
            grad[i] = zero - c[i]


cdef void probability_tile(int op, const Xent* a, const Tile* tile, real kind) noexcept nogil:
    cdef const real* x = <const real*> a.x.data
    cdef const real* weight = <const real*> a.weight
    cdef const real* row_weight = <const real*> a.row_weight
    cdef real* value = <real*> a.value
    cdef real zero = <real> 0.0
    cdef real one = <real> 1.0
    cdef bint curved = a.grad.data != NULL
    cdef real nans[LANES]           # how many the row has: one spoils all its derivatives
    cdef Py_ssize_t ignored[LANES]
    cdef bint any_ignored = False
    cdef real b[CHUNK * LANES]
    cdef real c[CHUNK * LANES]
    cdef real grad[CHUNK * LANES]
    cdef real hess[CHUNK * LANES]
    cdef real raw[LANES]
    cdef real target[LANES]
    cdef real target_w[LANES]
    cdef real share[LANES]
    cdef real factor[LANES]
    cdef Span xs, gs, hs, ps, vs, ws
    cdef Array3 weights
    cdef Py_ssize_t chunk, start, steps, i, j, l, label
    cdef Py_ssize_t special = 0
    for l in range(LANES):
        ignored[l] = False
        nans[l] = zero
        raw[l] = zero
        target[l] = <real> -1.0
        target_w[l] = zero
        share[l] = <real> (a.smoothing / a.g.k)
        factor[l] = <real> a.scale
    for l in range(tile.rows):
        if row_weight != NULL:
            factor[l] = factor[l] * row_weight[tile.first + l]
        if a.labels != NULL:
            label = a.labels[tile.first + l]
            if label == a.ignore:
                ignored[l] = any_ignored = True
                continue
            target_w[l] = <real> (1.0 - a.smoothing)
            if weight != NULL:
                target_w[l] = target_w[l] * weight[label]
            if tile.single:
                special = label % LANES
                target[0] = <real> -1.0
                target[special] = <real> (label // LANES)
                target_w[special] = target_w[0]
            else:
                target[l] = <real> label
    if tile.single:
        fill_lanes(factor, factor[0])
        for l in range(LANES):
            ignored[l] = any_ignored
    place(&a.x, &a.g, tile, &xs)
    nowhere(&gs)
    nowhere(&hs)
    nowhere(&ps)
    nowhere(&vs)
    nowhere(&ws)
    if curved:
        place(&a.grad, &a.g, tile, &gs)
    if a.hess.data != NULL:
        place(&a.hess, &a.g, tile, &hs)
    if a.probabilities.data != NULL:
        place(&a.probabilities, &a.g, tile, &ps)
    if a.v.data != NULL:
        place(&a.v, &a.g, tile, &vs)
    if weight != NULL:
        weights.outer = weights.inner = 0
        weights.k = 1
        weights.divisor = 1
        place(&weights, &a.g, tile, &ws)
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        # Lanes not in use hold -1, no probability: they get no share of the label smoothing.
        load(x, &xs, tile, start, steps, <real> -1.0 if a.smoothing != 0 else zero, b)
        clear_ignored(ignored, any_ignored, steps, b)
        for i in range(steps):
            for l in range(LANES):
                nans[l] = nans[l] + (one if b[i * LANES + l] != b[i * LANES + l] else zero)
        dense_targets(a, tile, &ps, &ws, start, steps, b, <real> -1.0, share, c)
        for l in range(LANES):
            if start <= target[l] < start + steps:
                j = (<Py_ssize_t> target[l] - start) * LANES + l
                c[j] = c[j] + target_w[l]
        clear_ignored(ignored, any_ignored, steps, c)
        sum_terms(op, b, c, steps, raw)
        if curved:
            derivatives(op, b, c, steps * LANES, grad, hess)
        if a.v.data != NULL:
            load(<const real*> a.v.data, &vs, tile, start, steps, zero, c)
            for i in range(steps * LANES):
                grad[i] = times(hess[i], c[i])
        if curved:
            for i in range(steps):
                for l in range(LANES):
                    grad[i * LANES + l] = times(factor[l], grad[i * LANES + l]) + zero
            clear_ignored(ignored, any_ignored, steps, grad)
            store(<real*> a.grad.data, &gs, tile, start, steps, grad)
        if a.hess.data != NULL:
            for i in range(steps):
                for l in range(LANES):
                    hess[i * LANES + l] = times(factor[l], hess[i * LANES + l]) + zero
            clear_ignored(ignored, any_ignored, steps, hess)
            store(<real*> a.hess.data, &hs, tile, start, steps, hess)
    if tile.single:
        sum_in_all(nans)
    for l in range(tile.rows):
        if nans[l] != 0:
            fill_row(<real*> a.grad.data, &a.grad, &a.g, tile.first + l, <real> NAN)
            fill_row(<real*> a.hess.data, &a.hess, &a.g, tile.first + l, <real> NAN)
    if value == NULL:
        return
    if tile.single:
        raw[0] = tree_sum(raw)
    for l in range(tile.rows):
        value[tile.first + l] = zero if ignored[l] else (raw[l] + zero)
        if row_weight != NULL and not ignored[l]:
            value[tile.first + l] = times(row_weight[tile.first + l], raw[l])


cdef bint has_nan(const real* x, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t j
    cdef Py_ssize_t found = 0
    for j in range(k):
        found |= x[j] != x[j]
    return found != 0


cdef inline void store_classes(real* out, const Array3* oa, const Geometry* g, Py_ssize_t first,
                               Py_ssize_t rows, const Py_ssize_t* target, const real* at_target,
                               const bint* spoiled) noexcept nogil:
    # Rows of zeros but for their targets; those that are spoiled are NaN.
    cdef Py_ssize_t l
    cdef real* row
    cdef bint follow = (oa.k == 1 and g.inner == 1 and oa.outer == g.k
                        and g.k <= FEW_CLASSES)
    if out == NULL:
        return
    if follow:
        row = out + first * g.k
        memset(row, 0, rows * g.k * sizeof(real))
        for l in range(rows):
            if target[l] != IGNORED:
                row[l * g.k + target[l]] = at_target[l]
    for l in range(rows):
        if spoiled[l]:
            fill_row(out, oa, g, first + l, <real> NAN)
        elif not follow:
            fill_row(out, oa, g, first + l, <real> 0.0)
            if target[l] != IGNORED:
                row_at(out, oa, g, first + l)[target[l] * oa.k] = at_target[l]


cdef void class_rows(int op, const Xent* a, Py_ssize_t first, Py_ssize_t rows,
                     real kind) noexcept nogil:
    # Up to LANES rows with a class for a target: of their terms and derivatives all but the
    # target's are 0.
    cdef const real* x
    cdef real* value = <real*> a.value
    cdef bint follow = a.g.inner == 1 and a.x.outer == a.g.k
    cdef bint any_nan
    cdef Py_ssize_t l
    cdef Py_ssize_t target[LANES]
    cdef bint spoiled[LANES]
    cdef real t[LANES]
    cdef real c[LANES]
    cdef real omega[LANES]
    cdef real slope[LANES]
    cdef real curve[LANES]
    any_nan = not follow or has_nan(<const real*> a.x.data + first * a.g.k, rows * a.g.k)
    fill_lanes(t, <real> 1.0)
    fill_lanes(c, <real> 0.0)
    fill_lanes(omega, <real> 1.0)
    for l in range(rows):
        target[l] = a.labels[first + l]
        spoiled[l] = False
        if target[l] == a.ignore:
            target[l] = IGNORED
            continue
        x = <const real*> a.x.data + (first + l) * a.g.k if follow \
            else row_at(<real*> a.x.data, &a.x, &a.g, first + l)
        t[l] = x[target[l]]
        c[l] = (<const real*> a.weight)[target[l]] if a.weight != NULL else <real> 1.0
        if any_nan:
            spoiled[l] = has_nan(x, a.g.k)
    if a.row_weight != NULL:
        for l in range(rows):
            omega[l] = (<const real*> a.row_weight)[first + l]
    if value != NULL:
        # (one of two that are compiled for their op)
        if op == CCE:
            terms(CCE, <const real*> t, <const real*> c, LANES, slope)
        else:
            terms(NLL, <const real*> t, <const real*> c, LANES, slope)
        for l in range(LANES):
            slope[l] = times(omega[l], slope[l] + <real> 0.0)
        for l in range(rows):
            value[first + l] = <real> NAN if spoiled[l] else slope[l]
            if target[l] == IGNORED:
                value[first + l] = 0
    derivatives(op, t, c, LANES, slope, curve)
    for l in range(LANES):
        slope[l] = times(<real> a.scale * omega[l], slope[l]) + <real> 0.0
        curve[l] = times(<real> a.scale * omega[l], curve[l]) + <real> 0.0
    store_classes(<real*> a.grad.data, &a.grad, &a.g, first, rows, target, slope, spoiled)
    store_classes(<real*> a.hess.data, &a.hess, &a.g, first, rows, target, curve, spoiled)


cdef void dense_row(int op, const Xent* a, Py_ssize_t r, real kind) noexcept nogil:
    # A row of probabilities, or without targets; value and gradient.
    cdef const real* x = row_at(<real*> a.x.data, &a.x, &a.g, r)
    cdef const real* c = x
    cdef real* value = <real*> a.value
    cdef real* grad
    cdef real omega = (<const real*> a.row_weight)[r] if a.row_weight != NULL else <real> 1.0
    cdef real factor = <real> a.scale * omega
    cdef Py_ssize_t k = a.g.k
    cdef Py_ssize_t whole = k // LANES
    cdef Py_ssize_t rest = k - whole * LANES
    cdef Py_ssize_t chunk, i
    cdef real raw[LANES]
    cdef real last_x[LANES]
    cdef real last_c[LANES]
    if a.probabilities.data != NULL:
        c = row_at(<real*> a.probabilities.data, &a.probabilities, &a.g, r)
    if value != NULL:
        fill_lanes(raw, <real> 0.0)
        for chunk in range((whole + CHUNK - 1) // CHUNK):
            i = chunk * CHUNK * LANES
            sum_terms(op, x + i, c + i, min(whole - chunk * CHUNK, <Py_ssize_t> CHUNK), raw)
        fill_lanes(last_x, <real> 0.0)
        fill_lanes(last_c, <real> 0.0)
        memcpy(last_x, x + whole * LANES, rest * sizeof(real))
        memcpy(last_c, c + whole * LANES, rest * sizeof(real))
        sum_terms(op, last_x, last_c, 1, raw)
        value[r] = times(omega, tree_sum(raw) + <real> 0.0)
    if a.grad.data == NULL:
        return
    if has_nan(x, k):
        fill_row(<real*> a.grad.data, &a.grad, &a.g, r, <real> NAN)
        return
    grad = row_at(<real*> a.grad.data, &a.grad, &a.g, r)
    derivatives(op, x, c, k, grad, <real*> NULL)
    for i in range(k):
        grad[i] = times(factor, grad[i]) + <real> 0.0


cdef inline bint by_rows(int op, const Xent* a) noexcept nogil:
    # Whether class_rows or dense_row will do: rows are runs of memory, and not too short.
    if a.smoothing != 0 or a.x.k != 1 or a.v.data != NULL:
        return False
    if a.labels != NULL:
        return True
    return (a.weight == NULL and a.hess.data == NULL and a.g.k >= LANES
            and (a.probabilities.data == NULL or a.probabilities.k == 1)
            and (a.grad.data == NULL or a.grad.k == 1))


cdef inline Py_ssize_t rows_together(const Xent* a) noexcept nogil:
    return batch_size(&a.g, False) if a.labels != NULL else 1


cdef inline void any_rows(int op, const Xent* a, Py_ssize_t t, real kind) noexcept nogil:
    # Rows number t, which are several if they have classes for targets.
    cdef Py_ssize_t size = rows_together(a)
    if a.labels != NULL:
        class_rows(op, a, t * size, min(size, a.g.outer * a.g.inner - t * size), kind)
    else:
        dense_row(op, a, t, kind)


cdef inline void probability_tile_number(int op, const Xent* a, bint beside, Py_ssize_t t,
                                         bint wide) noexcept nogil:
    cdef Tile tile
    if by_rows(op, a):
        if wide:
            any_rows[double](op, a, t, 0)
        else:
            any_rows[float](op, a, t, 0)
        return
    tile = tile_number(&a.g, t, beside)
    if wide:
        probability_tile[double](op, a, &tile, 0)
    else:
        probability_tile[float](op, a, &tile, 0)


cdef void probability_run(int op, const Xent* a, bint wide) noexcept nogil:
    cdef bint beside = side_by_side(&a.g, &a.x)
    cdef Py_ssize_t size = rows_together(a)
    cdef Py_ssize_t tiles = (a.g.outer * a.g.inner + size - 1) // size if by_rows(op, a) \
        else tile_count(&a.g, beside)
    cdef Py_ssize_t t
    cdef int threads = team(2.0 * a.g.outer * a.g.k * a.g.inner, tiles)
    if threads == 1:
        for t in range(tiles):
            probability_tile_number(op, a, beside, t, wide)
    else:
        for t in prange(tiles, num_threads=threads, schedule="static"):
            probability_tile_number(op, a, beside, t, wide)
    fastce_clear_flags()
