# The elementwise activations as ufunc loops, from the row up:
#
#   op(value)             vecmath or a line here: the mathematics
#   op_block(x, out, n)   contiguous values of one type; out is never an input, but may start
#                         before one and overlap it: out[i] is written after all [i] are read
#   unary_loop, ...       what NumPy calls: any strides, any input type, threads
#
# A ufunc takes its type from its first argument: float32 gives float32, float64 and every integer
# gives float64. The second argument of a backward function is converted to it.

cdef enum:
    BLOCK = 512                     # values in a local buffer
    BLOCKS_A_PIECE = 32             # blocks that a thread takes at a time

cdef inline void exp_lifted_block(const real* x, real* e, Py_ssize_t n) noexcept nogil:
    # e = exp_lifted(x), in a buffer of BLOCK values of which some after n are written as well.
    cdef Py_ssize_t i
    cdef real low = lowest(<real> 0.0)
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_lifted_block_d(x, n, low, magic_of(lift(low)), e)
        else:
            fastce_lifted_block_f(x, n, low, magic_of(lift(low)), e)
    else:
        for i in range(n):
            e[i] = exp_lifted(x[i])


cdef void sigmoid_block(const real* x, real* out, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_sigmoid_d(x, out, n, lowest(<real> 0.0), magic_of(lift(<real> 0.0)),
                             lift_factor(<real> 0.0))
        else:
            fastce_sigmoid_f(x, out, n, lowest(<real> 0.0), magic_of(lift(<real> 0.0)),
                             lift_factor(<real> 0.0))
    else:
        for i in range(n):
            out[i] = sigmoid(x[i])


cdef inline void log_block(const real* x, real* out, Py_ssize_t n) noexcept nogil:
    # out = log(x); out may be x.
    cdef Py_ssize_t i
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_log_run_d(x, n, out)
        else:
            fastce_log_run_f(x, n, out)
    else:
        for i in range(n):
            out[i] = log(x[i])


cdef inline void log_sum_block(const real* x, const real* c, real* out,
                               Py_ssize_t n) noexcept nogil:
    # out = log_sum(x, c); out may be x or c.
    cdef Py_ssize_t i
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_log_sum_run_d(x, c, n, out)
        else:
            fastce_log_sum_run_f(x, c, n, out)
    else:
        for i in range(n):
            out[i] = log_sum(x[i], c[i])


cdef inline void log1p_block(const real* y, real* out, Py_ssize_t n) noexcept nogil:
    # out = log(1 + y), for y between -0.7 and 1; out may be y.
    cdef Py_ssize_t i
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_log1p_run_d(y, 1.0, n, out)
        else:
            fastce_log1p_run_f(y, 1.0, n, out)
    else:
        for i in range(n):
            out[i] = log1p(y[i])


cdef inline void log1p_lifted_block(const real* e, real* out, Py_ssize_t n) noexcept nogil:
    # out = log(1 + e 2**-LIFT), for values of exp_lifted; out may be e.
    cdef Py_ssize_t i
    cdef real unit = <real> 1.0 / lift_factor(<real> 0.0)
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_log1p_run_d(e, unit, n, out)
        else:
            fastce_log1p_run_f(e, unit, n, out)
    else:
        for i in range(n):
            out[i] = log1p_unit(e[i] * unit)


cdef inline void softplus_run(const real* x, real* out, Py_ssize_t n, bint negative) noexcept nogil:
    # softplus(x), or log_sigmoid(x) if `negative`, of a block.
    cdef Py_ssize_t i
    cdef real zero = <real> 0.0
    cdef real e[BLOCK]
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_softplus_d(x, out, n, negative, lowest(zero), magic_of(lift(zero)))
        else:
            fastce_softplus_f(x, out, n, negative, lowest(zero), magic_of(lift(zero)))
        return
    exp_lifted_block(x, e, n)
    log1p_lifted_block(<const real*> e, e, n)
    if negative:
        for i in range(n):
            out[i] = (x[i] if x[i] < 0 else zero) - e[i]
    else:
        for i in range(n):
            out[i] = (x[i] if x[i] > 0 else zero) + e[i]


cdef void log_sigmoid_block(const real* x, real* out, Py_ssize_t n) noexcept nogil:
    softplus_run(x, out, n, True)


cdef void softplus_block(const real* x, real* out, Py_ssize_t n) noexcept nogil:
    softplus_run(x, out, n, False)


cdef void logit_block(const real* p, real* out, Py_ssize_t n) noexcept nogil:
    # log(p/(1 - p)) = ±log1p(|1 - 2p|/q), q the smaller of p and 1 - p: above a quarter 1 - 2p and
    # q are exact, and below it 1 - 2p has little weight: none if p is so small that the quotient
    # might overflow. (What is not in [0, 1] leaves a q below 0, or NaN.)
    cdef Py_ssize_t i
    cdef real one = <real> 1.0
    cdef real d, q, y, w, least
    cdef real u[BLOCK]
    cdef real c[BLOCK]
    if real is double:
        least = 1e-200
    else:
        least = <float> 1e-30
    for i in range(n):
        d = one - <real> 2.0 * p[i]
        q = p[i] if d > 0 else one - p[i]
        y = (d if d > 0 else -d) / q
        w = one + y
        u[i] = q if q < least else w
        c[i] = y - (w - one) if y < one else one - (w - y)
        c[i] = <real> 0.0 if q < least else c[i]
    log_sum_block(<const real*> u, <const real*> c, u, n)
    for i in range(n):
        d = one - <real> 2.0 * p[i]
        q = p[i] if d > 0 else one - p[i]
        # (of a small q it is log q: 1/q has the other sign)
        out[i] = -u[i] if (d > 0) ^ (q < least) else u[i]


cdef void sigmoid_backward_block(const real* g, const real* y, real* out,
                                 Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = g[i] * (y[i] * (<real> 1.0 - y[i]))


cdef void log_sigmoid_backward_block(const real* g, const real* x, real* out,
                                     Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef real y[BLOCK]
    cdef real s[BLOCK]
    for i in range(n):
        y[i] = -x[i]
    sigmoid_block(<const real*> y, s, n)
    for i in range(n):
        out[i] = g[i] * s[i]


cdef void softplus_backward_block(const real* g, const real* x, real* out,
                                  Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef real s[BLOCK]
    sigmoid_block(x, s, n)
    for i in range(n):
        out[i] = g[i] * s[i]


# Conversion to the computing type, one function for each type that an input may have.

ctypedef fused element:
    short
    unsigned short
    float
    double

ctypedef void (*Gather)(const char* source, Py_ssize_t stride, void* out,
                        Py_ssize_t n) noexcept nogil


cdef void gather_as(const char* source, Py_ssize_t stride, real* out, Py_ssize_t n,
                    element kind) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <real> (<const element*> (source + i * stride))[0]


cdef void gather_h_d(const char* source, Py_ssize_t stride, void* out,
                     Py_ssize_t n) noexcept nogil:
    gather_as[double, short](source, stride, <double*> out, n, 0)


cdef void gather_H_d(const char* source, Py_ssize_t stride, void* out,
                     Py_ssize_t n) noexcept nogil:
    gather_as[double, cython.ushort](source, stride, <double*> out, n, 0)


cdef void gather_f_f(const char* source, Py_ssize_t stride, void* out,
                     Py_ssize_t n) noexcept nogil:
    gather_as[float, float](source, stride, <float*> out, n, 0)


cdef void gather_d_f(const char* source, Py_ssize_t stride, void* out,
                     Py_ssize_t n) noexcept nogil:
    gather_as[float, double](source, stride, <float*> out, n, 0)


cdef void gather_d_d(const char* source, Py_ssize_t stride, void* out,
                     Py_ssize_t n) noexcept nogil:
    gather_as[double, double](source, stride, <double*> out, n, 0)


cdef inline void scatter(const real* block, char* out, Py_ssize_t stride,
                         Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if stride == sizeof(real):
        memcpy(out, block, n * sizeof(real))
    else:
        for i in range(n):
            (<real*> (out + i * stride))[0] = block[i]


# A loop's `data`: how each input becomes the computing type (NULL: it is that already), and the
# block function. The function's type depends on the loop, so it is kept as void*.

cdef struct Loop:
    Gather first
    Gather second
    void* block
    double nanoseconds              # an element, roughly: for the choice of threads

ctypedef void (*Block1)(const void*, void*, Py_ssize_t) noexcept nogil
ctypedef void (*Block2)(const void*, const void*, void*, Py_ssize_t) noexcept nogil


cdef inline const char* as_block(const char* source, Py_ssize_t stride, Gather gather,
                                 real* buffer, Py_ssize_t n) noexcept nogil:
    # The values as a contiguous block of the computing type: where they are, or copied.
    cdef bint same
    if real is double:
        same = gather == gather_d_d
    else:
        same = gather == gather_f_f
    if same and stride == sizeof(real):
        return source
    gather(source, stride, buffer, n)
    return <const char*> buffer


cdef inline void unary_blocks(Loop* loop, char** args, const Py_ssize_t* strides,
                              Py_ssize_t start, Py_ssize_t stop, real kind) noexcept nogil:
    cdef real x[BLOCK]
    cdef real y[BLOCK]
    cdef Py_ssize_t i = start
    cdef Py_ssize_t n
    cdef const char* source
    cdef char* to
    while i < stop:
        n = min(stop - i, <Py_ssize_t> BLOCK)
        source = as_block(args[0] + i * strides[0], strides[0], loop.first, x, n)
        to = args[1] + i * strides[1]
        if strides[1] == sizeof(real) and source != to:
            (<Block1> loop.block)(source, to, n)
        else:
            (<Block1> loop.block)(source, y, n)
            scatter(y, to, strides[1], n)
        i += n


cdef inline void binary_blocks(Loop* loop, char** args, const Py_ssize_t* strides,
                               Py_ssize_t start, Py_ssize_t stop, real kind) noexcept nogil:
    cdef real x1[BLOCK]
    cdef real x2[BLOCK]
    cdef real y[BLOCK]
    cdef Py_ssize_t i = start
    cdef Py_ssize_t n
    cdef const char* first
    cdef const char* second
    cdef char* to
    while i < stop:
        n = min(stop - i, <Py_ssize_t> BLOCK)
        first = as_block(args[0] + i * strides[0], strides[0], loop.first, x1, n)
        second = as_block(args[1] + i * strides[1], strides[1], loop.second, x2, n)
        to = args[2] + i * strides[2]
        if strides[2] == sizeof(real) and first != to and second != to:
            (<Block2> loop.block)(first, second, to, n)
        else:
            (<Block2> loop.block)(first, second, y, n)
            scatter(y, to, strides[2], n)
        i += n


cdef inline void ufunc_piece(Loop* loop, char** args, const Py_ssize_t* strides, bint binary,
                             Py_ssize_t start, Py_ssize_t stop, real kind) noexcept nogil:
    if binary:
        binary_blocks[real](loop, args, strides, start, stop, kind)
    else:
        unary_blocks[real](loop, args, strides, start, stop, kind)


cdef bint crosses(const char* out, Py_ssize_t out_stride, const char* x, Py_ssize_t stride,
                  Py_ssize_t n) noexcept nogil:
    # Whether writing one element of a result may change another one of an input.
    cdef Py_ssize_t out_length = (n - 1) * out_stride
    cdef Py_ssize_t length = (n - 1) * stride
    cdef Py_ssize_t item = sizeof(double)
    if out == x and out_stride == stride:
        return False
    return (out + min(out_length, <Py_ssize_t> 0) < x + max(length, <Py_ssize_t> 0) + item
            and x + min(length, <Py_ssize_t> 0) < out + max(out_length, <Py_ssize_t> 0) + item)


cdef inline void ufunc_loop(char** args, const cnp.npy_intp* dimensions,
                            const cnp.npy_intp* strides, Loop* loop, bint binary,
                            real kind) noexcept nogil:
    cdef Py_ssize_t n = dimensions[0]
    cdef Py_ssize_t piece = BLOCK * BLOCKS_A_PIECE
    cdef Py_ssize_t pieces = (n + piece - 1) // piece
    cdef Py_ssize_t p
    cdef int threads = team(n * loop.nanoseconds, pieces)
    cdef int last = 2 if binary else 1
    # NumPy lets a result start before an input that it overlaps: then order matters.
    for p in range(last):
        if crosses(args[last], strides[last], args[p], strides[p], n):
            threads = 1
    if threads == 1:
        ufunc_piece[real](loop, args, <const Py_ssize_t*> strides, binary, 0, n, kind)
    else:
        for p in prange(pieces, num_threads=threads, schedule="static"):
            ufunc_piece[real](loop, args, <const Py_ssize_t*> strides, binary, p * piece,
                              min(n, (p + 1) * piece), kind)
    fastce_clear_flags()


cdef void unary_f(char** args, const cnp.npy_intp* dimensions, const cnp.npy_intp* strides,
                  void* loop) noexcept nogil:
    ufunc_loop[float](args, dimensions, strides, <Loop*> loop, False, 0)


cdef void unary_d(char** args, const cnp.npy_intp* dimensions, const cnp.npy_intp* strides,
                  void* loop) noexcept nogil:
    ufunc_loop[double](args, dimensions, strides, <Loop*> loop, False, 0)


cdef void binary_f(char** args, const cnp.npy_intp* dimensions, const cnp.npy_intp* strides,
                   void* loop) noexcept nogil:
    ufunc_loop[float](args, dimensions, strides, <Loop*> loop, True, 0)


cdef void binary_d(char** args, const cnp.npy_intp* dimensions, const cnp.npy_intp* strides,
                   void* loop) noexcept nogil:
    ufunc_loop[double](args, dimensions, strides, <Loop*> loop, True, 0)


cdef enum:
    UNARY_LOOPS = 4
    BINARY_LOOPS = 5
    UFUNCS = 7

# NumPy takes the first loop that its casting rules allow: h takes bool, int8 and uint8 as well.
cdef char unary_types[2 * UNARY_LOOPS]
cdef char binary_types[3 * BINARY_LOOPS]
for position, code in enumerate((
    cnp.NPY_SHORT, cnp.NPY_DOUBLE,
    cnp.NPY_USHORT, cnp.NPY_DOUBLE,
    cnp.NPY_FLOAT, cnp.NPY_FLOAT,
    cnp.NPY_DOUBLE, cnp.NPY_DOUBLE,
)):
    unary_types[position] = code
for position, code in enumerate((
    cnp.NPY_SHORT, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE,
    cnp.NPY_USHORT, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE,
    cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_FLOAT,
    cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_FLOAT,
    cnp.NPY_DOUBLE, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE,
)):
    binary_types[position] = code

# NumPy keeps pointers to all of these for as long as the ufunc lives: for ever.
cdef Loop loops[UFUNCS][BINARY_LOOPS]
cdef void* loop_data[UFUNCS][BINARY_LOOPS]
cdef cnp.PyUFuncGenericFunction loop_functions[UFUNCS][BINARY_LOOPS]
cdef list ufunc_texts = []
cdef int ufuncs_made = 0


cdef object make_ufunc(str name, str doc, bint binary, void* block_f, void* block_d,
                       double nanoseconds):
    global ufuncs_made
    cdef int i
    cdef int u = ufuncs_made
    cdef int count = BINARY_LOOPS if binary else UNARY_LOOPS
    cdef char* types = &binary_types[0] if binary else &unary_types[0]
    cdef Gather second
    cdef int width = 3 if binary else 2
    for i in range(count):
        first, computing = types[i * width], types[i * width + width - 1]
        if first == cnp.NPY_SHORT:
            loops[u][i].first = gather_h_d
        elif first == cnp.NPY_USHORT:
            loops[u][i].first = gather_H_d
        elif first == cnp.NPY_FLOAT:
            loops[u][i].first = gather_f_f
        else:
            loops[u][i].first = gather_d_d
        if computing == cnp.NPY_DOUBLE:
            second = gather_d_d
            loops[u][i].block = block_d
            loop_functions[u][i] = <cnp.PyUFuncGenericFunction> (binary_d if binary else unary_d)
        else:
            second = gather_f_f if types[i * width + 1] == cnp.NPY_FLOAT else gather_d_f
            loops[u][i].block = block_f
            loop_functions[u][i] = <cnp.PyUFuncGenericFunction> (binary_f if binary else unary_f)
        loops[u][i].second = second
        loops[u][i].nanoseconds = nanoseconds
        loop_data[u][i] = &loops[u][i]
    texts = (name.encode(), doc.encode())
    ufunc_texts.append(texts)
    ufuncs_made += 1
    return cnp.PyUFunc_FromFuncAndData(loop_functions[u], loop_data[u], types, count, width - 1, 1,
                                       cnp.PyUFunc_None, texts[0], texts[1], 0)


def ufunc(str name, str doc):
    """Make the ufunc of that name. To be called once for each."""
    if name == "sigmoid":
        return make_ufunc(name, doc, False, <void*> sigmoid_block[float],
                          <void*> sigmoid_block[double], 1.0)
    if name == "log_sigmoid":
        return make_ufunc(name, doc, False, <void*> log_sigmoid_block[float],
                          <void*> log_sigmoid_block[double], 2.0)
    if name == "softplus":
        return make_ufunc(name, doc, False, <void*> softplus_block[float],
                          <void*> softplus_block[double], 2.0)
    if name == "logit":
        return make_ufunc(name, doc, False, <void*> logit_block[float],
                          <void*> logit_block[double], 2.0)
    if name == "sigmoid_backward":
        return make_ufunc(name, doc, True, <void*> sigmoid_backward_block[float],
                          <void*> sigmoid_backward_block[double], 1.0)
    if name == "log_sigmoid_backward":
        return make_ufunc(name, doc, True, <void*> log_sigmoid_backward_block[float],
                          <void*> log_sigmoid_backward_block[double], 1.0)
    if name == "softplus_backward":
        return make_ufunc(name, doc, True, <void*> softplus_backward_block[float],
                          <void*> softplus_backward_block[double], 1.0)
    raise KeyError(name)
