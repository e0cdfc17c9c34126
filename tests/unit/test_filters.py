"""What is said of filters that mail passes, where no recording of a host shows it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.filtering import LOCAL, LOGINS, STRANGERS, Way, enforced, scanned
from ansible.module_utils.mtaudit.controls.inbound_others import lists_of
from ansible.module_utils.mtaudit.controls.scanners import Called, Kind
from ansible.module_utils.mtaudit.finding import HOST, Evidence, Method
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd
from ansible.module_utils.mtaudit.readers.sendmail_cf import parse_cf
from ansible.module_utils.mtaudit.readers.sendmail_model import Sendmail

SHOWN = Evidence(Method.CONFIG, "main.cf", "smtpd_milters = inet:127.0.0.1:11332")
GOOD: dict[str, Any] = {
    "actions": {"reject": 15, "add_header": 6},
    "rbl": {"rbls": {"zen": {"rbl": "zen.spamhaus.org", "checks": ["received", "urls"]}}},
    "dmarc": {"actions": {"reject": "reject"}}, "spf": {}, "dkim": {},
}  # fmt: skip


def statuses(judge: Any, what: str = STRANGERS, kind: Kind = Kind.RSPAMD, **sections: Any) -> list[str]:
    way = Way(HOST, what, [Called("inet:127.0.0.1:11332", SHOWN, kind, "nobody knows")], [SHOWN])
    return [f.status.value for f in judge(way, Site(rspamd=Rspamd(sections={**GOOD, **sections})))]


@pytest.mark.parametrize(
    ("sections", "what", "expected"),
    [
        ({}, STRANGERS, "pass"),
        ({"actions": {"reject": None, "add_header": None}}, STRANGERS, "fail"),
        ({"actions": {"reject": None, "add_header": 6}}, STRANGERS, "pass"),
        ({"rbl": {"rbls": {"zen": {"rbl": "zen.spamhaus.org", "checks": ["received"]}}}}, STRANGERS, "fail"),
        ({"rbl": {"rbls": {"zen": {"rbl": "zen.spamhaus.org", "checks": ["received"]}}}}, LOGINS, "pass"),
        ({"settings": {"ours": {"authenticated": True, "whitelist": True}}}, LOGINS, "fail"),
        ({"settings": {"ours": {"authenticated": True, "apply": {"actions": {"reject": None}}}}}, LOGINS, "fail"),
        ({"settings": {"ours": {"authenticated": True, "want_spam": True}}}, STRANGERS, "pass"),
        ({"settings": {"one": {"authenticated": True, "user": "news", "whitelist": True}}}, LOGINS, "pass"),
        ({"settings": {"ours": {"local": True, "whitelist": True}}}, LOCAL, "fail"),
        ({"settings": {"all": {"whitelist": True}}}, STRANGERS, "fail"),
    ],
)
def test_what_comes_of_a_scan(sections: dict[str, Any], what: str, expected: str) -> None:
    assert statuses(scanned, what, **sections) == [expected]


@pytest.mark.parametrize(("kind", "expected"), [(Kind.OTHER, "fail"), (Kind.SILENT, "unknown"), (Kind.UNKNOWN, "unknown")])
def test_who_answers(kind: Kind, expected: str) -> None:
    assert statuses(scanned, kind=kind) == statuses(enforced, kind=kind) == [expected]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "pass"),
        ({"dmarc": {"actions": {"reject": "add_header"}}}, "pass"),
        ({"dmarc": {"actions": {"reject": "no action"}}}, "fail"),
        ({"dmarc": {"actions": {"quarantine": "add_header"}}}, "fail"),
        ({"spf": {"enabled": False}}, "fail"),
        ({"options": {"disabled_modules": "dkim"}}, "fail"),
    ],
)
def test_what_comes_of_dmarc(sections: dict[str, Any], expected: str) -> None:
    assert statuses(enforced, **sections) == [expected]


def test_lists_of_sendmail() -> None:
    """As m4 makes them of FEATURE(`dnsbl') and FEATURE(`enhdnsbl') in 8.17 and 8.18."""
    cf = parse_cf(
        "Scheck_relay\n"
        "R$-.$-.$-.$-\t\t$: <?> $(dnsbl $4.$3.$2.$1.zen.spamhaus.org. $: OK $)\n"
        "R<?>OK\t\t\t$: OKSOFAR\n"
        "R<?>$+<TMP>\t\t$: TMPOK\n"
        'R<?>$+\t\t$#error $@ 5.7.1 $: "550 Rejected: " $&{client_addr} " listed"\n'
        "R$-.$-.$-.$-\t\t$: <?> $(ednsbl $4.$3.$2.$1.bl.test. $: OK $)\n"
        'R<?>$+<TMP>\t$#error $@ 4.4.3 $: "451 Temporary lookup failure"\n'
        'R<?>127.0.0.$-.\t$#error $@ 5.7.1 $: "550 listed"\n'
        "R$-.$-.$-.$-\t\t$: <?> $(ednsbl $4.$3.$2.$1.other.test. $: OK $)\n"
    )
    uses = list(lists_of(Sendmail("/etc/mail/sendmail.cf", cf=cf)))
    found = [(use.zone.name, *map(use.zone.counts, ("127.0.0.4", "127.255.255.254")), bool(use.idle)) for use in uses]
    assert found == [
        ("zen.spamhaus.org", True, True, False), ("bl.test", True, False, False), ("other.test", False, False, True),
    ]  # fmt: skip
