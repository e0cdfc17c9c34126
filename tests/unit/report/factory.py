"""Make run directories as an audit leaves them: realistic, and as hostile as a server can be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.mtaudit.finding import Evidence, Finding, Method, Status, Subject
from ansible.module_utils.mtaudit.report.produce import FORMATS, Made, Options, make, write_reports
from ansible.module_utils.mtaudit.run_directory import file_name

TEMPLATES = Path(__file__).resolve().parents[3] / "roles/mta_report/templates"

CONTROLS = (
    ("RELAY-01", "critical", "Trusted client networks are not wider than the hosts that really submit",
     "Set mynetworks to loopback and the hosts that submit here, delete -o mynetworks overrides from master.cf, then reload."),
    ("RELAY-02", "high", "mynetworks_style is host and mynetworks is explicit", "Set mynetworks_style = host."),
    ("RELAY-03", "critical", "Mail to foreign domains is refused before anything says OK",
     "Put reject_unauth_destination into smtpd_relay_restrictions, right after permit_sasl_authenticated."),
    ("RELAY-04", "critical", "relay_domains names only domains that this server is a backup for", "List the domains one by one."),
    ("RELAY-05", "high", "Pattern aliases do not rewrite foreign recipients", "Anchor the patterns to your own domains."),
    ("RELAY-06", "critical", "No service overrides the relay restrictions", "Delete the -o override of the service."),
    ("RELAY-07", "high", "XCLIENT and PROXY are accepted from the proxies only",
     "Name the proxies in smtpd_authorized_xclient_hosts."),
    ("RELAY-08", "high", "The server sees the client's own address", "Do not rewrite source addresses in front of the server."),
    ("RELAY-09", "high", "IPv6 is held to the same rules", "Write the IPv6 networks as [prefix]/length."),
    ("RELAY-10", "medium", "Routing tricks in recipients are refused", "Set allow_percent_hack = no and swap_bangpath = no."),
    ("RELAY-11", "medium", "A backup MX knows its recipients", "Set relay_recipient_maps."),
    ("RELAY-12", "low", "Client certificates relay only when they are listed", "Use relay_clientcerts."),
    ("SENDER-03", "high", "Strangers may not use a local sender", "Add reject_sender_login_mismatch for the submission service."),
)

HOSTILE = (
    '<script>document.title="owned"</script>',
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe\u202c right to left",
    "NUL\x00 ESC\x1b[31m BEL\x07 DEL\x7f",
    "not XML: \ufffe \uffff \x0b",
    "]]></failure><!-- --> &amp; &#0;",
    "=HYPERLINK(\"http://198.51.100.66\";\"click\")",
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "| table | break | [link](javascript:alert(1)) ```\n# heading",
    "</style></title></textarea>{{ 7 * 7 }}{% raw %}",
    "label\"} 1\nmtaudit_findings{status=\"pass\"} 999\n# EOF",
    "z" * 1_000_000,
)

OPEN = Subject("listener", "*:25")
MYNETWORKS = Evidence(Method.CONFIG, "/etc/postfix/main.cf:12 mynetworks", "mynetworks = 127.0.0.0/8 0.0.0.0/0")
SIMULATED = Evidence(Method.SIMULATION, "smtpd -S, client 198.19.0.66", "RCPT TO:<canary@sink.test>: 250 2.1.5 Ok")
DIALOGUE = tuple(Evidence(Method.PROBE, "198.51.100.41:25 from 198.19.0.10", text) for text in (
    "S: 220 mx1.test ESMTP Postfix (Debian)", "C: EHLO stranger.test", "S: 250-mx1.test", "S: 250 PIPELINING",
    "C: MAIL FROM:<probe@stranger.test>", "S: 250 2.1.0 Ok", "C: RCPT TO:<canary@sink.test>", "S: 250 2.1.5 Ok",
    "C: DATA", "S: 354 End data with <CR><LF>.<CR><LF>", "S: 250 2.0.0 Ok: queued as 4F8A1",
))


@dataclass
class Host:
    """One host of a run to be made. `probe` are findings that the stranger's vantage reports, `plan` what harden.yml would do."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    probe: list[Finding] = field(default_factory=list)
    status: str = "ok"
    reason: str = ""
    kind: str = "mx"
    declared: dict[str, Any] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    problem: str = ""


def passing(control: str) -> Finding:
    return Finding(control, Subject("host", ""), Status.PASS, "as required")


def closed(control: str = "RELAY-03") -> Finding:
    return Finding(control, OPEN, Status.PASS, "every foreign recipient was refused", Method.PROBE, verdict="closed")


def failing(control: str = "RELAY-01", message: str = "mynetworks trusts 0.0.0.0/0: every IPv4 client may relay",
            conditions: tuple[str, ...] = (), subject: Subject = OPEN) -> Finding:
    return Finding(control, subject, Status.FAIL, message, evidence=(MYNETWORKS,), conditions=conditions)


def good(name: str, **more: Any) -> Host:
    """Everything passes, and a stranger found the listener closed."""
    return Host(name, [passing(control[0]) for control in CONTROLS], [closed()], **more)


def replaced(host: Host, *findings: Finding) -> Host:
    """The host with these findings instead of its own on the same controls."""
    controls = {finding.control for finding in findings}
    host.findings = [finding for finding in host.findings if finding.control not in controls] + list(findings)
    return host


def proven_open(name: str, **more: Any) -> Host:
    """mynetworks trusts everybody; simulation agrees; a stranger's message arrived."""
    host = replaced(good(name, **more), failing())
    host.findings.append(Finding("RELAY-03", OPEN, Status.FAIL, "a stranger's message is taken", Method.SIMULATION, (SIMULATED,)))
    host.probe = [Finding("RELAY-03", OPEN, Status.FAIL, "a stranger's message reached the canary", Method.PROBE, DIALOGUE,
                          verdict="proven_open")]
    return host


def unreachable(name: str) -> Host:
    return Host(name, status="unreachable", reason="ssh: connect to host port 22: Connection timed out")


def hostile(name: str) -> Host:
    """Every text that the host chooses is an attack."""
    host = good(name, plan=list(HOSTILE), problem=HOSTILE[0])
    for place, text in enumerate(HOSTILE):
        subject = Subject("listener", f"{text[:80]}:{place}")
        evidence = (Evidence(Method.CONFIG, f"/etc/postfix/main.cf:{place} {text[:200]}", text),)
        host.findings.append(Finding("RELAY-05", subject, Status.FAIL, text, Method.CONFIG, evidence, (text[:60],)))
        host.findings.append(Finding("RELAY-06", subject, Status.UNKNOWN, text, Method.CONFIG, evidence, (), text))
    return host


def realistic(number: int = 12) -> list[Host]:
    """A small site: mostly good servers, some with holes, some that could not be asked."""
    hosts = [good(f"mx{n}.example.org") for n in range(1, max(1, number - 6))]
    lesser = failing("RELAY-10", "allow_percent_hack is yes: user%domain@server is routed on", ("percent",))
    waived = good("relay.example.org")
    waived.declared["waivers"] = [{"id": "RELAY-02", "owner": "postmaster@example.org", "expires": "2027-06-30",
                                   "reason": "The printers have no other way until they are replaced"}]
    hosts += [
        proven_open("mail-old.example.org"),
        replaced(good("submission.example.org", kind="submission"),
                 failing("SENDER-03", "reject_sender_login_mismatch is missing: all may use a local sender", ("local_sender",)),
                 lesser),
        replaced(waived, failing("RELAY-02", "mynetworks_style is subnet: 256 neighbours may relay", ("neighbour",))),
        replaced(good("mx-v6.example.org"),
                 Finding("RELAY-09", OPEN, Status.UNKNOWN, "the IPv6 rules could not be evaluated", Method.CONFIG,
                         (Evidence(Method.CONFIG, "postmap -q", "open database /etc/postfix/v6.db: Permission denied"),),
                         (), "/etc/postfix/v6.db is readable by root only, and the audit ran as user backup")),
        unreachable("mx-far.example.org"),
        Host("mx-broken.example.org", status="failed", reason="no usable Python interpreter: /usr/bin/python3: not found"),
    ]
    return hosts[-number:] if number < len(hosts) else hosts


def catalogue(controls: tuple[tuple[str, str, str, str], ...] = CONTROLS) -> dict[str, Any]:
    entries = [{"id": i, "severity": severity, "title": title, "area": i.split("-")[0].lower(), "rationale": f"Why {i} matters.",
                "components": {"postfix": {"advice": advice}}}
               for i, severity, title, advice in controls]
    return {"version": "0.1.0", "digest": "sha256:0123456789abcdef", "profile": "baseline", "controls": entries}


def write_run(root: Path, hosts: list[Host], started: str = "2026-11-21T20:45:00Z", run_id: str = "", profile: str = "baseline",
              vantages: tuple[str, ...] = ("stranger",), controls: tuple[tuple[str, str, str, str], ...] = CONTROLS) -> Path:
    """A run directory below `root`, as the role mta_audit leaves it."""
    directory = root / "runs" / (run_id or started.replace("-", "").replace(":", ""))
    for name in ("hosts", "probes", "hardening"):
        (directory / name).mkdir(parents=True)
    declared = {host.name: {"kind": host.kind, "waivers": [], **host.declared} for host in hosts}
    _write(directory / "run.json", {"id": directory.name, "started": started, "version": "0.1.0", "profile": profile,
                                    "catalogue_digest": "sha256:0123456789abcdef", "hosts": declared, "vantages": list(vantages)})
    _write(directory / "catalogue.json", catalogue(controls))
    for host in hosts:
        estate = {"host": host.name, "kind": {"value": host.kind, "source": "inventory"},
                  "listeners": [{"name": "*:25", "port": 25, "bind": "*"}]} if host.status == "ok" else {}
        _write(directory / "hosts" / f"{file_name(host.name)}.json", {
            "host": host.name, "status": host.status, "reason": host.reason, "estate": estate,
            "findings": [finding.to_dict() for finding in host.findings]})
        if host.plan:
            _write(directory / "hardening" / f"{file_name(host.name)}.json", {"plan": host.plan, "problem": host.problem})
    for vantage in vantages:
        seen = [{**finding.to_dict(), "target": host.name} for host in hosts for finding in host.probe]
        _write(directory / "probes" / f"{vantage}.json", {"vantage": vantage, "listeners": [], "findings": seen})
    return directory


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=True), encoding="utf-8")


def options(directory: Path, **more: Any) -> Options:
    """What the module is given when nobody asks for anything else."""
    return Options(**{
        "run_directory": str(directory), "history_directory": str(directory.parent), "template_directory": str(TEMPLATES),
        "formats": FORMATS, "title": "Mail server audit", "keep_runs": 365, "fail_on": "none", "fail_on_incomplete": 0.0,
        "hosts_per_page": 200, **more})


def report(directory: Path, **more: Any) -> Made:
    """Read a run directory and write its reports; `more` are options."""
    asked = options(directory, **more)
    made = make(asked)
    write_reports(asked, made, dry_run=False)
    return made
