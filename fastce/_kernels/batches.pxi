# Batches of rows: what softmax, log_softmax, logsumexp and the cross-entropy of classes share.
#
# A batch is up to LANES rows, and lane l of what is known of its rows (the largest logit, the sum
# of the e_j, ...) belongs to row l, so that all of this is computed for the whole batch at once.
# The classes are taken in one of two ways:
#
#   many      a tile of many rows, in a buffer, which is `whole` where it has room; else it is taken
#             a chunk at a time, and the e_j wait in the result
#   in_turn   long rows, one after the other, each a chunk at a time from where it lies, and the e_j
#             wait in the result; only rows that are not runs of memory go through a buffer
#
# Results too large for the caches are written past them (`streamed`), as a line that is fetched
# only to be overwritten takes longer than it is worth. The e_j of long rows then wait in a buffer
# until the next batch is computed: arithmetic and memory are busy at the same time.
#
# A very long row is cut into SECTIONS, whatever the number of threads, which then share it.

ctypedef char in_turn
ctypedef short many

ctypedef fused layout:
    in_turn
    many


cdef enum:
    BATCH_ITEMS = 16384             # a batch of long rows and its results stay near the processor
    AHEAD_ITEMS = 65536             # a row longer than this is not fetched ahead
    SECTIONS = 64                   # of a row of more than so many chunks
    ROOM_STEPS = 1024               # of a tile that is whole in a buffer from `make_room`
    STREAMED_BYTES = 1 << 21        # of the smallest result of many rows that is streamed
    STREAMED_LONG = 1 << 24         # of rows in turn
    NEAR_BYTES = 1 << 23            # a larger result is out of the caches: no time to look ahead
    PILE_ROWS = 8                   # of a batch of rows in turn, if their e_j wait
    ALIGNED_ROWS = 256              # side by side, and more: their batches start where lines do


cdef inline Py_ssize_t batch_size(const Geometry* g, bint side_by_side) noexcept nogil:
    if side_by_side:
        return LANES
    return max(<Py_ssize_t> 1, min(<Py_ssize_t> LANES, <Py_ssize_t> BATCH_ITEMS // g.k))


cdef struct Pile:
    # A thread's rows whose e_j wait in one half of a buffer, while the other half is filled.
    Py_ssize_t count
    int half
    fastce_pending row[PILE_ROWS]


cdef inline size_t pile_bytes() noexcept nogil:
    # Of a Pile, in whole lines of memory.
    return (sizeof(Pile) + 63) // 64 * 64


cdef inline size_t half_bytes(size_t item) noexcept nogil:
    # Of either half of the buffer: the e_j of a batch, and a line by which `wait_in` shifts them.
    return BATCH_ITEMS * item + 64


cdef struct TopsAhead:
    # The largest logits, not yet divided by the temperature, of rows that a thread is to come to,
    # found while it computed the e_j of others, or gathered the rows.
    bint two                        # whether the second largest are wanted, too
    Array3* evens                   # whence rows that have gaps are gathered, or NULL
    Py_ssize_t row[LANES]           # their numbers; -1 where there is none
    double top[LANES]
    double second[LANES]


cdef struct Work:
    # How the batches of a call are computed.
    bint beside                     # `many`, not `in_turn`
    bint streamed                   # but for rows in turn that have no pile
    bint gathered                   # rows in turn have gaps, and are first copied to the results
    Py_ssize_t lead                 # rows of the first batch: to where lines start, or as others
    Py_ssize_t count
    int threads
    size_t size                     # bytes of a thread's buffer
    void* memory                    # of the buffers, or NULL
    char* room                      # where the first starts
    TopsAhead* tops_ahead           # by thread, or NULL


cdef inline Py_ssize_t batch_count(const Geometry* g, const Work* work) noexcept nogil:
    cdef Py_ssize_t size = batch_size(g, work.beside)
    cdef Py_ssize_t rows = g.outer * g.inner
    return (rows + 2 * size - work.lead - 1) // size if rows > 0 else 0


cdef Work work_on(const Geometry* g, const Array3* x, const Array3* y, bint wide) noexcept nogil:
    # For logits x and results y, whose data may be NULL.
    cdef Work work
    cdef size_t item = sizeof(double) if wide else sizeof(float)
    work.beside = side_by_side(g, x)
    work.gathered = (y.data != NULL and y.data != x.data and x.k != 1 and y.k == 1
                     and not work.beside)
    work.streamed = (FASTCE_HAS_EXP_LANES and y.data != NULL and y.data != x.data
                     and not work.gathered
                     and g.outer * g.k * g.inner * item >= <size_t> (
                         STREAMED_BYTES if work.beside else STREAMED_LONG))
    work.lead = batch_size(g, work.beside)
    if work.streamed and work.beside and y.inner == 1 and g.inner >= ALIGNED_ROWS \
            and g.k <= ROOM_STEPS and <size_t> y.data % 64 % item == 0:
        work.lead = LANES - <Py_ssize_t> (<size_t> y.data % 64 // item)
    work.count = batch_count(g, &work)
    work.threads = outer_team(g, work.count, work.beside)
    work.size = 0
    work.memory = work.room = NULL
    work.tops_ahead = NULL
    return work


cdef void make_room(Work* work, const Geometry* g, const Array3* y, bint wide) noexcept nogil:
    # A buffer for each thread: for a tile of many rows that has more than a chunk but stays in the
    # second-level cache, or for the e_j of two batches of long rows and their pile. To be freed.
    cdef size_t item = sizeof(double) if wide else sizeof(float)
    cdef int thread
    if work.beside and CHUNK < g.k <= ROOM_STEPS:
        work.size = g.k * LANES * item
    elif not work.beside and work.streamed and y.k == 1 \
            and BATCH_ITEMS // PILE_ROWS <= g.k <= BATCH_ITEMS:
        work.size = pile_bytes() + 2 * half_bytes(item)
    if work.size > 0:
        work.memory = malloc(work.threads * work.size + 63)
    if work.memory != NULL:
        work.room = <char*> work.memory + (64 - <size_t> work.memory % 64) % 64
        if not work.beside:
            for thread in range(work.threads):
                pile_of(work, thread).count = pile_of(work, thread).half = 0


cdef void clear_room(Work* work, bint wide) noexcept nogil:
    # Writes what is still pending.
    cdef int thread
    if work.room != NULL and not work.beside:
        for thread in range(work.threads):
            if wide:
                finish[double](pile_of(work, thread), 0)
            else:
                finish[float](pile_of(work, thread), 0)
    free(work.memory)
    free(work.tops_ahead)


cdef inline void* room_of(const Work* work, int thread) noexcept nogil:
    return NULL if work.room == NULL else work.room + thread * work.size


cdef inline Pile* pile_of(const Work* work, int thread) noexcept nogil:
    return <Pile*> room_of(work, thread)


cdef void look_ahead(Work* work, const Geometry* g, const Array3* x, const Array3* y, bint two,
                     bint wide) noexcept nogil:
    # After make_room: memory for what is known of later rows, if that pays. To be freed.
    cdef size_t item = sizeof(double) if wide else sizeof(float)
    cdef int thread
    cdef bint evens = x.k == 2 and g.k <= AHEAD_ITEMS and (work.gathered or y.data == NULL)
    cdef bint near = rows_are_near(x, g) and (y.data == NULL or work.room != NULL
                                              or g.outer * g.k * item <= NEAR_BYTES)
    if FASTCE_HAS_EXP_LANES and not work.beside and work.count > work.threads \
            and not (two and x.divisor != 1) and (evens or near):
        work.tops_ahead = <TopsAhead*> malloc(work.threads * sizeof(TopsAhead))
    if work.tops_ahead != NULL:
        memset(work.tops_ahead, -1, work.threads * sizeof(TopsAhead))
        for thread in range(work.threads):
            work.tops_ahead[thread].two = two
            work.tops_ahead[thread].evens = <Array3*> x if evens else NULL


cdef inline TopsAhead* tops_ahead_of(const Work* work, int thread) noexcept nogil:
    return NULL if work.tops_ahead == NULL else work.tops_ahead + thread


cdef inline void gather_rows(const Array3* x, const Array3* y, const Geometry* g, const Tile* tile,
                             TopsAhead* tops_ahead, real kind) noexcept nogil:
    # The rows of a tile become runs of memory in y: each would be gathered twice from x.
    # tops_ahead, unless it is NULL, gets their largest logits.
    cdef Py_ssize_t r
    cdef const real* row
    cdef real top[2]
    for r in range(tile.rows):
        row = row_at(<real*> x.data, x, g, tile.first + r)
        if gather_run(row, x.k, g.k, row_at(<real*> y.data, y, g, tile.first + r), top) \
                and tops_ahead != NULL:
            tops_ahead.row[r] = tile.first + r
            tops_ahead.top[r] = top[0]
            tops_ahead.second[r] = top[1]


cdef inline Array3 gather_batch(const Array3* x, const Array3* y, const Geometry* g,
                                const Tile* tile, TopsAhead* tops_ahead,
                                bint wide) noexcept nogil:
    # What stands for x then.
    cdef Array3 gathered = y[0]
    gathered.divisor = x.divisor
    if wide:
        gather_rows[double](x, y, g, tile, tops_ahead, 0)
    else:
        gather_rows[float](x, y, g, tile, tops_ahead, 0)
    return gathered


cdef inline Tile batch_number(const Geometry* g, Py_ssize_t t, const Work* work) noexcept nogil:
    cdef Py_ssize_t size = batch_size(g, work.beside)
    cdef Py_ssize_t first = 0 if t == 0 else work.lead + (t - 1) * size
    cdef Py_ssize_t rows = min(work.lead if t == 0 else size, g.outer * g.inner - first)
    cdef Tile batch = tile_at(g, first, rows, not work.beside)
    batch.whole |= work.beside and work.room != NULL
    batch.streamed = work.streamed
    return batch


cdef inline real* wait_in(Pile* pile, const Geometry* g, const Tile* batch, real kind,
                          const Array3* y, Array3* waiting) noexcept nogil:
    # Where the e_j of a batch wait for the results y, as an array of its rows by their numbers
    # among all. (They start at the same place of a line of memory as the batch's first row in y, so
    # that both go by whole lines.)
    cdef real* e = <real*> (<char*> pile + pile_bytes() + pile.half * half_bytes(sizeof(real)))
    e += <size_t> row_at(<real*> y.data, y, g, batch.first) % 64 // sizeof(real)
    waiting.data = e - batch.first * g.k
    waiting.outer, waiting.k, waiting.inner = g.inner * g.k, 1, g.k
    waiting.divisor = 1
    return <real*> waiting.data


cdef inline void put_off(Pile* pile, const real* e, real* out, Py_ssize_t k, Py_ssize_t masked,
                         real at_masked, real factor, real factor_low) noexcept nogil:
    # out = e times the sum of two factors, past the caches, and at_masked for the one that is
    # masked, if one is: later.
    cdef fastce_pending* row = &pile.row[pile.count]
    row.e, row.out, row.k, row.masked = e, out, k, masked
    row.factor, row.factor_low, row.at_masked = factor, factor_low, at_masked
    if real is double:
        fastce_start_d(row)
    else:
        fastce_start_f(row)
    pile.count += 1


cdef inline void finish(Pile* pile, real kind) noexcept nogil:
    # What is left of that.
    cdef Py_ssize_t r
    for r in range(pile.count):
        if real is double:
            fastce_finish_d(&pile.row[r])
        else:
            fastce_finish_f(&pile.row[r])
    pile.count = 0


cdef inline Py_ssize_t lanes_of(const Tile* batch, real kind) noexcept nogil:
    # The lanes that the numbers of its rows take: whole vectors; all that a tile of many rows has.
    cdef Py_ssize_t vector = 64 // sizeof(real)
    if not batch.single:
        return LANES
    return max(vector, (batch.rows + vector - 1) // vector * vector)


cdef inline Tile row_of(const Tile* batch, Py_ssize_t r) noexcept nogil:
    cdef Tile tile = batch[0]
    tile.first += r
    tile.rows = 1
    return tile


cdef inline void mask_targets_of(const Tile* tile, Py_ssize_t start, Py_ssize_t steps,
                                 const Py_ssize_t* target, real* b) noexcept nogil:
    # For many rows: the target of each becomes -inf in b; where it is IGNORED, the whole row zeros.
    cdef Py_ssize_t l
    for l in range(tile.rows):
        if start <= target[l] < start + steps:
            b[(target[l] - start) * LANES + l] = -<real> INFINITY
    mask_ignored(target, steps, b)


cdef inline void mask_ignored(const Py_ssize_t* target, Py_ssize_t steps, real* b) noexcept nogil:
    # For many rows: those whose target is IGNORED become zeros.
    cdef Py_ssize_t l, i
    for l in range(LANES):
        if target[l] == IGNORED:
            for i in range(steps):
                b[i * LANES + l] = 0


cdef inline void keep_done(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                           Py_ssize_t steps, const Py_ssize_t* target, real* b) noexcept nogil:
    # For many rows: those that are DONE go from the result x to b, which is to be stored there.
    cdef Py_ssize_t l, i
    for l in range(tile.rows):
        if target[l] == DONE:
            for i in range(steps):
                b[i * LANES + l] = x[span.lane[l] + (start + i) * span.step]


cdef inline void load_masked(const real* x, const Span* span, const Tile* tile, Py_ssize_t start,
                             Py_ssize_t steps, const Py_ssize_t* target, real* b) noexcept nogil:
    load(x, span, tile, start, steps, -<real> INFINITY, b)
    if target != NULL:
        mask_targets_of(tile, start, steps, target, b)


cdef inline const real* run_of(const real* x, const Span* span, const Tile* tile, Py_ssize_t k,
                               Py_ssize_t chunk, Py_ssize_t* count, real* b) noexcept nogil:
    # The values of one row's chunk as a run of memory: where they lie, or in b.
    cdef Py_ssize_t start = chunk * CHUNK
    count[0] = min(k - start * LANES, <Py_ssize_t> CHUNK * LANES)
    if span.unit and span.divisor == 1:
        return x + span.lane[0] + start * LANES
    load(x, span, tile, start, min(tile.steps - start, <Py_ssize_t> CHUNK), -<real> INFINITY, b)
    return b


cdef inline Py_ssize_t section_count(const Tile* tile) noexcept nogil:
    return SECTIONS if tile.chunks > SECTIONS else 1


cdef inline Py_ssize_t section_start(const Tile* tile, Py_ssize_t s) noexcept nogil:
    # The first chunk of section s.
    return tile.chunks * s // SECTIONS if tile.chunks > SECTIONS else tile.chunks * s


cdef real section_max(const real* x, const Span* span, const Tile* tile, Py_ssize_t k,
                      Py_ssize_t masked, Py_ssize_t s) noexcept nogil:
    # The largest value of a section of one row, but for x[masked].
    cdef Py_ssize_t chunk, count, cut
    cdef const real* run
    cdef real m[LANES]
    cdef real b[CHUNK * LANES]
    fill_lanes(m, -<real> INFINITY)
    for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
        run = run_of(x, span, tile, k, chunk, &count, b)
        cut = masked - chunk * CHUNK * LANES
        if 0 <= cut < count:
            max_run(run, cut, m)
            max_run(run + cut + 1, count - cut - 1, m)
        else:
            max_run(run, count, m)
    return lanes_max(m)


cdef inline real row_max(const real* x, const Span* span, const Tile* tile, Py_ssize_t k,
                         Py_ssize_t masked) noexcept nogil:
    # The same of the whole row.
    cdef Py_ssize_t s
    cdef real found[SECTIONS]
    cdef real top
    cdef int threads
    if section_count(tile) == 1:
        return section_max(x, span, tile, k, masked, 0)
    threads = team(0.1 * k, SECTIONS)
    if threads == 1:
        for s in range(SECTIONS):
            found[s] = section_max(x, span, tile, k, masked, s)
    else:
        for s in prange(SECTIONS, num_threads=threads, schedule="static"):
            found[s] = section_max(x, span, tile, k, masked, s)
    top = found[0]
    for s in range(1, SECTIONS):
        top = found[s] if found[s] > top else top
    return top


cdef void section_two(const real* x, const Span* span, const Tile* tile, Py_ssize_t k,
                      Py_ssize_t s, real* top, real* second) noexcept nogil:
    # The largest two values of a section of one row.
    cdef Py_ssize_t chunk, count, i
    cdef const real* run
    cdef real m[LANES]
    cdef real below[LANES]
    cdef real b[CHUNK * LANES]
    fill_lanes(m, -<real> INFINITY)
    fill_lanes(below, -<real> INFINITY)
    for chunk in range(section_start(tile, s), section_start(tile, s + 1)):
        run = run_of(x, span, tile, k, chunk, &count, b)
        for i in range(count // LANES):
            two_pass(run + i * LANES, LANES, m, below)
        i = count // LANES * LANES
        two_pass(run + i, count - i, m, below)
    lanes_two(m, below)
    top[0] = m[0]
    second[0] = below[0]


cdef inline void row_two(const real* x, Span* span, const Tile* tile, Py_ssize_t k, real* top,
                         real* second) noexcept nogil:
    # The same of the whole row, divided only once.
    cdef Py_ssize_t s
    cdef real found[SECTIONS]
    cdef real below[SECTIONS]
    cdef double divisor = span.divisor
    cdef int threads
    span.divisor = 1
    if section_count(tile) == 1:
        section_two(x, span, tile, k, 0, found, below)
    else:
        threads = team(0.1 * k, SECTIONS)
        if threads == 1:
            for s in range(SECTIONS):
                section_two(x, span, tile, k, s, &found[s], &below[s])
        else:
            for s in prange(SECTIONS, num_threads=threads, schedule="static"):
                section_two(x, span, tile, k, s, &found[s], &below[s])
        for s in range(1, SECTIONS):
            below[0] = below[s] if below[s] > below[0] else below[0]
            two_pass(&found[s], 1, found, below)
    span.divisor = divisor
    top[0] = found[0] / <real> divisor
    second[0] = below[0] / <real> divisor


cdef inline real largest(const real* x, Span* span, const Tile* tile, Py_ssize_t k,
                         Py_ssize_t masked) noexcept nogil:
    # row_max, divided only once.
    cdef double divisor = span.divisor
    cdef real top
    span.divisor = 1
    top = row_max(x, span, tile, k, masked) / <real> divisor
    span.divisor = divisor
    return top


cdef inline void batch_load(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                            const Py_ssize_t* target, const real* target_x, real* b, real* top,
                            const TopsAhead* tops_ahead, layout how) noexcept nogil:
    # The largest logit of each row but for its target (0 if that is IGNORED) into `top`. For many
    # rows, the logits into b, the targets masked. tops_ahead may be NULL.
    cdef Py_ssize_t r, chunk, start, steps
    cdef real* part
    cdef Span span
    cdef Tile tile
    fill_lanes(top, -<real> INFINITY)
    if layout is many:
        place(xa, g, batch, &span)
        for chunk in range(batch.chunks):
            start = chunk * CHUNK
            steps = min(batch.steps - start, <Py_ssize_t> CHUNK)
            part = b + start * LANES if batch.whole else b
            load_masked(x, &span, batch, start, steps, target, part)
            max_pass(part, steps, top)
    else:
        for r in range(batch.rows):
            if target != NULL and target[r] == IGNORED:
                top[r] = 0
                continue
            tile = row_of(batch, r)
            place(xa, g, &tile, &span)
            if tops_ahead != NULL and tops_ahead.row[r] == tile.first:
                top[r] = <real> tops_ahead.top[r] / <real> span.divisor
            else:
                top[r] = largest(x, &span, &tile, g.k, <Py_ssize_t> -1)
            if target != NULL and top[r] == target_x[r]:
                top[r] = largest(x, &span, &tile, g.k, target[r])


cdef inline void argmax_pass(const real* b, Py_ssize_t steps, real* top, real* second,
                             real* step) noexcept nogil:
    # top and second become the largest two of both and b, a lane each, and `step` that of the first
    # top, unless it stays. NaN is passed over.
    cdef Py_ssize_t i, l
    cdef real y
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_argmax_d(b, steps, top, second, step)
        else:
            fastce_argmax_f(b, steps, top, second, step)
        return
    for i in range(steps):
        for l in range(LANES):
            y = b[i * LANES + l]
            step[l] = <real> i if y > top[l] else step[l]
            # (of y and top the smaller)
            second[l] = max(second[l], top[l] if y > top[l] else y)
            top[l] = y if y > top[l] else top[l]


cdef inline void batch_argmax(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                              const Py_ssize_t* target, real* b, Py_ssize_t* at, real* top,
                              real* second, const TopsAhead* tops_ahead,
                              layout how) noexcept nogil:
    # The largest two values of each row, and where the first stands first, or 0 if it is NaN; a row
    # whose target is IGNORED has `at` IGNORED and zeros. For many rows of a single chunk, the
    # values into b, the largest masked.
    cdef Py_ssize_t r, chunk, start, count, steps, i, l
    cdef const real* run
    cdef Span span
    cdef Tile tile
    # Of many rows: the chunk, and the step in it. (The type has no room for a number of any size.)
    cdef real in_chunk[LANES]
    cdef real step[LANES]
    cdef real before[LANES]
    for l in range(LANES):
        at[l] = IGNORED if target != NULL and target[l] == IGNORED else 0
        top[l] = -<real> INFINITY if at[l] == 0 else <real> 0.0
        second[l] = top[l]
    if layout is many:
        fill_lanes(in_chunk, <real> 0.0)
        fill_lanes(step, <real> 0.0)
        place(xa, g, batch, &span)
        for chunk in range(batch.chunks):
            start = chunk * CHUNK
            steps = min(batch.steps - start, <Py_ssize_t> CHUNK)
            load(x, &span, batch, start, steps, -<real> INFINITY, b)
            # (Whatever an ignored row holds must not be its largest value.)
            mask_ignored(at, steps, b)
            memcpy(before, top, LANES * sizeof(real))
            argmax_pass(<const real*> b, steps, top, second, step)
            for l in range(LANES):
                in_chunk[l] = <real> chunk if top[l] > before[l] else in_chunk[l]
        for l in range(LANES):
            if at[l] != IGNORED:
                at[l] = <Py_ssize_t> in_chunk[l] * CHUNK + <Py_ssize_t> step[l]
        if batch.chunks == 1:
            mask_targets_of(batch, 0, batch.steps, at, b)
    else:
        for r in range(batch.rows):
            if at[r] == IGNORED:
                continue
            tile = row_of(batch, r)
            place(xa, g, &tile, &span)
            if tops_ahead != NULL and tops_ahead.row[r] == tile.first:
                top[r] = <real> tops_ahead.top[r]
                second[r] = <real> tops_ahead.second[r]
            else:
                row_two(x, &span, &tile, g.k, &top[r], &second[r])
            for chunk in range(batch.chunks):
                run = run_of(x, &span, &tile, g.k, chunk, &count, b)
                i = first_equal(run, count, top[r])
                if i < count:
                    at[r] = chunk * CHUNK * LANES + i
                    break


cdef inline Py_ssize_t first_equal(const real* x, Py_ssize_t count, real value) noexcept nogil:
    # Where a run of memory holds a value first; `count` if nowhere.
    cdef Py_ssize_t i, l
    cdef Py_ssize_t found = 0
    for i in range(count // LANES):
        for l in range(LANES):
            found |= x[i * LANES + l] == value
        if found:
            break
    else:
        i = count // LANES
    i = i * LANES
    while i < count and x[i] != value:
        i += 1
    return i


cdef inline bint rows_are_near(const Array3* a, const Geometry* g) noexcept nogil:
    # Whether rows are runs of memory that follow each other and are not too long.
    return a.k == 1 and g.inner == 1 and a.outer == g.k and g.k <= AHEAD_ITEMS


cdef inline bint are_short_runs(const Array3* a, const Geometry* g) noexcept nogil:
    # Whether, besides, each is a single chunk.
    return g.k <= CHUNK * LANES and rows_are_near(a, g)


cdef inline bint are_single_runs(const Array3* a, const Geometry* g) noexcept nogil:
    # Whether rows are runs of memory, wherever they are, of a single chunk that is not divided.
    return a.k == 1 and g.inner == 1 and g.k <= CHUNK * LANES and a.divisor == 1


cdef inline const real* near_row(const real* x, const Array3* a, const Geometry* g,
                                 Py_ssize_t row) noexcept nogil:
    # Where a row starts, if rows_are_near. (It may be beyond the array: then only for prefetching.)
    return x + row * g.k if x != NULL and rows_are_near(a, g) else NULL


cdef inline const real* near_tile(const real* x, const Array3* a, const Geometry* g,
                                  const Tile* tile, Py_ssize_t r, Py_ssize_t* step) noexcept nogil:
    # Where the tile of many rows r rows further on starts, as sweep fetches it: LANES items at a
    # time, so many items apart. NULL if it is not made of such runs.
    cdef Py_ssize_t o
    step[0] = LANES
    if x == NULL:
        return NULL
    if g.inner == 1 and a.outer == 1 or g.inner > 1 and a.inner == 1:
        step[0] = a.k
        o = tile.first // g.inner
        return x + o * a.outer + (tile.first - o * g.inner) * a.inner + r
    return near_row(x, a, g, tile.first + r)


cdef inline Tile near_result(const Tile* tile) noexcept nogil:
    # The tile, not streamed if its e_j are in the result, from where they are read again.
    cdef Tile near = tile[0]
    near.streamed = tile.streamed and tile.whole
    return near


cdef inline bint is_fetched(const real* x, const Span* span, const Tile* tile) noexcept nogil:
    # Whether a result of many rows comes near before it is written. (Lanes that lie together are
    # not streamed where they are parts of lines.)
    return not tile.streamed or (span.unit and not takes_lines(x, span, tile))


cdef inline void sweep_many(const real* x, const Array3* xa, const Geometry* g, const Tile* tile,
                            const Py_ssize_t* target, const real* centre, const real* low,
                            const real* magic, const real* anchor, bint far, real* b, real* out,
                            const Array3* oa, real* total, real* lost) noexcept nogil:
    # batch_sums of many rows.
    cdef Py_ssize_t chunk, start, steps, x_step, out_step
    cdef Py_ssize_t next_one = CHUNK    # from a step to what is fetched meanwhile
    cdef Tile near = near_result(tile)
    cdef const real* ahead = near_tile(x, xa, g, tile, LANES if tile.whole else 0, &x_step)
    cdef const real* result = NULL
    cdef real* part = b
    cdef Span xs
    cdef Span os
    place(xa, g, tile, &xs)
    nowhere(&os)
    if out != NULL:
        place(oa, g, tile, &os)
    out_step = 0
    if out != NULL and is_fetched(<const real*> out, &os, &near):
        result = near_tile(<const real*> out, oa, g, tile, 0, &out_step)
    if tile.whole:
        next_one = 0
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if tile.whole:
            part = b + start * LANES
        else:
            load_masked(x, &xs, tile, start, steps, target, b)
        sweep(part, out != NULL, steps, far, centre, low, magic, anchor,
              ahead + (start + next_one) * x_step if ahead != NULL else NULL, x_step,
              result + start * out_step if result != NULL else NULL, out_step, chunk == 0, total,
              lost)
        if out != NULL and not tile.whole:
            if target != NULL:
                keep_done(<const real*> out, &os, tile, start, steps, target, b)
            store(out, &os, &near, start, steps, <const real*> b)


cdef void sweep_section(const real* x, const Span* xs, const Tile* tile, Py_ssize_t k,
                        Py_ssize_t masked, real centre, real low, real magic, real anchor,
                        const real* ahead, Py_ssize_t ahead_step, real* top, bint two, real* out,
                        const Span* os, Py_ssize_t s, fastce_pending* pending, real* total,
                        real* lost) noexcept nogil:
    # batch_sums of a section of one row.
    cdef Py_ssize_t chunk, start, count
    cdef const real* run
    cdef real* to
    cdef Py_ssize_t first = section_start(tile, s)
    cdef Py_ssize_t end = section_start(tile, s + 1)
    cdef bint folded = end - first == 1
    cdef real sums[LANES]
    cdef real rests[LANES]
    cdef real b[CHUNK * LANES]
    for chunk in range(first, end):
        start = chunk * CHUNK
        run = run_of(x, xs, tile, k, chunk, &count, b)
        to = out + os.lane[0] + start * LANES if os.unit else b
        sweep_run(run, count, 1.0, masked - start * LANES, centre, low, magic, anchor,
                  ahead + start * LANES * ahead_step if ahead != NULL else NULL, ahead_step, top,
                  two, to if out != NULL else NULL, b, pending, chunk == first, folded,
                  total if folded else sums, lost if folded else rests)
        if out != NULL and not os.unit:
            store(out, os, tile, start, min(tile.steps - start, <Py_ssize_t> CHUNK),
                  <const real*> b)
    if not folded:
        fold_lanes(sums, rests, total, lost)


cdef inline void add_sum(real s, real rest, real* total, real* lost) noexcept nogil:
    # total + lost += s + rest, as `two_sum`.
    cdef real t = total[0] + s
    lost[0] = lost[0] + (rest + sum_error(total[0], s, t))
    total[0] = t


cdef inline void sweep_row(const real* x, const Array3* xa, const Geometry* g, const Tile* tile,
                           Py_ssize_t masked, real centre, real low, real magic, real anchor,
                           const real* ahead, Py_ssize_t ahead_step, real* top, bint two,
                           real* out, const Array3* oa, fastce_pending* pending, real* total,
                           real* lost) noexcept nogil:
    # batch_sums of one row.
    cdef Py_ssize_t s
    cdef Span xs
    cdef Span os
    cdef real sums[SECTIONS]
    cdef real rests[SECTIONS]
    cdef int threads
    place(xa, g, tile, &xs)
    nowhere(&os)
    if out != NULL:
        place(oa, g, tile, &os)
    if section_count(tile) == 1:
        sweep_section(x, &xs, tile, g.k, masked, centre, low, magic, anchor, ahead, ahead_step,
                      top, two, out, &os, 0, pending, total, lost)
        return
    threads = team(<double> g.k, SECTIONS)
    if threads == 1:
        for s in range(SECTIONS):
            sweep_section(x, &xs, tile, g.k, masked, centre, low, magic, anchor, ahead,
                          ahead_step, NULL, False, out, &os, s, NULL, &sums[s], &rests[s])
    else:
        for s in prange(SECTIONS, num_threads=threads, schedule="static"):
            sweep_section(x, &xs, tile, g.k, masked, centre, low, magic, anchor, ahead,
                          ahead_step, NULL, False, out, &os, s, NULL, &sums[s], &rests[s])
    total[0] = sums[0]
    lost[0] = rests[0]
    for s in range(1, SECTIONS):
        add_sum(sums[s], rests[s], total, lost)


cdef inline void batch_sums(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                            const Py_ssize_t* target, const real* centre, const real* low,
                            const real* magic, const real* anchor, bint far, real* b, real* out,
                            const Array3* oa, Pile* pile, TopsAhead* tops_ahead, real* total,
                            real* lost, layout how) noexcept nogil:
    # The sum of the e_j in each row, but for its target. The e_j themselves, unless `out` is NULL,
    # are in b for many rows that are whole, and else in `out`; if it is NULL, such rows leave the
    # logits less the centre in b. The pile may be NULL; so may tops_ahead, which gets the largest
    # logit of each row of the next batch, or the largest two; or, of rows with gaps, nothing.
    cdef Py_ssize_t r, next_row, masked
    cdef Py_ssize_t ahead_step = 1
    cdef Tile tile
    cdef const real* ahead
    cdef Array3* evens = tops_ahead.evens if tops_ahead != NULL else NULL
    cdef fastce_pending* pending
    # (A shortcut: the same sums without Spans.)
    cdef bint direct = (not far and are_short_runs(xa, g)
                        and (FASTCE_HAS_EXP_LANES or xa.divisor == 1)
                        and (out == NULL or are_short_runs(oa, g)))
    cdef real found[2]
    cdef real* top
    cdef bint two = tops_ahead != NULL and tops_ahead.two
    if layout is many:
        sweep_many(x, xa, g, batch, target, centre, low, magic, anchor, far, b, out, oa, total,
                   lost)
    else:
        fill_lanes(total, <real> 1.0)
        fill_lanes(lost, <real> 0.0)
        for r in range(batch.rows):
            if target != NULL and target[r] < 0:
                continue
            tile = row_of(batch, r)
            next_row = tile.first + batch.rows
            ahead = near_row(x, xa, g, next_row)
            top = NULL
            if evens != NULL:
                ahead_step = 2
                ahead = row_at(<real*> evens.data, evens, g, next_row)
            elif tops_ahead != NULL and ahead != NULL and next_row < g.outer:
                found[0] = found[1] = -<real> INFINITY
                top = found
            masked = target[r] if target != NULL else <Py_ssize_t> -1
            pending = &pile.row[r] if pile != NULL and r < pile.count else NULL
            if direct:
                sweep_run(x + tile.first * g.k, g.k, xa.divisor, masked, <real> 0.0, low[r],
                          magic[r], anchor[r], ahead, ahead_step, top, two,
                          out + tile.first * g.k if out != NULL else NULL, <real*> NULL, pending,
                          True, True, &total[r], &lost[r])
            else:
                sweep_row(x, xa, g, &tile, masked, centre[r], low[r], magic[r], anchor[r], ahead,
                          ahead_step, top, two, out, oa, pending, &total[r], &lost[r])
            if top != NULL:
                tops_ahead.row[r] = next_row
                tops_ahead.top[r] = found[0]
                tops_ahead.second[r] = found[1]
    settle(total, lost, lanes_of(batch, total[0]))


cdef inline void scale_many(real* out, const Array3* oa, const Geometry* g, const Tile* tile,
                            const Py_ssize_t* target, const real* at_target, real* b,
                            const real* factor, const real* factor_low) noexcept nogil:
    # batch_store of many rows.
    cdef Py_ssize_t chunk, start, steps, i, l
    cdef Span span
    cdef Tile near = near_result(tile)
    place(oa, g, tile, &span)
    if tile.chunks == 1 and not span.unit:
        for i in range(tile.steps):
            for l in range(LANES):
                b[i * LANES + l] = b[i * LANES + l] * factor[l] + \
                    (b[i * LANES + l] * factor_low[l] + <real> 0.0)
        if target != NULL:
            for l in range(tile.rows):
                if target[l] >= 0:
                    b[target[l] * LANES + l] = at_target[l]
        store(out, &span, tile, 0, tile.steps, <const real*> b)
        return
    for chunk in range(tile.chunks):
        start = chunk * CHUNK
        steps = min(tile.steps - start, <Py_ssize_t> CHUNK)
        if not tile.whole:
            load(<const real*> out, &span, tile, start, steps, <real> 0.0, b)
        store_scaled(out, &span, &near, start, steps, b + start * LANES if tile.whole else b,
                     factor, factor_low)
    if target != NULL:
        store_at(out, oa, g, tile, target, at_target)


cdef inline void scale_run(real* e, Py_ssize_t count, real factor, real factor_low,
                           real shift) noexcept nogil:
    # e_j times the sum of two factors, plus shift, in their place.
    cdef Py_ssize_t j
    if FASTCE_HAS_EXP_LANES:
        if real is double:
            fastce_scale_d(e, count, factor, factor_low, shift)
        else:
            fastce_scale_f(e, count, factor, factor_low, shift)
    else:
        for j in range(count):
            e[j] = e[j] * factor + (e[j] * factor_low + shift)


cdef void scale_section(real* row, Py_ssize_t step, Py_ssize_t k, real factor, real factor_low,
                        const Tile* tile, Py_ssize_t s) noexcept nogil:
    # batch_store of a section of one row. (+ 0.0: a factor below 0 would make -0.0 of 0.)
    cdef Py_ssize_t start = section_start(tile, s) * CHUNK * LANES
    cdef Py_ssize_t stop = min(k, section_start(tile, s + 1) * CHUNK * LANES)
    cdef Py_ssize_t j
    if step == 1:
        scale_run(row + start, stop - start, factor, factor_low, <real> 0.0)
    else:
        for j in range(start, stop):
            row[j * step] = row[j * step] * factor + (row[j * step] * factor_low + <real> 0.0)


cdef inline void scale_row(real* row, Py_ssize_t step, Py_ssize_t k, real factor,
                           real factor_low, const Tile* tile) noexcept nogil:
    # batch_store of one row.
    cdef Py_ssize_t s
    cdef int threads = 1 if section_count(tile) == 1 else team(0.2 * k, SECTIONS)
    if threads == 1:
        for s in range(section_count(tile)):
            scale_section(row, step, k, factor, factor_low, tile, s)
    else:
        for s in prange(SECTIONS, num_threads=threads, schedule="static"):
            scale_section(row, step, k, factor, factor_low, tile, s)


cdef inline int outer_team(const Geometry* g, Py_ssize_t pieces, bint side_by_side) noexcept nogil:
    # How many threads take so many pieces, each its own; 1 where they had better share each row.
    cdef Tile row = tile_at(g, 0, 1, True)
    if not side_by_side and section_count(&row) > 1 and pieces < 4 * max_threads():
        return 1
    return team(<double> g.outer * g.k * g.inner, pieces)


cdef inline void batch_store(real* out, const Array3* oa, const real* e, const Array3* waiting,
                             Pile* pile, const Geometry* g, const Tile* batch,
                             const Py_ssize_t* target, const real* at_target, real* b,
                             const real* factor, const real* factor_low, layout how) noexcept nogil:
    # out = e_j times the sum of two factors a row, and at_target for its target, if there are any;
    # 0 in rows whose target is IGNORED. The e_j of long rows are in `out`, or `waiting`, and then
    # the pile is to write them.
    cdef Py_ssize_t r
    cdef real* row
    if layout is many:
        scale_many(out, oa, g, batch, target, at_target, b, factor, factor_low)
    else:
        if pile != NULL:
            finish(pile, factor[0])
            pile.half = 1 - pile.half
        for r in range(batch.rows):
            row = row_at(out, oa, g, batch.first + r)
            if target != NULL and target[r] == IGNORED:
                fill_row(out, oa, g, batch.first + r, <real> 0.0)
            elif pile != NULL:
                put_off(pile, row_at(<real*> e, waiting, g, batch.first + r), row, g.k,
                        target[r] if target != NULL else <Py_ssize_t> -1,
                        at_target[r] if target != NULL else <real> 0.0, factor[r], factor_low[r])
            else:
                scale_row(row, oa.k, g.k, factor[r], factor_low[r], batch)
                if target != NULL:
                    row[target[r] * oa.k] = at_target[r]


cdef inline void store_at(real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                          const Py_ssize_t* at, const real* value) noexcept nogil:
    # One value of each row, but where `at` is IGNORED or DONE.
    cdef Py_ssize_t l
    cdef Py_ssize_t o = batch.first // g.inner
    cdef Py_ssize_t i = batch.first - o * g.inner
    for l in range(batch.rows):
        if at[l] >= 0:
            x[o * xa.outer + i * xa.inner + at[l] * xa.k] = value[l]
        i += 1
        if i == g.inner:
            i = 0
            o += 1


cdef inline void take_at(const real* x, const Array3* xa, const Geometry* g, const Tile* batch,
                         const Py_ssize_t* at, real* value) noexcept nogil:
    # The inverse; 0 where `at` is IGNORED or DONE.
    cdef Py_ssize_t o = batch.first // g.inner
    cdef Py_ssize_t i = batch.first - o * g.inner
    cdef Py_ssize_t l
    fill_lanes(value, <real> 0.0)
    for l in range(batch.rows):
        if at[l] >= 0:
            value[l] = x[o * xa.outer + i * xa.inner + at[l] * xa.k]
        i += 1
        if i == g.inner:
            i = 0
            o += 1
    if xa.divisor != 1:
        for l in range(LANES):
            value[l] = value[l] / <real> xa.divisor
