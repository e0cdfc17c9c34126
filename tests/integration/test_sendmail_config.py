"""mta_sendmail_config on real Sendmail of both releases: what it writes, what it refuses, and what the server then does.

What is in force is told by Sendmail's own test mode and makemap, and what the server does by swaks: not by our own code.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy

pytestmark = pytest.mark.lab

MC, CF, ACCESS, CLASS = "/etc/mail/sendmail.mc", "/etc/mail/sendmail.cf", "/etc/mail/access", "/etc/mail/relay-domains"
HOST_NAMES = "/etc/mail/local-host-names"


@pytest.fixture(scope="module", params=[pytest.param("sendmail-d12", marks=pytest.mark.full), "sendmail-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A hand-made configuration: comments, a feature too many, a client too many, a file of a class."""
    with throw_away_copy(request.param, "t-config", tmp_path_factory.mktemp("config")) as copy:
        copy.lab.up(["router", "stranger", "dns"])
        copy.shell(f"sed -i \"/always_add_domain/i FEATURE(\\`promiscuous_relay')dnl # for a day\" {MC}")
        copy.shell(f"printf '# clients\\nConnect:198.19\\tRELAY\\n' >> {ACCESS}; printf '# partners\\n10.9.8.7\\n' > {CLASS}")
        copy.shell("/usr/local/lib/lab/activate")
        yield copy


def configure(copy: Copy, *words: str, **wanted: Any) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_sendmail_config", "-a", json.dumps(wanted), *words)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def files(copy: Copy) -> str:
    """Every file of /etc/mail, to the byte, with owner and mode, but for those that Debian makes anew at a restart."""
    listed = "find . -type f ! -name Makefile ! -name databases ! -name sendmail.conf | sort"
    return copy.shell(f"cd /etc/mail && files=$({listed}) && sha256sum $files && stat -c '%n %a %u %g' $files")


def process(copy: Copy) -> str:
    return copy.shell("head -n 1 /run/sendmail/mta/sendmail.pid")


def answers(copy: Copy, recipient: str = "") -> str:
    """How the server answers a stranger's recipient: the code."""
    about = copy.lab.host(copy.name)
    copy.shell("for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--helo", "mail.stranger.test",
        "--to", recipient or f"alice@{about.mail_domain}", "--quit-after", "RCPT", "--timeout", "20",
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.partition("RCPT TO")[2].splitlines()[1:]]
    return next((words[1] for words in lines if words and words[0].startswith("<")), "")


def relays(copy: Copy) -> bool:
    return answers(copy, "canary@canary.test") == "250"


def refused(copy: Copy, **wanted: Any) -> str:
    before = files(copy)
    with pytest.raises(AssertionError) as failed:
        configure(copy, **wanted)
    assert files(copy) == before, "nothing is changed"
    return str(failed.value)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_a_feature_goes_and_rollback_brings_every_byte_back(copy: Copy) -> None:
    assert relays(copy), "the fault is there"
    before, source, was = files(copy), copy.shell(f"cat {MC}"), process(copy)
    wanted = {"features": {"promiscuous_relay": None}, "maps": {ACCESS: {"connect:198.19": None}},
              "words": {CLASS: {"10.9.8.7": False}}}
    told = configure(copy, "--check", **wanted)
    assert told["changed"] and told["transaction"] == {} and files(copy) == before
    done = configure(copy, **wanted)
    assert done["transaction"]["phase"] == "committed" and done["activate"] == "restart"
    assert changed_lines(source, copy.shell(f"cat {MC}")) == [
        "-FEATURE(`promiscuous_relay')dnl # for a day", "+dnl FEATURE(`promiscuous_relay')dnl # for a day"]
    assert "connect:198.19" not in copy.shell(f"makemap -u hash {ACCESS}") and "# clients" in copy.shell(f"cat {ACCESS}")
    assert copy.shell(f"cat {CLASS}") == "# partners\n"
    assert process(copy) != was and not relays(copy) and answers(copy) == "250"
    assert copy.shell(f"[ {MC} -nt {CF} ] || [ {ACCESS} -nt {ACCESS}.db ] || echo current") == "current\n"
    now = files(copy)
    assert not configure(copy, **wanted)["changed"] and files(copy) == now

    copy.ansible("ansible", copy.name, "-m", "mta_snapshot", "-a", f"action=restore name={done['transaction']['name']}")
    assert files(copy) == before, "as it was, to the byte"
    assert relays(copy)
    configure(copy, **wanted)
    assert not relays(copy)


@pytest.mark.full
def test_make_finds_nothing_to_do_but_what_debian_always_does(copy: Copy) -> None:
    """What we make is what Debian's Makefile makes."""
    configure(copy, defines={"confMAX_RCPTS_PER_MESSAGE": 77})
    ours = copy.shell(f"grep -v '^##### built by' {CF}")
    copy.shell("make -s -C /etc/mail sendmail.cf > /dev/null")
    assert copy.shell(f"grep -v '^##### built by' {CF}") == ours
    assert "MaxRecipientsPerMessage=77" in ours
    assert not configure(copy, defines={"confMAX_RCPTS_PER_MESSAGE": "77"})["changed"]


def test_a_map_alone_needs_no_restart(copy: Copy) -> None:
    was = process(copy)
    done = configure(copy, maps={ACCESS: {"Connect:198.19.0.66": "RELAY"}})
    assert done["changed"] and done["activate"] == "none" and "warnings" not in done
    assert relays(copy) and process(copy) == was
    configure(copy, maps={ACCESS: {"Connect:198.19.0.66": None}})
    assert not relays(copy) and answers(copy) == "250"


@pytest.mark.full
def test_ports_and_filters_by_their_names(copy: Copy) -> None:
    options = "Family=inet6, Name=MSA, Port=submission, M=Ea"
    other = {"Other": "Family=inet6, Name=Other, Port=2525, M=A"}
    assert configure(copy, daemons={"MSA": options, **other})["changed"]
    assert f"O DaemonPortOptions={other['Other']}\n" in copy.shell(f"cat {CF}")
    assert copy.shell("ss -Hltn 'sport = :2525' | grep -c .") == "1\n"
    assert configure(copy, daemons={"Other": None}, filters={"rspamd": "S=inet:11332@127.0.0.1, F=T, T=R:5m"})["changed"]
    assert copy.shell("ss -Hltn 'sport = :2525' | grep -c . || true") == "0\n"
    assert "Xrspamd, S=inet:11332@127.0.0.1, F=T, T=R:5m\n" in copy.shell(f"cat {CF}") and answers(copy) == "250"
    configure(copy, filters={"rspamd": "S=inet:11332@127.0.0.1, F=T"})


@pytest.mark.full
def test_rules_come_under_their_section(copy: Copy) -> None:
    rules = 'SLocal_check_rcpt\nR$*\t\t\t$: $1 $| $&{mail_addr}\nR$* $| spam@stranger.test\t$#error $@ 5.7.1 $: "550 not you"\n'
    rules += "R$* $| $*\t\t$: $1"
    assert configure(copy, rules={rules: "LOCAL_RULESETS"})["changed"]
    asked = ".D{mail_addr}spam@stranger.test\n.D{client_addr}198.19.0.66\nLocal_check_rcpt alice@x.test\n"
    assert "550 not you" in copy.shell("sendmail-mta -bt", stdin=asked)
    assert not configure(copy, rules={rules: "LOCAL_RULESETS"})["changed"] and answers(copy) == "250"
    gone = dict.fromkeys(rules.splitlines()[1:])
    assert configure(copy, lines=gone)["changed"]
    assert "550 not you" not in copy.shell("sendmail-mta -bt", stdin=asked)


@pytest.mark.full
@pytest.mark.parametrize(
    ("wanted", "says"),
    [({"defines": {"confMAX_RCPTS_PER_MESSAGE": "it's"}}, "do not nest"),
     ({"defines": {"confTO_IDENT": "5parsecs"}}, "Sendmail would not"),
     ({"features": {"nonesuch": ""}}, "Could not make /etc/mail/sendmail.cf"),
     ({"daemons": {"MTA": "Family=nonesuch, Name=MTA, Port=smtp"}}, "Sendmail would not"),
     ({"rules": {"SLocal_check_mail\nR no tabs": "LOCAL_RULESETS"}}, "Sendmail would not run with the new configuration"),
     ({"rules": {"R$*\t$: $1": "MAILER"}}, "LOCAL_CONFIG and LOCAL_RULESETS take them"),
     ({"maps": {"/etc/passwd": {"x": "y"}}}, "has no map of that file"),
     ({"maps": {ACCESS: {"a b": "y"}}}, "is no entry of a map"),
     ({"maps": {ACCESS: {"a": "x\ny"}}}, "is no entry of a map"),
     ({"words": {"/etc/passwd": {"x": True}}}, "reads neither a class nor its help from it"),
     ({"words": {CLASS: {"x": "yes"}}}, "each line must be true"),
     ({"lines": {"R$* nowhere": "R$* x"}}, "it is not there"),
     ({"config_file": "/etc/mail/other.cf", "defines": {"x": "y"}}, "no daemon of it runs with /etc/mail/other.cf")],
    ids=["quotes", "nonsense", "no-feature", "no-family", "no-tabs", "no-section", "no-map", "two-keys", "two-lines", "no-class",
         "no-state", "no-line", "other-file"],
)  # fmt: skip
def test_what_sendmail_would_not_run_with_is_refused(copy: Copy, wanted: dict[str, Any], says: str) -> None:
    assert says in refused(copy, **wanted)


@pytest.mark.full
def test_what_was_changed_by_hand_is_refused(copy: Copy) -> None:
    kept = "cp -p /etc/mail/sendmail.cf /etc/mail/access /root/"
    copy.shell(f"{kept}; sed -i 's/^O MaxHopCount=.*/O MaxHopCount=3/;$ a # by hand' {CF}; echo 'Cwbyhand.test' >> {CF}")
    copy.shell(f"sed -i '100i Cwbyhand.test' {CF}")
    said = refused(copy, defines={"confLOG_LEVEL": 11})
    assert "it is not what m4 makes of /etc/mail/sendmail.mc; they differ from line 100 on (Cwbyhand.test)" in said
    assert configure(copy, maps={ACCESS: {"To:partner.test": "RELAY"}})["changed"], "a map has nothing to do with it"
    configure(copy, maps={ACCESS: {"To:partner.test": None}})
    copy.shell("cp -p /root/sendmail.cf /etc/mail/")

    copy.shell(f"printf 'Connect:192\\tRELAY\\n' >> {ACCESS}")
    assert "what is compiled differs from its text in 'connect:192'" in refused(copy, maps={ACCESS: {"To:partner.test": "RELAY"}})
    copy.shell(f"cp -p {ACCESS}.db /root/; makemap hash {ACCESS} < {ACCESS}; sed -i '$ d' {ACCESS}")
    assert configure(copy, maps={ACCESS: {"Connect:192": None}})["changed"], "compiled, and no longer in the text"
    assert "connect:192" not in copy.shell(f"makemap -u hash {ACCESS}")
