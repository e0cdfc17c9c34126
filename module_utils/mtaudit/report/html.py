"""Write the HTML report: one file, or an index and a page a host. Jinja2 is needed; it is on every Ansible controller."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..finding import Evidence, Status
from ..joined import FIXED, NEW, SEVERITIES, STILL_OPEN, UNDECIDED, JoinedFinding
from ..questions import is_question
from . import advice, svg
from .verdict import HostAnswer, Report, Step, proof

INDEX = "report.html"
PAGES = "report-hosts"
SCRIPT = "report.js"
ROWS_FIRST_SCREEN = 6
STEPS_FIRST_SCREEN = 3
LISTED = 60  # rows of the lists that sum up; each host's own part is complete

STATUS_WORDS = {
    "fail": "Fails", "error": "Error", "unknown": "Unknown", "notchecked": "Not checked", "waived": "Accepted by waiver",
    "informational": "For information", "fixed": "Fixed", "pass": "Passes", "notapplicable": "Does not apply",
}
METHOD_WORDS = {"config": "Configuration", "simulation": "Simulation", "probe": "Test from outside", "log": "Logs and records"}
CONDITION_WORDS = {
    "null_sender": "with the null sender <>",
    "local_sender": "with a sender at one of the server's own domains",
    "ipv6": "over IPv6",
    "local_recipient": "to a recipient at one of the server's own domains",
    "sender": "with a certain sender",
    "recipient": "to certain recipients",
    "helo": "with a certain HELO name",
    "helo_local": "with the server's own name or address as HELO name",
    "client_network": "from certain networks",
    "client_name": "from clients whose DNS name is chosen to fit",
    "client_certificate": "with a certain client certificate",
    "dns_allowlist": "from clients on a DNS allowlist",
    "through_gateway": "through a gateway that hides the client's address",
    "pop_before_smtp": "from an address that logged in to POP or IMAP before",
    "mx_backup": "to domains whose MX records name this server",
    "inside": "from the inside",
    "neighbour": "from a neighbour in the same network",
    "percent": "with the percent form (user%domain@server)",
    "double_at": "with two @ in the recipient",
    "bang": "with the bang form (domain!user)",
    "source_route": "with a source route (@server:user@domain)",
    "quoted": "with a quoted local part",
    "after_starttls": "after STARTTLS",
    "xclient": "through XCLIENT",
    "proxy_header": "through a PROXY header",
    "authenticated": "with a login",
}


@dataclass(frozen=True)
class Block:
    """One entry in a host's part: a finding, or several that say the same for the same reason."""

    first: JoinedFinding
    findings: tuple[JoinedFinding, ...]
    number: int

    @property
    def severities(self) -> str:
        return "\n".join(dict.fromkeys(f.severity for f in self.findings))

    @property
    def areas(self) -> str:
        return "\n".join(dict.fromkeys(f.area for f in self.findings))


@dataclass(frozen=True)
class HostPart:
    """What is shown of one host: entries in full, and the short lists."""

    host: HostAnswer
    blocks: tuple[Block, ...]
    passed: tuple[JoinedFinding, ...]
    not_applicable: tuple[JoinedFinding, ...]


def host_part(host: HostAnswer) -> HostPart:
    """A host of which nothing is known says so once, not once a control."""
    passed = tuple(f for f in host.findings if f.status is Status.PASS)
    not_applicable = tuple(f for f in host.findings if f.status is Status.NOTAPPLICABLE)
    groups: dict[tuple[str, ...], list[JoinedFinding]] = {}
    for place, finding in enumerate(host.findings):
        if finding.status in (Status.PASS, Status.NOTAPPLICABLE):
            continue
        alike = finding.status in UNDECIDED and not finding.evidence and not finding.methods
        key = (finding.status.value, finding.message, finding.reason) if alike else (str(place),)
        groups.setdefault(key, []).append(finding)
    blocks = tuple(Block(svg.most_severe(group), tuple(group), n) for n, group in enumerate(groups.values(), 1))
    return HostPart(host, blocks, passed, not_applicable)


@dataclass(frozen=True)
class FirstStep:
    """What to do first, on the first screen: `more` when the hint says more than is shown."""

    step: Step
    blocks: tuple[advice.Block, ...]
    more: bool

    @classmethod
    def of(cls, step: Step) -> FirstStep:
        shown = advice.first_step(step.fix_hint or step.title)
        return cls(step, shown, len(shown) < len(advice.blocks(step.fix_hint)))


def write_pages(report: Report, template_directory: str, hosts_per_page: int) -> Iterator[tuple[str, Iterator[str]]]:
    """File names, relative to the run directory, and their text in pieces. Raises jinja2.TemplateError, ImportError."""
    environment = _environment(template_directory)
    single = len(report.hosts) <= hosts_per_page
    links = Links(single)
    common = _common(report, links, template_directory)
    index = environment.get_template("report.html.j2")
    yield INDEX, index.generate(
        **common, **_index(report), single=single, parts_of_hosts=map(host_part, report.hosts) if single else ())
    if not single:
        page = environment.get_template("host.html.j2")
        for place, host in enumerate(report.hosts):
            before = report.hosts[place - 1] if place else None
            after = report.hosts[place + 1] if place + 1 < len(report.hosts) else None
            yield f"{PAGES}/{_page(host)}", page.generate(**common, part=host_part(host), before=before, after=after)


@dataclass(frozen=True)
class Links:
    """Where a host's part is found."""

    single: bool

    def host(self, host: HostAnswer) -> str:
        """Seen from the index."""
        return f"#{host.anchor}" if self.single else f"{PAGES}/{_page(host)}"

    def beside(self, host: HostAnswer) -> str:
        """Seen from another host's page."""
        return _page(host)


def _page(host: HostAnswer) -> str:
    return f"{host.number:04d}.html"


def _environment(template_directory: str) -> Any:
    import jinja2  # only the controller has it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_directory), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters.update(
        proof=proof, status_word=lambda s: STATUS_WORDS.get(s, s), method_word=lambda m: METHOD_WORDS.get(m, m),
        condition=condition_words, by_method=by_method, marks=marks,
        advice=advice.blocks, day=lambda since: since[:10], short=svg.short,
    )
    return environment


def _common(report: Report, links: Links, template_directory: str) -> dict[str, Any]:
    script = (Path(template_directory) / SCRIPT).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"report": report, "links": links, "script": script, "script_hash": f"sha256-{digest}", "severities": SEVERITIES,
            "status_words": STATUS_WORDS, "areas": sorted({control.area for control in report.controls})}


def _index(report: Report) -> dict[str, Any]:
    findings = list(report.findings)
    trend = svg.trend(report.trend)
    changes = {change: [f for f in findings if f.change == change] for change in (NEW, FIXED, STILL_OPEN)}
    return {
        "bad_hosts": [h for h in report.hosts if h.answer == "yes"],
        "unknown_hosts": [h for h in report.hosts if h.answer == "unknown"],
        "rows_first_screen": ROWS_FIRST_SCREEN,
        "listed": LISTED,
        "bars": svg.severity_bars(findings),
        "status_bar": svg.status_bar(report.counts),
        "columns": trend.columns,
        "trend_top": trend.top,
        "undecided_top": trend.undecided_top,
        "matrix": svg.matrix(report.servers, [c for c in report.controls if not is_question(c)]),
        "cell": svg.CELL,
        "changes": changes,
        "waived": [f for f in findings if f.status is Status.WAIVED],
        "decided": sorted((f for f in findings if f.waiver), key=lambda f: not (f.waiver and f.waiver.expired)),
        "first_steps": [FirstStep.of(step) for step in report.steps[:STEPS_FIRST_SCREEN]],
        "by_name": {host.name: host for host in report.hosts},
    }


def condition_words(condition: str) -> str:
    """What it takes, in words: `port:2525` is `on port 2525`."""
    if condition.startswith("port:"):
        return f"on port {condition[5:]}"
    return CONDITION_WORDS.get(condition, condition.replace("_", " "))


@dataclass(frozen=True)
class Seen:
    """What was seen at one place: lines, each with who said it: `client`, `server` or nobody."""

    where: str
    lines: tuple[tuple[str, str], ...]


def by_method(evidence: Iterable[Evidence]) -> list[tuple[str, list[Seen]]]:
    """Evidence grouped by method, in the order of the methods' words; lines from one place, an SMTP dialogue, together."""
    groups: dict[str, list[Evidence]] = {method: [] for method in METHOD_WORDS}
    for entry in evidence:
        groups[entry.method.value].append(entry)
    return [(method, list(_places(entries))) for method, entries in groups.items() if entries]


def _places(entries: Iterable[Evidence]) -> Iterator[Seen]:
    for where, same in groupby(entries, key=lambda entry: entry.where):
        yield Seen(where, tuple((_speaker(line), line) for entry in same for line in entry.text.split("\n")))


def _speaker(line: str) -> str:
    """Dialogues mark who speaks with `C: ` and `S: `, or `> ` and `< `."""
    if line.startswith(("C: ", "> ", ">>> ")):
        return "client"
    return "server" if line.startswith(("S: ", "< ", "<<< ")) else ""


@dataclass(frozen=True)
class Marks:
    """What the filter of the index knows of a host: the words of all its findings that are not in order, a line each."""

    severities: str
    statuses: str
    areas: str


def marks(host: HostAnswer) -> Marks:
    """Severity and area of what needs attention; every status that the host has."""
    open_ = [f for f in host.findings if f.status not in (Status.PASS, Status.NOTAPPLICABLE, Status.FIXED)]
    words = ({f.severity for f in open_}, set(host.counts), {f.area for f in open_})
    return Marks(*("\n".join(sorted(each)) for each in words))
