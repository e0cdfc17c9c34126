"""Make all reports of one run: the run directory in, the report files and what the module returns out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..join import join_run
from ..proof import findings as proof_findings
from ..proof import parse_proofs, proofs_of
from ..seen import findings as seen_findings
from . import csv_report, history, html, json_report, junit, markdown, metrics, sarif, terminal, verdict
from .complete import complete
from .dialogue import with_dialogues
from .files import differs, write
from .gate import gate
from .run import load_run
from .verdict import Report

FORMATS = ("json", "html", "junit", "sarif", "csv", "markdown", "metrics")
_FILES: dict[str, tuple[str, Callable[[Report], Iterable[str]]]] = {
    "json": ("findings.json", json_report.chunks),
    "junit": ("junit.xml", junit.chunks),
    "sarif": ("report.sarif", sarif.chunks),
    "csv": ("findings.csv", csv_report.chunks),
    "markdown": ("report.md", markdown.chunks),
    "metrics": ("metrics.prom", metrics.chunks),
}
WORST_SHOWN = 10


@dataclass(frozen=True)
class Options:
    """What the module was asked for. Directories are paths; `history_directory` holds the run directories."""

    run_directory: str
    history_directory: str
    template_directory: str = ""
    formats: tuple[str, ...] = ()
    title: str = ""
    keep_runs: int = 1
    fail_on: str = "none"
    fail_on_incomplete: float = 0.0
    hosts_per_page: int = 1


@dataclass(frozen=True)
class Made:
    """A report, and the record that it leaves for the next run."""

    report: Report
    record: history.Record


def make(options: Options) -> Made:
    """Read, join, compare and judge the run. Raises RunError."""
    run = load_run(options.run_directory)
    earlier = history.earlier_records(options.history_directory, run)
    proofs = proofs_of(run, parse_proofs(history.last_proofs(earlier)))
    joined = join_run(run, [*proof_findings(run, proofs), *seen_findings(run)])
    findings, problems = complete(run, with_dialogues(run, joined))
    run = replace(run, problems=(*run.problems, *problems))
    comparable = [record for record in earlier if record.profile == run.profile]
    findings = history.dated(history.compare(findings, comparable), run.started)
    record = history.record_of(run, findings, comparable, {host: asdict(proof) for host, proof in proofs.items()})
    judged = gate(findings, len(run.hosts), options.fail_on, options.fail_on_incomplete, len(run.problems))
    return Made(verdict.build(options.title, run, findings, judged, history.trend(comparable, record)), record)


def planned_files(options: Options) -> dict[str, str]:
    """The path of each format's file."""
    directory = Path(options.run_directory)
    names = {**{name: file for name, (file, _chunks) in _FILES.items()}, "html": html.INDEX}
    return {name: str(directory / names[name]) for name in FORMATS if name in options.formats}


def write_reports(options: Options, made: Made, dry_run: bool) -> bool:
    """Write all files, or only look; whether one is new or differs. Raises OSError, ImportError, jinja2.TemplateError."""
    directory = Path(options.run_directory)
    put = differs if dry_run else write
    changed = put(directory / history.FILE, [made.record.to_json()])
    for name in FORMATS:
        if name in options.formats and name in _FILES:
            file, chunks = _FILES[name]
            changed = put(directory / file, chunks(made.report)) or changed
    if "html" in options.formats:
        changed = _write_html(directory, made.report, options, dry_run) or changed
    return changed


def _write_html(directory: Path, report: Report, options: Options, dry_run: bool) -> bool:
    changed = False
    put = differs if dry_run else write
    written = set()
    for name, chunks in html.write_pages(report, options.template_directory, options.hosts_per_page):
        path = directory / name
        if not dry_run:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        changed = put(path, chunks) or changed
        written.add(path)
    for stale in set((directory / html.PAGES).glob("[0-9]*.html")) - written:
        changed = True
        if not dry_run:
            stale.unlink()
    return changed


def results(options: Options, made: Made, colour: bool) -> dict[str, Any]:
    """What the module returns: small, whatever the size of the run."""
    report = made.report
    files = planned_files(options)
    first = files.get("html") or next(iter(files.values()), "")
    judged = report.gate.to_dict()
    return {
        "summary_text": terminal.summary(report, colour),
        "answer": report.answer,
        "headline": report.headline,
        "counts": dict(report.counts),
        "failing": dict(report.failing),
        "gate": {**judged, "message": _gate_message(report, first)},
        "files": files,
        "stats": _stats(report, first),
    }


def _gate_message(report: Report, path: str) -> str:
    if not report.gate.met:
        return ""
    worst = "; ".join(_worst(report))
    return f"{'. '.join(report.gate.reasons)}.{f' Worst: {worst}.' if worst else ''}{f' Report: {path}' if path else ''}"


def _worst(report: Report) -> Iterator[str]:
    for step in report.steps[:3]:
        hosts = ", ".join(step.hosts[:3]) + (f" and {len(step.hosts) - 3} more" if len(step.hosts) > 3 else "")
        yield f"{step.control} ({step.severity}) on {hosts}"


def _stats(report: Report, path: str) -> dict[str, Any]:
    run = report.run
    return {
        "schema": 1,
        "run": run.id,
        "started": run.started,
        "version": run.version,
        "catalogue_digest": run.catalogue_digest,
        "profile": run.profile,
        "answer": report.answer,
        "headline": report.headline,
        "hosts": {answer: sum(h.answer == answer for h in report.servers)
                  for answer in (verdict.YES, verdict.UNKNOWN, verdict.NO)},
        "unreachable": sum(host.status == "unreachable" for host in report.servers),
        "counts": dict(report.counts),
        "failing": dict(report.failing),
        "worst": report.gate.worst,
        "worst_controls": list(dict.fromkeys(step.control for step in report.steps))[:WORST_SHOWN],
        "answered_share": round(report.gate.answered_share, 4),
        "gate_met": report.gate.met,
        "report": path,
    }


def unreadable_history(options: Options, made: Made) -> list[Path]:
    """The records of earlier runs that this report could not be compared with."""
    return history.unreadable(options.history_directory, made.report.run.id)


def outdated_runs(options: Options) -> list[Path]:
    """Run directories that are beyond what shall be kept."""
    return history.outdated(options.history_directory, options.keep_runs, Path(options.run_directory))

