"""No password of an audited host is in what the audit returns, prints or keeps, wherever the configuration holds it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from audited_copy import Copy, throw_away_copy

pytestmark = pytest.mark.lab

SECRETS = ("Geheim-Tern-71", "Geheim-Lark-72", "Geheim-Wren-73", "Geheim-Kite-74", "Geheim-Crow-75")
# In parameters, in the files of maps, in a URL, and in the very restrictions that findings quote.
PLANT = r"""
set -e
postconf -e 'smtp_sasl_password_maps = inline:{ [relay.test]:587=user:Geheim-Tern-71 }'
postconf -e 'corp_bind_pw = Geheim-Lark-72' 'corp_server_host = ldap://reader:Geheim-Wren-73@ldap.test' 'mynetworks = 0.0.0.0/0'
printf 'hosts = db.test\nuser = mail\npassword = Geheim-Kite-74\nquery = SELECT 1\n' > /etc/postfix/clients.cf
printf 'relay.test user:Geheim-Crow-75\n' > /etc/postfix/sasl_passwd
postconf -e "smtpd_relay_restrictions = permit_mynetworks, check_client_access ldap:corp, \
check_client_access mysql:/etc/postfix/clients.cf, \
check_client_access texthash:/etc/postfix/sasl_passwd, reject_unauth_destination"
postconf -e "smtpd_client_restrictions = check_client_access texthash:/etc/postfix/sasl_passwd"
postfix reload
"""
KEY = "/etc/ssl/private/mail.key"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy("mx-d13", "t-secrets", tmp_path_factory.mktemp("secrets")) as copy:
        copy.shell(PLANT)
        yield copy


@pytest.mark.parametrize("simulate", [False, True])
def test_no_secret_is_returned_printed_or_kept(copy: Copy, simulate: bool) -> None:
    planted = copy.shell("cd /etc/postfix; cat main.cf clients.cf sasl_passwd")
    assert all(secret in planted for secret in SECRETS)
    run = copy.audit("-vvv", mta_audit_simulate=simulate)  # -vvv prints everything that the module returned
    assert any(f["control"] == "RELAY-01" and f["status"] == "fail" for f in run.answer()["findings"])
    files = {str(path): path.read_text(encoding="utf-8") for path in run.reports.rglob("*") if path.is_file()}
    assert len(files) > 8
    keys = [line for line in copy.shell(f"cat {KEY}").splitlines() if len(line) == 64]
    assert keys
    for place, text in {"printed": run.printed, **files}.items():
        leaked = [secret for secret in (*SECRETS, keys[0]) if secret in text]
        assert not leaked, f"{place}: {leaked}"
