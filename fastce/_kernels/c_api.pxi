# One-row functions for other Cython code, handed to fastce/cython_api.pyx as capsules.

cdef void single_row(Geometry* g, Array3* x, const void* row, Py_ssize_t k) noexcept nogil:
    g.outer = g.inner = 1
    g.k = k
    x.data = <void*> row
    x.outer, x.k, x.inner = k, 1, 1
    x.divisor = 1


cdef Work plain_work() noexcept nogil:
    cdef Work work
    memset(&work, 0, sizeof(work))
    work.lead = work.count = work.threads = 1
    return work


cdef void c_softmax_family(int op, bint wide, const void* x, Py_ssize_t k, void* out,
                           void* row) noexcept nogil:
    cdef Geometry g
    cdef Array3 xa
    cdef Array3 ya
    cdef Work work = plain_work()
    single_row(&g, &xa, x, k)
    ya = xa
    ya.data = out
    softmax_tile_number(op, &g, &xa, &ya, row, &work, 0, 0, wide)


cdef void c_cross_entropy(bint wide, const void* x, Py_ssize_t k, int64_t target, void* value,
                          void* grad) noexcept nogil:
    cdef Xent a
    cdef Work work = plain_work()
    single_row(&a.g, &a.x, x, k)
    a.grad = a.x
    a.grad.data = grad
    a.probabilities.data = a.hess.data = a.v.data = NULL
    a.labels = &target
    a.ignore = -1
    a.weight = a.row_weight = NULL
    a.value = value
    a.smoothing = a.z_loss = 0
    a.temperature = a.scale = 1
    xent_number(&a, &work, 0, 0, wide)


CAPSULES = {
    "softmax_family": PyCapsule_New(<void*> c_softmax_family, "fastce.softmax_family", NULL),
    "cross_entropy": PyCapsule_New(<void*> c_cross_entropy, "fastce.cross_entropy", NULL),
}
