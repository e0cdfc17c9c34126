#!/usr/bin/env python3
"""Run everything that CI checks, stage by stage, and count it.

A failing check hides neither the next check nor the next stage. The last line is `N passed, N failed, N skipped` over all: the
tests of pytest, one for each lint tool, one for each molecule scenario. It fails when anything failed and when nothing ran.
With CI=true a skipped test is a failure, unless its reason stands in tests/allowed-skips.txt.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import junit
from junit import Counts
from progress import Done, run, say
from stages import Check, Stage, stages

ROOT = Path(__file__).resolve().parents[1]
ALLOWED_SKIPS = ROOT / "tests/allowed-skips.txt"
CI_LIMIT_S = 80 * 60.0  # of the 90 minutes that a run may take: the summary must still be printed


@dataclass(frozen=True)
class Rules:
    """How to judge: whether skips fail, which may be skipped all the same, and when time is up (on the monotonic clock)."""

    strict_skips: bool
    allowed_skips: Sequence[str]
    deadline: float | None


@dataclass
class Result:
    """One check, done."""

    check: Check
    counts: Counts
    seconds: float


@dataclass
class StageResult:
    """One stage, done."""

    name: str
    seconds: float
    results: list[Result] = field(default_factory=list)

    @property
    def numbers(self) -> tuple[int, int, int]:
        counts = [result.counts for result in self.results]
        return sum(c.passed for c in counts), sum(len(c.failed) for c in counts), sum(len(c.skipped) for c in counts)


def allowed_skips(path: Path) -> list[str]:
    """The reasons for which a test may be skipped in CI: one a line, the start of the reason."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def judge(check: Check, done: Done, rules: Rules) -> Counts:
    """What a finished command means in tests passed, failed and skipped."""
    if check.junit is None:
        problem = check.problem(done) if check.problem and done.ok else None
        ok = done.ok and problem is None
        return Counts(passed=1) if ok else Counts(failed=[f"{check.name}: {problem}" if problem else check.name])
    try:
        counts = junit.read(check.junit)
    except (OSError, ET.ParseError):
        return Counts(failed=[f"{check.name}: pytest did not finish"])
    if not done.ok and not counts.failed:  # an error outside of any test, or no test at all
        counts.failed.append(f"{check.name}: pytest ended with {done.returncode}")
    if counts.ran == 0:
        counts.failed.append(f"{check.name}: no test ran")
    if rules.strict_skips:
        refused = [skip for skip in counts.skipped if not any(skip.reason.startswith(start) for start in rules.allowed_skips)]
        counts.failed += [f"{skip.test}: skipped: {skip.reason}" for skip in refused]
        counts.skipped = [skip for skip in counts.skipped if skip not in refused]
    return counts


def run_check(stage: str, check: Check, rules: Rules) -> Result:
    """Run one check within its time and what is left of the whole; print how it went."""
    title = f"{stage}: {check.name}"
    limit_s = check.timeout_s
    if rules.deadline is not None:
        limit_s = min(limit_s, rules.deadline - time.monotonic())
    if limit_s <= 0:
        say(f"  FAIL  {title}: no time left")
        return Result(check, Counts(failed=[f"{check.name}: no time left"]), 0.0)
    if check.junit is not None:
        check.junit.unlink(missing_ok=True)
    path = os.pathsep.join([str(ROOT / ".venv/bin"), os.environ.get("PATH", os.defpath)])
    done = run(title, check.command, check.log, cwd=ROOT, env={**os.environ, "PATH": path, **check.env}, timeout_s=limit_s)
    counts = judge(check, done, rules)
    say(report(title, check, done, counts))
    return Result(check, counts, done.seconds)


def report(title: str, check: Check, done: Done, counts: Counts) -> str:
    """A line for a check that passed; for one that failed what failed in it, and its whole output."""
    numbers = f"  {counts.passed} passed, {len(counts.failed)} failed, {len(counts.skipped)} skipped" if check.junit else ""
    if not counts.failed:
        skips = [f"          skipped {skip.test}: {skip.reason}" for skip in counts.skipped]
        return "\n".join([f"  ok    {title:<40} {done.seconds:6.1f} s{numbers}", *skips])
    body = "\n".join(f"  | {line}" for line in done.output().splitlines())
    names = "".join(f"\n          failed {name}" for name in counts.failed)
    return f"  FAIL  {title:<40} {done.seconds:6.1f} s{numbers}{names}\n{body}\n  ({check.log})"


def run_stage(stage: Stage, rules: Rules) -> StageResult:
    """All checks of a stage, some at a time."""
    start = time.monotonic()
    say(f"== {stage.name}: {stage.what}")
    done = StageResult(stage.name, 0.0)
    if not stage.checks:
        say(f"  FAIL  {stage.name}: there is nothing to run")
        done.results.append(Result(Check(stage.name, (), Path()), Counts(failed=[f"{stage.name}: nothing to run"]), 0.0))
    with ThreadPoolExecutor(max_workers=stage.at_a_time) as pool:
        done.results += pool.map(lambda check: run_check(stage.name, check, rules), stage.checks)
    done.seconds = time.monotonic() - start
    return done


def summary(done: Iterable[StageResult]) -> tuple[str, int]:
    """The closing table, whose last line counts everything, and the exit status."""
    all_done = list(done)
    lines = ["", f"{'stage':<14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for stage in all_done:
        passed, failed, skipped = stage.numbers
        lines.append(f"{stage.name:<14}{passed:>8}{failed:>8}{skipped:>9}{stage.seconds:>9.0f}")
    lines.append("")
    lines += [f"failed: {stage.name}: {name}" for stage in all_done for result in stage.results for name in result.counts.failed]
    passed, failed, skipped = (sum(stage.numbers[which] for stage in all_done) for which in range(3))
    if passed + failed == 0:
        lines.append("failed: no test ran")
    lines.append(f"{passed} passed, {failed} failed, {skipped} skipped")
    return "\n".join(lines), 1 if failed or passed == 0 else 0


def run_all(chosen: Iterable[Stage], rules: Rules, show: Callable[[str], None] = say) -> int:
    """Run the stages one after the other; returns the exit status."""
    text, status = summary([run_stage(stage, rules) for stage in chosen])
    show(text)
    return status


def main() -> int:
    names = [stage.name for stage in stages(ROOT, full=False)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole matrix, not only the sample that fits CI")
    parser.add_argument("--stage", action="append", choices=names, help="only this stage; may be given more than once")
    options = parser.parse_args()
    in_ci = os.environ.get("CI", "").lower() in ("true", "1", "yes")
    limited = in_ci and not options.full
    rules = Rules(in_ci, allowed_skips(ALLOWED_SKIPS), time.monotonic() + CI_LIMIT_S if limited else None)
    chosen = [stage for stage in stages(ROOT, options.full) if not options.stage or stage.name in options.stage]
    return run_all(chosen, rules)


if __name__ == "__main__":
    sys.exit(main())
