"""Who may relay by his certificate (RELAY-12): what rows plant in Sendmail, tried from the stranger with real certificates."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "lab"))

from lab import Lab  # noqa: E402
from mtalab import faults  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("gateway")]

PLANTED = {fault.name: fault for fault in faults.load()}
# An authority of the site's own, which Sendmail trusts (confCACERT), and two that it certified.
AUTHORITY = """
set -e
cd /root
openssl req -x509 -newkey rsa:2048 -nodes -subj /O=Lab/CN=Authority -days 30 -keyout ca.key -out ca.pem
for name in partner other; do
  openssl req -newkey rsa:2048 -nodes -subj /O=Lab/CN=$name -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out $name.pem
  cat $name.key >> $name.pem
done
cat ca.pem >> /etc/ssl/certs/ca-certificates.crt
"""
# Arguments: server; on stdin a certificate with its key, or nothing. Prints the answer to a foreign recipient.
RELAY = """
import smtplib, ssl, sys, tempfile
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
shown = sys.stdin.read()
with tempfile.NamedTemporaryFile("w") as file:
    file.write(shown)
    file.flush()
    if shown:
        context.load_cert_chain(file.name)
client = smtplib.SMTP(sys.argv[1], 25, timeout=20)
client.starttls(context=context)
client.ehlo("mail.stranger.test")
client.mail("probe@stranger.test")
print(*client.rcpt("canary@canary.test"))
client.quit()
"""


ROWS = [
    ("sendmail-certificate-subject", ["partner"]),
    ("sendmail-certificate-issuer", ["partner", "other"]),
    ("sendmail-any-verified-certificate", ["partner", "other"]),
    ("sendmail-certificate-never-asked-for", []),
]
FULL = bool(os.environ.get("MTAUDIT_FULL"))


@pytest.mark.parametrize("base", ["sendmail-d13", "sendmail-d12"][: 2 if FULL else 1])
@pytest.mark.parametrize(("row", "relayed"), ROWS if FULL else ROWS[:1])
def test_whom_a_certificate_lets_relay(lab: Lab, base: str, row: str, relayed: list[str]) -> None:
    name = f"t-cert-{uuid.uuid4().hex[:8]}"
    try:
        lab.clone(base, name)
        done = lab.execute(name, "bash", stdin=f"{AUTHORITY}\n{PLANTED[row].plant}\n/usr/local/lib/lab/activate\n", timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        said = {}
        for who in ("", "partner", "other"):
            shown = lab.execute(name, "cat", f"/root/{who}.pem").stdout if who else ""
            assert bool(shown) is bool(who)
            asked = lab.execute("stranger", "python3", "-c", RELAY, lab.host(name).ipv4, stdin=shown)
            assert asked.returncode == 0, asked.stderr
            said[who] = asked.stdout
    finally:
        lab.remove(name)
    assert [who for who, answer in said.items() if answer.startswith("250 ")] == relayed, said
    assert all("Relaying denied" in answer for who, answer in said.items() if who not in relayed), said
