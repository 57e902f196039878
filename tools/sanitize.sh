#!/usr/bin/env bash
# Run the tests on extension modules built with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     bash tools/sanitize.sh [core | all]
#
# `core` (the default) is the modules in $core below, `all` every one that does not need other
# libraries. It works on a copy in a temporary directory. Needed: Linux, gcc with libasan and
# libubsan, and $PYTHON (default python3), a Python with NumPy and what the extra `test` lists; an
# fastce that it has as well is not used. FASTCE_TARGET picks the instruction set, as elsewhere.
#
# A failure is: a test that fails; a report of a sanitizer, in any process; an extension module that
# was used and not built here; and errors planted in a small library that are not reported.
set -euo pipefail
ulimit -c 0

core="test_cython_api test_dtypes test_edge_table test_errors test_gradients test_hostile
    test_linear test_out test_rows test_short_way test_strides test_ufuncs test_values"
without="test_peers test_targets"   # other libraries' code; the same tests once more
choice=${1:-core}
modules=()
case $choice in
    core) for name in $core; do modules+=("tests/$name.py"); done ;;
    all) modules=(tests); for name in $without; do modules+=("--ignore=tests/$name.py"); done ;;
    *) echo "usage: bash tools/sanitize.sh [core | all]" >&2; exit 2 ;;
esac

fail() {
    echo "tools/sanitize.sh: $*" >&2
    exit 1
}

python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}"
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
command -v gcc > /dev/null || fail "gcc is needed"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$work"' EXIT
bash "$root/tools/copy_tree.sh" "$work/tree"
cd "$work/tree"

# -O1 keeps the stacks readable and comes after setup.py's -O3, which it overrides; -fno-wrapv after
# Python's own -fwrapv, under which no overflow of a signed integer would be reported. What makes
# multiply-adds of the formulas at -O2 stays, as others are written as such: all layouts of an array
# shall have the same bits. What is never set is for the compiler to find, as the sanitizers do not.
export CC=gcc
sanitize="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-wrapv"
level="-fno-omit-frame-pointer -g -O1 -fexpensive-optimizations -Wno-maybe-uninitialized"
level+=" -Werror=uninitialized"
FASTCE_CFLAGS="$sanitize $level" \
    "$python" setup.py --quiet build_ext --inplace > "$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; fail "the build failed"; }
while IFS= read -r module; do
    grep -q __asan_init "$module" && grep -q __ubsan_handle "$module" ||
        fail "$module was built without the sanitizers"
done < <(find fastce -name "*.so")

# For every Python that is started. AddressSanitizer has read the path of the reports from its
# options; the copy in libubsan has not.
mkdir "$work/site"
cat > "$work/site/sitecustomize.py" <<'END'
"""Direct UndefinedBehaviorSanitizer's reports to files; note at the end what was imported."""

import atexit
import ctypes
import os
import sys

ctypes.CDLL("libubsan.so.1").__sanitizer_set_report_path(os.environ["REPORT"].encode())


@atexit.register
def note():
    """Append the paths of the extension modules of fastce."""
    files = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n[:7] == "fastce."]
    with open(os.environ["IMPORTED"], "a") as notes:
        notes.writelines(f"{file}\n" for file in files if str(file).endswith(".so"))
END

# The interpreter is not instrumented, so the runtime must be there first; libstdc++ with it, or the
# interception of C++ exceptions in other modules fails. Leaks are the interpreter's own. By abort,
# pytest tells in which test it was.
sanitized() {
    local options="halt_on_error=1:abort_on_error=1"
    env PYTHONPATH="$work/site:$work/tree" REPORT="$work/report" IMPORTED="$work/imported" \
        LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so.6)" \
        ASAN_OPTIONS="$options:detect_leaks=0:log_path=$work/report" \
        UBSAN_OPTIONS="$options:print_stacktrace=1" \
        "$python" "$@"
}

cat > "$work/planted.c" <<'END'
#include <stdlib.h>
double past_the_end(int n) { double *x = calloc(n, 8), y = x[n]; free(x); return y; }
int shift_too_far(int n) { return 1 << n; }
END
# shellcheck disable=SC2086
gcc $sanitize -O1 -shared -fPIC -o "$work/planted.so" "$work/planted.c" ||
    fail "gcc has not got the sanitizers"
planted() {
    if sanitized -c "import ctypes; ctypes.CDLL('$work/planted.so').$1(64)" 2> /dev/null ||
        ! grep -qs "$2" "$work"/report.*; then
        fail "the error planted in $1 was not reported"
    fi
    rm "$work"/report.*
}
planted past_the_end heap-buffer-overflow
planted shift_too_far "shift exponent 64"

status=0
sanitized -m pytest -q -p no:cacheprovider "${modules[@]}" || status=$?

# Also from processes whose exit status no test looked at.
for report in "$work"/report.*; do
    if [ -e "$report" ]; then
        cat "$report" >&2
        status=1
    fi
done
[ "$status" -eq 0 ] || fail "a test failed, or a sanitizer reported"
sort -u "$work/imported" > "$work/used"
grep -q "/_kernels/_[bv]" "$work/used" || fail "no kernels were imported"
if grep -v "^$work/tree/" "$work/used" >&2; then
    fail "these were used, and not built here"
fi
echo "no report from the sanitizers ($choice; $(sed "s|$work/tree/||" "$work/used" | xargs))"
