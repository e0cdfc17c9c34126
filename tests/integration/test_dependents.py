"""Who uses a path that is about to be closed: mail sent by swaks to real servers, and what their own logs are read to say."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mail_flow import CANARY, ROOT, FlowingHost, Lab, flowing_host

pytestmark = pytest.mark.lab

ACTIVATE = "/usr/local/lib/lab/activate"
IDS = ["AUTH-01", "AUTH-02", "RELAY-01", "SENDER-01", "SENDER-03"]
# Logins on port 25 and in clear, any sender, and the neighbour may relay: what the controls ask to be closed.
LAX = {
    "full": r"""
postconf -P smtp/inet/smtpd_sasl_auth_enable=yes smtp/inet/smtpd_tls_auth_only=no submission/inet/smtpd_sender_restrictions=
postconf -e smtpd_tls_auth_only=no 'mynetworks=127.0.0.0/8 198.51.100.30/32' smtpd_sender_restrictions= smtpd_sender_login_maps=
postfix reload
sed -i 's/^disable_plaintext_auth.*/disable_plaintext_auth = no/; s/^auth_allow_cleartext.*/auth_allow_cleartext = yes/' \
  /etc/dovecot/dovecot.conf
systemctl restart dovecot
sleep 2""",
    "exim": rf"""
cd /etc/exim4/conf.d/main
sed -i 's/^auth_advertise_hosts.*/auth_advertise_hosts = */; s/^MAIN_ACL_CHECK_MAIL.*//' 000_localmacros
sed -i 's/^MAIN_LOG_SELECTOR.*/& +incoming_interface/' 000_localmacros
sed -i 's/server_advertise_condition.*//' /etc/exim4/conf.d/auth/35_local_servers
sed -i 's|control = submission$|&/sender_retain|' /etc/exim4/conf.d/acl/30_exim4-config_check_rcpt
sed -i 's|^dc_relay_nets=.*|dc_relay_nets=198.51.100.30|' /etc/exim4/update-exim4.conf.conf
{ACTIVATE}""",
    "sendmail": rf"""
sed -i "s/Port=smtp, M=A'/Port=smtp, M='/; s/AUTH_OPTIONS', .A p y/AUTH_OPTIONS', \`A y/" /etc/mail/sendmail.mc
sed -i '/sender address is not owned/d; /local senders must log in/d' /etc/mail/sendmail.mc
printf 'Connect:198.51.100.30\tRELAY\n' >> /etc/mail/access
{ACTIVATE}""",
    "opensmtpd": rf"""
sed -i 's|^listen on 0.0.0.0 port 25 tls pki mail|& auth-optional <logins>|' /etc/smtpd.conf
sed -i 's/ senders <own_senders>//; /reject$/d' /etc/smtpd.conf
sed -i 's|^match auth from any for domain|match from src "198.51.100.30" for any action "outside"\n&|' /etc/smtpd.conf
{ACTIVATE}""",
}

PROGRAM = """
import base64, json, sys
open("/tmp/mtaudit.zip", "wb").write(base64.b64decode(PACKED))
sys.path.insert(0, "/tmp/mtaudit.zip")
from mtaudit.audit import Request, Selected, look, site_of
from mtaudit.logs.dependents import dependents
from mtaudit.runner import LocalRunner
runner, request = LocalRunner(), Request("host", (), local_domains=(DOMAIN,))
looked = look(runner, request)
instances = {reading.component.name: reading.instances for reading in looked.readings}
print(json.dumps([each.to_dict() for each in dependents(runner, instances, IDS, site_of(request, looked))]))
"""


def packed() -> str:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for path in (ROOT / "module_utils/mtaudit").rglob("*.py"):
            file.write(path, f"mtaudit/{path.relative_to(ROOT / 'module_utils/mtaudit')}")
    return base64.b64encode(data.getvalue()).decode()


def said(host: FlowingHost, program: str = "") -> dict[str, dict[str, Any]]:
    values = f"PACKED, DOMAIN, IDS = {packed()!r}, {host.about.mail_domain!r}, {IDS!r}\n"
    done = host.lab.execute(host.name, "python3", "-B", "-", stdin=values + PROGRAM)
    assert done.returncode == 0, done.stderr
    return {each["control"]: each for each in json.loads(done.stdout) if each["program"] == (program or host.program)}


def send(host: FlowingHost, vantage: str, *words: str) -> None:
    done = host.lab.execute(vantage, "swaks", "--server", host.about.ipv4, "--helo", "client.test", "--timeout", "15", *words)
    assert done.returncode == 0, (words, done.stdout)


@pytest.mark.parametrize("base", ["full-d13", "exim-d13", "sendmail-d13", "opensmtpd-d13", *(
    pytest.param(base, marks=pytest.mark.full) for base in ("full-d12", "exim-d12", "sendmail-d12")
)])  # fmt: skip
def test_who_uses_what(lab: Lab, tmp_path: Path, base: str) -> None:
    kind = base.partition("-")[0]
    lab.up(["neighbour"])
    with flowing_host(lab, base, tmp_path) as host:
        quiet = said(host)
        assert not [each for each in quiet.values() if each["found"]], quiet
        host.shell(LAX[kind])
        alice, bob = f"alice@{host.about.mail_domain}", f"bob@{host.about.mail_domain}"
        login = ["-au", "alice", "-ap", "Wren-Copper-Lantern-58"]
        send(host, "stranger", "-p", "25", "-tls", *login, "--from", alice, "--to", CANARY)
        if kind != "opensmtpd":  # which offers logins inside TLS only
            send(host, "stranger", "-p", "25", *login, "--from", alice, "--to", CANARY)
        send(host, "stranger", "-p", "587", "-tls", *login, "--from", bob, "--to", CANARY)
        send(host, "neighbour", "-p", "25", "--from", "x@stranger.test", "--to", CANARY)
        send(host, "neighbour", "-p", "25", "--from", "x@stranger.test", "--to", bob)
        # rspamd refuses a From header that is forged; the sender of the envelope is what counts here.
        send(host, "stranger", "-p", "25", "--from", alice, "--to", bob, "--h-From", "x@stranger.test")
        send(host, "stranger", "-p", "25", "--from", "x@stranger.test", "--to", bob)
        for _ in range(20):
            found = said(host)
            if found["RELAY-01"]["found"]:
                break
            time.sleep(0.5)
    names = {control: [(d["who"], d["count"]) for d in each["found"]] for control, each in found.items()}
    wanted: dict[str, list[tuple[str, int]]] = {
        "AUTH-01": [("alice", 1)], "AUTH-02": [("alice", 2)], "RELAY-01": [("198.51.100.30", 1)], "SENDER-01": [("alice", 1)],
        "SENDER-03": [("198.19.0.66", 1)],
    }  # fmt: skip
    if kind == "opensmtpd":
        wanted.update({"AUTH-01": [], "AUTH-02": []})
        assert "does not log the port" in found["AUTH-02"].pop("unknown")
    assert names == wanted, found
    assert not [each for each in found.values() if each.get("unknown")], found
    assert all(each["since"] and each["source"] for each in found.values())
    assert f"as {bob}" in found["SENDER-01"]["found"][0]["what"] and "198.19.0.66" in str(found["AUTH-02"]) or kind == "opensmtpd"


READS = """
import imaplib, ssl, sys
for account, tls in (("alice", False), ("alice", False), ("bob", True)):
    session = imaplib.IMAP4(sys.argv[1], timeout=20)
    if tls:
        session.starttls(ssl._create_unverified_context())
    session.login(account, {"alice": "Wren-Copper-Lantern-58", "bob": "Basalt-Orchid-Ferry-31"}[account])
    session.logout()
"""


@pytest.mark.full
@pytest.mark.parametrize("base", ["full-d12", "full-d13"])
def test_who_reads_mail_without_tls(lab: Lab, tmp_path: Path, base: str) -> None:
    with flowing_host(lab, base, tmp_path) as host:
        host.shell("""cd /etc/dovecot/conf.d
            sed -i 's/^ssl = required/ssl = yes/; s/^disable_plaintext_auth = yes/disable_plaintext_auth = no/' 99-mail.conf
            sed -i 's/^auth_allow_cleartext = no/auth_allow_cleartext = yes/' 99-mail.conf
            until doveadm reload; do sleep 0.3; done""")
        done = lab.execute("stranger", "python3", "-c", READS, str(host.about.ipv4))
        assert done.returncode == 0, done.stderr
        found = said(host, "dovecot")
    assert set(found) == {"AUTH-01"} and not found["AUTH-01"]["unknown"], found
    assert [(d["who"], d["count"]) for d in found["AUTH-01"]["found"]] == [("alice", 2)], found
