/* The passes of exp_lanes.h, which includes this once for each type of number: REAL, in vectors VEC
 * of WIDTH, with masks MASK; EIGHT is a vector of eight. OF(name) is the type's name of a function,
 * OP(name) and the like that of an instruction. */

/* The lanes of a vector that i is the first of, those beyond n left out. */
static inline MASK OF(fastce_some)(ptrdiff_t n, ptrdiff_t i)
{
    return n - i < WIDTH ? (MASK) ((1 << (n - i)) - 1) : (MASK) ~0;
}

/* exp of `count` vectors, at most two, in their place. */
static inline __attribute__((always_inline)) void OF(fastce_exps)(int count, VEC *y, VEC base)
{
    VEC scale[2], q[2];
    OF(fastce_exp_pieces)(count, y, base, scale, q);
    EACH y[v] = OP(fmadd)(scale[v], q[v], scale[v]);
}

static inline VEC OF(fastce_exp_vector)(VEC y, VEC base)
{
    OF(fastce_exps)(1, &y, base);
    return y;
}

/* Of one, with its rounding error. */
static inline VEC OF(fastce_exp_parts)(VEC y, VEC base, VEC *tail)
{
    VEC scale, q;
    OF(fastce_exp_pieces)(1, &y, base, &scale, &q);
    const VEC e = OP(fmadd)(scale, q, scale);
    *tail = OP(fmadd)(scale, q, OP(sub)(scale, e));
    return e;
}

/* e[l] = exp_scaled(y[l], magic[l]) for all lanes. */
static inline void OF(fastce_exp_each)(const REAL *y, const REAL *magic, REAL *e)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        const VEC base = OF(fastce_base)(OP(loadu)(magic + l));
        OP(storeu)(e + l, OF(fastce_exp_vector)(OP(loadu)(y + l), base));
    }
}

/* Adds e + f to the sum s + q, s being larger than any of them. */
static inline void OF(fastce_add_pair)(VEC e, VEC f, VEC *s, VEC *q)
{
    const VEC pair = OP(add)(e, f), sum = OP(add)(*s, pair);
    *q = OP(add)(*q, OP(sub)(pair, OP(sub)(sum, *s)));
    *s = sum;
}

/* `sweep` of tiles.pxi, the anchor taken off. */
static inline void OF(fastce_sweep)(REAL *b, ptrdiff_t steps, const REAL *low, const REAL *magic,
                                    const REAL *anchor, const REAL *ahead, ptrdiff_t ahead_step,
                                    const REAL *result, ptrdiff_t result_step, REAL *total,
                                    REAL *lost)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        const VEC least = OP(loadu)(low + l);
        const VEC base = OF(fastce_base)(OP(loadu)(magic + l));
        VEC s = OP(loadu)(anchor + l);
        VEC q = OP(setzero)();
        REAL *x = b + l;
        ptrdiff_t i = 0;
        for (; i + 1 < steps; i += 2, x += 2 * FASTCE_LANES) {
            if (ahead) {
                __builtin_prefetch(ahead + i * ahead_step + l);
                __builtin_prefetch(ahead + (i + 1) * ahead_step + l);
            }
            if (result) {
                __builtin_prefetch(result + i * result_step + l, 1);
                __builtin_prefetch(result + (i + 1) * result_step + l, 1);
            }
            VEC e[2] = {OP(max)(least, OP(loadu)(x)),
                        OP(max)(least, OP(loadu)(x + FASTCE_LANES))};
            OF(fastce_exps)(2, e, base);
            OP(storeu)(x, e[0]);
            OP(storeu)(x + FASTCE_LANES, e[1]);
            OF(fastce_add_pair)(e[0], e[1], &s, &q);
        }
        if (i < steps) {
            VEC e = OF(fastce_exp_vector)(OP(max)(least, OP(loadu)(x)), base);
            OP(storeu)(x, e);
            OF(fastce_add_pair)(e, OP(setzero)(), &s, &q);
        }
        OP(storeu)(total + l, OP(sub)(s, OP(loadu)(anchor + l)));
        OP(storeu)(lost + l, q);
    }
}

/* Items from the start of a row to the first line of memory. */
static inline ptrdiff_t OF(fastce_head)(const REAL *out)
{
    return (ptrdiff_t) ((0 - (uintptr_t) out / sizeof(REAL)) % WIDTH);
}

/* out = e times the sum of two factors, past the caches. */
static inline void OF(fastce_stream_row)(const REAL *e, REAL *out, ptrdiff_t k, REAL factor,
                                         REAL factor_low)
{
    const VEC f = OP(set1)(factor), f_low = OP(set1)(factor_low);
    ptrdiff_t j = 0, count = OF(fastce_head)(out);
    while (j < k) {
        count = count && count < k - j ? count : k - j < WIDTH ? k - j : WIDTH;
        const MASK some = (MASK) ((1u << count) - 1);
        VEC y = OP(maskz_loadu)(some, e + j);
        y = OP(fmadd)(y, f, OP(fmadd)(y, f_low, OP(setzero)()));
        if (count == WIDTH)
            OP(stream)(out + j, y);
        else
            OP(mask_storeu)(out + j, some, y);
        j += count;
        count = WIDTH;
    }
}

/* Nothing of the row is written yet. */
static inline void OF(fastce_start)(fastce_pending *row)
{
    row->done = OF(fastce_head)((const REAL *) row->out);
}

/* All that is left of the row. */
static inline void OF(fastce_finish)(const fastce_pending *row)
{
    const REAL *e = (const REAL *) row->e;
    REAL *out = (REAL *) row->out;
    const REAL f = (REAL) row->factor, f_low = (REAL) row->factor_low;
    OF(fastce_stream_row)(e, out, OF(fastce_head)(out), f, f_low);
    OF(fastce_stream_row)(e + row->done, out + row->done, row->k - row->done, f, f_low);
    if (row->masked >= 0)
        out[row->masked] = (REAL) row->at_masked;
}

/* `sweep_run` of tiles.pxi, the anchor taken off and the centre 0; meanwhile as much is written of
 * the row that is pending, if one is, and the largest of `count` items ahead are found, if `top` is
 * not NULL. */
static inline void OF(fastce_sweep_run)(const REAL *x, ptrdiff_t count, ptrdiff_t masked, REAL low,
                                        REAL magic, REAL anchor, const REAL *ahead, REAL *top,
                                        REAL *out, fastce_pending *pending, REAL *total,
                                        REAL *lost)
{
    const REAL *waits = pending ? (const REAL *) pending->e : NULL;
    REAL *goes = pending ? (REAL *) pending->out : NULL;
    ptrdiff_t done = pending ? pending->done : 0;
    const ptrdiff_t end = pending ? pending->k - 2 * FASTCE_LANES : -1;
    const VEC f_high = OP(set1)(pending ? (REAL) pending->factor : 0);
    const VEC f_low = OP(set1)(pending ? (REAL) pending->factor_low : 0);
    const VEC least = OP(set1)(low), start = OP(set1)(anchor);
    const VEC base = OF(fastce_base)(OP(set1)(magic));
    VEC s[2] = {start, start}, q[2] = {OP(setzero)(), OP(setzero)()};
    VEC largest[2] = {OP(set1)(-INFINITY), OP(set1)(-INFINITY)};
    REAL unused[2 * FASTCE_LANES];
    for (ptrdiff_t i = 0; i < count; i += 2 * FASTCE_LANES) {
        const ptrdiff_t rest = count - i;
        REAL *to = out ? out + i : unused;
        for (int l = 0; l < 2 * FASTCE_LANES; l += WIDTH) {
            if (top)
                __builtin_prefetch(ahead + FASTCE_READ_AHEAD + i + l, 0, 2);
            else if (ahead)
                __builtin_prefetch(ahead + i + l);
            if (out)
                __builtin_prefetch(out + i + FASTCE_WRITE_AHEAD + l, 1);
        }
        if (top && rest >= 2 * FASTCE_LANES)
            for (int v = 0; v < 2 * FASTCE_LANES / WIDTH; v++)
                largest[v % 2] = OP(max)(OP(loadu)(ahead + i + WIDTH * v), largest[v % 2]);
        if (rest >= 2 * FASTCE_LANES && (size_t) (masked - i) >= 2 * FASTCE_LANES) {
            const bool streams = done <= end;
            for (int v = 0; v < FASTCE_LANES / WIDTH; v++) {
                const ptrdiff_t l = WIDTH * v, m = l + FASTCE_LANES;
                VEC e[2] = {OP(max)(least, OP(loadu)(x + i + l)),
                            OP(max)(least, OP(loadu)(x + i + m))};
                OF(fastce_exps)(2, e, base);
                OP(storeu)(to + l, e[0]);
                OP(storeu)(to + m, e[1]);
                OF(fastce_add_pair)(e[0], e[1], &s[v % 2], &q[v % 2]);
                for (int half = 0; streams && half < 2; half++) {
                    const ptrdiff_t j = done + 2 * l + WIDTH * half;
                    const VEC y = OP(loadu)(waits + j);
                    OP(stream)(goes + j, OP(fmadd)(y, f_high, OP(fmadd)(y, f_low, OP(setzero)())));
                }
            }
            done += streams ? 2 * FASTCE_LANES : 0;
        } else {
            /* The class that is masked, or the end of the row. */
            const uint64_t used = rest < 64 ? ((uint64_t) 1 << rest) - 1 : ~(uint64_t) 0;
            const uint64_t kept =
                (size_t) (masked - i) < 64 ? used & ~((uint64_t) 1 << (masked - i)) : used;
            for (int v = 0; v < FASTCE_LANES / WIDTH; v++) {
                const ptrdiff_t l = WIDTH * v, m = l + FASTCE_LANES;
                VEC e[2] = {
                    OP(max)(least, OP(mask_loadu)(least, (MASK) (kept >> l), x + i + l)),
                    OP(max)(least, OP(mask_loadu)(least, (MASK) (kept >> m), x + i + m))};
                OF(fastce_exps)(2, e, base);
                OP(mask_storeu)(to + l, (MASK) (used >> l), e[0]);
                OP(mask_storeu)(to + m, (MASK) (used >> m), e[1]);
                OF(fastce_add_pair)(e[0], e[1], &s[v % 2], &q[v % 2]);
            }
        }
    }
    if (top) {
        for (ptrdiff_t i = count / (2 * FASTCE_LANES) * (2 * FASTCE_LANES); i < count; i += WIDTH) {
            const MASK some = OF(fastce_some)(count, i);
            largest[0] = OP(max)(OP(mask_loadu)(largest[0], some, ahead + i), largest[0]);
        }
        largest[0] = OP(max)(largest[0], largest[1]);
        OP(storeu)(top, OP(max)(OP(loadu)(top), largest[0]));
    }
    memset(total, 0, FASTCE_LANES * sizeof(REAL));
    memset(lost, 0, FASTCE_LANES * sizeof(REAL));
    for (int v = 0; v < 2; v++) {
        OP(storeu)(total + WIDTH * v, OP(sub)(s[v], start));
        OP(storeu)(lost + WIDTH * v, q[v]);
    }
    if (pending)
        pending->done = done;
}

/* sigmoid(x) of vecmath.pxd, which names the constants, of `count` vectors in their place. */
static inline __attribute__((always_inline)) void OF(fastce_sigmoids)(int count, VEC *x, VEC least,
                                                                      VEC base, REAL up)
{
    const VEC raise = OP(set1)(up);
    VEC e[2];
    MASK negative[2], small[2];
    EACH negative[v] = SIGN_MASK(x[v]);
    EACH e[v] = OP(max)(least, OP(or)(x[v], OP(set1)(-0.0)));
    OF(fastce_exps)(count, e, base);
    EACH x[v] = OP(div)(OP(mask_mov)(raise, negative[v], e[v]), OP(add)(raise, e[v]));
    EACH small[v] = OP_MASK(mask_cmp)(negative[v], e[v], OP(set1)((REAL) 0.25 * up), _CMP_LT_OQ);
    EACH x[v] = OP(mask_mul)(x[v], small[v], OP(fnmadd)(e[v], x[v], e[v]), OP(set1)(1 / up));
}

/* x may be out. */
static inline void OF(fastce_sigmoid)(const REAL *x, REAL *out, ptrdiff_t n, REAL least, REAL magic,
                                      REAL up)
{
    const VEC base = OF(fastce_base)(OP(set1)(magic)), low = OP(set1)(least);
    ptrdiff_t i = 0;
    for (; i + 2 * WIDTH <= n; i += 2 * WIDTH) {
        VEC y[2] = {OP(loadu)(x + i), OP(loadu)(x + i + WIDTH)};
        OF(fastce_sigmoids)(2, y, low, base, up);
        OP(storeu)(out + i, y[0]);
        OP(storeu)(out + i + WIDTH, y[1]);
    }
    for (; i < n; i += WIDTH) {
        const MASK some = OF(fastce_some)(n, i);
        VEC y = OP(maskz_loadu)(some, x + i);
        OF(fastce_sigmoids)(1, &y, low, base, up);
        OP(mask_storeu)(out + i, some, y);
    }
}

/* For WIDTH neighbours: the gradient of plain_block in elementwise_losses.pxi, which names the
 * constants, and what the sum of its losses is made of. What has x = -inf and t = 0 counts for
 * nothing. */
static inline __attribute__((always_inline)) void OF(fastce_binary_vector)(
    VEC x, VEC t, VEC least, VEC base, REAL up, VEC scale, bool summed, VEC *product, VEC *low,
    VEC *total, VEC *lost, bool sloped, VEC *grad)
{
    const VEC raise = OP(set1)(up), unit = OP(set1)(1 / up), zero = OP(setzero)();
    const VEC not_t = OP(sub)(OP(set1)(1), t);
    const MASK negative = SIGN_MASK(x);
    const VEC e = OF(fastce_exp_vector)(OP(max)(least, OP(or)(x, OP(set1)(-0.0))), base);
    const VEC side = OP(mask_mov)(not_t, negative, t);
    const MASK used = OP_MASK(cmp)(side, zero, _CMP_NEQ_UQ);
    if (summed) {
        const VEC u = OP(mul)(e, unit), s = OP(maskz_mul)(used, side, OP(abs)(x));
        const VEC p = OP(fmadd)(*product, u, *product), q = OP(add)(*total, s);
        const VEC p_lost = OP(fmsub)(*product, u, OP(sub)(p, *product));
        const VEC z = OP(sub)(q, *total);
        *low = OP(add)(OP(fmadd)(*low, u, *low), p_lost);
        *product = p;
        *lost = OP(add)(*lost, OP(add)(OP(sub)(*total, OP(sub)(q, z)), OP(sub)(s, z)));
        *total = q;
    }
    if (sloped) {
        const VEC a = OP(mask_mov)(raise, negative, e), b = OP(mask_mov)(e, negative, raise);
        const VEC z = OP(fmsub)(not_t, a, OP(mul)(t, b));
        const VEC y = OP(div)(z, OP(add)(raise, e));
        const MASK small =
            OP_MASK(mask_cmp)((MASK) ~used, e, OP(set1)((REAL) 0.25 * up), _CMP_LT_OQ);
        *grad = OP(fmadd)(OP(mask_fnmadd)(y, small, e, z),
                          OP(mask_mul)(scale, small, scale, unit), zero);
    }
}

/* plain_pass of elementwise_losses.pxi, `product` being NULL where nothing is summed. */
static inline void OF(fastce_binary)(const REAL *x, const REAL *t, ptrdiff_t n, REAL low,
                                     REAL magic, REAL up, REAL scale, REAL *grad, REAL *product,
                                     REAL *product_low, REAL *total, REAL *lost)
{
    const VEC least = OP(set1)(low), slope = OP(set1)(scale);
    const VEC base = OF(fastce_base)(OP(set1)(magic));
    const ptrdiff_t block = FASTCE_STEPS * FASTCE_LANES;
    VEC y = OP(setzero)();
    for (int lane = 0; lane < FASTCE_LANES; lane += WIDTH) {
        const ptrdiff_t end = (lane + WIDTH) * FASTCE_STEPS, stop = n < end ? n : end;
        ptrdiff_t i = lane * FASTCE_STEPS;
        VEC p = OP(set1)(1), p_low = OP(setzero)(), s = p_low, s_low = p_low;
        for (; i + WIDTH <= stop; i += WIDTH) {
            __builtin_prefetch(x + i + block);
            __builtin_prefetch(t + i + block);
            if (grad)
                __builtin_prefetch(grad + i + block, 1);
            OF(fastce_binary_vector)(OP(loadu)(x + i), OP(loadu)(t + i), least, base, up, slope,
                                     product != NULL, &p, &p_low, &s, &s_low, grad != NULL, &y);
            if (grad)
                OP(storeu)(grad + i, y);
        }
        if (i < stop) {
            const MASK some = OF(fastce_some)(stop, i);
            OF(fastce_binary_vector)(OP(mask_loadu)(OP(set1)(-INFINITY), some, x + i),
                                     OP(maskz_loadu)(some, t + i), least, base, up, slope,
                                     product != NULL, &p, &p_low, &s, &s_low, grad != NULL, &y);
            if (grad)
                OP(mask_storeu)(grad + i, some, y);
        }
        if (product) {
            OP(storeu)(product + lane, p);
            OP(storeu)(product_low + lane, p_low);
            OP(storeu)(total + lane, s);
            OP(storeu)(lost + lane, s_low);
        }
    }
}

/* cost = the sum of h - x but for the target, for WIDTH rows. */
static inline void OF(fastce_few_costs)(const REAL *x, ptrdiff_t steps, VEC target, VEC h,
                                        REAL *cost)
{
    const VEC one = OP(set1)(1);
    VEC s = OP(setzero)(), q = s, step = s;
    for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one)) {
        const MASK counts = OP_MASK(cmp)(target, step, _CMP_NEQ_UQ);
        const VEC d = OP(maskz_sub)(counts, h, OP(loadu)(x + i * FASTCE_LANES));
        const VEC sum = OP(add)(s, d), z = OP(sub)(sum, s);
        q = OP(add)(q, OP(add)(OP(sub)(s, OP(sub)(sum, z)), OP(sub)(d, z)));
        s = sum;
    }
    OP(storeu)(cost, OP(add)(s, q));
}

/* The logits of the targets, which become -inf; rows that are IGNORED (-1) become zeros. */
static inline void OF(fastce_few_targets)(REAL *b, ptrdiff_t steps, const ptrdiff_t *target,
                                          REAL *target_x)
{
    for (int l = 0; l < FASTCE_LANES; l++) {
        if (target[l] < 0) {
            for (ptrdiff_t i = 0; i < steps; i++)
                b[i * FASTCE_LANES + l] = 0;
            target_x[l] = 0;
        } else {
            target_x[l] = b[target[l] * FASTCE_LANES + l];
            b[target[l] * FASTCE_LANES + l] = -INFINITY;
        }
    }
}

/* `few_sums` of batches.pxi, once the logits are in b: as far as possible in registers, and all
 * rows get their shift before any gets its sums, so that nothing waits for the former. The numbers
 * are those of choose_anchor and choose_shift in tiles.pxi, and of vecmath.pxd. Lines are fetched
 * while the e_j are computed: so many at once would be waited for. */
static inline void OF(fastce_few_sums)(REAL *b, ptrdiff_t steps, const ptrdiff_t *target,
                                       const REAL *step_of_target, const REAL *ahead,
                                       ptrdiff_t ahead_step, const REAL *result,
                                       ptrdiff_t result_step, REAL *target_x, REAL *centre, REAL *n,
                                       REAL *target_e, REAL *target_low, REAL *rest, REAL *rest_low,
                                       REAL *cost)
{
    const VEC log2e = OP(set1)((REAL) 1.4426950408889634), zero = OP(setzero)();
    const VEC round = OP(set1)(ROUND), raise = OP(set1)(BIAS + LIFT);
    OF(fastce_few_targets)(b, steps, target, target_x);
    VEC anchor[FASTCE_LANES / WIDTH], least[FASTCE_LANES / WIDTH], base[FASTCE_LANES / WIDTH];
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        REAL *x = b + l;
        VEC top = OP(set1)(-INFINITY);
        for (ptrdiff_t i = 0; i < steps; i++)
            top = OP(max)(OP(loadu)(x + i * FASTCE_LANES), top);
        const VEC m = OP(max)(OP(loadu)(target_x + l), top);
        VEC below = OP(mul)(OP(sub)(top, m), log2e);
        below = OP(add)(round, OP(add)(OP(max)(below, OP(set1)(LEAST_POWER)), OP(set1)(BIAS)));
        const MASK far = OP_MASK(cmp)(OP(abs)(m), OP(set1)(FAR), _CMP_GT_OQ);
        const VEC mid = OP(maskz_mov)(far, m);
        const VEC power = OP(sub)(OP(fmadd)(OP(mask_mov)(m, far, zero), log2e, round), round);
        if (far)
            for (ptrdiff_t i = 0; i < steps; i++)
                OP(storeu)(x + i * FASTCE_LANES, OP(sub)(OP(loadu)(x + i * FASTCE_LANES), mid));
        OP(storeu)(centre + l, mid);
        OP(storeu)(n + l, power);
        anchor[l / WIDTH] = OP(mul)(SHIFT_LEFT(below, MANTISSA), OP(set1)(256 * RAISED));
        least[l / WIDTH] = OP(mul)(OP(sub)(power, raise), OP(set1)(LN2));
        base[l / WIDTH] = OF(fastce_base)(OP(add)(round, OP(sub)(raise, power)));
    }
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        REAL *x = b + l;
        const VEC start = anchor[l / WIDTH], low = least[l / WIDTH], shift = base[l / WIDTH];
        VEC s = start, q = zero;
        ptrdiff_t i = 0;
        if (cost)
            OF(fastce_few_costs)(x, steps, OP(loadu)(step_of_target + l),
                                 OP(mul)(OP(loadu)(n + l), OP(set1)(LN2_HIGH)), cost + l);
        for (; i < steps; i += 2, x += 2 * FASTCE_LANES) {
            const bool pair = i + 1 < steps;
            if (ahead) {
                __builtin_prefetch(ahead + i * ahead_step + l);
                __builtin_prefetch(ahead + (i + pair) * ahead_step + l);
            }
            if (result) {
                __builtin_prefetch(result + i * result_step + l, 1);
                __builtin_prefetch(result + (i + pair) * result_step + l, 1);
            }
            VEC e[2] = {OP(max)(low, OP(loadu)(x)), zero};
            if (pair) {
                e[1] = OP(max)(low, OP(loadu)(x + FASTCE_LANES));
                OF(fastce_exps)(2, e, shift);
                OP(storeu)(x + FASTCE_LANES, e[1]);
            } else {
                e[0] = OF(fastce_exp_vector)(e[0], shift);
            }
            OP(storeu)(x, e[0]);
            OF(fastce_add_pair)(e[0], e[1], &s, &q);
        }
        s = OP(sub)(s, start);
        VEC total = OP(add)(s, q), lost = OP(sub)(q, OP(sub)(total, s)), tail;
        total = OP(mask_mov)(s, OP_MASK(cmp)(total, total, _CMP_ORD_Q), total);
        lost = OP(maskz_mov)(OP_MASK(cmp)(lost, lost, _CMP_ORD_Q), lost);
        const VEC y = OP(max)(low, OP(sub)(OP(loadu)(target_x + l), OP(loadu)(centre + l)));
        OP(storeu)(target_e + l, OF(fastce_exp_parts)(y, shift, &tail));
        OP(storeu)(target_low + l, tail);
        OP(storeu)(rest + l, total);
        OP(storeu)(rest_low + l, lost);
    }
}

/* b[i][l] = x[lane[l] + i], and the reverse. */
static inline void OF(fastce_load_rows)(const REAL *x, const ptrdiff_t *lane, ptrdiff_t steps,
                                        REAL *b)
{
    for (int l = 0; l < FASTCE_LANES; l += 8)
        for (ptrdiff_t i = 0; i < steps; i += 8) {
            const int count = steps - i < 8 ? (int) (steps - i) : 8;
            const __mmask8 some = (__mmask8) ((1 << count) - 1);
            EIGHT row[8];
            if (count <= 4) {
                OF(fastce_load4)(x + i, lane + l, some, row);
            } else {
                for (int j = 0; j < 8; j++)
                    row[j] = OP_EIGHT(maskz_loadu)(some, x + lane[l + j] + i);
                OF(fastce_transpose)(row);
            }
            for (int j = 0; j < count; j++)
                OP_EIGHT(storeu)(b + (i + j) * FASTCE_LANES + l, row[j]);
        }
}

static inline void OF(fastce_store_rows)(REAL *x, const ptrdiff_t *lane, ptrdiff_t steps,
                                         const REAL *b)
{
    for (int l = 0; l < FASTCE_LANES; l += 8)
        for (ptrdiff_t i = 0; i < steps; i += 8) {
            const int count = steps - i < 8 ? (int) (steps - i) : 8;
            const __mmask8 some = (__mmask8) ((1 << count) - 1);
            EIGHT row[8];
            for (int j = 0; j < 8; j++)
                row[j] = OP_EIGHT(loadu)(b + (i + (j < count ? j : 0)) * FASTCE_LANES + l);
            OF(fastce_transpose)(row);
            for (int j = 0; j < 8; j++)
                OP_EIGHT(mask_storeu)(x + lane[l + j] + i, some, row[j]);
        }
}

/* Eight columns, of which `count` count, to rows that are so many items apart. Up to seven items
 * after a row are written as well, and the first row comes first. */
static inline void OF(fastce_write_rows)(REAL *x, ptrdiff_t between, ptrdiff_t count,
                                         EIGHT column[8])
{
    if (count <= 4) {
        OF(fastce_store4)(x, between, column);
        return;
    }
    OF(fastce_transpose)(column);
    for (int j = 0; j < 8; j++)
        OP_EIGHT(storeu)(x + j * between, column[j]);
}

/* The same to a local run of memory in which row follows row, and which has room for seven items
 * more. What is written too far is written again: the last columns come first. */
static inline void OF(fastce_rows_of)(REAL *run, ptrdiff_t steps, const REAL *b)
{
    for (int l = 0; l < FASTCE_LANES; l += 8)
        for (ptrdiff_t i = (steps - 1) / 8 * 8; i >= 0; i -= 8) {
            EIGHT row[8];
            for (int j = 0; j < 8; j++) {
                const ptrdiff_t step = i + j < steps ? i + j : i;
                row[j] = OP_EIGHT(loadu)(b + step * FASTCE_LANES + l);
            }
            OF(fastce_write_rows)(run + l * steps + i, steps, steps - i, row);
        }
}

/* The same of b times the sum of two factors a lane + shift, but at_target for the step that is the
 * target. */
static inline void OF(fastce_few_rows)(REAL *run, ptrdiff_t steps, const REAL *b,
                                       const REAL *factor, const REAL *factor_low,
                                       const REAL *shift, const REAL *target, const REAL *at_target)
{
    for (int l = 0; l < FASTCE_LANES; l += 8) {
        const EIGHT f = OP_EIGHT(loadu)(factor + l), f_low = OP_EIGHT(loadu)(factor_low + l);
        const EIGHT t = OP_EIGHT(loadu)(target + l), at = OP_EIGHT(loadu)(at_target + l);
        const EIGHT more = OP_EIGHT(loadu)(shift + l);
        for (ptrdiff_t i = (steps - 1) / 8 * 8; i >= 0; i -= 8) {
            EIGHT row[8];
            for (int j = 0; j < 8; j++) {
                row[j] = OP_EIGHT(setzero)();
                if (i + j < steps) {
                    const EIGHT e = OP_EIGHT(loadu)(b + (i + j) * FASTCE_LANES + l);
                    const __mmask8 hit = EIGHT_EQUAL(t, OP_EIGHT(set1)((REAL) (i + j)));
                    row[j] = OP_EIGHT(fmadd)(e, f, OP_EIGHT(fmadd)(e, f_low, more));
                    row[j] = OP_EIGHT(mask_mov)(row[j], hit, at);
                }
            }
            OF(fastce_write_rows)(run + l * steps + i, steps, steps - i, row);
        }
    }
}

/* The same where the rows lie side by side, the classes being so many items apart. */
static inline void OF(fastce_few_planes)(REAL *out, ptrdiff_t between, ptrdiff_t steps,
                                         const REAL *b, const REAL *factor,
                                         const REAL *factor_low, const REAL *shift,
                                         const REAL *target,
                                         const REAL *at_target, int streamed)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        const VEC f = OP(loadu)(factor + l), f_low = OP(loadu)(factor_low + l);
        const VEC t = OP(loadu)(target + l), at = OP(loadu)(at_target + l);
        const VEC more = OP(loadu)(shift + l), one = OP(set1)(1);
        VEC step = OP(setzero)();
        for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one)) {
            VEC e = OP(loadu)(b + i * FASTCE_LANES + l);
            e = OP(fmadd)(e, f, OP(fmadd)(e, f_low, more));
            e = OP(mask_mov)(e, OP_MASK(cmp)(t, step, _CMP_EQ_OQ), at);
            if (streamed)
                OP(stream)(out + i * between + l, e);
            else
                OP(storeu)(out + i * between + l, e);
        }
    }
}

#undef REAL
#undef VEC
#undef MASK
#undef WIDTH
#undef EIGHT
#undef OF
#undef OP
#undef OP_MASK
#undef OP_EIGHT
#undef EIGHT_EQUAL
#undef SIGN_MASK
#undef SHIFT_LEFT
#undef ROUND
#undef BIAS
#undef LIFT
#undef RAISED
#undef MANTISSA
#undef LEAST_POWER
#undef FAR
#undef LN2
#undef LN2_HIGH
