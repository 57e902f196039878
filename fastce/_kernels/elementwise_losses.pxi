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


cdef void sigmoid_cross_entropy_block(const real* x, const real* t, const real* neither,
                                      const real* pos_weight, real* value, real* grad, real* hess,
                                      bint sloped, bint curved, Py_ssize_t n) noexcept nogil:
    # pos = t pos_weight, neg = `neither` = 1 - t, L = log1p(e**-|x|):
    #   (pos + neg) L + (neg x or -pos x, whichever is positive)
    #   neg sigmoid(x) - pos sigmoid(-x)
    #   (pos + neg) sigmoid(x) sigmoid(-x)
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real zero = <real> 0.0
    cdef real up = lift_factor(one)
    cdef real e[BLOCK]
    cdef real pos, neg, a, b, side, y, z, inverse
    exp_lifted_block(x, e, n)
    for i in range(n):
        pos = t[i] * pos_weight[i]
        side = pos if x[i] < 0 else neither[i]
        a = -x[i] if x[i] < 0 else x[i]
        # A target without a share contributes 0, also where x is infinite.
        value[i] = (pos + neither[i]) * log1p_unit(e[i] * (one / up)) + \
            (zero if side == 0 else side * a)
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


cdef void binary_cross_entropy_block(const real* p, const real* t, real* value, real* grad,
                                     real* hess, Py_ssize_t n) noexcept nogil:
    # -t log p - (1 - t) log(1 - p); -t/p + (1 - t)/(1 - p); t/p**2 + (1 - t)/(1 - p)**2.
    # A term whose t or 1 - t is 0 is 0. (p + 0 makes 0 of -0.)
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real zero = <real> 0.0
    cdef real q, s, yes, no
    for i in range(n):
        q = one - p[i]
        s = one - t[i]
        yes = zero if t[i] == 0 else -t[i] * log(p[i])
        # log(1 - p): 1 - p is exact above a half, and log1p needs it not to be small below.
        no = log1p(-p[i]) if p[i] < <real> 0.5 else log(q)
        no = zero if s == 0 else -s * no
        value[i] = yes + no
        yes = zero if t[i] == 0 else t[i] / (p[i] + zero)
        no = zero if s == 0 else s / q
        grad[i] = no - yes
        yes = zero if t[i] == 0 else yes / (p[i] + zero)
        no = zero if s == 0 else no / q
        hess[i] = no + yes
        # NaN is the only input that no term may hide.
        value[i] = value[i] if p[i] == p[i] else p[i]
        grad[i] = grad[i] if p[i] == p[i] else p[i]
        hess[i] = hess[i] if p[i] == p[i] else p[i]


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
        for i in range(n):
            power = gamma * log(value[i])
            power = lowest(zero) if power < lowest(zero) else power
            value[i] = exp_scaled(power, magic_of(lift(zero))) * (one / up)
    for i in range(n):
        a = e[i] if x[i] < 0 else up
        b = up if x[i] < 0 else e[i]
        inverse = one / (up + e[i])
        side = t[i] if x[i] < 0 else one - t[i]
        loss = -x[i] if x[i] < 0 else x[i]
        loss = log1p_unit(e[i] * (one / up)) + (zero if side == 0 else side * loss)
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
                        Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        grad[i] = x[i] - t[i]
        value[i] = <real> 0.5 * grad[i] * grad[i]
        hess[i] = <real> 1.0 if x[i] == x[i] else x[i]


cdef inline void gather_flat(const Array2* a, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t n,
                             real* block) noexcept nogil:
    # Elements start, ..., start + n - 1 of a (rows, columns), in row order.
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
    cdef double lane[LANES]
    cdef Py_ssize_t stop = min(a.n, (piece + 1) * BLOCK * BLOCKS_A_PIECE)
    cdef Py_ssize_t start = piece * BLOCK * BLOCKS_A_PIECE
    cdef Py_ssize_t n, i, l
    cdef real keep = <real> (1.0 - a.smoothing)
    cdef real half = <real> (0.5 * a.smoothing)
    cdef real scale = <real> a.scale
    cdef bint curved = a.hess.data != NULL or a.v.data != NULL
    cdef bint sloped = curved or a.grad.data != NULL
    fill_lanes(sums, 0.0)
    fill_lanes(lost, 0.0)
    for i in range(BLOCK):
        p[i] = 1
    while start < stop:
        n = min(stop - start, <Py_ssize_t> BLOCK)
        gather_flat(&a.x, a.columns, start, n, x)
        gather_flat(&a.t, a.columns, start, n, t)
        for i in range(n):
            s[i] = <real> 1.0 - t[i]
        if a.smoothing != 0:
            # Both are smoothed, as 1 - t would lose what t is short of 1.
            for i in range(n):
                s[i] = keep * s[i] + half
                t[i] = keep * t[i] + half
        if a.pos_weight.data != NULL:
            gather_flat(&a.pos_weight, a.columns, start, n, p)
        if a.loss == SIGMOID_CROSS_ENTROPY:
            sigmoid_cross_entropy_block(x, t, s, p, value, grad, hess, sloped, curved, n)
        elif a.loss == BINARY_CROSS_ENTROPY:
            binary_cross_entropy_block(x, t, value, grad, hess, n)
        elif a.loss == FOCAL:
            focal_block(x, t, <real> a.alpha, <real> a.gamma, value, grad, hess, n)
        else:
            squared_block(x, t, value, grad, hess, n)
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
            for i in range(0, n // LANES):
                for l in range(LANES):
                    lane[l] = value[i * LANES + l]
                two_sum(sums, lost, lane)
            fill_lanes(lane, 0.0)
            for l in range(n % LANES):
                lane[l] = value[n - n % LANES + l]
            two_sum(sums, lost, lane)
        if a.value.data != NULL:
            scatter_flat(&a.value, a.columns, start, n, value)
        if a.v.data != NULL:
            gather_flat(&a.v, a.columns, start, n, x)
            for i in range(n):
                grad[i] = times(hess[i], x[i])
        if a.grad.data != NULL:
            for i in range(n):
                grad[i] = grad[i] * scale + <real> 0.0
            scatter_flat(&a.grad, a.columns, start, n, grad)
        if a.hess.data != NULL:
            for i in range(n):
                hess[i] = hess[i] * scale + <real> 0.0
            scatter_flat(&a.hess, a.columns, start, n, hess)
        start += n
    if a.sums != NULL:
        a.sums[piece] = lanes_total(sums, lost)


cdef void array2(object array, Py_ssize_t columns, Array2* out):
    # Pointer and strides of an array of two dimensions; None leaves the pointer NULL.
    out.data = NULL
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


def pointwise_loss(int loss, x, t, weight, pos_weight, v, value, grad, hess, bint summed,
                   double smoothing, double alpha, double gamma, double scale):
    """Fill value, grad and hess, those that are not None; return the sum of the values if asked.

    All arrays are (rows, columns) and of the type of `x`. With `v` given, `grad` receives the
    Hessian-vector product.
    """
    cdef Pointwise a
    cdef Py_ssize_t columns = cnp.PyArray_DIM(x, 1)
    cdef bint wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
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
    cdef Py_ssize_t pieces = (a.n + BLOCK * BLOCKS_A_PIECE - 1) // (BLOCK * BLOCKS_A_PIECE)
    cdef Py_ssize_t p
    cdef cnp.npy_intp count = pieces
    sums = None
    a.sums = NULL
    if summed:
        sums = cnp.PyArray_EMPTY(1, &count, cnp.NPY_DOUBLE, 0)
        a.sums = <double*> cnp.PyArray_DATA(sums)
    cdef int threads = team(a.n * 3.0, pieces)
    cdef double result = 0
    with nogil:
        if threads == 1:
            for p in range(pieces):
                pointwise_piece_number(&a, p, wide)
        else:
            for p in prange(pieces, num_threads=threads, schedule="static"):
                pointwise_piece_number(&a, p, wide)
        if summed:
            result = sum_of[double](a.sums, pieces)
        feclearexcept(FE_ALL_EXCEPT)
    return result


cdef inline void pointwise_piece_number(const Pointwise* a, Py_ssize_t piece,
                                        bint wide) noexcept nogil:
    if wide:
        pointwise_piece[double](a, piece, 0)
    else:
        pointwise_piece[float](a, piece, 0)
