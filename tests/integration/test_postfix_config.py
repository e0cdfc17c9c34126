"""mta_postfix_config on real Postfix of both releases: what it writes, what it refuses, and that mail flows.

What is in force is told by postconf, and what the server does by swaks: not by our own code.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from audited_copy import Copy, throw_away_copy

pytestmark = pytest.mark.lab

MAIN, MASTER = "/etc/postfix/main.cf", "/etc/postfix/master.cf"


@pytest.fixture(scope="module", params=["mx-d12", "mx-d13"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A hand-made configuration: comments, continued lines, a parameter twice."""
    with throw_away_copy(request.param, "t-config", tmp_path_factory.mktemp("config")) as copy:
        copy.lab.up(["stranger", "dns"])
        exceptions = "smtpd_client_event_limit_exceptions =\n  $mynetworks\n# of old\n  127.0.0.2\n"
        copy.shell(f"cat >> {MAIN}", stdin=f"\n# ours\n{exceptions}")
        yield copy


def configure(copy: Copy, *words: str, **wanted: Any) -> dict[str, Any]:
    printed = copy.ansible("ansible", copy.name, "-m", "mta_postfix_config", "-a", json.dumps(wanted), *words)
    answer: dict[str, Any] = json.loads(printed.partition(" => ")[2])
    return answer


def refused(copy: Copy, **wanted: Any) -> str:
    before = copy.shell(f"cat {MAIN} {MASTER}")
    with pytest.raises(AssertionError) as failed:
        configure(copy, **wanted)
    assert copy.shell(f"cat {MAIN} {MASTER}") == before and takes_mail(copy), "nothing is changed"
    return str(failed.value)


def takes_mail(copy: Copy, *more: str) -> bool:
    about = copy.lab.host(copy.name)
    copy.shell("for i in $(seq 100); do ss -Hltn 'sport = :25' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    done = copy.lab.execute(
        "stranger", "swaks", "--server", str(about.ipv4), "--from", "probe@stranger.test", "--to", f"alice@{about.mail_domain}",
        "--helo", "mail.stranger.test", "--quit-after", "RCPT", "--timeout", "20", *more,
    )  # fmt: skip
    return bool(done.returncode == 0)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_one_line_changes_and_the_second_run_changes_nothing(copy: Copy) -> None:
    before = copy.shell(f"cat {MAIN}")
    wanted = {"parameters": {"smtpd_recipient_limit": 77, "disable_vrfy_command": True}}  # the second is so already
    told = configure(copy, "--check", **wanted)
    assert told["changed"] and told["transaction"] == {} and copy.shell(f"cat {MAIN}") == before
    done = configure(copy, **wanted)
    assert done["transaction"]["phase"] == "committed" and done["activate"] == "reload"
    assert changed_lines(before, copy.shell(f"cat {MAIN}")) == ["+smtpd_recipient_limit = 77"]
    assert copy.shell("postconf -h smtpd_recipient_limit") == "77\n" and takes_mail(copy)
    assert not configure(copy, **wanted)["changed"]

    assert configure(copy, parameters={"smtpd_recipient_limit": None})["changed"]
    assert copy.shell(f"cat {MAIN}") == before
    assert not configure(copy, parameters={"smtpd_recipient_limit": None})["changed"]


def test_a_continued_line_with_comments_is_one_parameter(copy: Copy) -> None:
    before = copy.shell(f"cat {MAIN}")
    assert not configure(copy, parameters={"smtpd_client_event_limit_exceptions": "$mynetworks 127.0.0.2"})["changed"]
    configure(copy, parameters={"smtpd_client_event_limit_exceptions": "$mynetworks"})
    assert copy.shell("postconf -h smtpd_client_event_limit_exceptions") == "$mynetworks\n"
    gone = [line for line in changed_lines(before, copy.shell(f"cat {MAIN}")) if line[0] == "-"]
    assert set(gone) <= {"-smtpd_client_event_limit_exceptions =", "-  $mynetworks", "-  127.0.0.2"}, "comments stay"


def test_a_service_with_options_comes_and_goes(copy: Copy) -> None:
    before = copy.shell(f"cat {MASTER}")
    entry = {"submission/inet": "submission inet n - y - - smtpd"}
    refuse = "permit_sasl_authenticated, reject"
    options = {"submission/inet": {"smtpd_tls_security_level": "encrypt", "syslog_name": "postfix/submission",
                                   "smtpd_etrn_restrictions": refuse}}
    assert configure(copy, services=entry, options=options)["changed"]
    assert takes_mail(copy, "--port", "587", "--tls")
    assert not configure(copy, services=entry, options=options)["changed"]
    assert [line for line in changed_lines(before, copy.shell(f"cat {MASTER}")) if line[0] == "-"] == []

    assert copy.shell("postconf -Ph submission/inet/smtpd_etrn_restrictions") == f"{refuse}\n"
    assert configure(copy, options={"submission/inet": {"smtpd_etrn_restrictions": None}})["changed"]
    chrooted = {"submission/inet": "submission inet n - n - - smtpd"}
    assert configure(copy, services=chrooted)["changed"]
    assert copy.shell("postconf -P submission/inet | sort") == (
        "submission/inet/smtpd_tls_security_level = encrypt\nsubmission/inet/syslog_name = postfix/submission\n"
    ), "options stay"
    assert configure(copy, options={"submission/inet": {"smtpd_tls_security_level": "may", "syslog_name": None}})["changed"]
    assert copy.shell("postconf -P submission/inet") == "submission/inet/smtpd_tls_security_level = may\n"
    assert configure(copy, services={"submission/inet": None})["changed"]
    assert copy.shell("postconf -M submission/inet") == "" and takes_mail(copy)
    assert not configure(copy, services={"submission/inet": None})["changed"]


def test_a_table_has_the_entry_in_its_text_and_as_postfix_finds_it(copy: Copy) -> None:
    copy.shell("printf 'info@partner.test alice\\n  bob\\n' > /etc/postfix/partners; postmap hash:/etc/postfix/partners")
    copy.shell("printf 'x@partner.test alice\\n' > /srv/more")
    configure(copy, parameters={"virtual_alias_maps": "hash:$config_directory/partners, texthash:/srv/more"})
    every = "/etc/aliases /etc/postfix/partners /srv/more"
    before = copy.shell(f"cat {every}; sha256sum /etc/aliases.db /etc/postfix/*.db")
    wanted = {"tables": {"hash:/etc/aliases": {"abuse": "alice", "new": "bob, alice"},
                         "hash:/etc/postfix/partners": {"info@partner.test": None, "abuse@partner.test": "alice"},
                         "texthash:/srv/more": {"x@partner.test": "bob"}}}  # fmt: skip
    assert configure(copy, "--check", **wanted)["changed"]
    assert copy.shell(f"cat {every}; sha256sum /etc/aliases.db /etc/postfix/*.db") == before
    done = configure(copy, **wanted)
    assert (done["transaction"]["phase"], done["activate"]) == ("committed", "none")
    assert copy.shell("postalias -q abuse hash:/etc/aliases; postalias -q new hash:/etc/aliases") == "alice\nbob, alice\n"
    assert copy.shell("postalias -q root hash:/etc/aliases") == "alice\n"
    assert copy.shell("postmap -s hash:/etc/postfix/partners") == "abuse@partner.test\talice\n"
    assert copy.shell("cat /etc/postfix/partners /srv/more") == "abuse@partner.test\talice\nx@partner.test\tbob\n"
    assert not configure(copy, **wanted)["changed"]
    told = refused(copy, tables={"hash:/etc/other": {"a": "b"}})
    assert "no parameter of Postfix in /etc/postfix names it" in told
    assert "mtaudit changes texts of the types" in refused(copy, tables={"pcre:/etc/x": {"a": "b"}})
    assert "is no entry of it" in refused(copy, tables={"hash:/etc/aliases": {"a b": "c"}})
    copy.shell("echo 'late: alice' >> /etc/aliases")
    assert "differs from its text in 'late'; mend the text, then: postalias" in refused(
        copy, tables={"hash:/etc/aliases": {"abuse": "bob"}})  # fmt: skip
    assert configure(copy, tables={"hash:/etc/aliases": {"late": "alice"}})["changed"], "what is asked for may be compiled"
    assert copy.shell("postalias -q late hash:/etc/aliases") == "alice\n"
    configure(copy, parameters={"virtual_alias_maps": None})


@pytest.mark.parametrize(
    ("wanted", "says"),
    [({"parameters": {"smtpd_relay_restrictions": "permit_mynetworks"}}, "smtpd for *:25 would not start with the new conf"),
     ({"parameters": {"smtpd_tls_security_level": "nonsense"}}, "Invalid TLS level"),
     ({"parameters": {"smtpd_recipient_limits": "5"}}, "has no parameter smtpd_recipient_limits"),
     ({"parameters": {"mynetworks\nx": "5"}}, "is no name of a parameter"),
     ({"parameters": {"mynetworks": "127.0.0.1\nrelay_domains = x"}}, "a value has more than one line"),
     ({"options": {"smtps/inet": {"syslog_name": "x"}}}, "master.cf has no service smtps/inet"),
     ({"services": {"smtps/inet": "smtps inet n"}}, "is no entry of master.cf for smtps/inet"),
     ({"services": {"smtp/inet": "smtp inet n - y - - smtpd -o x=y"}}, "holds options; give them apart"),
     ({"services": {"smtps": None}}, "is no service; write name/type"),
     ({"options": {"smtp/inet": {"mynetworks": ["a"]}}}, "must be text, a number, a truth value or null"),
     ({"parameters": {"x": "5"}, "config_directory": "/etc/nowhere"}, "Could not change Postfix in /etc/nowhere")],
    ids=["no-reject", "nonsense", "misspelt", "two-names", "two-lines", "no-service", "no-entry", "entry-with-options", "no-type",
         "list", "nowhere"],
)  # fmt: skip
def test_what_postfix_would_not_run_with_is_refused(copy: Copy, wanted: dict[str, Any], says: str) -> None:
    assert says in refused(copy, **wanted)


def test_a_restart_only_where_it_must_be(copy: Copy) -> None:
    was = copy.shell("postconf -h inet_protocols").strip()
    assert configure(copy, "--check", parameters={"inet_protocols": "ipv4" if was != "ipv4" else "all"})["activate"] == "restart"
    assert configure(copy, "--check", parameters={"smtpd_recipient_limit": 78})["activate"] == "reload"
