"""Filters on each path that mail takes: from a stranger, from an account, from a program of the host; swaks tells, and mailboxes.

One hit decides here: what rspamd counts for a listing is raised above its limit, so that what passes was not looked up.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from audited_copy import ROOT, Copy, throw_away_copy
from lab_dialogue import eventually

pytestmark = pytest.mark.lab

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
LINK = "have a look at http://shop.listed.test/offer"
CAME_THROUGH = "Received: from a.stranger.test (a.stranger.test [198.19.0.67]) by mail.stranger.test with ESMTP id 1"
LISTED, NAMED = "198.19.0.67", "198.19.0.69"  # nobody's: in zen, and with a reverse name in dbl (lab.yml)
WEIGHTS = """
cd /etc/rspamd/local.d
echo 'symbols { "RECEIVED_SPAMHAUS_XBL" { weight = 99; } "RBL_SPAMHAUS_XBL" { weight = 99; } }' > rbl_group.conf
echo 'max_score = 99; symbols { "DBL_SPAM" { weight = 99; } }' > surbl_group.conf
systemctl restart rspamd
"""
# As when a resolver on the host itself is stopped; what was answered before is forgotten.
NO_RESOLVER = """
nft -f - <<'END'
table inet no_resolver {
  chain out { type filter hook output priority 0; udp dport 53 reject; tcp dport 53 reject; }
}
END
for unit in postfix rspamd exim4; do [ "$(systemctl is-active $unit)" != active ] || systemctl restart $unit; done
"""
STOPPED = {
    "redis": ("systemctl stop redis-server", "systemctl start redis-server"),
    "rspamd": ("systemctl stop rspamd", "systemctl start rspamd"),
    "resolver": (NO_RESOLVER, "nft delete table inet no_resolver"),
}
BASES = ("full-d13", "full-d12", "exim-d12", "exim-d13", "sendmail-d12", "sendmail-d13", "opensmtpd-d13")
TAKEN, REFUSED, PUT_OFF, GONE = "taken", "refused", "put off", "not taken"


class Paths:
    """A copy, and the ways into it."""

    def __init__(self, copy: Copy, base: str) -> None:
        self.copy, self.base, self.lab, self.host = copy, base, copy.lab, copy.lab.host(copy.name)

    def stranger(self, body: str = "a letter", *words: str, source: str = "", sender: str = "probe@stranger.test",
                 helo: str = "mail.stranger.test") -> str:  # fmt: skip
        local = ["--local-interface", source] if source else []
        return self._swaks(body, *local, "--from", sender, "--helo", helo, "--to", f"bob@{self.host.mail_domain}", *words)

    def account(self, body: str = "a letter", *words: str) -> str:
        login = ["--auth", "PLAIN", "--auth-user", "alice", "--auth-password", self.lab.config.logins["alice"]]
        own = ["--from", f"alice@{self.host.mail_domain}", "--to", "canary@canary.test"]
        return self._swaks(body, "--port", "587", "--tls", *login, *own, *words)

    def _swaks(self, body: str, *words: str) -> str:
        said = self.lab.execute("stranger", "swaks", "--server", str(self.host.ipv4), "--timeout", "60", "--body", body, *words)
        replies = [line[4:] for line in said.stdout.splitlines() if line.startswith("<") and line[4:7] != "221"]
        return {"2": TAKEN, "4": PUT_OFF, "5": REFUSED}.get("".join(replies[-1:])[:1], said.stdout + said.stderr)

    def program(self, body: str = "a letter") -> str:
        """By sendmail(1), as cron and web pages do, for a mailbox of the host: nothing has to be asked of the DNS."""
        token = uuid.uuid4().hex
        letter = f"From: alice@{self.host.mail_domain}\nTo: bob\nSubject: {token}\n\n{body}\n-- \na program\n"
        self.lab.execute(self.copy.name, "/usr/sbin/sendmail", "bob", stdin=letter)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self.copy.shell(f"grep -rl '^Subject: {token}' /home/bob/Maildir/new || true"):
                return TAKEN
            time.sleep(0.5)
        return GONE

    def every(self) -> dict[str, str]:
        """What becomes of each message on each path."""
        asked: dict[str, Callable[[], str]] = {
            "25 letter": self.stranger, "25 gtube": partial(self.stranger, GTUBE), "25 link": partial(self.stranger, LINK),
            "25 received": partial(self.stranger, "a letter", "--add-header", CAME_THROUGH),
            "25 address": partial(self.stranger, source=LISTED), "25 reverse name": partial(self.stranger, source=NAMED),
            "25 helo": partial(self.stranger, helo="mail.listed.test"),
            "25 sender": partial(self.stranger, sender="probe@listed.test"),
            "587 letter": self.account, "587 gtube": partial(self.account, GTUBE), "587 link": partial(self.account, LINK),
            "587 address": partial(self.account, "a letter", "--local-interface", LISTED),
            "program letter": self.program, "program gtube": partial(self.program, GTUBE),
            "program link": partial(self.program, LINK),
        }  # fmt: skip
        with ThreadPoolExecutor(5) as pool:
            return dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))

    def says(self, *controls: str) -> dict[str, set[str]]:
        """What the audit says of the ports, and of what programs hand over."""
        found = self.copy.audit(mta_audit_profile="strict").answer()["findings"]
        statuses = {c: {f["status"] for f in found if f["control"] == c} for c in controls}
        return {control: said - {"notapplicable"} for control, said in statuses.items()}


# Letters pass, what is listed does not; people at home, whose addresses are listed, send all the same.
UP = {
    **dict.fromkeys(("25 letter", "587 letter", "587 address", "program letter"), TAKEN),
    **dict.fromkeys(("25 gtube", "25 link", "25 received", "25 address", "25 reverse name", "25 helo", "25 sender",
                     "587 gtube", "587 link"), REFUSED),
    **dict.fromkeys(("program gtube", "program link"), GONE),
}  # fmt: skip
LISTINGS = [name for name in UP if name.partition(" ")[2] not in ("letter", "gtube") and name != "587 address"]
CONTROLS = ("INB-01", "INB-02", "INB-03", "OUT-01", "MILTER-01")


@pytest.fixture(scope="module", params=[BASES[0], *(pytest.param(base, marks=pytest.mark.full) for base in BASES[1:])])
def paths(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    with throw_away_copy(request.param, "t-filters", tmp_path_factory.mktemp("filters")) as copy:
        copy.lab.up(["router", "stranger", "dns", "sink"])
        for address in (LISTED, NAMED):
            copy.lab.execute("stranger", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        copy.shell(WEIGHTS)
        found = Paths(copy, request.param)
        eventually(lambda: found.stranger(GTUBE) == REFUSED, 90)
        yield found


def up(base: str) -> dict[str, str]:
    """A reverse name that does not lead back to its address is none to Exim (specification, host_lookup): INB-02 tells."""
    return {**UP, "25 reverse name": TAKEN} if base.startswith("exim") else UP


def test_every_path_is_filtered(paths: Paths) -> None:
    assert paths.every() == up(paths.base)
    assert paths.says(*CONTROLS) == dict.fromkeys(CONTROLS, {"pass"})


@pytest.mark.full
@pytest.mark.parametrize("what", STOPPED)
def test_what_passes_while_something_is_stopped_is_told(paths: Paths, what: str) -> None:
    stop, start = STOPPED[what]
    paths.copy.shell(stop)
    try:
        seen, says = paths.every(), paths.says(*CONTROLS, "RATE-01")
    finally:
        paths.copy.shell(start)
        eventually(lambda: paths.stranger(GTUBE) == REFUSED, 90)
    if what == "redis":  # it is for counting
        assert seen == up(paths.base)
        assert says["RATE-01"] == ({"pass"} if paths.base.startswith("exim") else {"fail"})
    elif what == "rspamd":
        assert TAKEN not in seen.values(), seen
        assert says["MILTER-01"] == {"pass"} and says["OUT-01"] == {"unknown"}
    else:
        assert REFUSED not in {seen[name] for name in LISTINGS}, seen
        assert {seen["25 gtube"], seen["587 gtube"]} <= {REFUSED, PUT_OFF} and seen["program gtube"] == GONE
        for control in ("INB-01", "INB-02", "INB-03"):
            assert "unknown" in says[control], "no listing is heard of"


@pytest.mark.full
def test_links_in_mail_of_accounts_are_refused_by_the_files_of_the_page(paths: Paths) -> None:
    """docs/outgoing-filter.md: a whole domain, one link of a host for storage, and nothing else of that host."""
    page = (ROOT / "docs/outgoing-filter.md").read_text(encoding="utf-8")
    files = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", page, re.S | re.M)
    assert len(files) == 5
    paths.copy.shell("mkdir -p /etc/rspamd/local.d/maps.d")
    for name, text in files:
        paths.copy.shell(f"cat > /etc/rspamd/local.d/{name}", stdin=text)
    paths.copy.shell("systemctl restart rspamd")
    eventually(lambda: paths.account("see http://www.example.net/") == REFUSED, 90)
    host = "see https://drive.example.org"
    seen = {body: paths.account(body) for body in (f"{host}/d/1", f"{host}/d/12", f"{host}/", "see http://example.com/")}
    assert list(seen.values()) == [REFUSED, TAKEN, TAKEN, TAKEN], seen
    assert paths.stranger("see http://www.example.net/") == paths.account() == TAKEN, "it is about mail of accounts"
