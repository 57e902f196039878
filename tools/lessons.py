"""Run the examples that the page of lessons shows: ``python tools/lessons.py [NAME ...]``.

Their pictures go to ``docs/_generated``, and beside each one what the example printed.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "lessons.rst"
OUTPUT = ROOT / "docs" / "_generated"


def shown():
    """Name the examples whose pictures the page shows."""
    page = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^\.\. image:: _generated/(\w+)\.png$", page, re.MULTILINE)


def main():
    """Run them, and write what they print."""
    for name in sys.argv[1:] or shown():
        run = subprocess.run(
            [sys.executable, ROOT / "examples" / f"{name}.py", "--folder", OUTPUT],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"PYTHONUTF8": "1"},
            check=True,
        )
        (OUTPUT / f"{name}.txt").write_text(run.stdout, encoding="utf-8")
        print(f"{name}: written to {OUTPUT}")


if __name__ == "__main__":
    main()
