/* The passes of exp_lanes.h, which includes this once for each type of number: REAL, in vectors VEC
 * of WIDTH, with masks MASK, of which long rows take GROUP at a time; EIGHT is a vector of eight.
 * OF(name) is the type's name of a function, OP(name) and the like that of an instruction. */

/* The lanes of a vector that i is the first of, those beyond n left out. */
static inline MASK OF(fastce_some)(ptrdiff_t n, ptrdiff_t i)
{
    return n - i < WIDTH ? (MASK) ((1 << (n - i)) - 1) : (MASK) ~0;
}

/* exp of `count` vectors, at most GROUP, in their place. */
static inline __attribute__((always_inline)) void OF(fastce_exps)(int count, VEC *y, VEC base)
{
    VEC bases[GROUP], scale[GROUP], q[GROUP];
    EACH bases[v] = base;
    OF(fastce_exp_pieces)(count, y, bases, scale, q);
    EACH y[v] = OP(fmadd)(scale[v], q[v], scale[v]);
}

static inline VEC OF(fastce_exp_vector)(VEC y, VEC base)
{
    OF(fastce_exps)(1, &y, base);
    return y;
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

/* The sum of a and b, and what rounding it lost. */
static inline VEC OF(fastce_sum)(VEC a, VEC b, VEC *lost)
{
    const VEC s = OP(add)(a, b), z = OP(sub)(s, a);
    *lost = OP(add)(OP(sub)(a, OP(sub)(s, z)), OP(sub)(b, z));
    return s;
}

/* The sum of all lanes of s[0], s[1], q[0] and q[1], as a number and what rounding it lost. */
static inline void OF(fastce_fold)(const VEC *s, const VEC *q, REAL *total, REAL *lost)
{
    VEC rest;
    VEC sum = OF(fastce_sum)(s[0], s[1], &rest);
    rest = OP(add)(OP(add)(q[0], q[1]), rest);
#if WIDTH == 16
    const VEC half = _mm512_shuffle_f32x4(sum, sum, 0x4e);
    VEC more;
    rest = OP(add)(rest, _mm512_shuffle_f32x4(rest, rest, 0x4e));
    sum = OF(fastce_sum)(sum, half, &more);
    rest = OP(add)(rest, more);
#endif
    EIGHT t = LOW_EIGHT(sum), r = LOW_EIGHT(rest);
    for (int distance = 4; distance > 0; distance /= 2) {
        const EIGHT u = OF(fastce_swapped)(t, distance), p = OP_EIGHT(add)(t, u);
        const EIGHT z = OP_EIGHT(sub)(p, t);
        r = OP_EIGHT(add)(r, OF(fastce_swapped)(r, distance));
        r = OP_EIGHT(add)(r, OP_EIGHT(add)(OP_EIGHT(sub)(t, OP_EIGHT(sub)(p, z)),
                                           OP_EIGHT(sub)(u, z)));
        t = p;
    }
    *total = FIRST(t);
    *lost = FIRST(r);
}

/* log((u + c) 2**shift) of `count` vectors of normal u > 0, as log_parts in vecmath.pxd; more is
 * c/u, or NULL for 0. (Of another u, NaN too, the result is a number, unless `more` is NaN.) */
static inline __attribute__((always_inline)) void OF(fastce_logs)(int count, const VEC *u,
                                                                  const VEC *more,
                                                                  const VEC *shift, VEC *result)
{
    VEC n[2], z[2], factor[2], high[2], low[2], r[2], r2[2];
    EACH z[v] = OF(fastce_log_split)(u[v], &n[v], &factor[v], &high[v], &low[v]);
    EACH r[v] = OP(fmsub)(z[v], factor[v], OP(set1)(1));
    EACH n[v] = OP(add)(n[v], shift[v]);
    EACH high[v] = OP(fmadd)(n[v], OP(set1)(LN2_HIGH), high[v]);
    EACH low[v] = OP(fmadd)(n[v], OP(set1)(LN2_LOW), low[v]);
    if (more)
        EACH low[v] = OP(add)(low[v], more[v]);
    EACH r2[v] = OP(mul)(r[v], r[v]);
    EACH low[v] = OP(fmadd)(r2[v], OF(fastce_log_tail)(r[v], r2[v]), low[v]);
    EACH result[v] = OP(add)(high[v], r[v]);
    EACH low[v] = OP(add)(low[v], OP(add)(OP(sub)(high[v], result[v]), r[v]));
    EACH result[v] = OP(add)(result[v], low[v]);
}

/* log(x + c) of any x, as log_sum in vecmath.pxd; more = c/x. If it is not `corrected`, log(x). Of
 * an x of the classes `but`, which are those of VFPCLASS, the result may be any number. */
static inline __attribute__((always_inline)) VEC OF(fastce_log_of_any)(
    const bool corrected, const int but, VEC x, VEC more)
{
    /* Subnormal, and what is not a positive finite number. */
    const MASK odd = OP_MASK(fpclass)(x, 0xff & ~but);
    VEC u = x, shift = OP(setzero)(), result;
    if (__builtin_expect(odd != 0, 0)) {
        const MASK subnormal = OP_MASK(fpclass)(x, 0x20);
        u = OP(mask_mul)(x, subnormal, x, OP(set1)(RAISED));
        shift = OP(maskz_mov)(subnormal, OP(set1)(-LIFT));
    }
    OF(fastce_logs)(1, &u, corrected ? &more : NULL, &shift, &result);
    if (__builtin_expect(odd != 0, 0))
        /* By what x is, from the right: NaN, NaN, 0, 1, -inf, inf, below 0, above 0. */
        result = OP(fixupimm)(result, x, INTEGERS(0x03530422), 0);
    return result;
}

static inline VEC OF(fastce_log_vector)(VEC x)
{
    return OF(fastce_log_of_any)(false, 0, x, x);
}

static inline VEC OF(fastce_log_sum)(VEC x, VEC c)
{
    return OF(fastce_log_of_any)(true, 0, x, OP(div)(c, x));
}

static inline void OF(fastce_log_run)(const REAL *x, ptrdiff_t n, REAL *out)
{
    ptrdiff_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        OP(storeu)(out + i, OF(fastce_log_vector)(OP(loadu)(x + i)));
    if (i < n) {
        const MASK some = OF(fastce_some)(n, i);
        OP(mask_storeu)(out + i, some, OF(fastce_log_vector)(OP(maskz_loadu)(some, x + i)));
    }
}

static inline void OF(fastce_log_sum_run)(const REAL *x, const REAL *c, ptrdiff_t n, REAL *out)
{
    ptrdiff_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        OP(storeu)(out + i, OF(fastce_log_sum)(OP(loadu)(x + i), OP(loadu)(c + i)));
    if (i < n) {
        const MASK some = OF(fastce_some)(n, i);
        OP(mask_storeu)(out + i, some, OF(fastce_log_sum)(OP(maskz_loadu)(some, x + i),
                                                          OP(maskz_loadu)(some, c + i)));
    }
}

/* log(1 + y scale), y scale being between -0.7 and 1. */
static inline VEC OF(fastce_log1p_vector)(VEC y, VEC scale)
{
    const VEC one = OP(set1)(1), x = OP(mul)(y, scale), u = OP(add)(one, x);
    return OF(fastce_log_sum)(u, OP(sub)(x, OP(sub)(u, one)));
}

static inline void OF(fastce_log1p_run)(const REAL *y, REAL scale, ptrdiff_t n, REAL *out)
{
    const VEC s = OP(set1)(scale);
    ptrdiff_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        OP(storeu)(out + i, OF(fastce_log1p_vector)(OP(loadu)(y + i), s));
    if (i < n) {
        const MASK some = OF(fastce_some)(n, i);
        OP(mask_storeu)(out + i, some, OF(fastce_log1p_vector)(OP(maskz_loadu)(some, y + i), s));
    }
}

/* terms_of in probability_losses.pxi, for one of its three ops that have a logarithm of one number:
 * c (log c - x) if `mixed`, else -c log x. */
static inline __attribute__((always_inline)) void OF(fastce_log_terms)(
    const bool mixed, const int but, const REAL *x, const REAL *c, ptrdiff_t steps, REAL *total,
    REAL *lost)
{
    enum { VECTORS = FASTCE_LANES / WIDTH };
    const VEC zero = OP(setzero)();
    VEC s[VECTORS], q[VECTORS], rest;
    for (int v = 0; v < VECTORS; v++) {
        s[v] = OP(loadu)(total + WIDTH * v);
        q[v] = OP(loadu)(lost + WIDTH * v);
    }
    for (ptrdiff_t i = 0; i < steps * FASTCE_LANES; i += FASTCE_LANES)
        for (int v = 0; v < VECTORS; v++) {
            const VEC y = OP(loadu)(x + i + WIDTH * v), b = OP(loadu)(c + i + WIDTH * v);
            const VEC log = OF(fastce_log_of_any)(false, but, mixed ? b : y, zero);
            /* (A NaN counts wherever it stands.) */
            const MASK counts = OP_MASK(cmp)(b, zero, _CMP_NEQ_UQ)
                | OP_MASK(cmp)(y, y, _CMP_UNORD_Q);
            const VEC term = mixed ? OP(maskz_mul)(counts, b, OP(sub)(log, y))
                : OP(maskz_fnmadd)(counts, b, log, zero);
            s[v] = OF(fastce_sum)(s[v], term, &rest);
            q[v] = OP(add)(q[v], rest);
        }
    for (int v = 0; v < VECTORS; v++) {
        OP(storeu)(total + WIDTH * v, s[v]);
        OP(storeu)(lost + WIDTH * v, q[v]);
    }
}

static inline void OF(fastce_terms)(int mixed, const REAL *x, const REAL *c, ptrdiff_t steps,
                                    REAL *total, REAL *lost)
{
    enum { ZEROS = 0x06 };              /* whose logarithm does not count */
    if (mixed)
        OF(fastce_log_terms)(true, ZEROS, x, c, steps, total, lost);
    else if (x == c)
        OF(fastce_log_terms)(false, ZEROS, x, x, steps, total, lost);
    else
        OF(fastce_log_terms)(false, 0, x, c, steps, total, lost);
}

/* `sweep` of tiles.pxi, the anchor taken off. */
static inline __attribute__((always_inline)) void OF(fastce_sweep_steps)(
    const bool kept, REAL *b, ptrdiff_t steps, const REAL *low, const REAL *magic,
    const REAL *anchor, const REAL *ahead, ptrdiff_t ahead_step, const REAL *result,
    ptrdiff_t result_step, REAL *total, REAL *lost)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        const VEC least = OP(loadu)(low + l);
        const VEC base = OF(fastce_base)(OP(loadu)(magic + l));
        VEC s = OP(loadu)(anchor + l);
        VEC q = OP(setzero)();
        REAL *x = b + l;
        ptrdiff_t i = 0;
        for (; i + 1 < steps; i += 2, x += 2 * FASTCE_LANES) {
            /* (Where a vector ends: its first items may be in a line that came near before.) */
            for (ptrdiff_t j = i; j < i + 2; j++) {
                if (ahead)
                    __builtin_prefetch(ahead + j * ahead_step + l + WIDTH - 1);
                if (result)
                    __builtin_prefetch(result + j * result_step + l + WIDTH - 1, 1);
            }
            VEC e[2] = {OP(max)(least, OP(loadu)(x)),
                        OP(max)(least, OP(loadu)(x + FASTCE_LANES))};
            OF(fastce_exps)(2, e, base);
            if (kept) {
                OP(storeu)(x, e[0]);
                OP(storeu)(x + FASTCE_LANES, e[1]);
            }
            OF(fastce_add_pair)(e[0], e[1], &s, &q);
        }
        if (i < steps) {
            VEC e = OF(fastce_exp_vector)(OP(max)(least, OP(loadu)(x)), base);
            if (kept)
                OP(storeu)(x, e);
            OF(fastce_add_pair)(e, OP(setzero)(), &s, &q);
        }
        OP(storeu)(total + l, OP(sub)(s, OP(loadu)(anchor + l)));
        OP(storeu)(lost + l, q);
    }
}

static inline void OF(fastce_sweep)(int kept, REAL *b, ptrdiff_t steps, const REAL *low,
                                    const REAL *magic, const REAL *anchor, const REAL *ahead,
                                    ptrdiff_t ahead_step, const REAL *result,
                                    ptrdiff_t result_step, REAL *total, REAL *lost)
{
    if (kept)
        OF(fastce_sweep_steps)(true, b, steps, low, magic, anchor, ahead, ahead_step, result,
                               result_step, total, lost);
    else
        OF(fastce_sweep_steps)(false, b, steps, low, magic, anchor, ahead, ahead_step, result,
                               result_step, total, lost);
}

/* Items from the start of a row to the first line of memory. */
static inline ptrdiff_t OF(fastce_head)(const REAL *out)
{
    return (ptrdiff_t) ((0 - (uintptr_t) out / sizeof(REAL)) % WIDTH);
}

/* e times the sum of two factors, plus shift. (0.0 is added too: a factor below 0 would make -0.0
 * of 0.) */
static inline VEC OF(fastce_scaled)(VEC e, VEC factor, VEC factor_low, VEC shift)
{
    return OP(fmadd)(e, factor, OP(fmadd)(e, factor_low, shift));
}

/* out = fastce_scaled of e, which may be out itself; if `past`, written past the caches. After
 * the head, whole lines are written wherever the row starts. */
static inline __attribute__((always_inline)) void OF(fastce_scale_run)(
    const REAL *e, REAL *out, ptrdiff_t k, REAL factor, REAL factor_low, REAL shift, bool past)
{
    const VEC f = OP(set1)(factor), f_low = OP(set1)(factor_low), more = OP(set1)(shift);
    const ptrdiff_t head = OF(fastce_head)(out);
    const MASK first = OF(fastce_some)(head < k ? head : k, 0);
    ptrdiff_t j = head;
    if (head)
        OP(mask_storeu)(out, first,
                        OF(fastce_scaled)(OP(maskz_loadu)(first, e), f, f_low, more));
#pragma GCC unroll 4
    for (; j + WIDTH <= k; j += WIDTH) {
        const VEC y = OF(fastce_scaled)(OP(loadu)(e + j), f, f_low, more);
        if (past)
            OP(stream)(out + j, y);
        else
            OP(storeu)(out + j, y);
    }
    if (j < k) {
        const MASK last = OF(fastce_some)(k, j);
        OP(mask_storeu)(out + j, last,
                        OF(fastce_scaled)(OP(maskz_loadu)(last, e + j), f, f_low, more));
    }
}

static inline void OF(fastce_scale)(REAL *row, ptrdiff_t k, REAL factor, REAL factor_low,
                                    REAL shift)
{
    OF(fastce_scale_run)(row, row, k, factor, factor_low, shift, false);
}

/* The sum of h - x_j of a run but for the class that is masked, and what rounding it lost. */
static inline void OF(fastce_gaps)(const REAL *x, ptrdiff_t count, ptrdiff_t masked, REAL h,
                                   REAL *total, REAL *lost)
{
    enum { BLOCK = 4 * WIDTH };
    const VEC top = OP(set1)(h), zero = OP(setzero)();
    VEC s[2] = {zero, zero}, q[2] = {zero, zero}, rest;     /* (one chain of sums is enough) */
    for (ptrdiff_t i = 0; i < count; i += BLOCK) {
        VEC gap[4];
        if (count - i >= BLOCK && (size_t) (masked - i) >= BLOCK) {
            for (int v = 0; v < 4; v++)
                gap[v] = OP(sub)(top, OP(loadu)(x + i + WIDTH * v));
        } else {
            const uint64_t kept = fastce_kept(count - i, masked - i);
            for (int v = 0; v < 4; v++) {
                const MASK some = (MASK) (kept >> WIDTH * v);
                gap[v] = OP(maskz_sub)(some, top, OP(maskz_loadu)(some, x + i + WIDTH * v));
            }
        }
        gap[0] = OP(add)(OP(add)(gap[0], gap[1]), OP(add)(gap[2], gap[3]));
        s[0] = OF(fastce_sum)(s[0], gap[0], &rest);
        q[0] = OP(add)(q[0], rest);
    }
    OF(fastce_fold)(s, q, total, lost);
}

/* The same of c_j (h - x_j), c_j = factor given_j + share, and the sum of these c_j. */
static inline void OF(fastce_costs)(const REAL *x, const REAL *given, ptrdiff_t count,
                                    ptrdiff_t masked, REAL h, REAL factor, REAL share,
                                    REAL *cost, REAL *cost_lost, REAL *sum_c, REAL *lost)
{
    enum { BLOCK = 4 * WIDTH };
    const VEC top = OP(set1)(h), f = OP(set1)(factor), more = OP(set1)(share);
    const VEC zero = OP(setzero)();
    VEC s[2] = {zero, zero}, q[2] = {zero, zero}, s_c[2] = {zero, zero}, q_c[2] = {zero, zero};
    VEC rest;
    for (ptrdiff_t i = 0; i < count; i += BLOCK) {
        VEC c[4], term[4];
        const bool whole = count - i >= BLOCK && (size_t) (masked - i) >= BLOCK;
        const uint64_t kept = whole ? ~(uint64_t) 0 : fastce_kept(count - i, masked - i);
        for (int v = 0; v < 4; v++)
            __builtin_prefetch(given + i + WIDTH * v + FASTCE_READ_AHEAD);
        for (int v = 0; v < 4; v++) {
            const MASK some = (MASK) (kept >> WIDTH * v);
            const ptrdiff_t j = i + WIDTH * v;
            if (whole) {
                c[v] = OP(fmadd)(f, OP(loadu)(given + j), more);
                term[v] = OP(mul)(c[v], OP(sub)(top, OP(loadu)(x + j)));
            } else {
                c[v] = OP(maskz_fmadd)(some, f, OP(maskz_loadu)(some, given + j), more);
                term[v] = OP(maskz_mul)(some, c[v], OP(sub)(top, OP(maskz_loadu)(some, x + j)));
            }
        }
        term[0] = OP(add)(OP(add)(term[0], term[1]), OP(add)(term[2], term[3]));
        c[0] = OP(add)(OP(add)(c[0], c[1]), OP(add)(c[2], c[3]));
        s[0] = OF(fastce_sum)(s[0], term[0], &rest);
        q[0] = OP(add)(q[0], rest);
        s_c[0] = OF(fastce_sum)(s_c[0], c[0], &rest);
        q_c[0] = OP(add)(q_c[0], rest);
    }
    OF(fastce_fold)(s, q, cost, cost_lost);
    OF(fastce_fold)(s_c, q_c, sum_c, lost);
}

/* What derive_section in dense_batches.pxi makes of a vector of e_j. */
static inline VEC OF(fastce_curve)(VEC e, VEC inverse, VEC kappa, VEC twice_z, VEC slope)
{
    const VEC p = OP(mul)(e, inverse);
    VEC h = OP(fmadd)(kappa, OP(sub)(OP(set1)(1), p), OP(mul)(twice_z, p));
    return OP(fmadd)(slope, OP(mul)(p, h), OP(setzero)());
}

/* Those lanes of e at j that are in `some`, all if `whole`, become the gradient; given, unless it
 * is NULL, has the c_j, and hess, unless it is NULL, gets the Hessian's diagonal. */
static inline __attribute__((always_inline)) void OF(fastce_derive_vector)(
    const bool whole, MASK some, REAL *e, const REAL *given, REAL *hess, ptrdiff_t j,
    const VEC *factors, const VEC *curve)
{
    const VEC y = whole ? OP(loadu)(e + j) : OP(maskz_loadu)(some, e + j);
    VEC more = factors[3], h;
    if (given) {
        const VEC c = whole ? OP(loadu)(given + j) : OP(maskz_loadu)(some, given + j);
        more = OP(fmadd)(factors[2], c, more);
    }
    more = OF(fastce_scaled)(y, factors[0], factors[1], more);
    if (hess) {
        h = OF(fastce_curve)(y, curve[0], curve[1], curve[2], curve[3]);
        if (whole)
            OP(storeu)(hess + j, h);
        else
            OP(mask_storeu)(hess + j, some, h);
    }
    if (whole)
        OP(storeu)(e + j, more);
    else
        OP(mask_storeu)(e + j, some, more);
}

/* The same of a run. After the head, whole lines are written where the gradient's start. */
static inline __attribute__((always_inline)) void OF(fastce_derive_run)(
    REAL *e, const REAL *given, REAL *hess, ptrdiff_t count, REAL factor, REAL factor_low,
    REAL c_factor, REAL shift, REAL inverse, REAL kappa, REAL z_loss, REAL slope)
{
    const VEC factors[4] = {OP(set1)(factor), OP(set1)(factor_low), OP(set1)(c_factor),
                            OP(set1)(shift)};
    const VEC curve[4] = {OP(set1)(inverse), OP(set1)(kappa), OP(set1)(z_loss + z_loss),
                          OP(set1)(slope)};
    ptrdiff_t j = OF(fastce_head)(e);
    if (j > 0)
        OF(fastce_derive_vector)(false, OF(fastce_some)(j < count ? j : count, 0), e, given, hess,
                                 0, factors, curve);
    for (; j + WIDTH <= count; j += WIDTH) {
        if (given)
            __builtin_prefetch(given + j + FASTCE_READ_AHEAD);
        if (hess)
            __builtin_prefetch(hess + j + FASTCE_READ_AHEAD, 1);
        OF(fastce_derive_vector)(true, 0, e, given, hess, j, factors, curve);
    }
    if (j < count)
        OF(fastce_derive_vector)(false, OF(fastce_some)(count, j), e, given, hess, j, factors,
                                 curve);
}

static inline void OF(fastce_derive)(REAL *e, const REAL *given, REAL *hess, ptrdiff_t count,
                                     REAL factor, REAL factor_low, REAL c_factor, REAL shift,
                                     REAL inverse, REAL kappa, REAL z_loss, REAL slope)
{
    if (!given && !hess)
        OF(fastce_scale)(e, count, factor, factor_low, shift);
    else if (!hess)
        OF(fastce_derive_run)(e, given, NULL, count, factor, factor_low, c_factor, shift, inverse,
                              kappa, z_loss, slope);
    else if (!given)
        OF(fastce_derive_run)(e, NULL, hess, count, factor, factor_low, c_factor, shift, inverse,
                              kappa, z_loss, slope);
    else
        OF(fastce_derive_run)(e, given, hess, count, factor, factor_low, c_factor, shift, inverse,
                              kappa, z_loss, slope);
}

/* Those of four vectors of x that are left. */
static inline __attribute__((always_inline)) void OF(fastce_load_four)(
    const REAL *x, ptrdiff_t rest, VEC fill, VEC *four)
{
    for (int v = 0; v < 4; v++)
        four[v] = rest >= 4 * WIDTH
            ? OP(loadu)(x + WIDTH * v)
            : OP(mask_loadu)(fill, (MASK) (fastce_kept(rest, -1) >> WIDTH * v), x + WIDTH * v);
}

static inline __attribute__((always_inline)) void OF(fastce_store_four)(
    REAL *x, ptrdiff_t rest, const VEC *four)
{
    for (int v = 0; v < 4; v++) {
        if (rest >= 4 * WIDTH)
            OP(storeu)(x + WIDTH * v, four[v]);
        else
            OP(mask_storeu)(x + WIDTH * v, (MASK) (fastce_kept(rest, -1) >> WIDTH * v), four[v]);
    }
}

/* Adds four vectors to the sums s + q, which lose nothing of them. */
static inline __attribute__((always_inline)) void OF(fastce_add_four)(const VEC *four, VEC *s,
                                                                      VEC *q)
{
    VEC rest;
    for (int v = 0; v < 4; v++) {
        s[v % 2] = OF(fastce_sum)(s[v % 2], four[v], &rest);
        q[v % 2] = OP(add)(q[v % 2], rest);
    }
}

/* The sum of e_j (v_j - reference), and what rounding it lost. What has e_j = 0 does not count,
 * whatever v_j is. */
static inline void OF(fastce_dot)(const REAL *e, const REAL *given, ptrdiff_t count,
                                  REAL reference, REAL *total, REAL *lost)
{
    enum { BLOCK = 4 * WIDTH };
    const VEC ref = OP(set1)(reference), zero = OP(setzero)();
    VEC s[2] = {zero, zero}, q[2] = {zero, zero};
    for (ptrdiff_t i = 0; i < count; i += BLOCK) {
        VEC y[4], z[4];
        for (int v = 0; v < 4; v++)
            __builtin_prefetch(given + i + WIDTH * v + FASTCE_READ_AHEAD);
        OF(fastce_load_four)(e + i, count - i, zero, y);
        OF(fastce_load_four)(given + i, count - i, zero, z);
        for (int v = 0; v < 4; v++) {
            const MASK counts = OP_MASK(cmp)(y[v], zero, _CMP_NEQ_UQ);
            z[v] = OP(maskz_mul)(counts, y[v], OP(sub)(z[v], ref));
        }
        OF(fastce_add_four)(z, s, q);
    }
    OF(fastce_fold)(s, q, total, lost);
}

/* product_run of dense_batches.pxi. */
static inline void OF(fastce_product)(REAL *e, const REAL *given, ptrdiff_t count, REAL reference,
                                      REAL dot, REAL inverse, REAL kappa, REAL shift, REAL curve)
{
    const VEC ref = OP(set1)(reference), d = OP(set1)(dot), inv = OP(set1)(inverse);
    const VEC k = OP(set1)(kappa), more = OP(set1)(shift), slope = OP(set1)(curve);
    const VEC zero = OP(setzero)();
    const MASK spoiled = inverse != inverse ? (MASK) ~0 : 0;
    VEC y[4], z[4];
    for (ptrdiff_t j = 0; j < count; j += 4 * WIDTH) {
        OF(fastce_load_four)(e + j, count - j, zero, y);
        OF(fastce_load_four)(given + j, count - j, zero, z);
        for (int v = 0; v < 4; v++) {
            const MASK counts = OP_MASK(cmp)(y[v], zero, _CMP_NEQ_UQ) | spoiled;
            z[v] = OP(fmadd)(k, OP(sub)(OP(sub)(z[v], ref), d), more);
            y[v] = OP(mul)(slope, OP(mul)(y[v], inv));
            z[v] = OP(maskz_fmadd)(counts, y[v], z[v], zero);
        }
        OF(fastce_store_four)(e + j, count - j, z);
    }
}

/* backward_row of softmax.pxi, unless a sum is not finite: whether it was. */
static inline int OF(fastce_softmax_backward)(const REAL *grad, const REAL *y, REAL *out,
                                              ptrdiff_t k)
{
    const VEC zero = OP(setzero)();
    VEC s[2] = {zero, zero}, q[2] = {zero, zero}, g[4], p[4];
    REAL total, lost;
    for (ptrdiff_t j = 0; j < k; j += 4 * WIDTH) {
        OF(fastce_load_four)(grad + j, k - j, zero, g);
        OF(fastce_load_four)(y + j, k - j, zero, p);
        /* (Rounded, as elsewhere: compilers make multiply-adds of other products.) */
        for (int v = 0; v < 4; v++)
            g[v] = OP(mul_round)(g[v], p[v], _MM_FROUND_CUR_DIRECTION);
        OF(fastce_add_four)(g, s, q);
    }
    OF(fastce_fold)(s, q, &total, &lost);
    total += lost;
    if (!(total - total == 0))
        return 0;
    const VEC dot = OP(set1)(total);
    for (ptrdiff_t j = 0; j < k; j += 4 * WIDTH) {
        OF(fastce_load_four)(grad + j, k - j, zero, g);
        OF(fastce_load_four)(y + j, k - j, zero, p);
        for (int v = 0; v < 4; v++)
            g[v] = OP(fmadd)(p[v], OP(sub)(g[v], dot), zero);
        OF(fastce_store_four)(out + j, k - j, g);
    }
    return 1;
}

/* The same for log_softmax: of e**y between `least` and `most`, times 2**LIFT. */
static inline int OF(fastce_log_softmax_backward)(const REAL *grad, const REAL *y, REAL *out,
                                                  ptrdiff_t k, REAL least, REAL most, REAL magic)
{
    const VEC zero = OP(setzero)(), low = OP(set1)(least), high = OP(set1)(most);
    const VEC base = OF(fastce_base)(OP(set1)(magic)), masked = OP(set1)(-INFINITY);
    VEC s[2] = {zero, zero}, q[2] = {zero, zero}, g[4], p[4];
    REAL total, lost;
    for (ptrdiff_t j = 0; j < k; j += 4 * WIDTH) {
        OF(fastce_load_four)(grad + j, k - j, zero, g);
        OF(fastce_add_four)(g, s, q);
    }
    OF(fastce_fold)(s, q, &total, &lost);
    total += lost;
    if (!(total - total == 0))
        return 0;
    const VEC sum = OP(set1)(total / (REAL) RAISED);
    for (ptrdiff_t j = 0; j < k; j += 4 * WIDTH) {
        MASK counts[4];
        OF(fastce_load_four)(grad + j, k - j, zero, g);
        OF(fastce_load_four)(y + j, k - j, zero, p);
        for (int v = 0; v < 4; v++) {
            counts[v] = OP_MASK(cmp)(p[v], masked, _CMP_NEQ_UQ);
            p[v] = OP(min)(high, OP(max)(low, p[v]));
        }
        for (int v = 0; v < 4; v += GROUP)
            OF(fastce_exps)(GROUP, p + v, base);
        for (int v = 0; v < 4; v++)
            g[v] = OP(maskz_add)(counts[v], OP(fnmadd)(p[v], sum, g[v]), zero);
        OF(fastce_store_four)(out + j, k - j, g);
    }
    return 1;
}

/* backward_tile of softmax.pxi for LANES rows, neighbours in every array at each of k steps. */
static inline void OF(fastce_backward_many)(int logarithm, const REAL *grad, ptrdiff_t grad_step,
                                            const REAL *y, ptrdiff_t y_step, REAL *out,
                                            ptrdiff_t out_step, ptrdiff_t k, REAL least, REAL most,
                                            REAL magic)
{
    const VEC zero = OP(setzero)(), low = OP(set1)(least), high = OP(set1)(most);
    const VEC base = OF(fastce_base)(OP(set1)(magic)), masked = OP(set1)(-INFINITY);
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        VEC s = zero, q = zero, rest;
        for (ptrdiff_t j = 0; j < k; j++) {
            VEC g = OP(loadu)(grad + j * grad_step + l);
            if (!logarithm) {
                const VEC p = OP(loadu)(y + j * y_step + l);
                const MASK counts = OP_MASK(cmp)(p, zero, _CMP_NEQ_UQ)
                    | OP_MASK(cmp)(g, g, _CMP_UNORD_Q);
                g = OP(maskz_mul_round)(counts, g, p, _MM_FROUND_CUR_DIRECTION);
            }
            s = OF(fastce_sum)(s, g, &rest);
            q = OP(add)(q, rest);
        }
        /* (`settle`) */
        rest = OP(add)(s, q);
        s = OP(mask_mov)(s, OP_MASK(cmp)(rest, rest, _CMP_ORD_Q), rest);
        const MASK number = OP_MASK(cmp)(s, s, _CMP_ORD_Q);
        const VEC unit = OP(mul)(s, OP(set1)(1 / (REAL) RAISED));
        for (ptrdiff_t j = 0; j < k; j++) {
            const VEC g = OP(loadu)(grad + j * grad_step + l);
            VEC p = OP(loadu)(y + j * y_step + l);
            if (logarithm) {
                const MASK counts = OP_MASK(cmp)(p, masked, _CMP_NEQ_UQ);
                p = OP(min)(high, OP(max)(low, p));
                OF(fastce_exps)(1, &p, base);
                p = OP(maskz_add)(counts, OP(fnmadd)(p, unit, g), zero);
            } else {
                /* (A NaN spoils the whole row.) */
                const MASK counts = OP_MASK(cmp)(p, zero, _CMP_NEQ_UQ) | (MASK) ~number;
                p = OP(maskz_fmadd)(counts, p, OP(sub)(g, s), zero);
            }
            OP(storeu)(out + j * out_step + l, p);
        }
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
    OF(fastce_scale_run)(e, out, OF(fastce_head)(out), f, f_low, 0, true);
    OF(fastce_scale_run)(e + row->done, out + row->done, row->k - row->done, f, f_low, 0, true);
    if (row->masked >= 0)
        out[row->masked] = (REAL) row->at_masked;
}

/* top[0] and top[1] become the largest two of themselves and of the largest two of each lane. */
static inline void OF(fastce_two_lanes)(VEC largest, VEC second, REAL *top)
{
    const VEC none = OP(set1)(-INFINITY), before = OP(mask_mov)(none, 1, OP(set1)(top[0]));
    second = OP(max)(OP(mask_mov)(none, 1, OP(set1)(top[1])), second);
    second = OP(max)(OP(min)(largest, before), second);
    largest = OP(max)(largest, before);
    top[0] = OP(reduce_max)(largest);
    const MASK at = OP_MASK(cmp)(largest, OP(set1)(top[0]), _CMP_EQ_OQ);
    const VEC others = OP(mask_mov)(largest, (MASK) (at & -at), second);
    top[1] = OP(reduce_max)(OP(max)(others, second));
}

/* argmax_pass of batches.pxi */
static inline void OF(fastce_argmax)(const REAL *b, ptrdiff_t steps, REAL *top, REAL *second,
                                     REAL *step)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        VEC m = OP(loadu)(top + l), below = OP(loadu)(second + l), at = OP(loadu)(step + l);
        VEC number = OP(setzero)();
        for (ptrdiff_t i = 0; i < steps; i++) {
            const VEC y = OP(loadu)(b + i * FASTCE_LANES + l);
            const MASK more = OP_MASK(cmp)(y, m, _CMP_GT_OQ);
            below = OP(max)(OP(mask_mov)(y, more, m), below);
            at = OP(mask_mov)(at, more, number);
            m = OP(mask_mov)(m, more, y);
            number = OP(add)(number, OP(set1)(1));
        }
        OP(storeu)(top + l, m);
        OP(storeu)(second + l, below);
        OP(storeu)(step + l, at);
    }
}

/* out[j] = x[2 j] for `count` items, of which top[0] and top[1] become the largest two. (What lies
 * between items is read.) */
static inline void OF(fastce_evens_run)(const REAL *x, ptrdiff_t count, REAL *out, REAL *top)
{
    const VEC none = OP(set1)(-INFINITY);
    VEC largest[2] = {none, none}, second[2] = {none, none};
    ptrdiff_t j = 0;
    for (; j + 2 * WIDTH < count; j += 2 * WIDTH)
        for (int v = 0; v < 2; v++) {
            const REAL *from = x + 2 * (j + WIDTH * v);
            const VEC y = OF(fastce_evens)(OP(loadu)(from), OP(loadu)(from + WIDTH));
            OP(storeu)(out + j + WIDTH * v, y);
            second[v] = OP(max)(OP(min)(y, largest[v]), second[v]);
            largest[v] = OP(max)(y, largest[v]);
        }
    for (; j < count; j += WIDTH) {
        const ptrdiff_t rest = 2 * (count - j) - 1;
        const VEC a = OP(mask_loadu)(none, OF(fastce_some)(rest, 0), x + 2 * j);
        const VEC b = rest <= WIDTH
            ? none : OP(mask_loadu)(none, OF(fastce_some)(rest, WIDTH), x + 2 * j + WIDTH);
        const VEC y = OF(fastce_evens)(a, b);
        OP(mask_storeu)(out + j, OF(fastce_some)(count, j), y);
        second[0] = OP(max)(OP(min)(y, largest[0]), second[0]);
        largest[0] = OP(max)(y, largest[0]);
    }
    second[0] = OP(max)(OP(min)(largest[0], largest[1]), OP(max)(second[0], second[1]));
    top[0] = top[1] = -INFINITY;
    OF(fastce_two_lanes)(OP(max)(largest[0], largest[1]), second[0], top);
}

/* `sweep_run` of tiles.pxi, the anchor taken off and the centre 0; meanwhile as much is written of
 * the row that is pending, if one is, and `top`, unless it is NULL, becomes the largest of itself
 * and `count` items ahead, which are not divided; if `two`, the largest two. If it is NULL, they
 * are fetched, every one or two items apart. */
static inline __attribute__((always_inline)) void OF(fastce_sweep_items)(
    const bool divided, const bool two, const REAL *x, ptrdiff_t count, REAL divisor,
    ptrdiff_t masked, REAL low, REAL magic, REAL anchor, const REAL *ahead, ptrdiff_t ahead_step,
    REAL *top, REAL *out, fastce_pending *pending, int folded, REAL *total, REAL *lost)
{
    const VEC by = OP(set1)(divisor);
    const REAL *waits = pending ? (const REAL *) pending->e : NULL;
    REAL *goes = pending ? (REAL *) pending->out : NULL;
    ptrdiff_t done = pending ? pending->done : 0;
    const ptrdiff_t end = pending ? pending->k - 2 * FASTCE_LANES : -1;
    const VEC f_high = OP(set1)(pending ? (REAL) pending->factor : 0);
    const VEC f_low = OP(set1)(pending ? (REAL) pending->factor_low : 0);
    const VEC least = OP(set1)(low), start = OP(set1)(anchor), none = OP(setzero)();
    const VEC base = OF(fastce_base)(OP(set1)(magic));
    VEC s[2] = {start, start}, q[2] = {OP(setzero)(), OP(setzero)()};
    VEC largest[2] = {OP(set1)(-INFINITY), OP(set1)(-INFINITY)};
    VEC second[2] = {largest[0], largest[0]};
    REAL unused[2 * FASTCE_LANES];
    /* Items ahead are read from where a line of memory starts; the head and the rest apart. */
    ptrdiff_t head = top ? OF(fastce_head)(ahead) : 0;
    head = head < count ? head : count;
    const ptrdiff_t whole = (count - head) / (2 * FASTCE_LANES) * (2 * FASTCE_LANES);
    if (head > 0) {
        const MASK some = OF(fastce_some)(head, 0);
        largest[1] = OP(max)(OP(mask_loadu)(largest[1], some, ahead), largest[1]);
    }
    ahead += head;
    for (ptrdiff_t i = 0; i < count; i += 2 * FASTCE_LANES) {
        const ptrdiff_t rest = count - i;
        REAL *to = out ? out + i : unused;
        for (int l = 0; l < 2 * FASTCE_LANES; l += WIDTH) {
            if (top)
                __builtin_prefetch(ahead + FASTCE_READ_AHEAD + i + l);
            else if (ahead)
                for (ptrdiff_t u = 0; u < ahead_step; u++)
                    __builtin_prefetch(ahead + (i + l) * ahead_step + u * WIDTH);
            if (out)
                __builtin_prefetch(out + i + FASTCE_WRITE_AHEAD + l, 1);
        }
        if (top && i < whole)
            for (int v = 0; v < 2 * FASTCE_LANES / WIDTH; v++) {
                const VEC y = OP(loadu)(ahead + i + WIDTH * v);
                if (two)
                    second[v % 2] = OP(max)(OP(min)(y, largest[v % 2]), second[v % 2]);
                largest[v % 2] = OP(max)(y, largest[v % 2]);
            }
        if (rest >= 2 * FASTCE_LANES && (size_t) (masked - i) >= 2 * FASTCE_LANES) {
            const bool streams = done <= end;
            for (int v = 0; v < FASTCE_LANES / WIDTH; v += GROUP / 2) {
                VEC e[GROUP];
                ptrdiff_t at[GROUP];
                for (int u = 0; u < GROUP; u++) {
                    at[u] = (v + u / 2) * WIDTH + u % 2 * FASTCE_LANES;
                    e[u] = OP(loadu)(x + i + at[u]);
                    e[u] = OP(max)(least, divided ? OP(div)(e[u], by) : e[u]);
                }
                OF(fastce_exps)(GROUP, e, base);
                for (int u = 0; u < GROUP; u++)
                    OP(storeu)(to + at[u], e[u]);
                for (int u = 0; u < GROUP; u += 2)
                    OF(fastce_add_pair)(e[u], e[u + 1], &s[(v + u / 2) % 2], &q[(v + u / 2) % 2]);
                for (int u = 0; streams && u < GROUP; u++) {
                    const ptrdiff_t j = done + (2 * v + u) * WIDTH;
                    OP(stream)(goes + j,
                               OF(fastce_scaled)(OP(loadu)(waits + j), f_high, f_low, none));
                }
            }
            done += streams ? 2 * FASTCE_LANES : 0;
        } else {
            /* The class that is masked, or the end of the row. */
            const uint64_t used = fastce_kept(rest, -1);
            const uint64_t kept = fastce_kept(rest, masked - i);
            for (int v = 0; v < FASTCE_LANES / WIDTH; v++) {
                const ptrdiff_t l = WIDTH * v, m = l + FASTCE_LANES;
                VEC e[2];
                for (int u = 0; u < 2; u++) {
                    const ptrdiff_t at = u ? m : l;
                    const MASK some = (MASK) (kept >> at);
                    e[u] = OP(mask_loadu)(least, some, x + i + at);
                    e[u] = OP(max)(least, divided ? OP(mask_div)(least, some, e[u], by) : e[u]);
                }
                OF(fastce_exps)(2, e, base);
                OP(mask_storeu)(to + l, (MASK) (used >> l), e[0]);
                OP(mask_storeu)(to + m, (MASK) (used >> m), e[1]);
                OF(fastce_add_pair)(e[0], e[1], &s[v % 2], &q[v % 2]);
            }
        }
    }
    if (top) {
        for (ptrdiff_t i = whole; i < count - head; i += WIDTH) {
            const MASK some = OF(fastce_some)(count - head, i);
            const VEC y = OP(mask_loadu)(OP(set1)(-INFINITY), some, ahead + i);
            if (two)
                second[0] = OP(max)(OP(min)(y, largest[0]), second[0]);
            largest[0] = OP(max)(y, largest[0]);
        }
        if (two) {
            second[0] = OP(max)(OP(min)(largest[0], largest[1]), OP(max)(second[0], second[1]));
            OF(fastce_two_lanes)(OP(max)(largest[0], largest[1]), second[0], top);
        } else {
            const REAL found = OP(reduce_max)(OP(max)(largest[0], largest[1]));
            *top = found > *top ? found : *top;
        }
    }
    if (pending)
        pending->done = done;
    for (int v = 0; v < 2; v++)
        s[v] = OP(sub)(s[v], start);
    if (folded) {
        OF(fastce_fold)(s, q, total, lost);
        return;
    }
    memset(total, 0, FASTCE_LANES * sizeof(REAL));
    memset(lost, 0, FASTCE_LANES * sizeof(REAL));
    for (int v = 0; v < 2; v++) {
        OP(storeu)(total + WIDTH * v, s[v]);
        OP(storeu)(lost + WIDTH * v, q[v]);
    }
}

static __attribute__((noinline)) void OF(fastce_sweep_plain)(
    const REAL *x, ptrdiff_t count, ptrdiff_t masked, REAL low, REAL magic, REAL anchor,
    const REAL *ahead, REAL *top, REAL *out, fastce_pending *pending, int folded, REAL *total,
    REAL *lost)
{
    OF(fastce_sweep_items)(false, false, x, count, 1, masked, low, magic, anchor, ahead, 1, top,
                           out, pending, folded, total, lost);
}

static __attribute__((noinline)) void OF(fastce_sweep_evens)(
    const REAL *x, ptrdiff_t count, ptrdiff_t masked, REAL low, REAL magic, REAL anchor,
    const REAL *ahead, REAL *out, int folded, REAL *total, REAL *lost)
{
    OF(fastce_sweep_items)(false, false, x, count, 1, masked, low, magic, anchor, ahead, 2, NULL,
                           out, NULL, folded, total, lost);
}

static __attribute__((noinline)) void OF(fastce_sweep_divided)(
    const REAL *x, ptrdiff_t count, REAL divisor, ptrdiff_t masked, REAL low, REAL magic,
    REAL anchor, const REAL *ahead, ptrdiff_t ahead_step, REAL *top, REAL *out,
    fastce_pending *pending, int folded, REAL *total, REAL *lost)
{
    OF(fastce_sweep_items)(true, false, x, count, divisor, masked, low, magic, anchor, ahead,
                           ahead_step, top, out, pending, folded, total, lost);
}

static __attribute__((noinline)) void OF(fastce_sweep_two)(
    const REAL *x, ptrdiff_t count, ptrdiff_t masked, REAL low, REAL magic, REAL anchor,
    const REAL *ahead, REAL *top, REAL *out, int folded, REAL *total, REAL *lost)
{
    OF(fastce_sweep_items)(false, true, x, count, 1, masked, low, magic, anchor, ahead, 1, top,
                           out, NULL, folded, total, lost);
}

/* (A function with more than one of the loops is slower. `two` is for rows that are not divided,
 * none being pending, as none is where items ahead are apart.) */
static inline void OF(fastce_sweep_run)(const REAL *x, ptrdiff_t count, REAL divisor,
                                        ptrdiff_t masked, REAL low, REAL magic, REAL anchor,
                                        const REAL *ahead, ptrdiff_t ahead_step, REAL *top,
                                        int two, REAL *out, fastce_pending *pending, int folded,
                                        REAL *total, REAL *lost)
{
    if (two && top)
        OF(fastce_sweep_two)(x, count, masked, low, magic, anchor, ahead, top, out, folded, total,
                             lost);
    else if (divisor == 1 && ahead_step == 2)
        OF(fastce_sweep_evens)(x, count, masked, low, magic, anchor, ahead, out, folded, total,
                               lost);
    else if (divisor == 1)
        OF(fastce_sweep_plain)(x, count, masked, low, magic, anchor, ahead, top, out, pending,
                               folded, total, lost);
    else
        OF(fastce_sweep_divided)(x, count, divisor, masked, low, magic, anchor, ahead, ahead_step,
                                 top, out, pending, folded, total, lost);
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

/* e = e**-|x| 2**LIFT of at most a block, with the constants of vecmath.pxd; whole vectors of e are
 * written. */
static inline void OF(fastce_lifted_block)(const REAL *x, ptrdiff_t n, REAL least, REAL magic,
                                           REAL *e)
{
    const VEC base = OF(fastce_base)(OP(set1)(magic)), low = OP(set1)(least);
    for (ptrdiff_t i = 0; i < n; i += 2 * WIDTH) {
        VEC y[2];
        for (int v = 0; v < 2; v++) {
            const MASK some = (MASK) (fastce_kept(n - i, -1) >> WIDTH * v);
            y[v] = OP(maskz_loadu)(some, x + i + WIDTH * v);
            y[v] = OP(max)(low, OP(or)(y[v], OP(set1)(-0.0)));
        }
        OF(fastce_exps)(2, y, base);
        OP(storeu)(e + i, y[0]);
        OP(storeu)(e + i + WIDTH, y[1]);
    }
}

/* softplus(x), or log_sigmoid(x) if `negative`, of at most a block. (In two passes: in one, too few
 * vectors would be on their way at the same time.) */
static inline void OF(fastce_softplus)(const REAL *x, REAL *out, ptrdiff_t n, int negative,
                                       REAL least, REAL magic)
{
    const VEC unit = OP(set1)(1 / (REAL) RAISED), zero = OP(setzero)();
    REAL e[FASTCE_STEPS * FASTCE_LANES];
    OF(fastce_lifted_block)(x, n, least, magic, e);
    for (ptrdiff_t i = 0; i < n; i += WIDTH) {
        const MASK some = OF(fastce_some)(n, i);
        const VEC y = OP(maskz_loadu)(some, x + i);
        const VEC log = OF(fastce_log1p_vector)(OP(loadu)(e + i), unit);
        const VEC result = negative ? OP(sub)(OP(min)(y, zero), log)
            : OP(add)(OP(max)(y, zero), log);
        if (i + WIDTH <= n)
            OP(storeu)(out + i, result);
        else
            OP(mask_storeu)(out + i, some, result);
    }
}

/* sigmoid_cross_entropy_block in elementwise_losses.pxi. Whole vectors are read and written of all
 * arrays but x and t. */
static inline void OF(fastce_weighted_binary)(
    const REAL *x, const REAL *t, const REAL *neither, const REAL *pos_weight, REAL *value,
    REAL *grad, REAL *hess, int sloped, int curved, ptrdiff_t n, REAL least, REAL magic)
{
    const VEC raise = OP(set1)(RAISED), unit = OP(set1)(1 / (REAL) RAISED), zero = OP(setzero)();
    REAL e[FASTCE_STEPS * FASTCE_LANES];
    OF(fastce_lifted_block)(x, n, least, magic, e);
    for (ptrdiff_t i = 0; i < n; i += WIDTH) {
        const MASK some = OF(fastce_some)(n, i);
        const VEC logit = OP(maskz_loadu)(some, x + i), neg = OP(loadu)(neither + i);
        const VEC pos = OP(mul)(OP(maskz_loadu)(some, t + i), OP(loadu)(pos_weight + i));
        const VEC side = OP(mask_mov)(neg, SIGN_MASK(logit), pos);
        const MASK used = OP_MASK(cmp)(side, zero, _CMP_NEQ_UQ);
        const VEC log = OF(fastce_log1p_vector)(OP(loadu)(e + i), unit);
        OP(storeu)(value + i, OP(fmadd)(OP(add)(pos, neg), log,
                                        OP(maskz_mul)(used, side, OP(abs)(logit))));
    }
    for (ptrdiff_t i = 0; sloped && i < n; i += WIDTH) {
        const MASK some = OF(fastce_some)(n, i);
        const MASK negative = SIGN_MASK(OP(maskz_loadu)(some, x + i));
        const VEC y = OP(loadu)(e + i), neg = OP(loadu)(neither + i);
        const VEC pos = OP(mul)(OP(maskz_loadu)(some, t + i), OP(loadu)(pos_weight + i));
        const VEC z = OP(fmsub)(neg, OP(mask_mov)(raise, negative, y),
                                OP(mul)(pos, OP(mask_mov)(y, negative, raise)));
        const VEC slope = OP(div)(z, OP(add)(raise, y));
        const VEC side = OP(mask_mov)(neg, negative, pos);
        const MASK small = OP_MASK(cmp)(side, zero, _CMP_EQ_OQ)
            & OP_MASK(cmp)(y, OP(set1)((REAL) 0.25 * RAISED), _CMP_LT_OQ);
        OP(storeu)(grad + i, OP(mask_mul)(slope, small, OP(fnmadd)(y, slope, z), unit));
        if (curved) {
            const VEC inverse = OP(div)(OP(set1)(1), OP(add)(raise, y));
            OP(storeu)(hess + i, OP(mul)(OP(add)(pos, neg), OP(mul)(OP(mul)(y, inverse),
                                                                    OP(mul)(raise, inverse))));
        }
    }
}

/* binary_cross_entropy_block in elementwise_losses.pxi but for the second derivative. */
static inline void OF(fastce_fractions)(const REAL *p, const REAL *t, ptrdiff_t n, REAL *value,
                                        REAL *grad)
{
    const VEC zero = OP(setzero)(), one = OP(set1)(1);
    for (ptrdiff_t i = 0; i < n; i += WIDTH) {
        const MASK some = OF(fastce_some)(n, i);
        /* (+ 0 makes 0 of -0.) */
        const VEC x = OP(add)(OP(maskz_loadu)(some, p + i), zero);
        const VEC y = OP(maskz_loadu)(some, t + i);
        const VEC not_x = OP(sub)(one, x), not_y = OP(sub)(one, y);
        /* (what rounding 1 - p lost) */
        const VEC lost = OP(sub)(OP(sub)(one, not_x), x);
        const MASK yes = OP_MASK(cmp)(y, zero, _CMP_NEQ_UQ);
        const MASK no = OP_MASK(cmp)(not_y, zero, _CMP_NEQ_UQ);
        VEC loss, slope;
        if ((yes & no) == 0) {
            /* Each target is 0 or 1. */
            const VEC u = OP(mask_mov)(not_x, yes, x), inverse = OP(div)(one, u);
            const VEC more = OP(maskz_mul)(no, lost, inverse);
            loss = OP(sub)(zero, OF(fastce_log_of_any)(true, 0, u, more));
            slope = OP(mask_sub)(inverse, yes, zero, inverse);
        } else {
            /* (`more` as above, to the last bit: it does not count what stands beside.) */
            const VEC more = OP(mul)(lost, OP(div)(one, not_x));
            loss = OP(maskz_fnmadd)(yes, y, OF(fastce_log_vector)(x), zero);
            loss = OP(mask3_fnmadd)(not_y, OF(fastce_log_of_any)(true, 0, not_x, more), loss, no);
            slope = OP(maskz_div)(no, not_y, not_x);
            slope = OP(sub)(slope, OP(maskz_div)(yes, y, x));
        }
        OP(mask_storeu)(value + i, some, loss);
        OP(mask_storeu)(grad + i, some, slope);
    }
}

/* What the sum of a block's losses is made of, WIDTH times: product + low of the 1 + e**-|x|, and
 * total + lost of the rest. */
typedef struct {
    VEC product, low, total, lost;
} OF(fastce_binary_sums);

/* Of `count` vectors, the gradient of plain_block in elementwise_losses.pxi, which names the
 * constants, if it is asked for, and what is added to its sums. If all t are `hard`, 0 or 1, a
 * change of sign does for them, with the same results. What has x = -inf and t = 0 counts for
 * nothing. */
static inline __attribute__((always_inline)) void OF(fastce_binaries)(
    int count, bool hard, VEC *x, const VEC *t, VEC least, VEC base, REAL up, VEC scale,
    bool summed, OF(fastce_binary_sums) *sums, bool sloped, VEC *grad)
{
    const VEC raise = OP(set1)(up), unit = OP(set1)(1 / up), zero = OP(setzero)();
    const VEC sign = OP(set1)(-0.0), scale_unit = OP(mul)(scale, unit);
    VEC e[2], flip[2], not_t[2], side[2], u[2], s[2], z[2], y[2], slope[2];
    MASK negative[2], used[2], small[2];
    if (hard) {
        /* (1 and 0 differ in the bit that is two places below the sign.) */
        EACH flip[v] = OP(and)(SHIFT_LEFT(t[v], 2), sign);
        EACH x[v] = OP(xor)(x[v], flip[v]);
    }
    EACH negative[v] = SIGN_MASK(x[v]);
    EACH e[v] = OP(max)(least, OP(or)(x[v], sign));
    OF(fastce_exps)(count, e, base);
    if (hard) {
        EACH used[v] = (MASK) ~negative[v];
    } else {
        EACH not_t[v] = OP(sub)(OP(set1)(1), t[v]);
        EACH side[v] = OP(mask_mov)(not_t[v], negative[v], t[v]);
        EACH used[v] = OP_MASK(cmp)(side[v], zero, _CMP_NEQ_UQ);
    }
    if (summed) {
        EACH u[v] = OP(mul)(e[v], unit);
        if (hard)
            EACH s[v] = OP(max)(x[v], zero);
        else
            EACH s[v] = OP(maskz_mul)(used[v], side[v], OP(abs)(x[v]));
        if (count == 2) {
            /* (1 + u)(1 + v) = 1 + (u + v + u v) */
            u[0] = OP(fmadd)(u[0], u[1], OP(add)(u[0], u[1]));
            s[0] = OP(add)(s[0], s[1]);
        }
        const VEC p = OP(fmadd)(sums->product, u[0], sums->product);
        const VEC p_lost = OP(fmsub)(sums->product, u[0], OP(sub)(p, sums->product));
        VEC lost;
        sums->low = OP(add)(OP(fmadd)(sums->low, u[0], sums->low), p_lost);
        sums->product = p;
        sums->total = OF(fastce_sum)(sums->total, s[0], &lost);
        sums->lost = OP(add)(sums->lost, lost);
    }
    if (sloped) {
        if (hard) {
            EACH z[v] = OP(mask_mov)(raise, negative[v], e[v]);
        } else {
            EACH y[v] = OP(mul)(t[v], OP(mask_mov)(e[v], negative[v], raise));
            EACH z[v] = OP(fmsub)(not_t[v], OP(mask_mov)(raise, negative[v], e[v]), y[v]);
        }
        EACH y[v] = OP(div)(z[v], OP(add)(raise, e[v]));
        EACH small[v] = OP_MASK(mask_cmp)((MASK) ~used[v], e[v], OP(set1)((REAL) 0.25 * up),
                                          _CMP_LT_OQ);
        EACH slope[v] = OP(mask_mov)(scale, small[v], scale_unit);
        if (hard)
            EACH slope[v] = OP(xor)(slope[v], flip[v]);
        EACH grad[v] = OP(fmadd)(OP(mask_fnmadd)(y[v], small[v], e[v], z[v]), slope[v], zero);
    }
}

/* plain_pass of elementwise_losses.pxi. */
static inline __attribute__((always_inline)) void OF(fastce_binary_pass)(
    bool hard, bool summed, bool sloped, const REAL *x, const REAL *t, ptrdiff_t n, REAL low,
    REAL magic, REAL up, REAL scale, REAL *grad, REAL *product, REAL *product_low, REAL *total,
    REAL *lost)
{
    const VEC least = OP(set1)(low), slope = OP(set1)(scale);
    const VEC base = OF(fastce_base)(OP(set1)(magic));
    const ptrdiff_t block = FASTCE_STEPS * FASTCE_LANES;
    VEC y[2];
    for (int lane = 0; lane < FASTCE_LANES; lane += WIDTH) {
        const ptrdiff_t end = (lane + WIDTH) * FASTCE_STEPS, stop = n < end ? n : end;
        ptrdiff_t i = lane * FASTCE_STEPS;
        OF(fastce_binary_sums) sums = {OP(set1)(1), OP(setzero)(), OP(setzero)(), OP(setzero)()};
        for (; i + 2 * WIDTH <= stop; i += 2 * WIDTH) {
            VEC xs[2] = {OP(loadu)(x + i), OP(loadu)(x + i + WIDTH)};
            const VEC ts[2] = {OP(loadu)(t + i), OP(loadu)(t + i + WIDTH)};
            for (int l = 0; l < 2 * WIDTH; l += WIDTH) {
                __builtin_prefetch(x + i + l + block);
                __builtin_prefetch(t + i + l + block);
                if (sloped)
                    __builtin_prefetch(grad + i + l + block, 1);
            }
            OF(fastce_binaries)(2, hard, xs, ts, least, base, up, slope, summed, &sums, sloped, y);
            if (sloped) {
                OP(storeu)(grad + i, y[0]);
                OP(storeu)(grad + i + WIDTH, y[1]);
            }
        }
        for (; i < stop; i += WIDTH) {
            const MASK some = OF(fastce_some)(stop, i);
            VEC xs = OP(mask_loadu)(OP(set1)(-INFINITY), some, x + i);
            const VEC ts = OP(maskz_loadu)(some, t + i);
            OF(fastce_binaries)(1, hard, &xs, &ts, least, base, up, slope, summed, &sums, sloped,
                                y);
            if (sloped)
                OP(mask_storeu)(grad + i, some, y[0]);
        }
        if (summed) {
            OP(storeu)(product + lane, sums.product);
            OP(storeu)(product_low + lane, sums.low);
            OP(storeu)(total + lane, sums.total);
            OP(storeu)(lost + lane, sums.lost);
        }
    }
}

/* The same, grad being NULL where it is not asked for, and `product` where nothing is summed. Each
 * case is compiled on its own, to have what it needs in registers. */
static inline void OF(fastce_binary)(const REAL *x, const REAL *t, ptrdiff_t n, int hard, REAL low,
                                     REAL magic, REAL up, REAL scale, REAL *grad, REAL *product,
                                     REAL *product_low, REAL *total, REAL *lost)
{
#define PASS(hard, summed, sloped) \
    OF(fastce_binary_pass)(hard, summed, sloped, x, t, n, low, magic, up, scale, grad, product, \
                           product_low, total, lost)
    if (!product)
        PASS(false, false, true);
    else if (!grad)
        hard ? PASS(true, true, false) : PASS(false, true, false);
    else
        hard ? PASS(true, true, true) : PASS(false, true, true);
#undef PASS
}

/* `times` of cross_entropy.pxi. */
static inline VEC OF(fastce_times)(VEC factor, VEC value)
{
    const MASK some = OP_MASK(cmp)(factor, OP(setzero)(), _CMP_NEQ_UQ)
        | OP_MASK(cmp)(value, value, _CMP_UNORD_Q);
    return OP(maskz_mul)(some, factor, value);
}

/* b[i][l] = x[lane[l] + i], and the reverse; first for eight lanes l only. */
static inline __attribute__((always_inline)) void OF(fastce_load_eight)(const REAL *x,
                                                                        const ptrdiff_t *lane,
                                                                        ptrdiff_t steps, REAL *b)
{
    for (ptrdiff_t i = 0; i < steps; i += 8) {
        const int count = steps - i < 8 ? (int) (steps - i) : 8;
        const __mmask8 some = (__mmask8) ((1 << count) - 1);
        EIGHT row[8];
        if (count <= 4) {
            OF(fastce_load4)(x + i, lane, some, row);
        } else {
            for (int j = 0; j < 8; j++)
                row[j] = OP_EIGHT(maskz_loadu)(some, x + lane[j] + i);
            OF(fastce_transpose)(row);
        }
        for (int j = 0; j < count; j++)
            OP_EIGHT(storeu)(b + (i + j) * FASTCE_LANES, row[j]);
    }
}

static inline void OF(fastce_load_rows)(const REAL *x, const ptrdiff_t *lane, ptrdiff_t steps,
                                        REAL *b)
{
    for (int l = 0; l < FASTCE_LANES; l += 8)
        OF(fastce_load_eight)(x, lane + l, steps, b + l);
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

/* The same of e_j times the sum of two factors a lane + shift, but at_target for the step that is
 * the target; for eight lanes from l on. */
static inline __attribute__((always_inline)) void OF(fastce_few_eight)(const fastce_few *few,
                                                                       ptrdiff_t steps, int l,
                                                                       REAL *run)
{
    const REAL *e = (const REAL *) few->e + l;
    const EIGHT f = OP_EIGHT(loadu)((const REAL *) few->factor + l);
    const EIGHT f_low = OP_EIGHT(loadu)((const REAL *) few->factor_low + l);
    const EIGHT t = OP_EIGHT(loadu)((const REAL *) few->step_of_target + l);
    const EIGHT at = OP_EIGHT(loadu)((const REAL *) few->at_target + l);
    const EIGHT more = OP_EIGHT(loadu)((const REAL *) few->shift + l);
    for (ptrdiff_t i = (steps - 1) / 8 * 8; i >= 0; i -= 8) {
        EIGHT row[8];
        for (int j = 0; j < 8; j++) {
            row[j] = OP_EIGHT(setzero)();
            if (i + j < steps) {
                const EIGHT y = OP_EIGHT(loadu)(e + (i + j) * FASTCE_LANES);
                const __mmask8 hit = EIGHT_EQUAL(t, OP_EIGHT(set1)((REAL) (i + j)));
                row[j] = OP_EIGHT(fmadd)(y, f, OP_EIGHT(fmadd)(y, f_low, more));
                row[j] = OP_EIGHT(mask_mov)(row[j], hit, at);
            }
        }
        OF(fastce_write_rows)(run + l * steps + i, steps, steps - i, row);
    }
}

/* So few classes, of a number that is known, have the target's exponential among all of them, and
 * the others are two at most, whose exact sum needs no anchor. */
#define EXACT(steps) (__builtin_constant_p(steps) && steps <= 3)

/* Rows that are ignored become zeros: what stands there is not looked at. */
static inline __attribute__((always_inline)) void OF(fastce_few_clear)(int count, REAL *x,
                                                                       ptrdiff_t steps,
                                                                       const MASK *ignored)
{
    if (ignored[0] | ignored[1])
        for (ptrdiff_t i = 0; i < steps; i++, x += FASTCE_LANES)
            EACH OP(mask_storeu)(x + WIDTH * v, ignored[v], OP(setzero)());
}

/* The logits of the targets, and the largest but those, which become -inf; if EXACT, of all. */
static inline __attribute__((always_inline)) void OF(fastce_few_tops)(int count, REAL *x,
                                                                      ptrdiff_t steps,
                                                                      const VEC *target,
                                                                      VEC *target_x, VEC *top)
{
    const VEC masked = OP(set1)(-INFINITY), one = OP(set1)(1);
    VEC y[2], step = OP(setzero)();
    MASK hit[2];
    EACH target_x[v] = step;
    EACH top[v] = masked;
    for (ptrdiff_t i = 0; i < steps; i++, x += FASTCE_LANES, step = OP(add)(step, one)) {
        EACH y[v] = OP(loadu)(x + WIDTH * v);
        EACH hit[v] = OP_MASK(cmp)(target[v], step, _CMP_EQ_OQ);
        EACH target_x[v] = OP(mask_mov)(target_x[v], hit[v], y[v]);
        if (!EXACT(steps)) {
            EACH y[v] = OP(mask_mov)(y[v], hit[v], masked);
            EACH OP(storeu)(x + WIDTH * v, y[v]);
        }
        EACH top[v] = OP(max)(y[v], top[v]);
    }
}

/* The sum of h - x of all classes; y is that of the target, which may be masked. */
static inline __attribute__((always_inline)) VEC OF(fastce_few_gaps)(const REAL *x,
                                                                     ptrdiff_t steps, VEC target,
                                                                     VEC h, VEC y)
{
    const VEC one = OP(set1)(1), zero = OP(setzero)();
    VEC s = EXACT(steps) ? zero : OP(sub)(h, y), q = zero, step = zero, four = zero, lost;
    for (ptrdiff_t i = 0; i < steps; i++, x += FASTCE_LANES, step = OP(add)(step, one)) {
        const MASK counts = EXACT(steps) ? (MASK) ~0 : OP_MASK(cmp)(target, step, _CMP_NEQ_UQ);
        four = OP(add)(four, OP(maskz_sub)(counts, h, OP(loadu)(x)));
        if (i % 4 == 3 || i == steps - 1) {
            s = OF(fastce_sum)(s, four, &lost);
            q = OP(add)(q, lost);
            four = zero;
        }
    }
    return OP(add)(s, q);
}

/* x = e_j, their sums but for the target, which start at an anchor each, and e and what rounding it
 * lost of the target, whose logit is y, and is masked already unless it is `found` here. */
static inline __attribute__((always_inline)) void OF(fastce_few_exps)(
    const bool found, int count, REAL *x, ptrdiff_t steps, const VEC *target, const VEC *y,
    const VEC *least, const VEC *base, const VEC *anchor, const fastce_few *few, ptrdiff_t lane,
    VEC *total, VEC *lost, VEC *e, VEC *e_low)
{
    const REAL *ahead = (const REAL *) few->ahead, *result = (const REAL *) few->result;
    const VEC one = OP(set1)(1);
    VEC s[2], sum[2], q[2], z[2], low[2], scale[2], rest[2], step = OP(setzero)();
    EACH s[v] = anchor[v];
    EACH q[v] = OP(setzero)();
    for (ptrdiff_t i = 0; i < steps; i++, x += FASTCE_LANES) {
        EACH if (ahead) __builtin_prefetch(ahead + i * few->ahead_step + lane + WIDTH * v);
        EACH if (result) __builtin_prefetch(result + i * few->result_step + lane + WIDTH * v, 1);
        EACH z[v] = OP(max)(least[v], OP(loadu)(x + WIDTH * v));
        if (found && !EXACT(steps)) {
            EACH z[v] = OP(mask_mov)(z[v], OP_MASK(cmp)(target[v], step, _CMP_EQ_OQ), least[v]);
            step = OP(add)(step, one);
        }
        OF(fastce_exp_pieces)(count, z, base, scale, rest);
        EACH z[v] = OP(fmadd)(scale[v], rest[v], scale[v]);
        EACH OP(storeu)(x + WIDTH * v, z[v]);
        if (EXACT(steps)) {
            MASK hit[2];
            EACH hit[v] = OP_MASK(cmp)(target[v], step, _CMP_EQ_OQ);
            EACH low[v] = OP(fmadd)(scale[v], rest[v], OP(sub)(scale[v], z[v]));
            EACH e[v] = i ? OP(mask_mov)(e[v], hit[v], z[v]) : z[v];
            EACH e_low[v] = i ? OP(mask_mov)(e_low[v], hit[v], low[v]) : low[v];
            EACH z[v] = OP(maskz_mov)((MASK) ~hit[v], z[v]);
            EACH s[v] = i ? OF(fastce_sum)(s[v], z[v], &sum[v]) : z[v];
            EACH q[v] = i ? OP(add)(q[v], sum[v]) : q[v];
            step = OP(add)(step, one);
        } else {
            EACH sum[v] = OP(add)(s[v], z[v]);
            EACH q[v] = OP(add)(q[v], OP(sub)(z[v], OP(sub)(sum[v], s[v])));
            EACH s[v] = sum[v];
        }
    }
    EACH total[v] = s[v];
    EACH lost[v] = q[v];
    if (EXACT(steps))
        return;
    EACH z[v] = OP(max)(least[v], y[v]);
    OF(fastce_exp_pieces)(count, z, base, scale, rest);
    EACH e[v] = OP(fmadd)(scale[v], rest[v], scale[v]);
    EACH e_low[v] = OP(fmadd)(scale[v], rest[v], OP(sub)(scale[v], e[v]));
    /* (An infinite sum stays so.) */
    EACH s[v] = OP(sub)(s[v], anchor[v]);
    EACH sum[v] = OP(add)(s[v], q[v]);
    EACH q[v] = OP(sub)(q[v], OP(sub)(sum[v], s[v]));
    EACH total[v] = OP(mask_mov)(s[v], OP_MASK(cmp)(sum[v], sum[v], _CMP_ORD_Q), sum[v]);
    EACH lost[v] = OP(maskz_mov)(OP_MASK(cmp)(q[v], q[v], _CMP_ORD_Q), q[v]);
}

/* s/e = u + c, and 1/u. */
static inline __attribute__((always_inline)) void OF(fastce_few_odds)(
    int count, const VEC *rest, const VEC *rest_low, const VEC *e, const VEC *e_low,
    const VEC *inverse, VEC *u, VEC *inverse_u, VEC *c)
{
    const VEC one = OP(set1)(1);
    VEC q[2], left[2];
    EACH q[v] = OP(div)(rest[v], e[v]);
    EACH inverse_u[v] = OP(mul)(e[v], inverse[v]);
    EACH left[v] = OP(sub)(rest_low[v], OP(fmsub)(q[v], e[v], rest[v]));
    EACH left[v] = OP(fnmadd)(q[v], e_low[v], left[v]);
    EACH u[v] = OF(fastce_sum)(one, q[v], &c[v]);
    EACH c[v] = OP(fmadd)(left[v], OP(mul)(u[v], inverse[v]), c[v]);
}

/* -log p, as cost_near and cost_far in tiles.pxi, y being x - centre. */
static inline __attribute__((always_inline)) void OF(fastce_few_costs)(
    int count, const VEC *rest, const VEC *rest_low, const VEC *e, const VEC *e_low, const VEC *s,
    const VEC *s_low, const VEC *inverse, const VEC *y, const VEC *n, VEC *cost)
{
    const VEC shift[2] = {OP(set1)(-LIFT), OP(set1)(-LIFT)};
    const VEC none[2] = {OP(setzero)(), OP(setzero)()};
    VEC q[2], u[2], inverse_u[2], c[2];
    MASK far[2];
    OF(fastce_few_odds)(count, rest, rest_low, e, e_low, inverse, u, inverse_u, c);
    EACH c[v] = OP(mul)(c[v], inverse_u[v]);
    OF(fastce_logs)(count, u, c, none, cost);
    EACH far[v] = OP_MASK(cmp)(cost[v], OP(set1)(NEAR), _CMP_NLT_UQ);
    if (far[0] | far[count - 1]) {
        EACH c[v] = OP(mul)(s_low[v], inverse[v]);
        OF(fastce_logs)(count, s, c, shift, c);
        EACH q[v] = OP(fmadd)(n[v], OP(set1)(LN2_LOW), OP(fmsub)(n[v], OP(set1)(LN2_HIGH), y[v]));
        EACH cost[v] = OP(mask_add)(cost[v], far[v], q[v], c[v]);
    }
}

/* The same, which is log(s/e) in either way, and the logarithm by itself, so that -log p of any
 * class is h - x more: with h = y where the target `leads`, and else the multiple of ln 2. */
static inline __attribute__((always_inline)) void OF(fastce_few_logs)(
    int count, const VEC *rest, const VEC *rest_low, const VEC *e, const VEC *e_low, const VEC *s,
    const VEC *s_low, const VEC *inverse, const VEC *n, const MASK *leads, VEC *result)
{
    const VEC shift = OP(set1)(-LIFT);
    VEC u[2], inverse_u[2], c[2], shifts[2];
    OF(fastce_few_odds)(count, rest, rest_low, e, e_low, inverse, u, inverse_u, c);
    EACH u[v] = OP(mask_mov)(s[v], leads[v], u[v]);
    EACH inverse_u[v] = OP(mask_mov)(inverse[v], leads[v], inverse_u[v]);
    EACH c[v] = OP(mask_mov)(s_low[v], leads[v], c[v]);
    EACH shifts[v] = OP(maskz_mov)((MASK) ~leads[v], shift);
    EACH c[v] = OP(mul)(c[v], inverse_u[v]);
    OF(fastce_logs)(count, u, c, shifts, result);
    EACH result[v] = OP(mask3_fmadd)(n[v], OP(set1)(LN2_LOW), result[v], (MASK) ~leads[v]);
}

/* Of rows with the largest logit m, and `top` the largest of those that are summed, what
 * choose_anchor and choose_shift in tiles.pxi choose. The centre is taken off x, and off m. */
static inline __attribute__((always_inline)) void OF(fastce_few_shifts)(
    int count, REAL *x, ptrdiff_t steps, VEC *m, const VEC *top, VEC *anchor, VEC *centre, VEC *n,
    VEC *least, VEC *base)
{
    const VEC log2e = OP(set1)((REAL) 1.4426950408889634), round = OP(set1)(ROUND);
    VEC power[2];
    MASK far[2];
    EACH far[v] = OP_MASK(cmp)(OP(abs)(m[v]), OP(set1)(FAR), _CMP_GT_OQ);
    EACH power[v] = OP(max)(OP(mul)(OP(sub)(top[v], m[v]), log2e), OP(set1)(LEAST_POWER));
    EACH anchor[v] = SHIFT_LEFT(OP(add)(round, OP(add)(power[v], OP(set1)(BIAS))), MANTISSA);
    EACH anchor[v] = OP(mul)(anchor[v], OP(set1)(256 * RAISED));
    EACH centre[v] = OP(setzero)();
    if (far[0] | far[1]) {
        EACH centre[v] = OP(maskz_mov)(far[v], m[v]);
        EACH m[v] = OP(mask_mov)(m[v], far[v], OP(setzero)());
        for (ptrdiff_t i = 0; i < steps * FASTCE_LANES; i += FASTCE_LANES)
            EACH OP(storeu)(x + i + WIDTH * v, OP(sub)(OP(loadu)(x + i + WIDTH * v), centre[v]));
    }
    EACH n[v] = OP(sub)(OP(fmadd)(m[v], log2e, round), round);
    EACH least[v] = OP(mul)(OP(sub)(n[v], OP(set1)(BIAS + LIFT)), OP(set1)(LN2));
    EACH base[v] = OP(fnmadd)(n[v], OP(set1)(16), OP(set1)(ROUND + 16 * (BIAS + LIFT)));
}

/* The sum of all e_j and its inverse, each with what rounding lost. */
static inline __attribute__((always_inline)) void OF(fastce_few_totals)(
    int count, const VEC *rest, const VEC *rest_low, const VEC *e, const VEC *e_low, VEC *s,
    VEC *s_low, VEC *inverse, VEC *inverse_low)
{
    const VEC one = OP(set1)(1);
    EACH s[v] = OF(fastce_sum)(rest[v], e[v], &s_low[v]);
    EACH s_low[v] = OP(add)(s_low[v], OP(add)(rest_low[v], e_low[v]));
    EACH inverse[v] = OP(div)(one, s[v]);
    EACH inverse_low[v] = OP(fnmadd)(inverse[v], s_low[v], OP(fnmadd)(inverse[v], s[v], one));
    EACH inverse_low[v] = OP(mul)(inverse[v], inverse_low[v]);
}

/* 1 - p of the class that is not in `rest`. */
static inline VEC OF(fastce_few_complement)(VEC rest, VEC rest_low, VEC inverse, VEC inverse_low)
{
    return OP(fmadd)(rest, inverse,
                     OP(fmadd)(rest, inverse_low, OP(mul)(rest_low, inverse)));
}

/* logsumexp */
static inline __attribute__((always_inline)) void OF(fastce_few_lse)(
    int count, const VEC *s, const VEC *s_low, const VEC *inverse, const VEC *n,
    const VEC *centre, VEC *lse)
{
    const VEC shift[2] = {OP(set1)(-LIFT), OP(set1)(-LIFT)};
    VEC more[2];
    EACH more[v] = OP(mul)(s_low[v], inverse[v]);
    OF(fastce_logs)(count, s, more, shift, lse);
    EACH lse[v] = OP(fmadd)(n[v], OP(set1)(LN2_LOW), lse[v]);
    EACH lse[v] = OP(add)(OP(fmadd)(n[v], OP(set1)(LN2_HIGH), centre[v]), lse[v]);
}

/* What index_batch in cross_entropy.pxi makes of rows of few classes, whose logits become the
 * e_j: two vectors of rows at a time, as far as possible in registers. The numbers are those of
 * choose_anchor and choose_shift in tiles.pxi, and of vecmath.pxd. */
static inline __attribute__((always_inline)) void OF(fastce_few_vectors)(
    fastce_few *few, ptrdiff_t steps, ptrdiff_t lane)
{
    enum { count = 2 };
    const VEC zero = OP(setzero)(), one = OP(set1)(1), z_loss = OP(set1)((REAL) few->z_loss);
    const VEC share = OP(set1)((REAL) few->share);
    const bool smooth = few->smooth;
    REAL *x = (REAL *) few->e + lane;
    VEC target[2], target_x[2], top[2], m[2], anchor[2], least[2], base[2], centre[2], n[2], y[2];
    VEC rest[2], rest_low[2], e[2], e_low[2], s[2], s_low[2], inverse[2], inverse_low[2];
    VEC w[2], cost[2], lse[2], pull[2], h[2], gaps[2], level[2];
    MASK ignored[2], leads[2];
    EACH target[v] = OF(fastce_numbers)(few->target + lane + WIDTH * v);
    EACH ignored[v] = SIGN_MASK(target[v]);
    EACH OP(storeu)((REAL *) few->step_of_target + lane + WIDTH * v, target[v]);
    OF(fastce_few_clear)(count, x, steps, ignored);
    OF(fastce_few_tops)(count, x, steps, target, target_x, top);

    EACH m[v] = OP(max)(target_x[v], top[v]);
    EACH leads[v] = OP_MASK(cmp)(target_x[v], m[v], _CMP_EQ_OQ);
    OF(fastce_few_shifts)(count, x, steps, m, top, anchor, centre, n, least, base);
    EACH y[v] = OP(sub)(target_x[v], centre[v]);
    if (smooth) {
        EACH h[v] = OP(mask_mov)(OP(mul)(n[v], OP(set1)(LN2_HIGH)), leads[v], y[v]);
        EACH gaps[v] = OF(fastce_few_gaps)(x + WIDTH * v, steps, target[v], h[v], y[v]);
        EACH OP(storeu)((REAL *) few->left_out + lane + WIDTH * v, target_x[v]);
        EACH OP(storeu)((REAL *) few->gaps + lane + WIDTH * v, gaps[v]);
        /* (x - x is NaN unless x is finite) */
        EACH few->odd |= OP_MASK(cmp)(OP(sub)(gaps[v], gaps[v]),
                                      OP(sub)(target_x[v], target_x[v]), _CMP_UNORD_Q);
    }
    OF(fastce_few_exps)(false, count, x, steps, target, y, least, base, anchor, few, lane, rest,
                        rest_low, e, e_low);
    OF(fastce_few_totals)(count, rest, rest_low, e, e_low, s, s_low, inverse, inverse_low);

    EACH w[v] = few->weight ? OP(loadu)((const REAL *) few->weight + lane + WIDTH * v) : one;
    EACH pull[v] = lse[v] = zero;       /* (lse for the compiler, which warns) */
    if (smooth) {
        EACH pull[v] = OP(mul)(share, OP(set1)((REAL) (steps - 1)));
        EACH w[v] = OP(add)(OP(set1)((REAL) few->keep), share);
    }
    if (few->z_loss != 0) {
        OF(fastce_few_lse)(count, s, s_low, inverse, n, centre, lse);
        EACH pull[v] = OP(fmadd)(OP(add)(z_loss, z_loss), lse[v], pull[v]);
    }
    if (few->derived) EACH {
        VEC omega = OP(set1)((REAL) few->scale);
        if (few->row_weight)
            omega = OP(mul)(omega,
                            OP(loadu)((const REAL *) few->row_weight + lane + WIDTH * v));
        omega = OP(maskz_mul)((MASK) ~ignored[v], omega, OP(set1)((REAL) few->per_logit));
        VEC weighted = few->weight || smooth ? OF(fastce_times)(omega, w[v]) : omega;
        /* (0.0 - : a weight of 0 gives no -0.0) */
        const VEC other = OF(fastce_few_complement)(rest[v], rest_low[v], inverse[v],
                                                    inverse_low[v]);
        VEC at_target = OP(fnmadd)(weighted, other, zero);
        if (smooth || few->z_loss != 0) {
            pull[v] = OP(mul)(omega, pull[v]);
            at_target = OP(fmadd)(pull[v], OP(mul)(e[v], inverse[v]), at_target);
            weighted = OP(add)(weighted, pull[v]);
        }
        const VEC factor = OP(mul)(weighted, inverse[v]);
        const ptrdiff_t l = lane + WIDTH * v;
        OP(storeu)((REAL *) few->factor + l, factor);
        OP(storeu)((REAL *) few->factor_low + l,
                   OP(fmadd)(weighted, inverse_low[v], OP(fmsub)(weighted, inverse[v], factor)));
        OP(storeu)((REAL *) few->shift + l,
                   smooth ? OP(add)(OP(fnmadd)(omega, share, zero), zero) : zero);
        OP(storeu)((REAL *) few->at_target + l, at_target);
    }
    /* (The losses last: their logarithms overlap with what follows.) */
    if (few->cost) {
        if (smooth) {
            /* keep (-log p_t) + share times the sum of all -log p_j */
            const VEC sum_c = OP(mul)(share, OP(set1)((REAL) steps));
            OF(fastce_few_logs)(count, rest, rest_low, e, e_low, s, s_low, inverse, n, leads,
                                level);
            EACH cost[v] = OP(add)(OP(sub)(h[v], y[v]), level[v]);
            EACH gaps[v] = OP(fmadd)(sum_c, level[v], OP(mul)(share, gaps[v]));
            EACH cost[v] = OP(fmadd)(OP(set1)((REAL) few->keep), cost[v], gaps[v]);
        } else {
            OF(fastce_few_costs)(count, rest, rest_low, e, e_low, s, s_low, inverse, y, n, cost);
        }
        if (few->weight)
            EACH cost[v] = OF(fastce_times)(w[v], cost[v]);
        if (few->z_loss != 0)
            EACH cost[v] = OP(fmadd)(OP(mul)(z_loss, lse[v]), lse[v], cost[v]);
        if (few->row_weight)
            EACH cost[v] = OF(fastce_times)(
                OP(loadu)((const REAL *) few->row_weight + lane + WIDTH * v), cost[v]);
        EACH OP(storeu)((REAL *) few->cost + lane + WIDTH * v, cost[v]);
    }
}

static inline __attribute__((always_inline)) void OF(fastce_few_fewest)(fastce_few *few,
                                                                     ptrdiff_t steps)
{
    const ptrdiff_t rows[8] = {0, steps, 2 * steps, 3 * steps, 4 * steps, 5 * steps, 6 * steps,
                               7 * steps};
    for (ptrdiff_t l = 0; few->rows && l < FASTCE_LANES; l += 8)
        OF(fastce_load_eight)((const REAL *) few->rows + l * steps, rows, steps,
                              (REAL *) few->e + l);
    for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
        OF(fastce_few_vectors)(few, steps, lane);
    for (int l = 0; few->into_run && l < FASTCE_LANES; l += 8)
        OF(fastce_few_eight)(few, steps, l, (REAL *) few->run);
}

/* The fewest classes are compiled on their own, without loops. */
static __attribute__((noinline)) void OF(fastce_few_two)(fastce_few *few)
{
    OF(fastce_few_fewest)(few, 2);
}

static __attribute__((noinline)) void OF(fastce_few_three)(fastce_few *few)
{
    OF(fastce_few_fewest)(few, 3);
}

static __attribute__((noinline)) void OF(fastce_few_four)(fastce_few *few)
{
    OF(fastce_few_fewest)(few, 4);
}

static inline void OF(fastce_few_batch)(fastce_few *few, ptrdiff_t steps)
{
    if (steps == 2)
        OF(fastce_few_two)(few);
    else if (steps == 3)
        OF(fastce_few_three)(few);
    else if (steps == 4)
        OF(fastce_few_four)(few);
    else
        for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
            OF(fastce_few_vectors)(few, steps, lane);
}

/* The largest logits, the largest but those, and the first steps of those. NaN is passed over. */
static inline __attribute__((always_inline)) void OF(fastce_few_largest)(
    int count, const REAL *x, ptrdiff_t steps, VEC *at, VEC *m, VEC *second)
{
    const VEC one = OP(set1)(1);
    VEC y[2], step = OP(setzero)();
    MASK higher[2];
    EACH at[v] = step;
    EACH m[v] = second[v] = OP(set1)(-INFINITY);
    for (ptrdiff_t i = 0; i < steps; i++, x += FASTCE_LANES, step = OP(add)(step, one)) {
        EACH y[v] = OP(loadu)(x + WIDTH * v);
        EACH higher[v] = OP_MASK(cmp)(y[v], m[v], _CMP_GT_OQ);
        EACH second[v] = OP(max)(OP(mask_mov)(y[v], higher[v], m[v]), second[v]);
        EACH at[v] = OP(mask_mov)(at[v], higher[v], step);
        EACH m[v] = OP(mask_mov)(m[v], higher[v], y[v]);
    }
}

/* What dense_batch in dense_batches.pxi makes of rows of few classes, as fastce_few_vectors. As
 * -log p_j = (m - x_j) + (-log p of the largest), all costs are sums of what is not negative. */
static inline __attribute__((always_inline)) void OF(fastce_dense_vectors)(
    fastce_few *few, ptrdiff_t steps, ptrdiff_t lane)
{
    enum { count = 2 };
    const VEC zero = OP(setzero)(), one = OP(set1)(1), z_loss = OP(set1)((REAL) few->z_loss);
    const VEC share = OP(set1)((REAL) few->share), c_factor = OP(set1)((REAL) few->c_factor);
    const bool by_target = few->target, dense = few->dense, curved = few->curved;
    REAL *x = (REAL *) few->e + lane, *hess = (REAL *) few->hess + lane;
    const REAL *c = few->c ? (const REAL *) few->c + lane : NULL;
    VEC target[2], at[2], m[2], y[2], second[2], anchor[2], least[2], base[2], centre[2], n[2];
    VEC rest[2], rest_low[2], e[2], e_low[2], s[2], s_low[2], inverse[2], inverse_low[2];
    VEC w[2], target_x[2], cost[2], sum_c[2], top_c[2], lse[2], pull[2], step;
    MASK ignored[2] = {0, 0};

    EACH target[v] = OP(set1)(-1);
    EACH w[v] = target_x[v] = zero;
    if (by_target) {
        EACH target[v] = OF(fastce_numbers)(few->target + lane + WIDTH * v);
        EACH ignored[v] = SIGN_MASK(target[v]);
        EACH w[v] = few->weight ? OP(loadu)((const REAL *) few->weight + lane + WIDTH * v) : one;
        EACH w[v] = OP(mul)(w[v], OP(set1)((REAL) few->keep));
        OF(fastce_few_clear)(count, x, steps, ignored);
    }
    OF(fastce_few_largest)(count, x, steps, at, m, second);
    EACH OP(storeu)((REAL *) few->left_out + lane + WIDTH * v, m[v]);
    EACH y[v] = m[v];
    OF(fastce_few_shifts)(count, x, steps, m, second, anchor, centre, n, least, base);
    EACH y[v] = OP(sub)(y[v], centre[v]);

    /* Sums over all classes, cost; and without the largest, sum_c. */
    EACH cost[v] = sum_c[v] = top_c[v] = zero;
    if (dense || (by_target && few->cost)) {
        VEC four[2], four_c[2], cost_low[2], low_c[2], lost, k[2], gap[2];
        EACH cost_low[v] = low_c[v] = four[v] = four_c[v] = step = zero;
        for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one)) {
            EACH gap[v] = OP(sub)(y[v], OP(loadu)(x + i * FASTCE_LANES + WIDTH * v));
            if (by_target)
                EACH target_x[v] = OP(mask_mov)(
                    target_x[v], OP_MASK(cmp)(target[v], step, _CMP_EQ_OQ), gap[v]);
            if (!dense)
                continue;
            EACH k[v] = c ? OP(fmadd)(c_factor, OP(loadu)(c + i * FASTCE_LANES + WIDTH * v), share)
                          : share;
            EACH four[v] = OP(fmadd)(k[v], gap[v], four[v]);
            EACH {
                const MASK hit = OP_MASK(cmp)(at[v], step, _CMP_EQ_OQ);
                top_c[v] = OP(mask_mov)(top_c[v], hit, k[v]);
                four_c[v] = OP(mask_add)(four_c[v], (MASK) ~hit, four_c[v], k[v]);
            }
            if (i % 4 == 3 || i == steps - 1) {
                EACH {
                    cost[v] = OF(fastce_sum)(cost[v], four[v], &lost);
                    cost_low[v] = OP(add)(cost_low[v], lost);
                    sum_c[v] = OF(fastce_sum)(sum_c[v], four_c[v], &lost);
                    low_c[v] = OP(add)(low_c[v], lost);
                    four[v] = four_c[v] = zero;
                }
            }
        }
        EACH cost[v] = OP(add)(cost[v], cost_low[v]);
        EACH sum_c[v] = OP(add)(sum_c[v], low_c[v]);
    }
    EACH OP(storeu)((REAL *) few->gaps + lane + WIDTH * v, cost[v]);
    EACH few->odd |= OP_MASK(cmp)(OP(sub)(cost[v], cost[v]), OP(sub)(y[v], y[v]), _CMP_UNORD_Q);

    OF(fastce_few_exps)(true, count, x, steps, at, y, least, base, anchor, few, lane, rest,
                        rest_low, e, e_low);
    OF(fastce_few_totals)(count, rest, rest_low, e, e_low, s, s_low, inverse, inverse_low);
    EACH pull[v] = lse[v] = zero;
    if (few->z_loss != 0) {
        OF(fastce_few_lse)(count, s, s_low, inverse, n, centre, lse);
        EACH pull[v] = OP(mul)(OP(add)(z_loss, z_loss), lse[v]);
    }
    if (few->derived) {
        VEC slope[2], inner[2], at_top[2], kappa[2], factor[2], factor_low[2], target_slope[2];
        VEC curve[2], curve_top[2];
        EACH {
            const MASK leads = OP_MASK(cmp)(target[v], at[v], _CMP_EQ_OQ);
            const VEC p = OP(mul)(e[v], inverse[v]);
            const VEC complement = OF(fastce_few_complement)(rest[v], rest_low[v], inverse[v],
                                                             inverse_low[v]);
            const VEC own = OP(mask_add)(top_c[v], leads, top_c[v], w[v]);
            const VEC other = OP(add)(OP(mask_add)(sum_c[v], (MASK) ~leads, sum_c[v], w[v]),
                                      pull[v]);
            slope[v] = OP(set1)((REAL) few->scale);
            if (few->row_weight)
                slope[v] = OP(mul)(slope[v],
                                   OP(loadu)((const REAL *) few->row_weight + lane + WIDTH * v));
            slope[v] = OP(maskz_mul)((MASK) ~ignored[v], slope[v], OP(set1)((REAL) few->per_logit));
            /* C p - c = (C - c) p - c (1 - p), and + 0.0: a slope of 0 would give -0.0 */
            at_top[v] = OP(fmsub)(other, p, OP(mul)(own, complement));
            at_top[v] = OP(fmadd)(slope[v], at_top[v], zero);
            kappa[v] = OP(add)(other, own);
            inner[v] = OP(mul)(slope[v], kappa[v]);
            factor[v] = OP(mul)(inner[v], inverse[v]);
            factor_low[v] = OP(fmadd)(inner[v], inverse_low[v],
                                      OP(fmsub)(inner[v], inverse[v], factor[v]));
            curve[v] = OP(mul)(slope[v], OP(set1)((REAL) few->per_logit));
            curve_top[v] = OP(fmadd)(kappa[v], complement, OP(mul)(OP(add)(z_loss, z_loss), p));
            curve_top[v] = OP(fmadd)(curve[v], OP(mul)(p, curve_top[v]), zero);
            target_slope[v] = OP(fnmadd)(slope[v], w[v], zero);
        }
        step = zero;
        for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one))
            EACH {
                const ptrdiff_t l = i * FASTCE_LANES + WIDTH * v;
                const MASK hit = OP_MASK(cmp)(at[v], step, _CMP_EQ_OQ);
                const VEC ej = OP(loadu)(x + l);
                VEC more = zero;
                if (dense) {
                    more = c ? OP(fmadd)(c_factor, OP(loadu)(c + l), share) : share;
                    more = OP(fnmadd)(slope[v], more, zero);
                }
                if (by_target)
                    more = OP(mask_add)(more, OP_MASK(cmp)(target[v], step, _CMP_EQ_OQ), more,
                                        target_slope[v]);
                more = OP(fmadd)(ej, factor[v], OP(fmadd)(ej, factor_low[v], more));
                OP(storeu)(x + l, OP(mask_mov)(more, hit, at_top[v]));
                if (curved) {
                    const VEC h = OF(fastce_curve)(ej, inverse[v], kappa[v],
                                                   OP(add)(z_loss, z_loss), curve[v]);
                    OP(storeu)(hess + l, OP(mask_mov)(h, hit, curve_top[v]));
                }
            }
    }
    if (few->cost) {
        const VEC none[2] = {zero, zero};
        VEC u[2], inverse_u[2], low[2], top_cost[2];
        OF(fastce_few_odds)(count, rest, rest_low, e, e_low, inverse, u, inverse_u, low);
        EACH low[v] = OP(mul)(low[v], inverse_u[v]);
        OF(fastce_logs)(count, u, low, none, top_cost);
        EACH cost[v] = OP(fmadd)(OP(add)(sum_c[v], top_c[v]), top_cost[v], cost[v]);
        if (by_target)
            EACH cost[v] = OP(add)(cost[v], OF(fastce_times)(
                w[v], OP(add)(target_x[v], top_cost[v])));
        EACH cost[v] = OP(fmadd)(OP(mul)(z_loss, lse[v]), lse[v], cost[v]);
        if (few->row_weight)
            EACH cost[v] = OF(fastce_times)(
                OP(loadu)((const REAL *) few->row_weight + lane + WIDTH * v), cost[v]);
        EACH OP(storeu)((REAL *) few->cost + lane + WIDTH * v, cost[v]);
    }
}

/* What product_batch in dense_batches.pxi makes of rows of few classes, c being v. */
static inline __attribute__((always_inline)) void OF(fastce_product_vectors)(
    fastce_few *few, ptrdiff_t steps, ptrdiff_t lane)
{
    enum { count = 2 };
    const VEC zero = OP(setzero)(), one = OP(set1)(1), per_logit = OP(set1)((REAL) few->per_logit);
    const VEC twice_z = OP(set1)((REAL) (few->z_loss + few->z_loss));
    REAL *x = (REAL *) few->e + lane;
    const REAL *given = (const REAL *) few->c + lane;
    VEC at[2], m[2], y[2], second[2], anchor[2], least[2], base[2], centre[2], n[2];
    VEC rest[2], rest_low[2], e[2], e_low[2], s[2], s_low[2], inverse[2], inverse_low[2];
    VEC reference[2], dot[2], lost[2], kappa[2], shift[2], curve[2], at_top[2], lse[2], step, more;
    MASK ignored[2], spoiled[2];

    EACH ignored[v] = SIGN_MASK(OF(fastce_numbers)(few->target + lane + WIDTH * v));
    OF(fastce_few_clear)(count, x, steps, ignored);
    OF(fastce_few_largest)(count, x, steps, at, m, second);
    EACH OP(storeu)((REAL *) few->left_out + lane + WIDTH * v, m[v]);
    EACH OP(storeu)((REAL *) few->gaps + lane + WIDTH * v, zero);
    EACH few->odd |= OP_MASK(cmp)(OP(sub)(m[v], m[v]), zero, _CMP_UNORD_Q);
    EACH y[v] = m[v];
    OF(fastce_few_shifts)(count, x, steps, m, second, anchor, centre, n, least, base);
    EACH y[v] = OP(sub)(y[v], centre[v]);
    OF(fastce_few_exps)(true, count, x, steps, at, y, least, base, anchor, few, lane, rest,
                        rest_low, e, e_low);
    OF(fastce_few_totals)(count, rest, rest_low, e, e_low, s, s_low, inverse, inverse_low);

    EACH reference[v] = dot[v] = lost[v] = step = zero;
    for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one))
        EACH reference[v] = OP(mask_mov)(reference[v], OP_MASK(cmp)(at[v], step, _CMP_EQ_OQ),
                                         OP(loadu)(given + i * FASTCE_LANES + WIDTH * v));
    step = zero;
    for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one))
        EACH {
            const ptrdiff_t l = i * FASTCE_LANES + WIDTH * v;
            const VEC ej = OP(loadu)(x + l);
            const MASK counts = OP_MASK(mask_cmp)(OP_MASK(cmp)(at[v], step, _CMP_NEQ_UQ), ej, zero,
                                                  _CMP_NEQ_UQ);
            dot[v] = OF(fastce_sum)(dot[v], OP(maskz_mul)(
                counts, ej, OP(sub)(OP(loadu)(given + l), reference[v])), &more);
            lost[v] = OP(add)(lost[v], more);
        }
    EACH dot[v] = OP(mul)(OP(add)(dot[v], lost[v]), inverse[v]);
    EACH kappa[v] = few->weight ? OP(loadu)((const REAL *) few->weight + lane + WIDTH * v) : one;
    EACH shift[v] = zero;
    if (few->z_loss != 0) {
        OF(fastce_few_lse)(count, s, s_low, inverse, n, centre, lse);
        EACH kappa[v] = OP(fmadd)(twice_z, lse[v], kappa[v]);
        EACH shift[v] = OP(mul)(twice_z, OP(add)(reference[v], dot[v]));
    }
    EACH {
        curve[v] = OP(set1)((REAL) few->scale);
        if (few->row_weight)
            curve[v] = OP(mul)(curve[v],
                               OP(loadu)((const REAL *) few->row_weight + lane + WIDTH * v));
        curve[v] = OP(mul)(OP(mul)(curve[v], per_logit), per_logit);
        at_top[v] = OP(fnmadd)(kappa[v], dot[v], shift[v]);
        at_top[v] = OP(fmadd)(OP(mul)(curve[v], OP(mul)(e[v], inverse[v])), at_top[v], zero);
        at_top[v] = OP(maskz_mov)((MASK) ~ignored[v], at_top[v]);
        spoiled[v] = OP_MASK(cmp)(inverse[v], inverse[v], _CMP_UNORD_Q);
    }
    step = zero;
    for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one))
        EACH {
            const ptrdiff_t l = i * FASTCE_LANES + WIDTH * v;
            const VEC ej = OP(loadu)(x + l);
            const MASK counts = (OP_MASK(cmp)(ej, zero, _CMP_NEQ_UQ) | spoiled[v]) & ~ignored[v];
            more = OP(sub)(OP(sub)(OP(loadu)(given + l), reference[v]), dot[v]);
            more = OP(fmadd)(kappa[v], more, shift[v]);
            more = OP(maskz_fmadd)(counts, OP(mul)(curve[v], OP(mul)(ej, inverse[v])), more, zero);
            OP(storeu)(x + l, OP(mask_mov)(more, OP_MASK(cmp)(at[v], step, _CMP_EQ_OQ),
                                           at_top[v]));
        }
}

static inline void OF(fastce_few_product)(fastce_few *few, ptrdiff_t steps)
{
    for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
        OF(fastce_product_vectors)(few, steps, lane);
}

static __attribute__((noinline)) void OF(fastce_dense_two)(fastce_few *few)
{
    for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
        OF(fastce_dense_vectors)(few, 2, lane);
}

static __attribute__((noinline)) void OF(fastce_dense_three)(fastce_few *few)
{
    for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
        OF(fastce_dense_vectors)(few, 3, lane);
}

static inline void OF(fastce_few_dense)(fastce_few *few, ptrdiff_t steps)
{
    if (steps == 2)
        OF(fastce_dense_two)(few);
    else if (steps == 3)
        OF(fastce_dense_three)(few);
    else
        for (ptrdiff_t lane = 0; lane < FASTCE_LANES; lane += 2 * WIDTH)
            OF(fastce_dense_vectors)(few, steps, lane);
}

/* What fastce_few_eight makes, of all lanes: as a run, and where the rows lie side by side, the
 * classes being so many items apart. */
static inline void OF(fastce_few_run)(fastce_few *few, ptrdiff_t steps)
{
    for (int l = 0; l < FASTCE_LANES; l += 8)
        OF(fastce_few_eight)(few, steps, l, (REAL *) few->run);
}

static inline void OF(fastce_few_planes)(const fastce_few *few, ptrdiff_t steps, REAL *out,
                                         ptrdiff_t between, int streamed)
{
    for (int l = 0; l < FASTCE_LANES; l += WIDTH) {
        const VEC f = OP(loadu)((const REAL *) few->factor + l), one = OP(set1)(1);
        const VEC f_low = OP(loadu)((const REAL *) few->factor_low + l);
        const VEC t = OP(loadu)((const REAL *) few->step_of_target + l);
        const VEC at = OP(loadu)((const REAL *) few->at_target + l);
        const VEC more = OP(loadu)((const REAL *) few->shift + l);
        VEC step = OP(setzero)();
        for (ptrdiff_t i = 0; i < steps; i++, step = OP(add)(step, one)) {
            VEC e = OP(loadu)((const REAL *) few->e + i * FASTCE_LANES + l);
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
#undef EXACT
#undef VEC
#undef MASK
#undef WIDTH
#undef GROUP
#undef EIGHT
#undef LOW_EIGHT
#undef FIRST
#undef OF
#undef OP
#undef OP_MASK
#undef OP_EIGHT
#undef EIGHT_EQUAL
#undef SIGN_MASK
#undef SHIFT_LEFT
#undef INTEGERS
#undef ROUND
#undef BIAS
#undef LIFT
#undef RAISED
#undef MANTISSA
#undef LEAST_POWER
#undef FAR
#undef LN2
#undef LN2_HIGH
#undef LN2_LOW
#undef NEAR
