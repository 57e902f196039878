# The losses in which every element is a sample: value, gradient and second derivative of a block
# of BLOCK elements at a time. The last function batches them over arrays of any two strides.

cdef enum:
    SIGMOID_CROSS_ENTROPY
    BINARY_CROSS_ENTROPY
    FOCAL
    SQUARED

cdef struct Array2:
    # (rows, columns), strides in items; 0 where it is broadcast
    void* data
    Py_ssize_t row
    Py_ssize_t column
    bint flat                       # one run of memory

cdef struct Pointwise:
    int loss
    Py_ssize_t n
    Py_ssize_t columns
    Array2 x                        # predictions
    Array2 t                        # targets
    Array2 weight                   # the product of all weights, or data NULL
    Array2 pos_weight               # or data NULL
    Array2 v                        # for the Hessian-vector product, or data NULL
    Array2 value                    # each sample's value, or data NULL
    Array2 grad
    Array2 hess
    double* sums                    # of the values, one for each piece, or NULL
    double smoothing
    double alpha
    double gamma
    double scale                    # of the derivatives
    bint hard                       # whether it is known that all targets are 0 or 1


cdef void sigmoid_cross_entropy_block(const real* x, const real* t, const real* neither,
                                      const real* pos_weight, real* value, real* grad, real* hess,
                                      bint sloped, bint curved, Py_ssize_t n) noexcept nogil:
    # pos = t pos_weight, neg = `neither` = 1 - t, L = log1p(e**-|x|):
    #   (pos + neg) L + (neg x or -pos x, whichever is positive)
    #   neg sigmoid(x) - pos sigmoid(-x)
    #   (pos + neg) sigmoid(x) sigmoid(-x)
    # All but x and t are buffers of BLOCK.
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real zero = <real> 0.0
    cdef real up = lift_factor(one)
    cdef real e[BLOCK]
    cdef real pos, neg, a, b, side, y, z, inverse
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_weighted_binary_d(x, t, neither, pos_weight, value, grad, hess, sloped, curved,
                                     n, lowest(zero), magic_of(lift(zero)))
        else:
            fastce_weighted_binary_f(x, t, neither, pos_weight, value, grad, hess, sloped, curved,
                                     n, lowest(zero), magic_of(lift(zero)))
        return
    exp_lifted_block(x, e, n)
    log1p_lifted_block(<const real*> e, value, n)
    for i in range(n):
        pos = t[i] * pos_weight[i]
        side = pos if x[i] < 0 else neither[i]
        a = -x[i] if x[i] < 0 else x[i]
        # A target without a share contributes 0, also where x is infinite.
        value[i] = (pos + neither[i]) * value[i] + (zero if side == 0 else side * a)
    if not sloped:
        return
    for i in range(n):
        pos = t[i] * pos_weight[i]
        neg = neither[i]
        a = e[i] if x[i] < 0 else up
        b = up if x[i] < 0 else e[i]
        side = pos if x[i] < 0 else neg
        z = neg * a - pos * b
        y = z / (up + e[i])
        # (as in `sigmoid_of`, where there is nothing but the small term)
        z = (z - e[i] * y) * (one / up)
        grad[i] = z if (side == 0) & (e[i] < <real> 0.25 * up) else y
    if curved:
        for i in range(n):
            inverse = one / (up + e[i])
            hess[i] = (t[i] * pos_weight[i] + neither[i]) * ((e[i] * inverse) * (up * inverse))


cdef inline void plain_step(const real* x, const real* t, const real* e, Py_ssize_t lanes,
                            real* product, real* low, real* total, real* lost) noexcept nogil:
    # Adds values of sigmoid_cross_entropy_block without weights, whose pos + neg is 1:
    # product + low *= 1 + e**-|x|, and total + lost += side abs(x).
    cdef Py_ssize_t l
    cdef real one = <real> 1.0
    cdef real u, p, y, z, side, s
    for l in range(lanes):
        u = e[l] * (one / lift_factor(one))
        p = product[l] * u
        y = product[l] + p
        low[l] = (low[l] + low[l] * u) + (p - (y - product[l]))
        product[l] = y
        side = t[l] if x[l] < 0 else one - t[l]
        s = side * (-x[l] if x[l] < 0 else x[l])
        s = <real> 0.0 if side == 0 else s
        y = total[l] + s
        z = y - total[l]
        lost[l] = lost[l] + ((total[l] - (y - z)) + (s - z))
        total[l] = y


cdef inline void plain_pass(const real* x, const real* t, Py_ssize_t n, bint hard, real scale,
                            real* grad, bint summed, real* product, real* low, real* total,
                            real* lost) noexcept nogil:
    # Of a block: its gradient, if that is not NULL, and, if asked, by lanes, product + low of its
    # 1 + e**-|x| and total + lost of the rest of its values. grad may be x or t.
    cdef Py_ssize_t i
    cdef Py_ssize_t whole = n // LANES
    cdef real one = <real> 1.0
    cdef real up = lift_factor(one)
    cdef real e[BLOCK]
    cdef real side, y, z
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_binary_d(x, t, n, hard, lowest(<real> 0.0), magic_of(lift(one)), up, scale, grad,
                            product if summed else NULL, low, total, lost)
        else:
            fastce_binary_f(x, t, n, hard, lowest(<real> 0.0), magic_of(lift(one)), up, scale, grad,
                            product if summed else NULL, low, total, lost)
        return
    exp_lifted_block(x, e, n)
    if summed:
        fill_lanes(product, <real> 1.0)
        fill_lanes(low, <real> 0.0)
        fill_lanes(total, <real> 0.0)
        fill_lanes(lost, <real> 0.0)
        for i in range(whole):
            plain_step(x + i * LANES, t + i * LANES, e + i * LANES, LANES, product, low, total,
                       lost)
        plain_step(x + whole * LANES, t + whole * LANES, e + whole * LANES, n % LANES, product,
                   low, total, lost)
    if grad == NULL:
        return
    for i in range(n):
        side = t[i] if x[i] < 0 else one - t[i]
        z = (one - t[i]) * (e[i] if x[i] < 0 else up) - t[i] * (up if x[i] < 0 else e[i])
        y = z / (up + e[i])
        z = (z - e[i] * y) * (one / up)
        y = z if (side == 0) & (e[i] < <real> 0.25 * up) else y
        grad[i] = y * scale + <real> 0.0


cdef void plain_block(const real* x, const real* t, bint hard, real scale, real* grad,
                      Py_ssize_t n, double* sums, double* lost) noexcept nogil:
    # sigmoid_cross_entropy_block without weights, where of the values only the sum is wanted, if
    # `sums` is not NULL: sums + lost += the values, by lanes. The gradient, if it is not NULL, is
    # multiplied by `scale`; it may be x or t.
    #
    # A sum of log(1 + e) is the logarithm of a product, and BLOCK/LANES factors are at most 2**16.
    cdef Py_ssize_t l
    cdef real product[LANES]
    cdef real low[LANES]
    cdef real total[LANES]
    cdef real rest[LANES]
    cdef double lane[LANES]
    cdef real y, z
    plain_pass(x, t, n, hard, scale, grad, sums != NULL, product, low, total, rest)
    if sums == NULL:
        return
    for l in range(LANES):
        y = product[l] + low[l]
        z = log_parts(y, low[l] - (y - product[l]), <real> 0.0)
        lane[l] = z if y == y else y
    two_sum(sums, lost, lane)
    for l in range(LANES):
        lane[l] = total[l]
        lost[l] = lost[l] + rest[l]
    two_sum(sums, lost, lane)


cdef void binary_cross_entropy_block(const real* p, const real* t, real* value, real* grad,
                                     real* hess, bint curved, Py_ssize_t n) noexcept nogil:
    # -t log p - (1 - t) log(1 - p); -t/p + (1 - t)/(1 - p); t/p**2 + (1 - t)/(1 - p)**2.
    # A term whose t or 1 - t is 0 is 0. (p + 0 makes 0 of -0.)
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real zero = <real> 0.0
    cdef real q, s, yes, no
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_fractions_d(p, t, n, value, grad)
        else:
            fastce_fractions_f(p, t, n, value, grad)
    else:
        for i in range(n):
            q = one - p[i]
            s = one - t[i]
            yes = zero if t[i] == 0 else -t[i] * log(p[i])
            no = zero if s == 0 else -s * log_sum(q, (one - q) - p[i])
            value[i] = yes + no
            yes = zero if t[i] == 0 else t[i] / (p[i] + zero)
            no = zero if s == 0 else s / q
            grad[i] = no - yes
            # NaN is the only input that no term may hide.
            value[i] = value[i] if p[i] == p[i] else p[i]
            grad[i] = grad[i] if p[i] == p[i] else p[i]
    if curved:
        for i in range(n):
            q = one - p[i]
            s = one - t[i]
            yes = zero if t[i] == 0 else t[i] / (p[i] + zero) / (p[i] + zero)
            no = zero if s == 0 else s / q / q
            hess[i] = no + yes if p[i] == p[i] else p[i]


cdef void focal_block(const real* x, const real* t, real alpha, real gamma, real* value,
                      real* grad, real* hess, Py_ssize_t n) noexcept nogil:
    # F = A q**gamma L with A = alpha t + (1 - alpha)(1 - t), P = sigmoid(x),
    # q = 1 - p_t = P (1 - t) + (1 - P) t, and L the cross-entropy. With r = q'/q, u = q''/q:
    #   F'  = A q**gamma (gamma r L + L')
    #   F'' = A q**gamma (gamma ((gamma - 1) r**2 + u) L + 2 gamma r L' + L'')
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real zero = <real> 0.0
    cdef real up = lift_factor(one)
    cdef real e[BLOCK]
    cdef real losses[BLOCK]
    cdef real a, b, inverse, share, r, u, loss, slope, curve, side, balance, power
    # First q**gamma, into `value`, each kind in a loop of its own.
    exp_lifted_block(x, e, n)
    for i in range(n):
        a = e[i] if x[i] < 0 else up
        b = up if x[i] < 0 else e[i]
        value[i] = (a * (one - t[i]) + b * t[i]) / (up + e[i])
    if gamma == 2:
        for i in range(n):
            value[i] = value[i] * value[i]
    elif gamma == 0:
        for i in range(n):
            value[i] = one
    elif gamma != 1:
        # Through the logarithm; beyond the range of exp it is 0.
        log_block(<const real*> value, value, n)
        for i in range(n):
            power = gamma * value[i]
            power = lowest(zero) if power < lowest(zero) else power
            value[i] = exp_scaled(power, magic_of(lift(zero))) * (one / up)
    log1p_lifted_block(<const real*> e, losses, n)
    for i in range(n):
        a = e[i] if x[i] < 0 else up
        b = up if x[i] < 0 else e[i]
        inverse = one / (up + e[i])
        side = t[i] if x[i] < 0 else one - t[i]
        loss = -x[i] if x[i] < 0 else x[i]
        loss = losses[i] + (zero if side == 0 else side * loss)
        slope = ((one - t[i]) * a - t[i] * b) * inverse
        curve = (a * inverse) * (b * inverse)
        share = a * (one - t[i]) + b * t[i]
        r = zero if share == 0 else ((a * b * inverse) / share) * (one - <real> 2.0 * t[i])
        u = r * ((b - a) * inverse)
        balance = one if alpha < 0 else alpha * t[i] + (one - alpha) * (one - t[i])
        power = balance * value[i]
        # Where nothing is left of q**gamma nothing is left of the loss, though L be infinite.
        value[i] = power * loss if power != 0 else zero
        grad[i] = power * (gamma * (r * loss if r != 0 else zero) + slope)
        hess[i] = power * (gamma * (((gamma - one) * r * r + u) * loss if r != 0 else zero)
                           + <real> 2.0 * gamma * r * slope + curve)
        value[i] = value[i] if x[i] == x[i] else x[i]
        grad[i] = grad[i] if x[i] == x[i] else x[i]
        hess[i] = hess[i] if x[i] == x[i] else x[i]


cdef void squared_block(const real* x, const real* t, real* value, real* grad, real* hess,
                        bint curved, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        grad[i] = x[i] - t[i]
        value[i] = <real> 0.5 * grad[i] * grad[i]
    if curved:
        for i in range(n):
            hess[i] = <real> 1.0 if x[i] == x[i] else x[i]


cdef inline const real* run_flat(const Array2* a, Py_ssize_t columns, Py_ssize_t start,
                                 Py_ssize_t n, real* block) noexcept nogil:
    # Elements start, ..., start + n - 1 of a (rows, columns), in row order: where they lie, if that
    # is a run of memory, or in the block.
    if a.flat:
        return <const real*> a.data + start
    gather_flat(a, columns, start, n, block)
    return block


cdef inline void gather_flat(const Array2* a, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t n,
                             real* block) noexcept nogil:
    # The same, always in the block.
    cdef const real* data = <const real*> a.data
    cdef Py_ssize_t i, r, c, run
    cdef Py_ssize_t done = 0
    if a.flat:
        memcpy(block, data + start, n * sizeof(real))
        return
    r = start // columns
    c = start - r * columns
    while done < n:
        run = min(columns - c, n - done)
        for i in range(run):
            block[done + i] = data[r * a.row + (c + i) * a.column]
        done += run
        c = 0
        r += 1


cdef inline void scatter_flat(const Array2* a, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t n,
                              const real* block) noexcept nogil:
    cdef real* data = <real*> a.data
    cdef Py_ssize_t i, r, c, run
    cdef Py_ssize_t done = 0
    if a.flat:
        memcpy(data + start, block, n * sizeof(real))
        return
    r = start // columns
    c = start - r * columns
    while done < n:
        run = min(columns - c, n - done)
        for i in range(run):
            data[r * a.row + (c + i) * a.column] = block[done + i]
        done += run
        c = 0
        r += 1


cdef inline void scatter_scaled(const Array2* a, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t n,
                                real scale, real* block) noexcept nogil:
    # The same for the block times a number, if there is an array.
    cdef real* to
    cdef Py_ssize_t i
    if a.data == NULL:
        return
    to = <real*> a.data + start if a.flat else block
    for i in range(n):
        to[i] = block[i] * scale + <real> 0.0
    if not a.flat:
        scatter_flat(a, columns, start, n, <const real*> block)


cdef void pointwise_piece(const Pointwise* a, Py_ssize_t piece, real kind) noexcept nogil:
    cdef real x[BLOCK]
    cdef real t[BLOCK]
    cdef real w[BLOCK]
    cdef real p[BLOCK]
    cdef real value[BLOCK]
    cdef real grad[BLOCK]
    cdef real hess[BLOCK]
    cdef real s[BLOCK]
    cdef double sums[LANES]
    cdef double lost[LANES]
    cdef Py_ssize_t stop = min(a.n, (piece + 1) * BLOCK * BLOCKS_A_PIECE)
    cdef Py_ssize_t start = piece * BLOCK * BLOCKS_A_PIECE
    cdef Py_ssize_t n, i
    cdef real keep = <real> (1.0 - a.smoothing)
    cdef real half = <real> (0.5 * a.smoothing)
    cdef real scale = <real> a.scale
    cdef bint curved = a.hess.data != NULL or a.v.data != NULL
    cdef bint sloped = curved or a.grad.data != NULL
    # Only the sum of the values and the gradient, without options:
    cdef bint plain = (a.loss == SIGMOID_CROSS_ENTROPY and a.value.data == NULL
                       and not curved and a.weight.data == NULL
                       and a.pos_weight.data == NULL and a.smoothing == 0)
    cdef const real* xs
    cdef const real* ts
    cdef real* to
    fill_lanes(sums, 0.0)
    fill_lanes(lost, 0.0)
    for i in range(BLOCK):
        p[i] = 1
    while start < stop:
        n = min(stop - start, <Py_ssize_t> BLOCK)
        xs = run_flat(&a.x, a.columns, start, n, x)
        ts = run_flat(&a.t, a.columns, start, n, t)
        if plain:
            to = grad
            if a.grad.data == NULL:
                to = NULL
            elif a.grad.flat:
                to = <real*> a.grad.data + start
            plain_block(xs, ts, a.hard, scale, to, n, sums if a.sums != NULL else NULL, lost)
            if to == grad:
                scatter_flat(&a.grad, a.columns, start, n, grad)
            start += n
            continue
        if a.loss == SIGMOID_CROSS_ENTROPY or a.smoothing != 0:
            for i in range(n):
                s[i] = <real> 1.0 - ts[i]
        if a.smoothing != 0:
            # Both are smoothed, as 1 - t would lose what t is short of 1.
            for i in range(n):
                s[i] = keep * s[i] + half
                t[i] = keep * ts[i] + half
            ts = t
        if a.pos_weight.data != NULL:
            gather_flat(&a.pos_weight, a.columns, start, n, p)
        if a.loss == SIGMOID_CROSS_ENTROPY:
            sigmoid_cross_entropy_block(xs, ts, s, p, value, grad, hess, sloped, curved, n)
        elif a.loss == BINARY_CROSS_ENTROPY:
            binary_cross_entropy_block(xs, ts, value, grad, hess, curved, n)
        elif a.loss == FOCAL:
            focal_block(xs, ts, <real> a.alpha, <real> a.gamma, value, grad, hess, n)
        else:
            squared_block(xs, ts, value, grad, hess, curved, n)
        if a.weight.data != NULL:
            gather_flat(&a.weight, a.columns, start, n, w)
            for i in range(n):
                value[i] = times(w[i], value[i])
            if sloped:
                for i in range(n):
                    grad[i] = times(w[i], grad[i])
            if curved:
                for i in range(n):
                    hess[i] = times(w[i], hess[i])
        if a.sums != NULL:
            add_values(<const real*> value, n, True, sums, lost)
        if a.value.data != NULL:
            scatter_flat(&a.value, a.columns, start, n, value)
        if a.v.data != NULL:
            xs = run_flat(&a.v, a.columns, start, n, x)
            for i in range(n):
                grad[i] = times(hess[i], xs[i])
        scatter_scaled(&a.grad, a.columns, start, n, scale, grad)
        scatter_scaled(&a.hess, a.columns, start, n, scale, hess)
        start += n
    if a.sums != NULL:
        a.sums[piece] = lanes_total(sums, lost)


cdef void array2(object array, Py_ssize_t columns, Array2* out):
    # Pointer and strides of an array of two dimensions; None leaves the pointer NULL.
    out.data = NULL
    out.flat = False
    if array is None:
        return
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(array)
    cdef cnp.npy_intp* strides = cnp.PyArray_STRIDES(array)
    out.data = cnp.PyArray_DATA(array)
    out.row = strides[0] // item
    out.column = strides[1] // item
    out.flat = out.column == 1 and (out.row == columns or cnp.PyArray_DIM(array, 0) == 1)


POINTWISE_LOSSES = {
    "binary_cross_entropy_with_logits": SIGMOID_CROSS_ENTROPY,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "sigmoid_focal_loss": FOCAL,
    "squared_error": SQUARED,
}


cdef inline Py_ssize_t piece_count(const Pointwise* a) noexcept nogil:
    return (a.n + BLOCK * BLOCKS_A_PIECE - 1) // (BLOCK * BLOCKS_A_PIECE)


cdef double pointwise_run(const Pointwise* a, bint wide) noexcept nogil:
    # Returns the sum of the values if a.sums is there for those of the pieces.
    cdef Py_ssize_t pieces = piece_count(a)
    cdef Py_ssize_t p
    cdef int threads = team(a.n * 3.0, pieces)
    cdef double result = 0
    if threads == 1:
        for p in range(pieces):
            pointwise_piece_number(a, p, wide)
    else:
        for p in prange(pieces, num_threads=threads, schedule="static"):
            pointwise_piece_number(a, p, wide)
    if a.sums != NULL:
        result = sum_of[double](a.sums, pieces)
    fastce_clear_flags()
    return result


def pointwise_loss(int loss, x, t, weight, pos_weight, v, value, grad, hess, bint summed,
                   double smoothing, double alpha, double gamma, double scale):
    """Fill value, grad and hess, those that are not None; return the sum of the values if asked.

    All arrays are (rows, columns) and of the type of `x`. With `v` given, `grad` receives the
    Hessian-vector product.
    """
    cdef Pointwise a
    cdef Py_ssize_t columns = cnp.PyArray_DIM(x, 1)
    cdef bint wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    cdef double result
    a.hard = False
    a.loss = loss
    a.n = cnp.PyArray_SIZE(x)
    a.columns = columns
    array2(x, columns, &a.x)
    array2(t, columns, &a.t)
    array2(weight, columns, &a.weight)
    array2(pos_weight, columns, &a.pos_weight)
    array2(v, columns, &a.v)
    array2(value, columns, &a.value)
    array2(grad, columns, &a.grad)
    array2(hess, columns, &a.hess)
    a.smoothing, a.alpha, a.gamma, a.scale = smoothing, alpha, gamma, scale
    cdef cnp.npy_intp pieces = piece_count(&a)
    sums = None
    a.sums = NULL
    if summed:
        sums = cnp.PyArray_EMPTY(1, &pieces, cnp.NPY_DOUBLE, 0)
        a.sums = <double*> cnp.PyArray_DATA(sums)
    with nogil:
        result = pointwise_run(&a, wide)
    return result


cdef inline void pointwise_piece_number(const Pointwise* a, Py_ssize_t piece,
                                        bint wide) noexcept nogil:
    if wide:
        pointwise_piece[double](a, piece, 0)
    else:
        pointwise_piece[float](a, piece, 0)
