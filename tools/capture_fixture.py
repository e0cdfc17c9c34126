#!/usr/bin/env python3
"""Record what a host answers to the readers, evaluate the controls on it, and keep both as a fixture.

    capture_fixture.py RELAY-01 fail mynetworks-everybody --via 'podman exec -i my-copy' --site '{"trusted_networks": []}'
    capture_fixture.py --show --via 'podman exec -i my-copy'

The host needs Python 3.9 or newer and nothing else: our code is sent along and leaves nothing behind. `--via` is any command
that runs its arguments on the host; without it, this host is recorded. A fixture is a directory
tests/fixtures/<ID>/<verdict>-<scenario> with recording.json (what the readers asked and were answered) and expect.json (site,
programs, findings of the control, and which other controls fail).
"""

from __future__ import annotations

import argparse
import base64
import difflib
import io
import json
import re
import shlex
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.mtaudit.address import parse_network  # noqa: E402
from ansible.module_utils.mtaudit.components import one, read_all, servers  # noqa: E402
from ansible.module_utils.mtaudit.control import REGISTRY, Site  # noqa: E402
from ansible.module_utils.mtaudit.controls import every  # noqa: E402, F401 - registers every control
from ansible.module_utils.mtaudit.finding import Finding  # noqa: E402
from ansible.module_utils.mtaudit.readers import openssl, rspamd  # noqa: E402
from ansible.module_utils.mtaudit.readers.sendmail_ask import MARK  # noqa: E402
from ansible.module_utils.mtaudit.runner import Replay  # noqa: E402

_SENDMAIL_NEEDED = re.compile(
    rf"{MARK}|^(?:> )*(?:check_(?:mail|rcpt|vrfy|expn)|Local_check_mail|parse|srv_features) +(?:returns|input):"
    r"|returns: *(?:\$# *)?RELAY"
)
_SENDMAIL_LOOKED_UP = re.compile(r"^(?:> )*[ADEFU] +input:")

# Runs on the host: the readers over a Recorder; on stdout which programs there are, and the recording, as JSON.
_ON_THE_HOST = """
import base64, io, json, shutil, sys, tarfile, tempfile
directory = tempfile.mkdtemp()
try:
    tarfile.open(fileobj=io.BytesIO(base64.b64decode(sys.stdin.read()))).extractall(directory)
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = True
    from mtaudit.controls import every
    from mtaudit.components import read_all
    from mtaudit.runner import LocalRunner, Recorder
    ids = IDS
    names = [reading.component.name for reading in read_all(LocalRunner(), ids=ids) if ids or reading.component.program]
    recorder = Recorder(LocalRunner())
    read_all(recorder, names, ids)
    json.dump([names, recorder.recording], sys.stdout)
finally:
    shutil.rmtree(directory)
"""


_DAEMON = re.compile(
    r"\d+ \((?:master|qmgr|exim4?|dovecot|sendmail\S*|smtpd?|lmtp|postscreen|tlsproxy|dnsblog|[a-z0-9]+-login"
    r"|systemd(?:-journal)?|rsyslogd|cron|chronyd|python3|php-fpm\S*"
    r"|fail2ban-server|syslog-ng|syslogd|crowdsec|sshguard|wforce|clamd|clamav-milter|amavisd\S*)\) "
)


# Files of settings that are mostly comments.
_COMMENTED = ("/etc/fail2ban/", "/etc/php/", "/etc/clamav/")


class CaptureError(Exception):
    """The host could not be recorded."""


def record(via: list[str], ids: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The programs of a host, by their names in the catalogue, and the recording of what their readers asked; of the host itself
    (`os`) what the controls `ids` need."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(ROOT / "module_utils" / "mtaudit", "mtaudit", filter=_source_only)
    command = [*via, "python3", "-c", _ON_THE_HOST.replace("IDS", repr(ids))]
    done = subprocess.run(command, input=base64.b64encode(packed.getvalue()), capture_output=True, check=False)
    if done.returncode != 0:
        raise CaptureError(f"recording failed: {done.stderr.decode(errors='replace').strip()}")
    names, recording = json.loads(done.stdout)
    if ids:
        recording["ids"] = ids
    return names, recording


def _source_only(member: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
    return None if "__pycache__" in member.name else member


def compact(recording: dict[str, Any]) -> dict[str, Any]:
    """The recording with the long outputs of a plain `postconf` (1,100 lines), of `exim -bP`, `sendmail -bt` and `rspamadm` as
    differences to those of an untouched program of the same version, kept once, in tests/fixtures. `restore` is the inverse."""
    for entry in recording["run"]:
        if _lists_parameters(entry) and "stdout" in entry:
            lines = [line for line in entry.pop("stdout").splitlines() if not line.startswith("process_id =")]
            version = next(line.partition(" = ")[2] for line in lines if line.startswith("mail_version"))
            usual = _base(f"postconf-{version}.txt", lines)
            entry["stdout_of"] = f"postconf-{version}.txt"
            entry["without"] = [line for line in usual if line not in set(lines)]
            entry["with"] = [line for line in lines if line not in set(usual)]
        elif entry["argv"][0].startswith("exim") and "-bP" in entry["argv"] and entry.get("stdout"):
            _compact_exim(entry, recording)
        elif entry["argv"][-1] == "-bt":
            _compact_sendmail(entry, recording)
        elif "configdump" in entry["argv"] and entry.get("returncode") == 0:
            _compact_rspamd(entry)
    for path, read in recording["read"].items():
        if path.endswith("sendmail.cf") and "text" in read:
            _as_difference(read, "text", f"sendmail-cf-{_sendmail_version(recording)}.txt")
    for path, read in recording["read"].items():
        if path.startswith(_COMMENTED) and "text" in read:
            read["text"] = "".join(f"{line}\n" for line in read["text"].splitlines() if line and line[0] not in "#;")
    _only_mail_programs(recording)
    return recording


def _compact_exim(entry: dict[str, Any], recording: dict[str, Any]) -> None:
    """The order of lines counts: the difference is a list of [first line, line after the last, what stands there instead]."""
    config = next(e["version"] if "version" in e else e["stdout"] for e in recording["run"] if e["argv"][-1:] == ["config"])
    found = re.search(r"Exim Configuration \(([^)]*)\)", config)
    version = found.group(1) if found else config
    lines = entry.pop("stdout").splitlines()
    what = "config" if entry["argv"][-1] == "config" else "options"
    entry["version"], entry["stdout_of"] = version, f"exim-{what}-{version}.txt"
    usual = _base(entry["stdout_of"], lines)
    steps = difflib.SequenceMatcher(None, usual, lines, autojunk=False).get_opcodes()
    entry["instead"] = [[i1, i2, lines[j1:j2]] for tag, i1, i2, j1, j2 in steps if tag != "equal"]


def _compact_sendmail(entry: dict[str, Any], recording: dict[str, Any]) -> None:
    """Of the trace only what the reader takes from it: marks, results, and what was looked up before a yes."""
    version = _sendmail_version(recording)
    if MARK in entry.get("stdout", ""):
        kept: list[str] = []
        for line in entry["stdout"].splitlines():
            if _SENDMAIL_NEEDED.search(line):
                looked_up = kept.pop() if kept and kept[-1].startswith("?") else ""
                kept += [looked_up[1:]] * ("RELAY" in line and bool(looked_up)) + [line]
            elif _SENDMAIL_LOOKED_UP.match(line):
                kept[-1:] = [*[k for k in kept[-1:] if not k.startswith("?")], f"?{line}"]
        entry["stdout"] = "".join(f"{line}\n" for line in kept if not line.startswith("?"))
        _as_difference(entry, "stdout", f"sendmail-stdout-{version}.txt")
        _as_difference(entry, "stdin", f"sendmail-stdin-{version}.txt")


def _compact_rspamd(entry: dict[str, Any]) -> None:
    """It prints the keys of a section in another order each time; what it says of its cache is read only when it fails."""
    entry["stderr"] = ""
    entry["stdout"] = rspamd.BETWEEN.join(_in_order(part) for part in entry["stdout"].split(rspamd.BETWEEN))
    lines = set(entry["stdout"].splitlines())
    bases = sorted(FIXTURES.glob("rspamd-sections-*.txt"))
    _as_difference(entry, "stdout", max(bases, key=lambda base: len(lines & set(base.read_text().splitlines()))).name)


def _in_order(part: str) -> str:
    left, blocks = part.strip(), []
    while left.startswith(("{", "[")):
        block, end = json.JSONDecoder().raw_decode(left)
        blocks.append(json.dumps(block, indent=1, sort_keys=True))
        left = left[end:].lstrip()
    return "".join(f"{text}\n" for text in (*blocks, left) if text)


def _sendmail_version(recording: dict[str, Any]) -> str:
    printed = "\n".join(e.get("stdout", "") for e in recording["run"] if "-d0.1" in e["argv"])
    found = re.search(r"^Version (\S+)", printed, re.MULTILINE)
    return found.group(1) if found else "none"


def _as_difference(entry: dict[str, Any], key: str, name: str) -> None:
    """A text as its difference to one that is kept once: [first line, line after the last, what stands there instead]."""
    lines = entry.pop(key).splitlines()
    usual = _base(name, lines)
    steps = difflib.SequenceMatcher(None, usual, lines, autojunk=False).get_opcodes()
    entry[f"{key}_of_file"] = name
    entry[f"{key}_instead"] = [[i1, i2, lines[j1:j2]] for tag, i1, i2, j1, j2 in steps if tag != "equal"]


def _whole_again(entry: dict[str, Any]) -> None:
    for key in ("stdin", "stdout", "text"):
        if f"{key}_of_file" in entry:
            lines = (FIXTURES / entry.pop(f"{key}_of_file")).read_text().splitlines()
            for first, last, instead in reversed(entry.pop(f"{key}_instead")):
                lines[first:last] = instead
            entry[key] = "\n".join(lines) + "\n"


def _only_mail_programs(recording: dict[str, Any]) -> None:
    """Of the processes that were looked at, those of no mail program say nothing."""
    for path in recording["glob"].get("/proc/[0-9]*/stat", ()):
        if not _DAEMON.match(recording["read"].get(path, {}).get("text", "")):
            recording["read"].pop(path, None)
    for path, read in recording["read"].items():
        if path == "/proc/self/mountinfo" and "text" in read:  # where a file system is, and of which type
            parts = [line.partition(" - ")[::2] for line in read["text"].splitlines()]
            mounts = [f"0 0 0:0 / {before.split()[4]} - {behind.split()[0]}" for before, behind in parts]
            read["text"] = "".join(f"{line}\n" for line in mounts if not re.search(r" /(?:proc|sys|dev)[/ ]", line))
        if path.endswith("/cgroup") and "text" in read:
            services = re.findall(r"(?m)/[^/\n]+\.service$", read["text"])
            read["text"] = "".join(f"0::/system.slice{service}\n" for service in dict.fromkeys(services))
        if path.endswith("/maps") and "text" in read:
            read["text"] = "".join(line + "\n" for line in read["text"].splitlines() if line.endswith(" (deleted)"))
    if "/proc/[0-9]*/stat" in recording["glob"]:
        recording["glob"]["/proc/[0-9]*/stat"] = [p for p in recording["glob"]["/proc/[0-9]*/stat"] if p in recording["read"]]
    lines = {path: read.get("text", "") for path, read in recording["read"].items() if path.endswith("/cmdline")}
    kept = [path for path, text in lines.items() if re.search(r"exim|/smtpd$", text.partition("\0")[0])]
    for pattern in [pattern for pattern in recording["glob"] if pattern.endswith("/cmdline")]:
        for path in set(recording["glob"][pattern]) - set(kept):
            recording["read"].pop(path, None)
        recording["glob"][pattern] = [path for path in recording["glob"][pattern] if path in kept]
    if "text" in recording["read"].get(openssl.FILE, {}):
        found = openssl.LINE.finditer(recording["read"][openssl.FILE]["text"])
        wanted = ("openssl_conf", "ssl_conf", "system_default", "minprotocol", "cipherstring")
        told = [line.group().strip() for line in found if line["section"] or line["name"].lower() in wanted]
        recording["read"][openssl.FILE]["text"] = "".join(f"{line}\n" for line in told)
    if "/proc/stat" in recording["read"]:  # of its many numbers only the time of the boot is looked at
        text = recording["read"]["/proc/stat"].get("text", "")
        recording["read"]["/proc/stat"]["text"] = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("btime"))


def _base(name: str, lines: list[str]) -> list[str]:
    path = FIXTURES / name
    if not path.exists():
        path.write_text("\n".join(lines) + "\n")
    return path.read_text().splitlines()


def restore(recording: dict[str, Any]) -> dict[str, Any]:
    """A recording as `Replay` wants it. What readers ask since it was made, it takes from the untouched host of its release
    (tests/fixtures/asked-since.json): the faults of that time changed nothing of it."""
    for base, since in json.loads((FIXTURES / "asked-since.json").read_text()).items():
        named = [name for entry in recording["run"] for name in (entry.get("stdout_of"), entry.get("version"))]
        named += [read.get("text_of_file") for read in recording["read"].values()]
        if base in named:
            recording["run"] += since["run"]  # Replay takes the first that fits
            for kind in ("read", "stat", "glob"):
                recording[kind] = {**since.get(kind, {}), **recording[kind]}
            recording["asked_later"] = since.get("asked_later", []) if _asked_once(recording) else []
    recording["glob"] = {**dict.fromkeys(rspamd.LUA, []), **recording["glob"]}
    for entry in (*recording["run"], *recording["read"].values()):
        base = entry.get("stdout_of_file", "")
        _whole_again(entry)
        _with_later_sections(entry, base)
        if "stdout_of" not in entry:
            continue
        usual = (FIXTURES / entry.pop("stdout_of")).read_text().splitlines()
        if "instead" in entry:
            for first, last, lines in reversed(entry.pop("instead")):
                usual[first:last] = lines
            entry.pop("version")
        else:
            without = set(entry.pop("without"))
            usual = [line for line in usual if line not in without] + entry.pop("with")
        entry["stdout"] = "\n".join(usual) + "\n"
    return recording


def _with_later_sections(entry: dict[str, Any], base: str) -> None:
    """What rspamd is asked since a recording was made, it answers as an untouched one of its release, but for what the lab's
    hosts had set before (tests/fixtures/rspamd-since.json)."""
    argv = entry.get("argv", ())
    if "configdump" not in argv:
        return
    first = argv.index("-C") + 1
    asked = [word for word in argv[first:] if word != rspamd.MARK]
    argv[first:] = rspamd.COMMAND[rspamd.COMMAND.index("-C") + 1 :]
    if entry.get("returncode") == 0:
        parts = (FIXTURES / base).read_text().split(rspamd.BETWEEN) if base else []
        later = json.loads((FIXTURES / "rspamd-since.json").read_text())
        told = {section: f"{json.dumps(text)}\n" for section, text in later.items()}
        told = {**dict(zip(rspamd.SECTIONS, parts)), **told}
        told.update(zip(asked, entry["stdout"].split(rspamd.BETWEEN)))  # the base may have grown since, at its end
        entry["stdout"] = rspamd.BETWEEN.join(told[section] for section in rspamd.SECTIONS)


def _asked_once(recording: dict[str, Any]) -> bool:
    """Whether Sendmail was only asked about relaying, as it was before other controls had questions."""
    asked = [entry for entry in recording["run"] if entry["argv"][-1] == "-bt" and "-d0.1" not in entry["argv"]]
    return len(asked) <= len({tuple(entry["argv"]) for entry in asked})


def _lists_parameters(entry: dict[str, Any]) -> bool:
    return entry["argv"][0] == "postconf" and "-M" not in entry["argv"] and entry.get("returncode") == 0


def site_from(data: dict[str, Any]) -> Site:
    """A Site from expect.json."""
    return Site(
        kind=data.get("kind", "mx"),
        local_domains=tuple(data.get("local_domains", ())),
        trusted_networks=tuple(parse_network(n) for n in data.get("trusted_networks", ())),
        proxies=tuple(parse_network(n) for n in data.get("proxies", ())),
        gateways=tuple(data.get("gateways", ())),
        tunables=data.get("tunables", {}),
    )


def evaluate(programs: list[str], recording: dict[str, Any], site: Site) -> list[Finding]:
    """Every control of these programs on a recorded host."""
    found = []
    replay = Replay(recording)
    ids = recording.get("ids", ())
    readings = read_all(replay, programs, ids)
    site = replace(site, servers=servers(readings), rspamd=one(readings, "rspamd"), clamav=one(readings, "clamav"),
                   policyd=one(readings, "policyd_rate_limit"), resolver=one(readings, "resolver"))  # fmt: skip
    for reading in readings:
        own = reading.component.name
        wanted = [c for (i, component), c in sorted(REGISTRY.items()) if component == own and (own != "os" or i in ids)]
        found += [finding for c in wanted for instance in reading.instances for finding in c.evaluate(instance, site)]
    return found


def save(
    control: str, verdict: str, scenario: str, programs: list[str], recording: dict[str, Any], site: dict[str, Any]
) -> Path:
    """Write the fixture; returns its directory."""
    findings = evaluate(programs, recording, site_from(site))
    directory = FIXTURES / control / f"{verdict}-{scenario}"
    directory.mkdir(parents=True, exist_ok=True)
    others = sorted({f.control for f in findings if f.status.value == "fail" and f.control != control})
    expect = {
        "site": site,
        "programs": programs,
        "findings": [_short(f) for f in findings if f.control == control],
        "other_failures": others,
    }
    (directory / "recording.json").write_text(json.dumps(compact(recording), indent=1, sort_keys=True) + "\n")
    (directory / "expect.json").write_text(json.dumps(expect, indent=2) + "\n")
    return directory


def _short(finding: Finding) -> dict[str, Any]:
    return {"subject": str(finding.subject), "status": finding.status.value, "message": finding.message,
            "conditions": list(finding.conditions)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("control", nargs="?", help="the control that the fixture is for")
    parser.add_argument("verdict", nargs="?", choices=["pass", "fail", "unknown"])
    parser.add_argument("scenario", nargs="?", help="a few words, joined by hyphens")
    parser.add_argument("--via", default="", help="a command that runs its arguments on the host")
    parser.add_argument("--site", default="{}", help="JSON: kind, local_domains, trusted_networks, proxies, gateways, tunables")
    parser.add_argument("--show", action="store_true", help="print the findings, keep nothing")
    arguments = parser.parse_args()
    site = json.loads(arguments.site)
    around = {i for (i, component), c in REGISTRY.items() if component == "os" or c.scanner}
    of_the_host = [i for i in sorted(around) if arguments.control in (i, None)]
    try:
        programs, recording = record(shlex.split(arguments.via), of_the_host)
    except CaptureError as exc:
        print(exc, file=sys.stderr)
        return 1
    if arguments.show or not arguments.scenario:
        for finding in evaluate(programs, recording, site_from(site)):
            print(f"{finding.control} {finding.subject}: {finding.status.value}: {finding.message} {finding.reason}".rstrip())
        return 0
    directory = save(arguments.control, arguments.verdict, arguments.scenario, programs, recording, site)
    print(directory.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
