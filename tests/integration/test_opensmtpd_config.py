"""mta_opensmtpd_config on real OpenSMTPD of both releases: what it writes, what it refuses, and what the server then does.

Told by `smtpd -n`, swaks and the files themselves: not by our own code.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy

pytestmark = pytest.mark.lab

FILE, INCLUDED, TRUSTED = "/etc/smtpd.conf", "/etc/smtpd.partners", "/etc/trusted"
OURS = f"""
# ours: partners, and a rule that is written over lines
table trusted file:{TRUSTED}
include "{INCLUDED}"
match from src {{ 10.9.8.7, \\
  10.9.8.6 }} for any \\
  action "outside"  # theirs
"""
PARTNERS = 'match from src <trusted> for any action "outside"  # until spring\n'


@pytest.fixture(scope="module", params=[pytest.param("opensmtpd-d12", marks=pytest.mark.full), "opensmtpd-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A hand-made configuration: comments, continued lines, an included file, a table in a file."""
    with throw_away_copy(request.param, "t-config", tmp_path_factory.mktemp("config")) as copy:
        copy.lab.up(["router", "stranger", "dns"])
        copy.shell(f"cat > {TRUSTED}", stdin="# nets\n10.0.0.1\n198.19.0.0/16\n")
        copy.shell(f"cat > {INCLUDED}", stdin=PARTNERS)
        copy.shell(f"cat >> {FILE}", stdin=OURS)
        copy.shell("/usr/local/lib/lab/activate")
        yield copy


def configure(copy: Copy, *words: str, **wanted: Any) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_opensmtpd_config", "-a", json.dumps(wanted), *words)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def files(copy: Copy) -> str:
    return copy.shell(f"sha256sum {FILE} {INCLUDED} {TRUSTED}; stat -c '%a %u %g' {FILE} {INCLUDED} {TRUSTED}")


def answers(copy: Copy, *more: str, recipient: str = "", sender: str = "probe@stranger.test") -> str:
    """How the server answers a stranger's recipient: the code; empty where nobody listens."""
    about = copy.lab.host(copy.name)
    copy.shell("for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--from", sender, "--to", recipient or f"alice@{about.mail_domain}",
        "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20", *more,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.partition("RCPT TO")[2].splitlines()[1:]]
    return next((words[1] for words in lines if words and words[0].startswith("<")), "")


def refused(copy: Copy, **wanted: Any) -> str:
    before = files(copy)
    with pytest.raises(AssertionError) as failed:
        configure(copy, **wanted)
    assert files(copy) == before and answers(copy) == "250", "nothing is changed"
    return str(failed.value)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.full
def test_a_rule_of_an_included_file_changes_and_its_comment_stays(copy: Copy) -> None:
    assert answers(copy, recipient="canary@canary.test") == "250", "the fault is there"
    rule, change = "match from src <trusted> for any action outside", 'match auth from src <trusted> for any action "outside"'
    before = files(copy)
    told = configure(copy, "--check", statements={rule: change})
    assert told["changed"] and told["transaction"] == {} and files(copy) == before
    words = ("-m", "mta_opensmtpd_config", "--check", "--diff", "-a", json.dumps({"statements": {rule: change}}))
    assert f"+{change}  # until spring" in copy.ansible("ansible", copy.name, *words)
    done = configure(copy, statements={rule: change})
    assert done["transaction"]["phase"] == "committed" and done["activate"] == "restart"
    assert copy.shell(f"cat {INCLUDED}") == f"{change}  # until spring\n"
    assert answers(copy, recipient="canary@canary.test") == "550" and answers(copy) == "250"
    assert not configure(copy, statements={rule: change})["changed"]

    name = done["transaction"]["name"]
    copy.ansible("ansible", copy.name, "-m", "mta_snapshot", "-a", f"action=restore name={name}")
    assert files(copy) == before and answers(copy, recipient="canary@canary.test") == "250", "as it was, to the byte"


@pytest.mark.full
def test_an_entry_of_a_table_goes_and_comes(copy: Copy) -> None:
    wanted = {TRUSTED: {"198.19.0.0/16": None, "10.0.0.2": ""}}
    assert configure(copy, tables=wanted)["changed"]
    assert copy.shell(f"cat {TRUSTED}") == "# nets\n10.0.0.1\n10.0.0.2\n"
    assert answers(copy, recipient="canary@canary.test") == "550"
    assert not configure(copy, tables=wanted)["changed"]
    configure(copy, tables={TRUSTED: {"198.19.0.0/16": "", "10.0.0.2": None}})
    assert answers(copy, recipient="canary@canary.test") == "250"


@pytest.mark.full
def test_many_restarts_in_a_row_leave_it_up(copy: Copy) -> None:
    """systemd's start limit is five in ten seconds."""
    for number in range(7):
        configure(copy, tables={TRUSTED: {"10.7.7.7": "" if number % 2 == 0 else None}})
    assert answers(copy) == "250" and copy.shell("systemctl is-active opensmtpd") == "active\n"
    configure(copy, tables={TRUSTED: {"10.7.7.7": None}})


def test_a_rule_over_lines_becomes_a_comment_and_one_is_put_before_it(copy: Copy) -> None:
    before = copy.shell(f"cat {FILE}")
    theirs = 'match from src { 10.9.8.7, 10.9.8.6 } for any action "outside"'
    first = 'match from src 198.19.0.66 for any reject'
    assert configure(copy, statements={theirs: None}, additions={first: theirs})["changed"]
    after = copy.shell(f"cat {FILE}")
    start = before.index("match from src { 10.9.8.7")
    rest = before[start:].replace("\n  ", "\n#   ")
    assert after == f"{before[:start]}{first}\n# {rest}", "each line is a comment, and the comment behind it stays"
    assert not configure(copy, statements={theirs: None}, additions={first: theirs})["changed"]
    early = "match from any mail-from boss@partner.test for any reject"
    (last,) = [line for line in before.splitlines() if line.startswith("match from any for domain")]
    assert answers(copy, sender="boss@partner.test") == "250"
    assert configure(copy, additions={early: last})["changed"]
    assert answers(copy, sender="boss@partner.test") == "550" and answers(copy) == "250"
    copy.shell(f"cat > {FILE}", stdin=before)
    copy.shell("/usr/local/lib/lab/activate")


@pytest.mark.full
def test_options_of_a_line_come_and_go(copy: Copy) -> None:
    before = copy.shell(f"cat {FILE}")
    options = {"0.0.0.0 port 25": {"hostname": "mail.example.test", "tag": "outer"}}
    assert configure(copy, options=options)["changed"]
    assert len(changed_lines(before, copy.shell(f"cat {FILE}"))) == 2
    about = copy.lab.host(copy.name)
    greeted = copy.lab.execute("stranger", "swaks", "--server", str(about.ipv4), "--quit-after", "CONNECT").stdout
    assert "220 mail.example.test" in greeted
    assert not configure(copy, options=options)["changed"]
    configure(copy, options={"0.0.0.0 port 25": {"hostname": f"{copy.name}.corp.test", "tag": None}})
    assert " tag " not in copy.shell(f"cat {FILE}") and answers(copy) == "250"
    copy.shell(f"cat > {FILE}", stdin=before)
    copy.shell("/usr/local/lib/lab/activate")


@pytest.mark.full
@pytest.mark.parametrize(
    ("wanted", "says"),
    [({"statements": {"match from any for any reject": "match from all for any reject"}}, "it is not there, nor is what shall"),
     ({"additions": {"match from any for any action nowhere": None}}, "OpenSMTPD would not run with the new configuration"),
     ({"additions": {"match from any reject\nmatch from any reject": None}}, "is not one statement on one line"),
     ({"additions": {"match from any for any reject": "match from nowhere reject"}}, "that is not there"),
     ({"options": {"0.0.0.0 port 26": {"tag": "x"}}}, "there is none; there are: 0.0.0.0 port 25"),
     ({"options": {"0.0.0.0 port 25": {"tagg": "x"}}}, "there is no option 'tagg'"),
     ({"options": {"0.0.0.0 port 25": {"tag": "x\nlisten on lo"}}}, "is not one value"),
     ({"options": {"0.0.0.0 port 25": {"pki": "nowhere", "tls": ""}}}, "OpenSMTPD would not run with the new configuration"),
     ({"tables": {"/etc/passwd": {"x": "y"}}}, "no `table` of /etc/smtpd.conf is read from that file"),
     ({"tables": {TRUSTED: {"[bad": ""}}}, "OpenSMTPD would not run with the new configuration: 'smtpd -n -f /etc/smtpd.conf'"),
     ({"tables": {TRUSTED: ["10.0.0.1"]}}, "must be a dictionary"),
     ({"config_file": "/etc/other.conf"}, "it does not run with /etc/other.conf")],
    ids=["no-statement", "no-action", "two-lines", "no-anchor", "no-line", "no-option", "two-values", "no-pki", "no-table",
         "bad-entry", "list", "other-file"],
)  # fmt: skip
def test_what_smtpd_would_not_run_with_is_refused(copy: Copy, wanted: dict[str, Any], says: str) -> None:
    if "[bad" in str(wanted) and "6.8" in copy.shell("smtpd -h 2>&1 || true"):
        pytest.skip("6.8 takes any line of a table")
    assert says in refused(copy, **wanted)
