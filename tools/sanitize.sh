#!/usr/bin/env bash
# Run the tests on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     bash tools/sanitize.sh [core | all]
#
# `core` (the default) is the modules in $core below, `all` every one that does not need other
# libraries. It works on a copy in a temporary directory. Needed: gcc with libasan and libubsan, and
# $PYTHON (default python3), a Python with pip and what the extra `test` lists. FASTCE_TARGET picks
# the instruction set, as elsewhere. Any report of a sanitizer, in any process, is a failure.
set -euo pipefail

core="test_edge_table test_hostile test_out test_strides"
without="test_peers test_targets"   # other libraries' code; the same tests once more
choice=${1:-core}
python=$(command -v "${PYTHON:-python3}")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/tree"
git -C "$root" ls-files -z --cached --others --exclude-standard |
    tar -C "$root" --null --ignore-failed-read -T - -cf - | tar -xf - -C "$work/tree"
cd "$work/tree"

modules=()
case $choice in
    core) for name in $core; do modules+=("tests/$name.py"); done ;;
    all) modules=(tests); for name in $without; do modules+=("--ignore=tests/$name.py"); done ;;
    *) echo "usage: bash tools/sanitize.sh [core | all]" >&2; exit 2 ;;
esac

# -O1 keeps the stacks readable and comes after setup.py's -O3, which it overrides.
export CC=gcc
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all"
FASTCE_CFLAGS="$sanitize -fno-omit-frame-pointer -g -O1 -Wno-maybe-uninitialized" \
    "$python" -m pip install --quiet --no-deps --target "$work/site" "$work/tree"
(cd "$work/site" && find fastce -name "*.so" -print0 | tar --null -T - -cf -) | tar -xf -
for module in fastce/_kernels/_[bv]*.so; do
    grep -q __asan_init "$module" && grep -q __ubsan_handle "$module" ||
        { echo "$module was built without the sanitizers" >&2; exit 1; }
done

# The interpreter is not instrumented, so the runtime must be there first; libstdc++ with it, or the
# interception of C++ exceptions in other modules fails. Leaks are the interpreter's own. A report
# that ends the tests' own process is on its stderr, which pytest must leave alone.
libraries="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so)"
status=0
env LD_PRELOAD="$libraries" \
    ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:log_path=$work/report" \
    UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$work/report" \
    "$python" -m pytest -q -p no:cacheprovider --capture=sys "${modules[@]}" || status=$?

# Also from processes whose exit status no test looked at.
for report in "$work"/report.*; do
    if [ -e "$report" ]; then
        cat "$report" >&2
        status=1
    fi
done
[ "$status" -eq 0 ] && echo "no report from the sanitizers ($choice)"
exit "$status"
