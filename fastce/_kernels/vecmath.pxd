# exp and log as straight-line arithmetic, so that the C compiler vectorises the loops that call
# them: no branch, no table, no call, only selects. Each is within 1 ULP over the range stated:
#
#   exp_scaled(y, magic)   e**y 2**s, for magic = magic_of(s) and |y| <= 4850 (float32: 622)
#   exp_parts              the same with its rounding error
#   exp_lifted(x)          e**-|x| 2**LIFT, any x
#   log1p(y)               log(1 + y), -0.7 <= y <= 2**1000 (float32: 2**120)
#   log1p_sum(y, low)      the same of the sum of two
#   log(x)                 any x
#   log_sum(x, low)        the same of the sum of two, the second 0 where x is small
#
#   log1p_unit(e)          log(1 + e), 0 <= e <= 1
#
# sigmoid and log1p_exp_minus are made of them, within 2 ULP.
#
# The coefficients are printed by tools/minimax.py, together with their own error.

from libc.math cimport INFINITY, fma
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

ctypedef fused real:
    float
    double


cdef inline real ln2_high(real x) noexcept nogil:
    # ln 2 = ln2_high + ln2_low; n * ln2_high is exact for |n| < 2**13 (float32: 2**10).
    if real is double:
        return 0.6931471805592082
    else:
        return <float> 0.693115234375


cdef inline real ln2_low(real x) noexcept nogil:
    if real is double:
        return 7.371002565167799e-13
    else:
        return <float> 3.1946183e-05


cdef inline real round_magic(real x) noexcept nogil:
    # Adding 1.5 * 2**(mantissa bits) rounds to an integer, which then stands in the lowest bits.
    if real is double:
        return 6755399441055744.0
    else:
        return <float> 12582912.0


cdef inline real power_of_two(real t) noexcept nogil:
    # The lowest bits of t become the exponent's. A zero there gives 0.
    cdef int64_t bits64
    cdef int32_t bits32
    cdef real power
    if real is double:
        memcpy(&bits64, &t, 8)
        bits64 = <int64_t> (<uint64_t> bits64 << 52)
        memcpy(&power, &bits64, 8)
    else:
        memcpy(&bits32, &t, 4)
        bits32 = <int32_t> (<uint32_t> bits32 << 23)
        memcpy(&power, &bits32, 4)
    return power


cdef inline real magic_of(real s) noexcept nogil:
    # What exp_scaled adds to have its result multiplied by 2**s, s an integer: the bias of the
    # exponent and s are added in the same step that rounds to n.
    if real is double:
        return round_magic(s) + (s + 1023.0)
    else:
        return round_magic(s) + (s + <float> 127.0)


cdef inline real lift(real x) noexcept nogil:
    # The exponent that results are raised by while they are summed, so that those which end up
    # subnormal are rounded only once, at the end.
    if real is double:
        return 64.0
    else:
        return <float> 32.0


cdef inline real lift_factor(real x) noexcept nogil:
    # 2**lift
    if real is double:
        return 18446744073709551616.0
    else:
        return <float> 4294967296.0


cdef inline real lowest(real n) noexcept nogil:
    # The largest y for which exp_scaled(y, magic_of(lift - n)) is exactly 0.
    if real is double:
        return (n - 1087.0) * 0.6931471805599453
    else:
        return (n - <float> 159.0) * <float> 0.6931472


cdef inline real exp_parts(real y, real magic, real* tail) noexcept nogil:
    # With y = n ln 2 + r: (1 + r + r**2 Q(r)) 2**(n + s), the last step rounding only once. The
    # tail is what that rounding lost.
    cdef real log2e = <real> 1.4426950408889634
    cdef real t = y * log2e + magic
    cdef real n = t - magic
    # r = high + low, high being exact, and 1 + high = h + l exactly.
    cdef real high = y - n * ln2_high(y)
    cdef real low = n * ln2_low(y)
    cdef real h = <real> 1.0 + high
    cdef real l = high - (h - <real> 1.0)
    cdef real r = high - low
    cdef real r2 = r * r, r4 = r2 * r2
    cdef real q, power
    if real is double:
        q = ((0.50000000000000111 + 0.16666666666666413 * r)
             + r2 * (0.041666666666530155 + 0.0083333333334944647 * r)
             + r4 * ((0.0013888888943630186 + 0.00019841269506569768 * r)
                     + r2 * (2.4801493098821254e-5 + 2.7557586382230873e-6 * r)
                     + r4 * (2.7630248411493244e-7 + 2.5000058837216111e-8 * r)))
    else:
        q = ((<float> 0.49999994 + <float> 0.166665211 * r)
             + r2 * (<float> 0.041668389 + <float> 0.00836871658 * r)
             + r4 * <float> 0.00138146093)
    power = power_of_two(t)
    l = l + (r2 * q - low)
    r = h + l
    tail[0] = power * (l - (r - h))
    return power * r


cdef inline real exp_scaled(real y, real magic) noexcept nogil:
    cdef real tail
    return exp_parts(y, magic, &tail)


cdef inline real exp_lifted(real x) noexcept nogil:
    cdef real y = -x if x > 0 else x
    y = lowest(<real> 0.0) if y < lowest(<real> 0.0) else y
    return exp_scaled(y, magic_of(lift(x)))


cdef inline real log_reduced(real g, real n, real c) noexcept nogil:
    # n ln 2 + log(1 + g) + c, for sqrt(1/2) <= 1 + g <= sqrt(2):
    # log(1 + g) = g - (h - s (h + z P(z))), h = g**2/2, s = g/(2 + g), z = s**2.
    cdef real h, s, z, tail
    s = g / (g + <real> 2.0)
    z = s * s
    h = <real> 0.5 * g * g
    if real is double:
        tail = z * (0.66666666666667351 + z * 0.39999999999411084
                    + z * z * ((0.28571428743264848 + z * 0.2222219847577549)
                               + z * z * ((0.18183569749744966 + z * 0.15313903019383956)
                                          + z * z * 0.14797509735534178)))
    else:
        tail = z * (<float> 0.666666627 + z * <float> 0.400003374
                    + z * z * (<float> 0.285372376 + z * <float> 0.235835701))
    return n * ln2_high(g) - ((h - (s * (h + tail) + (n * ln2_low(g) + c))) - g)


cdef inline real log_parts(real u, real c, real shift) noexcept nogil:
    # log((u + c) 2**shift) for normal u > 0 and abs(c) at most half a unit in the last place of u.
    # u = 2**n (1 + g); c adds c/(1 + g).
    cdef real one = <real> 1.0
    cdef real n, g, inverse_power
    cdef int64_t bits64, field64
    cdef int32_t bits32, field32
    # Adding (bits of 1) - (bits of sqrt(1/2)) leaves n + bias in the exponent's place; put under
    # the bits of 2**52 (2**23) it becomes a number again.
    if real is double:
        memcpy(&bits64, &u, 8)
        field64 = <int64_t> (<uint64_t> bits64 + <uint64_t> 0x00095f619980c433) >> 52
        bits64 = field64 | <int64_t> 0x4330000000000000
        memcpy(&n, &bits64, 8)
        n = n - 4503599627371519.0
        bits64 = <int64_t> (<uint64_t> (2046 - field64) << 52)
        memcpy(&inverse_power, &bits64, 8)
    else:
        memcpy(&bits32, &u, 4)
        field32 = <int32_t> (<uint32_t> bits32 + <uint32_t> 0x004afb0d) >> 23
        bits32 = field32 | 0x4b000000
        memcpy(&n, &bits32, 4)
        n = n - <float> 8388735.0
        bits32 = <int32_t> (<uint32_t> (254 - field32) << 23)
        memcpy(&inverse_power, &bits32, 4)
    g = u * inverse_power - one
    c = (c * inverse_power) * (one - g * (one - g))
    n = n + shift
    return log_reduced(g, n, c)


cdef inline real log1p_sum(real y, real low) noexcept nogil:
    # log(1 + y + low), low being at most a few units in the last place of y.
    cdef real u = <real> 1.0 + y
    # What the sum lost, exactly.
    cdef real c = y - (u - <real> 1.0) if y < <real> 1.0 else <real> 1.0 - (u - y)
    return log_parts(u, c + low, <real> 0.0)


cdef inline real log1p(real y) noexcept nogil:
    return log1p_sum(y, <real> 0.0)


# Quotients with what rounding lost, for the few numbers that a whole row depends on.

cdef inline real product_error(real a, real b, real product) noexcept nogil:
    # a b - product, for product = a b rounded (or near it)
    if real is double:
        return fma(a, b, -product)
    else:
        return <float> (<double> a * <double> b - <double> product)


cdef inline real reciprocal_low(real s, real s_low, real high) noexcept nogil:
    # What high = 1/s is short of 1/(s + s_low).
    return -high * (product_error(high, s, <real> 1.0) + high * s_low)


cdef inline real log_sum(real x, real low) noexcept nogil:
    # log(x + low), low being at most half a unit in the last place of x. A subnormal is multiplied
    # by 2**54 (2**30) first.
    cdef real least, up, shift
    cdef real infinity = <real> INFINITY
    if real is double:
        least, up, shift = 2.2250738585072014e-308, 18014398509481984.0, -54.0
    else:
        least, up, shift = <float> 1.1754944e-38, <float> 1073741824.0, <float> -30.0
    cdef real result = log_parts(x * up if x < least else x, low,
                                 shift if x < least else <real> 0.0)
    result = -infinity if x == 0 else result
    result = infinity - infinity if x < 0 else result
    # (x + x is inf or NaN, as x is)
    return result if x < infinity else x + x


cdef inline real log(real x) noexcept nogil:
    return log_sum(x, <real> 0.0)


cdef inline real sigmoid_of(real x, real e) noexcept nogil:
    # 1/(1 + e) or e/(1 + e), for e = exp_lifted(x): both are raised by 2**LIFT, so that a subnormal
    # result is rounded once. A small e/(1 + e) is e - e e/(1 + e), which only e itself can spoil.
    cdef real y = (e if x < 0 else lift_factor(x)) / (lift_factor(x) + e)
    cdef real z = (e - e * y) * (<real> 1.0 / lift_factor(x))
    return z if (x < 0) & (e < <real> 0.25 * lift_factor(x)) else y


cdef inline real sigmoid(real x) noexcept nogil:
    return sigmoid_of(x, exp_lifted(x))


cdef inline real log1p_unit(real e) noexcept nogil:
    # log(1 + e) for 0 <= e <= 1: as log_parts, with no more than one choice of n.
    cdef bint high = e > <real> 0.41421356
    cdef real n = <real> 1.0 if high else <real> 0.0
    cdef real g = <real> 0.5 * e - <real> 0.5 if high else e
    return log_reduced(g, n, <real> 0.0)


cdef inline real log1p_exp_minus(real x) noexcept nogil:
    # log(1 + e**-|x|)
    return log1p_unit(exp_lifted(x) * (<real> 1.0 / lift_factor(x)))
