# All typed kernels. setup.py compiles this file once for each instruction set (its TARGETS), and
# fastce/_dispatch.py imports the module that suits the machine.
#
# The floors, from the bottom: vecmath.pxd (exp, log); one function for a value, a row or a tile of
# rows (the mathematics); the batched `def` (loop, threads). Kernels trust their input: Python
# (fastce/_arrays.py) has made it aligned, native and of one type, and has checked its shape.

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastce._kernels.vecmath cimport (
    exp_lifted, exp_parts, exp_scaled, lift, lift_factor, ln2_high, ln2_low, log, log1p, log1p_sum,
    log1p_unit, log_parts, log_sum, lowest, magic_of, power_of_two, product_error, real,
    reciprocal_low, round_magic, sigmoid, sigmoid_of,
)

cnp.import_array()
cnp.import_ufunc()

include "parallel.pxi"
include "tiles.pxi"
include "elementwise.pxi"
include "batches.pxi"
include "softmax.pxi"
include "sums.pxi"
include "cross_entropy.pxi"
include "few_classes.pxi"
include "dense_batches.pxi"
include "probability_losses.pxi"
include "row_losses.pxi"
include "elementwise_losses.pxi"
include "plain.pxi"
include "c_api.pxi"
include "testing.pxi"
