"""Derive the coefficients of ``fastce/_kernels/vecmath.pxd`` and ``exp_lanes.h``.

Run ``python tools/minimax.py`` (needs mpmath): it prints each table as it stands in the source,
with the largest error of the approximation itself, in units of the last place of the result.

Two functions are approximated, each by the Remez exchange algorithm at 60 digits:

* ``exp(r) = 1 + r + r**2 Q(r)`` for ``|r| <= ln(2)/2``: the leading ``1 + r`` is exact, so that
  rounding it is the only large error of the evaluation; and for ``|r| <= ln(2)/32``, where
  2**(j/16) comes from a table;
* ``log(1 + g) = g - (h - s (h + z P(z)))`` with ``h = g**2/2``, ``s = g/(2 + g)``, ``z = s**2``,
  where ``z P(z) = 2 atanh(s)/s - 2``, for ``sqrt(1/2) <= 1 + g <= sqrt(2)``; and
  ``log(1 + r) = r + r**2 P(r)`` for ``|r| <= 0.0334``, where the logarithm of ``(1 + r)/z`` comes
  from a table.

The error printed is that of the coefficients as rounded to the working precision.
"""

from __future__ import annotations

import struct

from mpmath import exp, linspace, log, lu_solve, matrix, mp, mpf, sqrt

mp.dps = 60


def round_to(value, mantissa_bits):
    """Round to the nearest binary64 (53) or binary32 (24) number."""
    if mantissa_bits == 53:
        return mpf(float(value))
    return mpf(struct.unpack("f", struct.pack("f", float(value)))[0])


def remez(target, weight, degree, low, high, *, rounds=30):
    """Fit ``sum c_i x**i``, i <= degree, to ``target`` on [low, high].

    It minimises the largest |weight * error|, and returns the coefficients and the levelled error.
    """
    count = degree + 2
    nodes = [
        (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (i + mpf(1) / 2) / count)
        for i in range(count)
    ]
    coefficients, level = [], mpf(0)
    for _ in range(rounds):
        system = matrix(count, count)
        right = matrix(count, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                system[i, j] = x**j
            system[i, count - 1] = (-1) ** i / weight(x)
            right[i] = target(x)
        solution = lu_solve(system, right)
        coefficients, level = list(solution[: count - 1]), abs(solution[count - 1])

        def error(x, c=coefficients):
            return weight(x) * (target(x) - sum(ci * x**j for j, ci in enumerate(c)))

        # One extremum between each pair of sign changes, taken on a fine grid and refined.
        grid = linspace(low, high, 60 * count + 1)
        values = [error(x) for x in grid]
        extrema, best = [], 0
        for i in range(1, len(grid)):
            if values[i] * values[best] < 0:
                extrema.append(best)
                best = i
            elif abs(values[i]) > abs(values[best]):
                best = i
        extrema.append(best)
        if len(extrema) < count:
            break
        while len(extrema) > count:
            ends = (abs(values[extrema[0]]), abs(values[extrema[-1]]))
            extrema.pop(0 if ends[0] < ends[1] else -1)
        nodes = [refine(error, grid, i) for i in extrema]
        if max(abs(values[i]) for i in extrema) < level * mpf("1.0001"):
            break
    return coefficients, level


def refine(error, grid, i):
    """Fit a parabola through the three grid points around an extremum."""
    if i in (0, len(grid) - 1):
        return grid[i]
    step = grid[i + 1] - grid[i]
    left, middle, right = (abs(error(grid[i + d])) for d in (-1, 0, 1))
    curvature = left - 2 * middle + right
    return grid[i] if curvature == 0 else grid[i] + step * (left - right) / (2 * curvature)


def fit_rounded(target, weight, degree, low, high, mantissa_bits):
    """Remez, then round the coefficients."""
    coefficients, _ = remez(target, weight, degree, low, high)
    return [round_to(c, mantissa_bits) for c in coefficients]


def worst(target, weight, fixed, low, high):
    """Largest weighted error of the rounded polynomial on a fine grid."""
    grid = linspace(low, high, 4001)
    return max(
        abs(weight(x) * (target(x) - sum(c * x**p for p, c in enumerate(fixed)))) for x in grid
    )


def exp_tail(r):
    """(exp(r) - 1 - r) / r**2, by its series where that cancels."""
    if abs(r) < mpf("1e-8"):
        return mpf(1) / 2 + r / 6 + r * r / 24
    return (exp(r) - 1 - r) / r**2


def log_tail(z):
    """(2 atanh(s)/s - 2) / z for s = sqrt(z), by its series where that cancels."""
    if z < mpf("1e-12"):
        return mpf(2) / 3 + 2 * z / 5 + 2 * z * z / 7
    s = sqrt(z)
    return (log((1 + s) / (1 - s)) / s - 2) / z


def log_plain_tail(r):
    """(log(1 + r) - r) / r**2, by its series where that cancels."""
    if abs(r) < mpf("1e-8"):
        return -mpf(1) / 2 + r / 3 - r * r / 4
    return (log(1 + r) - r) / r**2


def report(name, target, weight, degree, low, high, mantissa_bits):
    """Print one table of coefficients, lowest degree first."""
    fixed = fit_rounded(target, weight, degree, low, high, mantissa_bits)
    error = worst(target, weight, fixed, low, high) * mpf(2) ** (mantissa_bits - 1)
    print(f"{name}: degree {degree}, error {mp.nstr(error, 3)} ULP")
    digits = 17 if mantissa_bits == 53 else 9
    for power, coefficient in enumerate(fixed):
        print(f"    c{power} = {mp.nstr(coefficient, digits)}")


def powers_of_two(mantissa_bits):
    """Print 2**(j/16), rounded, and what rounding lost.

    From the bits without the exponent j is taken off, as it is there already when the exponent is
    added.  Of the remainder of a float64 only the first 16 bits are kept, which is enough.
    """
    width = mantissa_bits - 1
    print("2**(j/16): bits, relative remainder")
    for j in range(16):
        exact = mpf(2) ** (mpf(j) / 16)
        rounded = round_to(exact, mantissa_bits)
        bits = int((rounded - 1) * mpf(2) ** width) - (j << (width - 4))
        lost = (exact - rounded) / rounded
        if mantissa_bits == 53:
            (word,) = struct.unpack("q", struct.pack("d", float(lost)))
            print(f"    {bits:#x}, {(word + (1 << 47)) >> 48:#x}")
        else:
            print(f"    {bits:#x}, {mp.nstr(lost, 9)}")


def logarithms(mantissa_bits):
    """Print, for 16 intervals of z, the c with which c z is nearly 1, and -log c in two parts.

    The intervals are equally wide in the bits of z, and the one numbered 8 is around z = 1, where
    c is 1.  Of c there are so few bits that c z - 1 is exact, or nearly, and of the first part so
    many that adding a multiple of ln 2's is exact.
    """

    def number(place):
        return 1 + place / 16 if place > 0 else 1 + place / 32

    last_bit = mpf(2) ** {53: 42, 24: 16}[mantissa_bits]
    largest = mpf(0)
    print("log: c, -log c, its remainder")
    for j in range(16):
        low, high = number(mpf(j) - mpf("8.5")), number(mpf(j) - mpf("7.5"))
        c = mp.nint(2 / (low + high) * 64) / 64
        largest = max(largest, abs(c * low - 1), abs(c * high - 1))
        first = mp.nint(-log(c) * last_bit) / last_bit
        rest = round_to(-log(c) - first, mantissa_bits)
        print(f"    {mp.nstr(c, 9)}, {mp.nstr(first, 17)}, {mp.nstr(rest, 17)}")
    print(f"largest |c z - 1|: {mp.nstr(largest, 4)}")


def main():
    """Print all tables."""
    half = log(2) / 2 * mpf("1.0001")
    fine = log(2) / 32 * mpf("1.0001")
    z_high = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2 * mpf("1.001")

    def exp_weight(r):
        # The tail enters as r**2 Q(r). Near 0 the weight is kept from vanishing, which would take
        # the exchange a node; it costs nothing, as Q is most accurate in the middle anyway.
        return max(r * r, half**2 / 100) / exp(r)

    def fine_weight(r):
        return max(r * r, fine**2 / 100) / exp(r)

    widest = mpf("0.0334")

    def plain_log_weight(r):
        # The tail enters as r**2 P(r), and the result is at least about r: as above.
        return max(abs(r), widest / 10)

    def log_weight(z):
        # The tail enters as s**3 P(z), and the result is about 2 s: kept from vanishing, as above.
        return max(z, z_high / 100) / 2

    for bits, exp_degree, log_degree in ((53, 9, 6), (24, 4, 3)):
        label = {53: "float64", 24: "float32"}[bits]
        report(f"exp, {label}", exp_tail, exp_weight, exp_degree, -half, half, bits)
        report(
            f"exp with table, {label}",
            exp_tail,
            fine_weight,
            {53: 4, 24: 1}[bits],
            -fine,
            fine,
            bits,
        )
        powers_of_two(bits)
        report(f"log1p, {label}", log_tail, log_weight, log_degree, mpf(0), z_high, bits)
        report(
            f"log with table, {label}",
            log_plain_tail,
            plain_log_weight,
            {53: 7, 24: 3}[bits],
            -widest,
            widest,
            bits,
        )
        logarithms(bits)


if __name__ == "__main__":
    main()
