"""Write findings.json: the report as data, one finding a line (schema: docs/findings.schema.json)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .verdict import HostAnswer, Report

SCHEMA_VERSION = "1.0"


def chunks(report: Report) -> Iterator[str]:
    """The file in pieces."""
    head = json.dumps(_head(report), ensure_ascii=False)
    yield f'{head[:-1]},\n"hosts": ['
    yield from _lines(_host(host) for host in report.servers)
    yield '],\n"findings": ['
    yield from _lines(finding.to_dict() for finding in report.findings)
    yield "]}\n"


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    separator = "\n"
    for row in rows:
        yield separator + json.dumps(row, ensure_ascii=False)
        separator = ",\n"


def _head(report: Report) -> dict[str, Any]:
    run = report.run
    return {
        "schema_version": SCHEMA_VERSION,
        "title": report.title,
        "run": {"id": run.id, "started": run.started, "version": run.version, "profile": run.profile,
                "catalogue_digest": run.catalogue_digest, "vantages": list(run.vantages)},
        "answer": report.answer,
        "headline": report.headline,
        "details": list(report.details),
        "counts": dict(report.counts),
        "failing": dict(report.failing),
        "gate": report.gate.to_dict(),
        "trend": [point.to_dict() for point in report.trend],
        "problems": [{"host": p.host, "file": p.file, "reason": p.reason} for p in report.problems],
    }


def _host(host: HostAnswer) -> dict[str, Any]:
    data = {"name": host.name, "kind": host.kind, "status": host.status, "answer": host.answer, "proven": host.proven,
            "counts": dict(host.counts)}
    more = {"reason": host.reason, "plan": list(host.plan)}
    return {**data, **{key: value for key, value in more.items() if value}}
