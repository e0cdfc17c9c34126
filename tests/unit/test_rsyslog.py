"""rsyslog's rules, walked with a line: the expectations were tried with rsyslogd 8.2302 where `logger` can show them."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.readers import rsyslog
from ansible.module_utils.mtaudit.readers.rsyslog import Message, Way
from ansible.module_utils.mtaudit.readers.rsyslog_syntax import Config, Parser

LOGIN = Message("mail", "info", "postfix/smtpd", "4C3B: client=mail.example[198.51.100.7], sasl_username=alice")
DEBIAN = """
module(load="imuxsock") # provides support for local system logging
$FileOwner root
*.*;auth,authpriv.none		-/var/log/syslog
mail.*				-/var/log/mail.log
*.emerg				:omusrmsg:*
"""


def config(text: str, files: dict[str, str] | None = None) -> Config:
    found = Config()
    Parser(found, lambda pattern, optional: [(p, t) for p, t in (files or {}).items() if p.startswith(pattern.rstrip("*.conf"))]
           ).parse("/etc/rsyslog.conf", text)  # fmt: skip
    return found


def way(text: str, message: Message = LOGIN, files: dict[str, str] | None = None) -> Way:
    return rsyslog.way(config(text, files), message)


def targets(found: Way) -> list[str]:
    return [action.target for action in found.actions]


def test_debians_rules() -> None:
    found = way(DEBIAN)
    assert targets(found) == ["/var/log/syslog", "/var/log/mail.log"]
    assert not found.dropped
    assert config(DEBIAN).modules == {"imuxsock": {}}


@pytest.mark.parametrize(("rules", "dropped"), [
    ("mail.* stop", True),
    ("mail.* ~", True),
    ("mail.*;mail.!=info ~", False),
    ("mail.info /dev/null\n& stop", True),
    ("mail.err stop", False),
    ("mail.=info stop", True),
    ("*.info;mail.none stop", False),
    ("news,mail.* stop", True),
    ("auth.* stop", False),
    (':programname, isequal, "postfix" stop', True),
    (':programname, isequal, "postfix/smtpd" stop', False),
    (':syslogtag, startswith, "postfix/" stop', True),
    (':programname, !isequal, "exim" stop', True),
    (':msg, contains, "sasl_username=" ~', True),
    (':msg, contains, "statistics" ~', False),
    (':msg, regex, "client=.*alice" stop', True),
    (':msg, contains, "sasl" -/var/log/logins\n& stop', True),
    ("if $syslogfacility-text == 'mail' then stop", True),
    ("if $syslogfacility == 2 and not ($msg contains 'removed') then stop", True),
    ("if $programname startswith 'post' and $syslogseverity <= 4 then stop", False),
    ("if $programname == 'exim' then {\n  stop\n}\nelse {\n  *.* /var/log/other\n}", False),
    ("if prifilt('mail.*') then {\n  # quiet\n  stop }", True),
    ("if re_match($msg, 'sasl_[a-z]+=alice') then stop", True),
    ('ruleset(name="quiet") {\n  stop\n}\nmail.* call quiet', True),
    ('ruleset(name="quiet") {\n  stop\n}\nauth.* call quiet', False),
    ("/* mail.* stop */\n# mail.* stop", False),
    ("$RuleSet remote\nmail.* stop\n$RuleSet RSYSLOG_DefaultRuleset", False),
    ('template(name="x" type="list") {\n  property(name="msg")\n  constant(value="stop")\n}', False),
    ("mail.* {\n  action(type=\"omfile\" file=\"/var/log/m\")\n  stop\n}", True),
])
def test_what_ends_before_the_rule_for_mail(rules: str, dropped: bool) -> None:
    found = way(f"{rules}\nmail.* -/var/log/mail.log\n")
    assert bool(found.dropped) == dropped
    assert ("/var/log/mail.log" in targets(found)) != dropped
    assert not found.perhaps


def test_what_cannot_be_told_is_uncertain_with_all_behind_it() -> None:
    found = way('mail.* /var/log/first\nif $!usr!tenant == "7" then stop\nmail.* /var/log/mail.log\n')
    assert targets(found) == ["/var/log/first"]
    assert [action.target for action in found.uncertain] == ["/var/log/mail.log"]
    assert found.perhaps == "/etc/rsyslog.conf:2"
    assert not found.dropped


def test_a_condition_that_cannot_be_told_and_drops_nothing_does_no_harm() -> None:
    found = way('if $!usr!tenant == "7" then /var/log/tenant\nmail.* /var/log/mail.log\n')
    assert targets(found) == ["/var/log/mail.log"]
    assert not found.perhaps


def test_included_files_stand_where_they_are_named() -> None:
    files = {"/etc/rsyslog.d/10-quiet.conf": "mail.* stop\n"}
    assert way("$IncludeConfig /etc/rsyslog.d/*.conf\n" + DEBIAN, files=files).dropped == "/etc/rsyslog.d/10-quiet.conf:1"
    assert not way(DEBIAN + "$IncludeConfig /etc/rsyslog.d/*.conf\n", files=files).actions == []
    inside = 'mail.* {\n  include(file="/etc/rsyslog.d/*.conf" mode="optional")\n}\n'
    assert way(inside + DEBIAN, files=files).dropped
    assert not way(inside.replace("mail.*", "auth.*") + DEBIAN, files=files).dropped


def test_a_forwarding_action_has_the_queue_of_the_lines_before_it() -> None:
    old = "$ActionQueueFileName fwd\n$ActionResumeRetryCount -1\n$ActionQueueType LinkedList\nmail.* @@loghost:514\n*.* @other\n"
    first, second = way(old).actions
    assert (first.kind, first.target) == ("forward", "loghost:514")
    assert first.options["actionqueuefilename"] == "fwd"
    assert first.options["actionresumeretrycount"] == "-1"
    assert second.options == {}
    new = 'mail.* action(type="omfwd" target="loghost" port="514" queue.filename="fwd" action.resumeRetryCount="-1")'
    (action,) = way(new).actions
    assert (action.target, action.options["queue.filename"]) == ("loghost", "fwd")


def test_rules_that_call_each_other_end() -> None:
    text = 'ruleset(name="a") { call b }\nruleset(name="b") { call a }\nmail.* call a\n'
    with pytest.raises(rsyslog.ReadError, match="do not end"):
        way(text)


@pytest.mark.parametrize("text", ["mail.* {", "if $msg contains 'x", "action(type=", "ruleset(name=\"x\") {", "&",
                                  ":msg, contains", "$", "if then else", "{{{{", "mail.*", "\\", "((("])  # fmt: skip
def test_broken_text_ends(text: str) -> None:
    config(text)


def test_what_is_not_understood_is_said() -> None:
    assert config("!!! what\nmail.* /var/log/mail.log\n").problems == ["/etc/rsyslog.conf:1: not understood: !!! what"]
