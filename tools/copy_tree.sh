#!/usr/bin/env bash
# Copy what git would commit, tracked files and new ones that are not ignored, to a new folder.
#
#     bash tools/copy_tree.sh FOLDER
set -euo pipefail

mkdir "$1"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
git -C "$root" ls-files -z --cached --others --exclude-standard |
    tar -C "$root" --null --ignore-failed-read -T - -cf - | tar -xf - -C "$1"
