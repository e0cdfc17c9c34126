#!/usr/bin/env python3
"""Print the summary of the run whose report an audit's log names, in colour on a terminal. The last line is the report's path."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "module_utils"))

from mtaudit.report import terminal  # noqa: E402
from mtaudit.report.produce import FORMATS, Options, make, planned_files  # noqa: E402
from mtaudit.report.run import RunError  # noqa: E402


def run_directory(log: str) -> Path | None:
    """Where the run is kept, as the last line of the log that tells it says; None when no report was written.

    The line is tools/callback_plugins/run_kept.py's; without it, one with the path of any report file, as the role shows it.
    """
    kept = re.findall(r"^(?:[^\"\n]*\| )?Run kept in (/[^\n]+)$", log, re.MULTILINE)
    found = kept or re.findall(r"\bReport: (/[^\"\n]*)/[\w.-]+", log)
    return Path(found[-1]) if found else None


def first_file(directory: Path) -> Path:
    """The report that people read first, of those that were written; the directory when none was asked for."""
    files = planned_files(_options(directory, FORMATS))
    names = ["html", *(name for name in FORMATS if name != "html")]
    return next((path for name in names if (path := Path(files[name])).is_file()), directory)


def summary(directory: Path, colour: bool) -> str:
    """What the terminal shows of a run. Raises RunError."""
    return terminal.summary(make(_options(directory, ())).report, colour)


def _options(directory: Path, formats: tuple[str, ...]) -> Options:
    return Options(str(directory), str(directory.parent), "", formats, "", keep_runs=1, fail_on="none", fail_on_incomplete=0.0,
                   hosts_per_page=1)


def main() -> int:
    directory = run_directory(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    if directory is None:
        print("No report was written: see the output above.", file=sys.stderr)
        return 1
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    try:
        print(f"\n{summary(directory, colour).rstrip()}\n\nReport: {first_file(directory)}")
    except (RunError, OSError) as exc:
        print(f"Could not read {directory}: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
