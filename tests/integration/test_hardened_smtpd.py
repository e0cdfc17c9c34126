"""Every fault of OpenSMTPD and Sendmail that has a fix, planted and mended in one copy of each good host after the other.

The hardening runs on the host itself, without Ansible: hundreds of runs would take hours. What the server then does is told by
swaks; the whole loop, with playbooks and the way back, is test_closed_loop.py.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.mtaudit.catalogue import load_catalogue
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.selection import fixes, selection
from audited_copy import ROOT, Copy, throw_away_copy
from fault_runs import swaks, verdict
from mtalab.faults import Fault, load
from mtalab.inventory import host_variables
from test_closed_loop import LEFT

pytestmark = [pytest.mark.lab, pytest.mark.full]  # test_closed_loop.py has a sample for make test

BASES = ("opensmtpd-d12", "opensmtpd-d13", "sendmail-d12", "sendmail-d13")
KEPT = "/etc/mail /etc/aliases /etc/smtpd.conf /etc/smtpd /etc/ssl/openssl.cnf"
RUN = """\
import json, sys
sys.path.insert(0, "/opt")
from mtaudit.audit_arguments import request_from
from mtaudit.hardening.change import harden
from mtaudit.hardening.wishes import wishes
from mtaudit.runner import LocalRunner
from mtaudit.transaction.store import Store
given = json.load(sys.stdin)
wanted = wishes(given["fixes"], [], "high", True)
severities = {fix["id"]: fix["severity"] for fix in given["fixes"]}
request, store = request_from(given["audit"]), Store("/var/lib/mtaudit")
print(json.dumps(harden(store, LocalRunner(), request, wanted, severities, acknowledged=list(severities))))
"""
# What another control's fix mends first.
WITH = {"sendmail-senders-of-logins-behind-delay-checks": "SENDER-01", "opensmtpd-senders-of-everybody": "SENDER-01"}
# What is not in the files of the program: seen by the probe alone, or of a daemon that somebody started by hand.
ELSEWHERE = ("sendmail-started-before-the-last-change", "sendmail-submission-missing")


def program(fault: Fault) -> str:
    return fault.base.partition("-")[0]


FAULTS = [
    fault for fault in load()
    if fault.base in BASES and fault.verdict == "fail" and (fault.control, program(fault)) in FIXES and not fault.lan
    and fault.name not in ELSEWHERE
]  # fmt: skip
CATALOGUE = load_catalogue(str(ROOT / "checks"))


@pytest.fixture(scope="module")
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, "t-hard", tmp_path_factory.mktemp("hard")) as copy:
        copy.lab.up(["router", "stranger", "dns"])
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(ROOT / "module_utils/mtaudit", "mtaudit", filter=lambda i: None if "__pycache__" in i.name else i)
        copy.shell("base64 -d | tar -xz -C /opt", stdin=base64.b64encode(packed.getvalue()).decode())
        copy.shell(f"cat > /opt/harden.py; tar -cpf /root/kept.tar $(ls -d {KEPT} 2>/dev/null)", stdin=RUN)
        yield copy


def again(copy: Copy) -> None:
    """As the good host is."""
    copy.shell("rm -rf /etc/mail /etc/smtpd.conf /etc/smtpd; tar -xpf /root/kept.tar -C /; /usr/local/lib/lab/activate", stdin="")


def harden(copy: Copy, fault: Fault) -> dict[str, Any]:
    usual, own = host_variables(copy.lab.config, copy.lab.host(copy.name)), fault.variables()
    given = {**usual, **own}
    audit = {
        "name": copy.name, "selection": selection(CATALOGUE, "strict", {}),
        "tunables": {**usual.get("mta_audit_tunables", {}), **own.get("mta_audit_tunables", {})},
        "kind": given.get("mta_audit_kind", ""), "trusted_networks": given.get("mta_audit_trusted_networks", []),
        "proxies": given.get("mta_audit_proxies", []), "local_domains": given.get("mta_audit_local_domains", []),
        "simulate": True, "contact_policy_services": False, "canary": "", "probe_sender": "", "known_recipient": "",
    }  # fmt: skip
    # Of others than the program itself, and of what the lab leaves open on purpose, nothing is asked here.
    wanted = [fix for fix in fixes(CATALOGUE, "strict") if (fix["id"], program(fault)) in FIXES]
    answer: dict[str, Any] = json.loads(copy.shell("python3 /opt/harden.py", stdin=json.dumps({"audit": audit, "fixes": wanted})))
    return answer


def sees(copy: Copy, fault: Fault) -> str:
    host = copy.lab.host(copy.name)
    asked = fault.session.filled(host.mail_domain or "", copy.lab.host("stranger").ipv4)
    copy.shell("for i in $(seq 150); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    return verdict(copy.lab.execute("stranger", "sh", "-c", f"{swaks(str(host.ipv4), 4, asked)} 2>&1").stdout)


def takes_mail(copy: Copy) -> bool:
    host = copy.lab.host(copy.name)
    words = ("--from", "probe@stranger.test", "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "15")
    done = copy.lab.execute("stranger", "swaks", "--server", str(host.ipv4), "--to", f"alice@{host.mail_domain}", *words)
    return bool(re.search(r"-> RCPT TO:.*\n<-\s+250", done.stdout))


@pytest.mark.parametrize(("copy", "fault"), [(fault.base, fault) for fault in FAULTS], indirect=["copy"],
                         ids=[fault.name for fault in FAULTS])  # fmt: skip
def test_it_is_mended_and_stays_so(copy: Copy, fault: Fault) -> None:
    again(copy)
    copy.shell(f"set -e\n{fault.plant}\n{fault.activate}\n", stdin="")
    open_before = fault.sees.get("stranger4") == "open" and sees(copy, fault) == "open"
    first = harden(copy, fault)
    failing = [step["control"] for step in first["plan"]["fixes"]] + [r["control"] for r in first["plan"]["refused"]]
    control = WITH.get(fault.name, fault.control)
    assert control in failing, ("the fault is there", first["summary"])
    if fault.name in LEFT:
        assert re.search(LEFT[fault.name], "\n".join(r["why"] for r in first["plan"]["refused"])), first["summary"]
        return
    assert not first.get("failed"), (first.get("msg"), first["summary"])
    mended = {step["control"]: step for step in first["plan"]["fixes"]}
    assert control in mended and not mended[control]["left"], first["summary"]
    assert first["changed"] and first["transaction"]["phase"] == "committed"
    second = harden(copy, fault)
    assert not second["changed"], second["summary"]
    assert fault.control not in [r["control"] for r in second["plan"]["refused"]], second["summary"]
    if open_before:
        assert sees(copy, fault) != "open"
    assert takes_mail(copy), "mail for a mailbox comes in as before"
