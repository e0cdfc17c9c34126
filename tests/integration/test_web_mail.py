"""Real pages of php-fpm, fetched over HTTP: what they send before the role mta_web_mail, and what afterwards."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy
from closed_loop import STATE
from test_outcome_roles import play

pytestmark = pytest.mark.lab

# Each tells how it went, and what the other side said.
PAGES = {
    "mail": 'echo mail($to, "from a page", "text\\n") ? "sent" : "failed";',
    "program": '$p = popen("/usr/sbin/sendmail -t", "w"); fwrite($p, $message); echo pclose($p) === 0 ? "sent" : "failed";',
    "socket": """\
$s = @fsockopen($_GET["host"], 25, $number, $said, 10) or die("failed: $said");
$ask = function ($line) use ($s) { fwrite($s, $line); do { $a = fgets($s); } while ($a && $a[3] === "-"); return $a; };
fgets($s);
foreach (["EHLO page.test", "MAIL FROM:<www-data@page.test>", "RCPT TO:<$to>", "DATA"] as $line) { $last = $ask("$line\\r\\n"); }
echo str_starts_with($last, "354") && str_starts_with($ask("$message\\r\\n.\\r\\n"), "250") ? "sent" : "failed: $last";""",
}
HEAD = '<?php $to = "canary+$_GET[token]@canary.test"; $message = "To: $to\\r\\nSubject: from a page\\r\\n\\r\\ntext\\r\\n";\n'
SITES = r"""
set -e
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y nginx php-fpm msmtp
useradd --system --shell /usr/sbin/nologin shop
cd /etc/php/*/fpm/pool.d
printf '[shop]\nuser = shop\nlisten = /run/php/shop.sock\nlisten.owner = www-data\npm = ondemand\npm.max_children = 2\n' > shop.conf
cat > /etc/nginx/sites-available/default <<'END'
server { listen 80; root /var/www/html; location ~ \.php$ { include snippets/fastcgi-php.conf; fastcgi_pass unix:/run/php/php-fpm.sock; } }
server { listen 8080; root /var/www/html; location ~ \.php$ { include snippets/fastcgi-php.conf; fastcgi_pass unix:/run/php/shop.sock; } }
END
systemctl restart nginx 'php*-fpm.service'
"""  # noqa: E501
WAYS = {"mail()": ("mail", ""), "sendmail(1)": ("program", ""), "loopback": ("socket", "127.0.0.1"),
        "another host": ("socket", "sink.canary.test")}  # fmt: skip
LOGINS = {"www": "alice", "shop": "bob"}
PORTS = {"www": 80, "shop": 8080}
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=60).read().decode())"
CONTROLS = ("WEB-01", "WEB-02", "WEB-03")


class Sites:
    """Two sites on a copy, with an account of the system and a pool of php-fpm each."""

    def __init__(self, copy: Copy) -> None:
        host = copy.lab.host(copy.name)
        self.copy, self.address, self.domain = copy, host.ipv4, host.mail_domain
        copy.shell(SITES)
        for name, body in PAGES.items():
            copy.shell(f"cat > /var/www/html/{name}.php", stdin=HEAD + body)
        self.ready()

    def ready(self) -> None:
        sockets = "test -S /run/php/php-fpm.sock && test -S /run/php/shop.sock"
        self.copy.shell(f"for i in $(seq 50); do {sockets} && exit; sleep 0.2; done; exit 1")

    def fetch(self, url: str) -> str:
        done = self.copy.lab.execute("neighbour", "python3", "-c", FETCH, url)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def send(self, site: str, way: str) -> tuple[str, str]:
        """What the page says, and the token of its message."""
        page, host = WAYS[way]
        token = uuid.uuid4().hex
        return self.fetch(f"http://{self.address}:{PORTS[site]}/{page}.php?token={token}&host={host}"), token

    def arrived(self, token: str, wait_s: float) -> list[dict[str, Any]]:
        until = time.monotonic() + wait_s
        while True:
            done = self.copy.lab.execute("neighbour", "python3", "-c", FETCH, f"http://sink.canary.test:8025/token/{token}")
            if done.returncode == 0:
                found: list[dict[str, Any]] = json.loads(done.stdout)
                return found
            if time.monotonic() > until:
                return []
            time.sleep(0.5)

    def findings(self) -> dict[str, str]:
        found = self.copy.audit(mta_audit_profile="strict").answer()["findings"]
        return {f["control"]: f["status"] for f in found if f["control"] in CONTROLS}

    def state(self) -> str:
        return self.copy.shell(STATE) + self.copy.shell("systemctl list-unit-files 'mtaudit*'; nft list ruleset")


    def logins(self) -> list[dict[str, str]]:
        """As the site keeps them: each password in a file of its own, for the account that needs it."""
        accounts = {"www": "www-data", "shop": "shop"}
        for site, login in LOGINS.items():
            password, path = self.copy.lab.config.logins[login], f"/srv/{site}.password"
            self.copy.shell(f"install -m 400 -o {accounts[site]} /dev/stdin {path}", stdin=f"{password}\n")
        return [{"pool": site, "login": login, "sender": f"{login}@{self.domain}", "password_file": f"/srv/{site}.password"}
                for site, login in LOGINS.items()]  # fmt: skip

    def refuse(self, *ways: str) -> None:
        """No page sends in any of these ways, and nothing waits."""
        self.ready()
        sent = {(site, way): self.send(site, way) for site in PORTS for way in ways}
        assert not [each for each, (said, _) in sent.items() if not said.startswith("failed")], sent
        time.sleep(5)
        assert not [each for each, (_, token) in sent.items() if self.arrived(token, 0)]
        assert self.copy.shell("postqueue -p").strip() == "Mail queue is empty"

    def back_to(self, state: str) -> None:
        self.copy.ansible("ansible-playbook", "playbooks/rollback.yml")
        assert self.state() == state


@pytest.fixture(scope="module", params=["full-d13", pytest.param("full-d12", marks=pytest.mark.full)])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with throw_away_copy(request.param, "t-web", tmp_path_factory.mktemp("web")) as copy:
        copy.lab.up(["neighbour", "dns", "sink", "repo"])
        yield Sites(copy)


def test_without_a_login_no_page_sends(sites: Sites, tmp_path: Path) -> None:
    before = sites.state()
    for site in PORTS:
        for way in WAYS:
            said, token = sites.send(site, way)
            assert (said, len(sites.arrived(token, 20))) == ("sent", 1), (site, way)
    assert sites.findings() == dict.fromkeys(CONTROLS, "fail")

    printed = play(sites.copy, tmp_path, "mta_web_mail")
    assert re.search(r"mail of shop, www a login.*mta_web_mail_sites", " ".join(printed.split())), printed
    sites.refuse(*WAYS)
    assert sites.findings() == {"WEB-01": "pass", "WEB-02": "fail", "WEB-03": "pass"}
    for verb in ("start", "reload", "restart", "stop"):  # each flushes every rule
        sites.copy.shell(f"systemctl {verb} nftables")
        assert sites.findings()["WEB-01"] == "pass", verb
    sites.back_to(before)


def test_pages_send_with_the_login_of_their_site(sites: Sites, tmp_path: Path) -> None:
    before = sites.state()
    given = {"mta_web_mail_sites": sites.logins()}
    password = sites.copy.shell("cat /srv/shop.password")
    sites.copy.shell("echo wrong > /srv/shop.password")
    with pytest.raises(AssertionError, match="bob cannot log in"):
        play(sites.copy, tmp_path, "mta_web_mail", **given)
    assert sites.state() == before
    sites.copy.shell("cat > /srv/shop.password", stdin=password)

    printed = play(sites.copy, tmp_path, "mta_web_mail", **given)
    sites.ready()
    for site, login in LOGINS.items():
        said, token = sites.send(site, "mail()")
        (mail,) = sites.arrived(token, 20) or [{}]
        assert said == "sent" and mail["envelope_from"] == f"{login}@{sites.domain}", (said, mail)
        assert f"(Authenticated sender: {login})" in str(mail["received"])
        headers = dict(mail["headers"])
        assert headers["From"] == f"{login}@{sites.domain}" and headers["X-PHP-Originating-Script"].endswith(":mail.php")
    sites.refuse(*[way for way in WAYS if way != "mail()"])
    assert sites.findings() == dict.fromkeys(CONTROLS, "pass")

    again = play(sites.copy, tmp_path, "mta_web_mail", **given)
    assert re.search(rf"^{sites.copy.name} .*\bchanged=0\b", again, re.M), again[-500:]
    kept = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 8 and not [text for text in (printed, again, *kept) if password.strip() in text]
    sites.back_to(before)


@pytest.mark.full
def test_a_site_that_is_not_named_stops_no_other(sites: Sites, tmp_path: Path) -> None:
    before = sites.state()
    given = [login for login in sites.logins() if login["pool"] == "shop"]
    play(sites.copy, tmp_path, "mta_web_mail", mta_web_mail_sites=given, mta_web_mail_submission="127.0.0.1:465")
    sites.ready()
    said, token = sites.send("shop", "mail()")
    (mail,) = sites.arrived(token, 20) or [{}]
    assert said == "sent" and mail["envelope_from"] == f"bob@{sites.domain}", (said, mail)
    assert sites.send("www", "mail()")[0] == "failed"
    # An account that is gone when the rules are loaded again leaves the others closed.
    load = "systemctl restart mtaudit-web-mail"
    sites.copy.shell(f"sed -i.kept /^shop:/d /etc/passwd; {load}; status=$?; mv /etc/passwd.kept /etc/passwd; exit $status")
    assert sites.findings() == {"WEB-01": "pass", "WEB-02": "fail", "WEB-03": "pass"}
    sites.back_to(before)
