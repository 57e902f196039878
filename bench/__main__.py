"""Run all benches and write the report: ``python -m bench``."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is that of pytest."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads and cores for everyone")
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument(
        "-k", dest="select", default="", help="only benches that match, as with pytest -k"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=report.RESULTS,
        help="where the report goes (default: %(default)s)",
    )
    parser.add_argument("--readme", action="store_true", help="rewrite the table of README.md")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.json"
        command = [sys.executable, "-m", "pytest", "bench", f"--benchmark-json={raw}"]
        command += [f"--threads={arguments.threads}", f"--repeats={arguments.repeats}"]
        command += ["-k", arguments.select] if arguments.select else []
        # A process of its own: the threads must be pinned before anything is imported.
        status = subprocess.run(
            [*command, "-q", "--no-header", "--benchmark-quiet"], cwd=report.ROOT, check=False
        ).returncode
        if raw.exists() and raw.stat().st_size:
            readme = report.ROOT / "README.md" if arguments.readme else None
            print(report.write(raw, arguments.folder, readme))
    return status


if __name__ == "__main__":
    sys.exit(main())
