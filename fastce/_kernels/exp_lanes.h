/* exp of LANES values at a time with AVX-512, where a table of 2**(j/16) fits the registers and a
 * look-up is one instruction: something that no compiler makes of a loop. With
 * y = (n + j/16) ln 2 + r, |r| <= ln(2)/32,
 *
 *     e**y 2**s = 2**(n + s) T_j (1 + (r + r**2 Q(r) + d_j))
 *
 * T_j (1 + d_j) being 2**(j/16). The portable twin is exp_scaled in vecmath.pxd, which has the same
 * conventions: a field of zero gives 0, NaN gives NaN. Within 1 ULP.
 *
 * And log, where a table has -log c for c z = 1 + r, |r| <= 0.0334, z = 2**-n u:
 *
 *     log u = n ln 2 - log c + (r + r**2 P(r))
 *
 * Its portable twin is log_parts. Within 1 ULP too.
 *
 * The tables and coefficients are printed by tools/minimax.py.
 */
#ifndef FASTCE_EXP_LANES_H
#define FASTCE_EXP_LANES_H

#include <stddef.h>

/* A row out[j] = e[j] (factor + factor_low), but out[masked] = at_masked unless `masked` is
 * negative. Written is what lies before `done`, from the first line of memory on. */
typedef struct {
    const void *e;
    void *out;
    ptrdiff_t k, done, masked;
    double factor, factor_low, at_masked;
} fastce_pending;

#define FASTCE_LANES 32             /* as LANES in tiles.pxi */
#define FASTCE_FEW 24               /* classes: see few_classes.pxi */

#if defined(__GNUC__)
#define FASTCE_ALIGNED __attribute__((aligned(64)))
#else
#define FASTCE_ALIGNED
#endif

/* LANES rows of few classes: what cross-entropy is to know of them, and what it makes of them, in
 * arrays of a number a row, which start at a line of memory and have room for either type. */
typedef struct {
    const ptrdiff_t *target;            /* below 0: the row is ignored */
    const void *weight, *row_weight;    /* of the target's class, and of the row; or NULL */
    int smooth;
    double keep, share;                 /* of label smoothing: 1 - eps and eps / k */
    double z_loss, per_logit, scale;
    const void *ahead, *result;         /* what is fetched meanwhile, to read and write, or NULL: */
    ptrdiff_t ahead_step, result_step;  /* LANES items for each class, so many items apart */
    void *cost;                         /* or NULL */
    int derived;                        /* whether the gradient is asked for */
    const void *rows;                   /* the logits, row after row; or NULL, and they are in e */
    int into_run;                       /* whether the gradient's rows go to `run` */
    int odd;                            /* becomes other than 0 if leave_to_tiles has any */
    FASTCE_ALIGNED double e[FASTCE_FEW * FASTCE_LANES];     /* the logits, then e_j */
    double step_of_target[FASTCE_LANES];                    /* the target as a number of the type */
    /* For leave_to_tiles: the logit of the target, or of the largest class, and what is finite only
     * if all logits that count are. */
    double left_out[FASTCE_LANES], gaps[FASTCE_LANES];
    double costs[FASTCE_LANES];         /* room for `cost` */
    double factor[FASTCE_LANES], factor_low[FASTCE_LANES];  /* of the gradient: see store_few */
    double shift[FASTCE_LANES], at_target[FASTCE_LANES];
    double run[(FASTCE_FEW + 1) * FASTCE_LANES];            /* row after row */
    /* Where every class has a coefficient w_t [j = t] + c_factor c_j + share, or the Hessian's
     * diagonal is asked for: */
    int dense, curved;                  /* whether there are c_j or a share; and that diagonal */
    const void *c;                      /* the c_j, or the v_j, as the logits in e; or NULL */
    double c_factor;
    FASTCE_ALIGNED double hess[FASTCE_FEW * FASTCE_LANES];  /* also room for c */
} fastce_few;

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) \
    && defined(__AVX512VL__) && defined(__FMA__) && defined(__GNUC__)

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FASTCE_HAS_EXP_LANES 1
#define FASTCE_STEPS 16             /* of the lanes in a block: BLOCK in elementwise.pxi */
#define FASTCE_READ_AHEAD 1024      /* items from what is read of rows to come to what is fetched */
#define FASTCE_WRITE_AHEAD 128      /* items from what is written to what is fetched for it */

/* The bits of T_j, from which j is taken off that is in the bits of n + j/16; and d_j. Of float64
 * d_j has its first 16 bits only, the others coming from entry 0, and stands there twice: the
 * look-up goes by five bits, j and the lowest of n. */
static const int64_t fastce_powers_d[16] = {
    0x0, -0x4aa7930676f1, -0x8d47c382ae85, -0xc785918a9dc8,
    -0xf901f5ce48eb, -0x12159b3edcbde, -0x140252ac9d5d9, -0x154f822b7abd7,
    -0x15f619980c433, -0x15eeb8c14fe79, -0x1531abdd55f25, -0x13b6e7d5c0f70,
    -0x1176066a52c53, -0xe664227aad64, -0xa7e723045b79, -0x5b505d5b6f26,
};
static const int16_t fastce_rest_d[32] = {
    0x0, 0x3c98, -0x4380, 0x3c97, 0x3c83, 0x3c86, 0x3c77, 0x3c90,
    -0x436c, -0x4385, 0x3c8e, 0x3c72, 0x3c8c, 0x3c73, 0x3c75, -0x4370,
    0x0, 0x3c98, -0x4380, 0x3c97, 0x3c83, 0x3c86, 0x3c77, 0x3c90,
    -0x436c, -0x4385, 0x3c8e, 0x3c72, 0x3c8c, 0x3c73, 0x3c75, -0x4370,
};
static const int32_t fastce_powers_f[16] = {
    0x0, -0x2553d, -0x46a3e, -0x63c2d, -0x7c810, -0x90ace, -0xa0129, -0xaa7c1,
    -0xafb0d, -0xaf75c, -0xa98d6, -0x9db74, -0x8bb03, -0x73321, -0x53f39, -0x2da83,
};
static const float fastce_rest_f[16] = {
    0.0f, 4.62854708e-8f, -1.19921571e-8f, 4.72978236e-8f,
    3.19341809e-8f, 3.62105731e-8f, -3.09907208e-8f, -7.47521317e-9f,
    1.71142713e-8f, -3.04768342e-8f, 5.23333425e-9f, 6.10759162e-9f,
    -1.47196054e-8f, -5.25879512e-9f, -6.12825982e-9f, 5.14060921e-9f,
};

/* Of log, for 16 intervals of numbers: c, and -log c, of which the first part leaves room for
 * multiples of ln 2's. */
static const double fastce_log_factor_d[16] = {
    1.328125, 1.28125, 1.234375, 1.1875, 1.140625, 1.109375, 1.0625, 1.03125,
    1.0, 0.9375, 0.890625, 0.84375, 0.796875, 0.765625, 0.734375, 0.703125,
};
static const double fastce_log_high_d[16] = {
    -0.28376817313073843, -0.24783616390459429, -0.21056476910735, -0.17185025692674571,
    -0.13157635778861732, -0.10379679368156758, -0.060624621816486979, -0.03077165866670839,
    0.0, 0.064538521137592397, 0.11583181552509814, 0.16989903679541385,
    0.22705745063535687, 0.26706278524898153, 0.30873548164959175, 0.35222059358943625,
};
static const double fastce_log_low_d[16] = {
    9.3834172236637e-14, 1.3029797173308663e-14, 3.6507188831790577e-16, 8.6492396072120709e-14,
    -1.0195735223708473e-13, -7.5986365971941414e-14, 5.2136206391365041e-14,
    -4.5298142577909288e-14, 0.0, -2.1225608044809997e-14, 2.3568822182038756e-14,
    -1.6376276414097503e-14, -1.078736749871691e-14, 6.3719472698156668e-14,
    2.1522127491642888e-14, -8.4149181934891948e-14,
};
static const float fastce_log_factor_f[16] = {
    1.328125f, 1.28125f, 1.234375f, 1.1875f, 1.140625f, 1.109375f, 1.0625f, 1.03125f,
    1.0f, 0.9375f, 0.890625f, 0.84375f, 0.796875f, 0.765625f, 0.734375f, 0.703125f,
};
static const float fastce_log_high_f[16] = {
    -0.2837677001953125f, -0.247833251953125f, -0.2105712890625f, -0.171844482421875f,
    -0.1315765380859375f, -0.103790283203125f, -0.0606231689453125f, -0.0307769775390625f,
    0.0f, 0.064544677734375f, 0.1158294677734375f, 0.1699066162109375f,
    0.22705078125f, 0.267059326171875f, 0.3087310791015625f, 0.3522186279296875f,
};
static const float fastce_log_low_f[16] = {
    -4.7293534066739085e-7f, -2.9119514692865778e-6f, 6.5199551499972586e-6f,
    -5.7745046433410607e-6f, 1.8029722070878051e-7f, -6.5104786699521355e-6f,
    -1.452871174478787e-6f, 5.3188723541097715e-6f, 0.0f, -6.1565970099763945e-6f,
    2.3477516606362769e-6f, -7.5794155236508232e-6f, 6.6693851294985507e-6f,
    3.45907710652682e-6f, 4.4025482566212304e-6f, 1.9656597487482941e-6f,
};

/* Bit i is set if item i of 64 is one of those that are left, and not the one that is masked (which
 * is elsewhere, or -1, if none is). */
static inline uint64_t fastce_kept(ptrdiff_t rest, ptrdiff_t masked)
{
    const uint64_t used = rest < 64 ? ((uint64_t) 1 << rest) - 1 : ~(uint64_t) 0;
    return (size_t) masked < 64 ? used & ~((uint64_t) 1 << masked) : used;
}

/* For each of `count` vectors v: */
#define EACH for (int v = 0; v < count; v++)

/* e**x 2**s is scale (1 + q), as above, for `count` vectors, each with its own s, the instructions
 * alternating so that they need not wait for each other. (A look-up leaves out the upper bits of
 * its index.) */
static inline __attribute__((always_inline)) void fastce_exp_pieces_d(
    int count, const __m512d *x, const __m512d *base, __m512d *scale, __m512d *q)
{
    const __m512i low = _mm512_loadu_si512(fastce_powers_d);
    const __m512i high = _mm512_loadu_si512(fastce_powers_d + 8);
    const __m512i rest = _mm512_loadu_si512(fastce_rest_d);
    __m512d t[2], n[2], r[2], r2[2], d[2], p[2];
    __m512i power[2];
    EACH t[v] = _mm512_fmadd_pd(x[v], _mm512_set1_pd(23.083120654223414), base[v]); /* 16 / ln 2 */
    EACH n[v] = _mm512_sub_pd(t[v], base[v]);
    EACH power[v] = _mm512_slli_epi64(_mm512_castpd_si512(t[v]), 48);
    EACH r[v] = _mm512_fnmadd_pd(n[v], _mm512_set1_pd(0.04332169878499658), x[v]);
    EACH d[v] = _mm512_castsi512_pd(_mm512_permutexvar_epi16(power[v], rest));
    EACH power[v] = _mm512_add_epi64(
        power[v], _mm512_permutex2var_epi64(low, _mm512_castpd_si512(t[v]), high));
    EACH r[v] = _mm512_fnmadd_pd(n[v], _mm512_set1_pd(1.4494042586539372e-18), r[v]);
    EACH r2[v] = _mm512_mul_pd(r[v], r[v]);
    EACH q[v] = _mm512_fmadd_pd(r[v], _mm512_set1_pd(0.008333471948496143),
                                _mm512_set1_pd(0.04166666669325933));
    EACH p[v] = _mm512_fmadd_pd(r[v], _mm512_set1_pd(0.16666666664417071),
                                _mm512_set1_pd(0.49999999999999606));
    EACH d[v] = _mm512_add_pd(r[v], d[v]);
    EACH q[v] = _mm512_fmadd_pd(r2[v], _mm512_set1_pd(0.0013888594017933339), q[v]);
    EACH q[v] = _mm512_fmadd_pd(r2[v], q[v], p[v]);
    EACH q[v] = _mm512_fmadd_pd(r2[v], q[v], d[v]);
    EACH scale[v] = _mm512_castsi512_pd(power[v]);
}

static inline __attribute__((always_inline)) void fastce_exp_pieces_f(
    int count, const __m512 *x, const __m512 *base, __m512 *scale, __m512 *q)
{
    const __m512i powers = _mm512_loadu_si512(fastce_powers_f);
    const __m512 rest = _mm512_loadu_ps(fastce_rest_f);
    __m512 n[4], r[4], r2[4], d[4];
    __m512i t[4], power[4];
    EACH t[v] = _mm512_castps_si512(
        _mm512_fmadd_ps(x[v], _mm512_set1_ps(23.0831203f), base[v]));           /* 16 / ln 2 */
    EACH n[v] = _mm512_sub_ps(_mm512_castsi512_ps(t[v]), base[v]);
    EACH power[v] = _mm512_permutexvar_epi32(t[v], powers);
    EACH r[v] = _mm512_fnmadd_ps(n[v], _mm512_set1_ps(0.0433216989f), x[v]);
    EACH d[v] = _mm512_permutexvar_ps(t[v], rest);
    EACH power[v] = _mm512_add_epi32(power[v], _mm512_slli_epi32(t[v], 19));
    EACH r[v] = _mm512_fnmadd_ps(n[v], _mm512_set1_ps(-1.19040888e-10f), r[v]);
    EACH r2[v] = _mm512_mul_ps(r[v], r[v]);
    EACH q[v] = _mm512_fmadd_ps(r[v], _mm512_set1_ps(0.166667178f), _mm512_set1_ps(0.500016153f));
    EACH d[v] = _mm512_add_ps(r[v], d[v]);
    EACH q[v] = _mm512_fmadd_ps(r2[v], q[v], d[v]);
    EACH scale[v] = _mm512_castsi512_ps(power[v]);
}

/* The bits of magic_of(s) in vecmath.pxd count in units of 1, here in 16ths. */
static inline __m512d fastce_base_d(__m512d magic)
{
    const __m512d round = _mm512_set1_pd(6755399441055744.0);
    __m512d s = _mm512_sub_pd(magic, round);
    return _mm512_fmadd_pd(s, _mm512_set1_pd(16.0), round);
}

static inline __m512 fastce_base_f(__m512 magic)
{
    const __m512 round = _mm512_set1_ps(12582912.0f);
    __m512 s = _mm512_sub_ps(magic, round);
    return _mm512_fmadd_ps(s, _mm512_set1_ps(16.0f), round);
}

/* For log of u = 2**n z, z between 0.73 and 1.47: n, z and what the tables have for it. (The bits
 * of u, from those of the least z on, have n in the exponent's place and the interval below.) */
static inline __m512d fastce_log_split_d(__m512d u, __m512d *n, __m512d *factor, __m512d *log,
                                         __m512d *rest)
{
    const __m512i bits = _mm512_sub_epi64(_mm512_castpd_si512(u),
                                          _mm512_set1_epi64(0x3fe7800000000000));
    const __m512i power = _mm512_and_si512(bits, _mm512_set1_epi64(-0x10000000000000));
    const __m512i j = _mm512_srli_epi64(bits, 48);
    *n = _mm512_cvtepi64_pd(_mm512_srai_epi64(bits, 52));
    *factor = _mm512_permutex2var_pd(_mm512_loadu_pd(fastce_log_factor_d), j,
                                     _mm512_loadu_pd(fastce_log_factor_d + 8));
    *log = _mm512_permutex2var_pd(_mm512_loadu_pd(fastce_log_high_d), j,
                                  _mm512_loadu_pd(fastce_log_high_d + 8));
    *rest = _mm512_permutex2var_pd(_mm512_loadu_pd(fastce_log_low_d), j,
                                   _mm512_loadu_pd(fastce_log_low_d + 8));
    return _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(u), power));
}

static inline __m512 fastce_log_split_f(__m512 u, __m512 *n, __m512 *factor, __m512 *log,
                                        __m512 *rest)
{
    const __m512i bits = _mm512_sub_epi32(_mm512_castps_si512(u), _mm512_set1_epi32(0x3f3c0000));
    const __m512i power = _mm512_and_si512(bits, _mm512_set1_epi32(-0x800000));
    const __m512i j = _mm512_srli_epi32(bits, 19);
    *n = _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23));
    *factor = _mm512_permutexvar_ps(j, _mm512_loadu_ps(fastce_log_factor_f));
    *log = _mm512_permutexvar_ps(j, _mm512_loadu_ps(fastce_log_high_f));
    *rest = _mm512_permutexvar_ps(j, _mm512_loadu_ps(fastce_log_low_f));
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(u), power));
}

/* P of log(1 + r) = r + r**2 P(r), |r| <= 0.0334. */
static inline __m512d fastce_log_tail_d(__m512d r, __m512d r2)
{
    const __m512d r4 = _mm512_mul_pd(r2, r2);
    __m512d p = _mm512_fmadd_pd(r, _mm512_set1_pd(0.33333333333331516),
                                _mm512_set1_pd(-0.49999999999999462));
    __m512d q = _mm512_fmadd_pd(r, _mm512_set1_pd(0.20000000012809657),
                                _mm512_set1_pd(-0.25000000006482131));
    __m512d s = _mm512_fmadd_pd(r, _mm512_set1_pd(0.14285684785298322),
                                _mm512_set1_pd(-0.16666645685670853));
    __m512d t = _mm512_fmadd_pd(r, _mm512_set1_pd(0.11138724196493748),
                                _mm512_set1_pd(-0.12525108548562866));
    p = _mm512_fmadd_pd(r2, q, p);
    s = _mm512_fmadd_pd(r2, t, s);
    return _mm512_fmadd_pd(r4, s, p);
}

static inline __m512 fastce_log_tail_f(__m512 r, __m512 r2)
{
    const __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(0.333333224f),
                                     _mm512_set1_ps(-0.49999994f));
    const __m512 q = _mm512_fmadd_ps(r, _mm512_set1_ps(0.200263739f),
                                     _mm512_set1_ps(-0.250231951f));
    return _mm512_fmadd_ps(r2, q, p);
}

/* Integers as numbers of the type. */
static inline __m512d fastce_numbers_d(const ptrdiff_t *i)
{
    return _mm512_cvtepi64_pd(_mm512_loadu_si512(i));
}

static inline __m512 fastce_numbers_f(const ptrdiff_t *i)
{
    return _mm512_insertf32x8(
        _mm512_castps256_ps512(_mm512_cvtepi64_ps(_mm512_loadu_si512(i))),
        _mm512_cvtepi64_ps(_mm512_loadu_si512(i + 8)), 1);
}

/* Eight lanes, each next to the one that is 4, 2 or 1 away. */
static inline __m512d fastce_swapped_d(__m512d v, int distance)
{
    return distance == 4 ? _mm512_shuffle_f64x2(v, v, 0x4e)
        : distance == 2 ? _mm512_permutex_pd(v, 0x4e) : _mm512_permute_pd(v, 0x55);
}

static inline __m256 fastce_swapped_f(__m256 v, int distance)
{
    return distance == 4 ? _mm256_permute2f128_ps(v, v, 0x01)
        : distance == 2 ? _mm256_permute_ps(v, 0x4e) : _mm256_permute_ps(v, 0xb1);
}

/* Every other item of two vectors, from the first on. */
static inline __m512d fastce_evens_d(__m512d a, __m512d b)
{
    return _mm512_permutex2var_pd(a, _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), b);
}

static inline __m512 fastce_evens_f(__m512 a, __m512 b)
{
    return _mm512_permutex2var_ps(a, _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10,
                                                      8, 6, 4, 2, 0), b);
}

/* 8 x 8 values transposed, in registers: row[i][j] becomes row[j][i]. */
static inline void fastce_transpose_d(__m512d row[8])
{
    __m512d pair[8], quad[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm512_unpacklo_pd(row[i], row[i + 1]);       /* columns 0, 2, 4, 6 */
        pair[i + 1] = _mm512_unpackhi_pd(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int odd = 0; odd < 2; odd++) {
            quad[i + odd] = _mm512_shuffle_f64x2(pair[i + odd], pair[i + 2 + odd], 0x88);
            quad[i + 2 + odd] = _mm512_shuffle_f64x2(pair[i + odd], pair[i + 2 + odd], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        row[j] = _mm512_shuffle_f64x2(quad[j], quad[j + 4], 0x88);
        row[j + 4] = _mm512_shuffle_f64x2(quad[j], quad[j + 4], 0xdd);
    }
}

static inline void fastce_transpose_f(__m256 row[8])
{
    __m256 pair[8], quad[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);       /* columns 0, 1, 4, 5 */
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);   /* columns 2, 3, 6, 7 */
    }
    for (int i = 0; i < 8; i += 4)
        for (int half = 0; half < 2; half++) {
            quad[i + 2 * half] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0x44);
            quad[i + 2 * half + 1] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0xee);
        }
    for (int j = 0; j < 4; j++) {
        row[j] = _mm256_permute2f128_ps(quad[j], quad[j + 4], 0x20);
        row[j + 4] = _mm256_permute2f128_ps(quad[j], quad[j + 4], 0x31);
    }
}

/* The same for four columns: column[j][i] = x[lane[i]][j], for those j that are in `some`; and the
 * reverse for all four, of row after row, being so many items apart, the first row first. */
static inline void fastce_load4_d(const double *x, const ptrdiff_t lane[8], __mmask8 some,
                                  __m512d column[4])
{
    const __m512i left = _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0);
    const __m512i right = _mm512_set_epi64(15, 14, 11, 10, 7, 6, 3, 2);
    __m512d two[4];                                 /* rows 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
    for (int i = 0; i < 4; i++) {
        const int r = i + i / 2 * 2;
        two[i] = _mm512_insertf64x4(
            _mm512_castpd256_pd512(_mm256_maskz_loadu_pd(some, x + lane[r])),
            _mm256_maskz_loadu_pd(some, x + lane[r + 2]), 1);
    }
    for (int j = 0; j < 4; j += 2) {
        const __m512i half = j ? right : left;
        const __m512d even = _mm512_permutex2var_pd(two[0], half, two[2]);
        const __m512d odd = _mm512_permutex2var_pd(two[1], half, two[3]);
        column[j] = _mm512_unpacklo_pd(even, odd);
        column[j + 1] = _mm512_unpackhi_pd(even, odd);
    }
}

static inline void fastce_store4_d(double *x, ptrdiff_t between, const __m512d column[4])
{
    const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    const __m512i last = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    __m512d two[4];                                 /* rows 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
    for (int i = 0; i < 2; i++) {
        const __m512d left = i ? _mm512_unpackhi_pd(column[0], column[1])
                               : _mm512_unpacklo_pd(column[0], column[1]);
        const __m512d right = i ? _mm512_unpackhi_pd(column[2], column[3])
                                : _mm512_unpacklo_pd(column[2], column[3]);
        two[i] = _mm512_permutex2var_pd(left, first, right);
        two[i + 2] = _mm512_permutex2var_pd(left, last, right);
    }
    for (int r = 0; r < 8; r++) {
        const __m512d rows = two[r % 2 + r / 4 * 2];
        _mm256_storeu_pd(x + r * between, r & 2 ? _mm512_extractf64x4_pd(rows, 1)
                                                : _mm512_castpd512_pd256(rows));
    }
}

static inline void fastce_load4_f(const float *x, const ptrdiff_t lane[8], __mmask8 some,
                                  __m256 column[4])
{
    __m256 two[4];                                  /* rows i and i + 4 */
    for (int i = 0; i < 4; i++)
        two[i] = _mm256_insertf128_ps(
            _mm256_castps128_ps256(_mm_maskz_loadu_ps(some, x + lane[i])),
            _mm_maskz_loadu_ps(some, x + lane[i + 4]), 1);
    for (int j = 0; j < 4; j += 2) {
        const __m256 low = j ? _mm256_shuffle_ps(two[0], two[1], 0xee)
                             : _mm256_shuffle_ps(two[0], two[1], 0x44);
        const __m256 high = j ? _mm256_shuffle_ps(two[2], two[3], 0xee)
                              : _mm256_shuffle_ps(two[2], two[3], 0x44);
        column[j] = _mm256_shuffle_ps(low, high, 0x88);
        column[j + 1] = _mm256_shuffle_ps(low, high, 0xdd);
    }
}

static inline void fastce_store4_f(float *x, ptrdiff_t between, const __m256 column[4])
{
    __m256 two[4];                                  /* rows i and i + 4 */
    for (int i = 0; i < 4; i += 2) {
        const __m256 left = i ? _mm256_unpackhi_ps(column[0], column[1])
                              : _mm256_unpacklo_ps(column[0], column[1]);
        const __m256 right = i ? _mm256_unpackhi_ps(column[2], column[3])
                               : _mm256_unpacklo_ps(column[2], column[3]);
        two[i] = _mm256_shuffle_ps(left, right, 0x44);
        two[i + 1] = _mm256_shuffle_ps(left, right, 0xee);
    }
    for (int i = 0; i < 4; i++)
        _mm_storeu_ps(x + i * between, _mm256_castps256_ps128(two[i]));
    for (int i = 0; i < 4; i++)
        _mm_storeu_ps(x + (i + 4) * between, _mm256_extractf128_ps(two[i], 1));
}

/* memcpy past the caches. (What orders such writes before another thread reads them is the locked
 * instruction with which a parallel region ends and Python's lock is taken.) */
static inline void fastce_stream(void *to, const void *from, size_t n)
{
    char *t = (char *) to;
    const char *f = (const char *) from;
    size_t head = (size_t) (-(uintptr_t) t & 63);
    head = head < n ? head : n;
    memcpy(t, f, head);
    for (t += head, f += head, n -= head; n >= 64; t += 64, f += 64, n -= 64)
        _mm512_stream_si512((__m512i *) (void *) t, _mm512_loadu_si512(f));
    memcpy(t, f, n);
}

/* The passes, once for each type. */
#define REAL double
#define VEC __m512d
#define MASK __mmask8
#define WIDTH 8
#define GROUP 2
#define EIGHT __m512d
#define LOW_EIGHT(v) (v)
#define FIRST(v) _mm512_cvtsd_f64(v)
#define OF(name) name##_d
#define OP(name) _mm512_##name##_pd
#define OP_MASK(name) _mm512_##name##_pd_mask
#define OP_EIGHT(name) _mm512_##name##_pd
#define EIGHT_EQUAL(a, b) _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ)
#define SIGN_MASK(v) _mm512_movepi64_mask(_mm512_castpd_si512(v))
#define SHIFT_LEFT(v, bits) _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(v), bits))
#define INTEGERS(i) _mm512_set1_epi64(i)
#define MANTISSA 52
#define ROUND 6755399441055744.0
#define BIAS 1023
#define LIFT 64
#define RAISED 18446744073709551616.0
#define LEAST_POWER -1000
#define FAR 4096
#define LN2 0.6931471805599453
#define LN2_HIGH 0.6931471805592082
#define LN2_LOW 7.371002565167799e-13
#define NEAR 600
#include "lanes_of_type.h"

#define REAL float
#define VEC __m512
#define MASK __mmask16
#define WIDTH 16
#define GROUP 4
#define EIGHT __m256
#define LOW_EIGHT(v) _mm512_castps512_ps256(v)
#define FIRST(v) _mm256_cvtss_f32(v)
#define OF(name) name##_f
#define OP(name) _mm512_##name##_ps
#define OP_MASK(name) _mm512_##name##_ps_mask
#define OP_EIGHT(name) _mm256_##name##_ps
#define EIGHT_EQUAL(a, b) _mm256_cmp_ps_mask(a, b, _CMP_EQ_OQ)
#define SIGN_MASK(v) _mm512_movepi32_mask(_mm512_castps_si512(v))
#define SHIFT_LEFT(v, bits) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), bits))
#define INTEGERS(i) _mm512_set1_epi32(i)
#define MANTISSA 23
#define ROUND 12582912.0f
#define BIAS 127
#define LIFT 32
#define RAISED 4294967296.0f
#define LEAST_POWER -110
#define FAR 512
#define LN2 0.6931472f
#define LN2_HIGH 0.693115234375f
#define LN2_LOW 3.1946183e-05f
#define NEAR 80
#include "lanes_of_type.h"

#else

#define FASTCE_HAS_EXP_LANES 0
#define fastce_exp_each_d(y, magic, e) ((void) 0)
#define fastce_exp_each_f(y, magic, e) ((void) 0)
#define fastce_sweep_d(kept, b, steps, low, magic, anchor, ahead, ahead_step, result, result_step, \
                       total, lost) ((void) 0)
#define fastce_sweep_f(kept, b, steps, low, magic, anchor, ahead, ahead_step, result, result_step, \
                       total, lost) ((void) 0)
#define fastce_sweep_run_d(x, count, divisor, masked, low, magic, anchor, ahead, ahead_step, top, \
                           two, out, pending, folded, total, lost) ((void) 0)
#define fastce_sweep_run_f(x, count, divisor, masked, low, magic, anchor, ahead, ahead_step, top, \
                           two, out, pending, folded, total, lost) ((void) 0)
#define fastce_evens_run_d(x, count, out, top) ((void) 0)
#define fastce_evens_run_f(x, count, out, top) ((void) 0)
#define fastce_argmax_d(b, steps, top, second, step) ((void) 0)
#define fastce_argmax_f(b, steps, top, second, step) ((void) 0)
#define fastce_log_run_d(x, n, out) ((void) 0)
#define fastce_log_run_f(x, n, out) ((void) 0)
#define fastce_log_sum_run_d(x, c, n, out) ((void) 0)
#define fastce_log_sum_run_f(x, c, n, out) ((void) 0)
#define fastce_terms_d(mixed, x, c, steps, total, lost) ((void) 0)
#define fastce_terms_f(mixed, x, c, steps, total, lost) ((void) 0)
#define fastce_log1p_run_d(y, scale, n, out) ((void) 0)
#define fastce_log1p_run_f(y, scale, n, out) ((void) 0)
#define fastce_scale_d(row, k, factor, factor_low, shift) ((void) 0)
#define fastce_scale_f(row, k, factor, factor_low, shift) ((void) 0)
#define fastce_gaps_d(x, count, masked, h, total, lost) ((void) 0)
#define fastce_gaps_f(x, count, masked, h, total, lost) ((void) 0)
#define fastce_costs_d(x, given, count, masked, h, factor, share, cost, cost_lost, sum_c, lost) \
    ((void) 0)
#define fastce_costs_f(x, given, count, masked, h, factor, share, cost, cost_lost, sum_c, lost) \
    ((void) 0)
#define fastce_derive_d(e, given, hess, count, factor, factor_low, c_factor, shift, inverse, \
                        kappa, z_loss, slope) ((void) 0)
#define fastce_derive_f(e, given, hess, count, factor, factor_low, c_factor, shift, inverse, \
                        kappa, z_loss, slope) ((void) 0)
#define fastce_softmax_backward_d(grad, y, out, k) 0
#define fastce_softmax_backward_f(grad, y, out, k) 0
#define fastce_log_softmax_backward_d(grad, y, out, k, least, most, magic) 0
#define fastce_log_softmax_backward_f(grad, y, out, k, least, most, magic) 0
#define fastce_backward_many_d(logarithm, grad, grad_step, y, y_step, out, out_step, k, least, \
                               most, magic) ((void) 0)
#define fastce_backward_many_f(logarithm, grad, grad_step, y, y_step, out, out_step, k, least, \
                               most, magic) ((void) 0)
#define fastce_dot_d(e, given, count, reference, total, lost) ((void) 0)
#define fastce_dot_f(e, given, count, reference, total, lost) ((void) 0)
#define fastce_product_d(e, given, count, reference, dot, inverse, kappa, shift, curve) ((void) 0)
#define fastce_product_f(e, given, count, reference, dot, inverse, kappa, shift, curve) ((void) 0)
#define fastce_sigmoid_d(x, out, n, least, magic, up) ((void) 0)
#define fastce_sigmoid_f(x, out, n, least, magic, up) ((void) 0)
#define fastce_lifted_block_d(x, n, least, magic, e) ((void) 0)
#define fastce_lifted_block_f(x, n, least, magic, e) ((void) 0)
#define fastce_softplus_d(x, out, n, negative, least, magic) ((void) 0)
#define fastce_softplus_f(x, out, n, negative, least, magic) ((void) 0)
#define fastce_weighted_binary_d(x, t, neither, pos_weight, value, grad, hess, sloped, curved, n, \
                                 least, magic) ((void) 0)
#define fastce_weighted_binary_f(x, t, neither, pos_weight, value, grad, hess, sloped, curved, n, \
                                 least, magic) ((void) 0)
#define fastce_fractions_d(p, t, n, value, grad) ((void) 0)
#define fastce_fractions_f(p, t, n, value, grad) ((void) 0)
#define fastce_binary_d(x, t, n, hard, low, magic, up, scale, grad, product, product_low, total, \
                        lost) ((void) (product))
#define fastce_binary_f(x, t, n, hard, low, magic, up, scale, grad, product, product_low, total, \
                        lost) ((void) (product))
#define fastce_few_batch_d(few, steps) ((void) 0)
#define fastce_few_batch_f(few, steps) ((void) 0)
#define fastce_few_product_d(few, steps) ((void) 0)
#define fastce_few_product_f(few, steps) ((void) 0)
#define fastce_few_dense_d(few, steps) ((void) 0)
#define fastce_few_dense_f(few, steps) ((void) 0)
#define fastce_few_run_d(few, steps) ((void) 0)
#define fastce_few_run_f(few, steps) ((void) 0)
#define fastce_few_planes_d(few, steps, out, between, streamed) ((void) 0)
#define fastce_few_planes_f(few, steps, out, between, streamed) ((void) 0)
#define fastce_load_rows_d(x, lane, steps, b) ((void) 0)
#define fastce_load_rows_f(x, lane, steps, b) ((void) 0)
#define fastce_store_rows_d(x, lane, steps, b) ((void) 0)
#define fastce_store_rows_f(x, lane, steps, b) ((void) 0)
#define fastce_start_d(pending) ((void) 0)
#define fastce_finish_d(pending) ((void) 0)
#define fastce_start_f(pending) ((void) 0)
#define fastce_finish_f(pending) ((void) 0)
#define fastce_stream(to, from, n) memcpy(to, from, n)
#define fastce_rows_of_d(run, steps, b) ((void) 0)
#define fastce_rows_of_f(run, steps, b) ((void) 0)

#endif
#endif
