"""Files of an Exim configuration: which lines are in force, and what an edit makes of them."""

from __future__ import annotations

import difflib

import pytest
from ansible.module_utils.mtaudit.config.exim import Wanted
from ansible.module_utils.mtaudit.config.exim_edit import (
    AclChange,
    Places,
    add_acl,
    change_acl,
    set_driver,
    set_macro,
    set_option,
    set_retry,
    set_setting,
)
from ansible.module_utils.mtaudit.config.exim_source import Files, option_of
from ansible.module_utils.mtaudit.config.files import ConfigError

MACROS, OPTIONS, MAIN, ACL, NEW_ACL, AUTH, SETTINGS = "macros", "options", "main", "acl", "new-acl", "auth", "settings"
PLACES = Places(MACROS, OPTIONS, NEW_ACL, SETTINGS)

# As Debian's: what update-exim4.conf puts in stands behind the line that begins so.
DEBIAN_MAIN = r"""# Debian's
.ifndef CONFDIR
CONFDIR = /etc/exim4
.endif
UPEX4CmacrosUPEX4C = 1
hostlist relay_from_hosts = MAIN_RELAY_NETS
domainlist relay_to_domains = MAIN_RELAY_TO_DOMAINS
.ifdef MESSAGE_SIZE_LIMIT
message_size_limit = MESSAGE_SIZE_LIMIT
.endif
.ifndef MAIN_LOG_SELECTOR
MAIN_LOG_SELECTOR = +smtp_protocol_error +tls_peerdn
.endif
log_selector = MAIN_LOG_SELECTOR
# where to look
received_header_text = Received: from x \
  # a comment between
  by CONFDIR
no_local_from_check
"""
GENERATED = """.ifndef MAIN_RELAY_NETS
MAIN_RELAY_NETS=: 127.0.0.1 : ::::1
.endif
.ifndef MAIN_RELAY_TO_DOMAINS
MAIN_RELAY_TO_DOMAINS=
.endif
"""
DEBIAN_ACL = """begin acl
acl_check_rcpt:

  accept hosts = :
    control = dkim_disable_verify

  # Some local parts are none.
  .ifdef STRICT
  deny
    domains = +local_domains
    local_parts = ^[.]
  .endif

  # Relaying
  require
    message = relay not permitted
    domains = +local_domains : +relay_to_domains   # no comment

  accept

acl_other:
  accept
"""
DEBIAN_AUTH = """begin authenticators
plain_server:
  driver = plaintext
  # who it is
  server_set_id = $auth2
  .ifdef STRICT
  server_advertise_condition = ${if def:tls_in_cipher}
  .endif
cram:
  driver = cram_md5
  public_name = CRAM-MD5
"""


def files(macros: str = "STRICT = yes\n") -> Files:
    texts = {MACROS: macros, MAIN: DEBIAN_MAIN, OPTIONS: "", ACL: DEBIAN_ACL, NEW_ACL: "", AUTH: DEBIAN_AUTH,
             SETTINGS: "dc_relay_nets=''\ndc_relay_domains=\"\"\n"}  # fmt: skip
    return Files([MACROS, MAIN, OPTIONS, ACL, NEW_ACL, AUTH], texts, generated=GENERATED)


def difference(edited: Files) -> list[str]:
    """What was edited, as path, sign and line; our own header is left out."""
    found = []
    for path, (was, text) in edited.changed().items():
        lines = difflib.unified_diff(was.splitlines(), text.splitlines(), n=0, lineterm="")
        found += [f"{path} {line}" for line in lines if line[0] in "+-" and line[:3] not in ("---", "+++")]
    return [line for line in found if "Made by mtaudit" not in line]


def value(read: Files, name: str) -> str | None:
    return dict(option_of(line.text) for line in read.lines() if line.active and line.kind == "other").get(name)


def test_what_is_in_force_and_what_it_says() -> None:
    read = files()
    assert value(read, "hostlist relay_from_hosts") == ": 127.0.0.1 : ::::1"
    assert value(read, "received_header_text") == "Received: from x by /etc/exim4", "continued, without the comment"
    assert value(read, "local_from_check") == "false"
    assert value(read, "message_size_limit") is None and value(read, "log_selector") == "+smtp_protocol_error +tls_peerdn"
    assert value(files("MESSAGE_SIZE_LIMIT = 5M\n"), "message_size_limit") == "5M"
    assert value(files(""), "server_advertise_condition") is None


def test_a_name_within_another_is_expanded_too() -> None:
    """Exim replaces macros wherever their names occur, in the order of their definition."""
    read = Files([MAIN], {MAIN: "LONG_NAME = a\nLONG = b\nsmtp_banner = LONG_NAME xLONGx\n.ifdef ALONG\nprdr_enable\n.endif\n"})
    assert value(read, "smtp_banner") == "a xbx" and value(read, "prdr_enable") == "true"


def test_branches_and_includes(tmp_path: object) -> None:
    path = f"{tmp_path}/more"
    with open(path, "w", encoding="utf-8") as file:
        file.write("recipients_max = 5\n")
    text = f".ifdef NO\na = 1\n.elifdef YES\na = 2\n.else\na = 3\n.endif\n.include_if_exists /nowhere\n.include {path}\n"
    assert value(Files([MAIN], {MAIN: "YES = 1\n" + text}), "a") == "2" and value(Files([MAIN], {MAIN: text}), "a") == "3"
    read = Files([MAIN], {MAIN: text})
    set_option(read, Places(main=MAIN), "recipients_max", "7")
    assert read.changed() == {path: ("recipients_max = 5\n", "recipients_max = 7\n")}


@pytest.mark.parametrize("text", [".ifdef A\n", ".endif\n", ".include /nowhere/at/all\n"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Could not follow the configuration of Exim"):
        Files([MAIN], {MAIN: text}).lines()


@pytest.mark.parametrize(
    ("name", "wanted", "lines"),
    [("recipients_max", "100", ["options +recipients_max = 100"]),
     ("message_size_limit", "30M", ["macros +MESSAGE_SIZE_LIMIT = 30M"]),
     ("log_selector", "+tls_peerdn", ["macros +MAIN_LOG_SELECTOR = +tls_peerdn"]),
     ("log_selector", None, ["main -log_selector = MAIN_LOG_SELECTOR"]),
     ("local_from_check", "true", ["main -no_local_from_check", "main +local_from_check = true"]),
     ("local_from_check", "no", []),
     ("received_header_text", None, ["main -received_header_text = Received: from x \\", "main -  # a comment between",
                                     "main -  by CONFDIR"]),
     ("prdr_enable", None, []),
     ("hostlist relay_from_hosts", "<; 10.0.0.1 ; 127.0.0.1 ; ::1",
      ["settings -dc_relay_nets=''", "settings +dc_relay_nets='10.0.0.1'"]),
     ("hostlist relay_from_hosts", "<; 10.0.0.1", ["macros +MAIN_RELAY_NETS = <; 10.0.0.1"]),
     ("hostlist relay_from_hosts", "<; 127.0.0.1 ; ::1", []),
     ("domainlist relay_to_domains", "a.test : b.test",
      ['settings -dc_relay_domains=""', "settings +dc_relay_domains='a.test ; b.test'"]),
     ("domainlist relay_to_domains", "lsearch;/etc/domains", ["macros +MAIN_RELAY_TO_DOMAINS = lsearch;/etc/domains"]),
     ("hostlist ours", "10.0.0.1", ["options +hostlist ours = 10.0.0.1"])],
)  # fmt: skip
def test_an_option_changes_where_it_is_made(name: str, wanted: str | None, lines: list[str]) -> None:
    edited = files()
    set_option(edited, PLACES, name, wanted)
    assert difference(edited) == lines


def test_a_macro_of_the_host_changes_in_place() -> None:
    edited = files("# ours\nMAIN_RELAY_NETS = 10.0.0.0/8\nSTRICT = yes\n")
    set_option(edited, PLACES, "hostlist relay_from_hosts", "127.0.0.1")
    assert difference(edited) == ["macros -MAIN_RELAY_NETS = 10.0.0.0/8", "macros +MAIN_RELAY_NETS = 127.0.0.1"]


def test_a_macro_that_others_use_stays() -> None:
    edited = files("NETS = 10.0.0.0/8\n")
    edited.texts[MAIN] = "hostlist one = NETS\nhostlist two = NETS\n"
    set_option(edited, PLACES, "hostlist one", "127.0.0.1")
    assert edited.texts[MACROS] == "NETS = 10.0.0.0/8\n"
    assert edited.texts[MAIN] == "hostlist one = 127.0.0.1\nhostlist two = NETS\n"


def test_macros_and_settings_come_and_go() -> None:
    edited = files()
    set_macro(edited, PLACES, "STRICT", None)
    set_macro(edited, PLACES, "CHECK", "a")
    set_setting(edited, PLACES, "dc_smarthost", "out.test")
    assert difference(edited) == ["macros -STRICT = yes", "macros +CHECK = a", "settings +dc_smarthost='out.test'"]
    with pytest.raises(ConfigError, match="more than a value in quotes"):
        edited.texts[SETTINGS] = "dc_smarthost=$(hostname)\n"
        set_setting(edited, PLACES, "dc_smarthost", "a")
    with pytest.raises(ConfigError, match="not configured by Debian"):
        set_setting(edited, Places(main=MAIN), "dc_smarthost", "a")


@pytest.mark.parametrize(
    ("key", "wanted", "lines"),
    [("authenticators/plain_server", {"server_set_id": "$auth1"},
      ["auth -  server_set_id = $auth2", "auth +  server_set_id = $auth1"]),
     ("authenticators/plain_server", {"server_set_id": "$auth2", "server_prompts": None}, []),
     ("authenticators/plain_server", {"server_prompts": ":"}, ["auth +  server_prompts = :"]),
     ("authenticators/cram", None, ["auth -cram:", "auth -  driver = cram_md5", "auth -  public_name = CRAM-MD5"]),
     ("authenticators/gone", None, [])],
)  # fmt: skip
def test_options_of_a_driver(key: str, wanted: dict[str, str | None] | None, lines: list[str]) -> None:
    edited = files()
    set_driver(edited, Places(), key, wanted)
    assert difference(edited) == lines
    with pytest.raises(ConfigError, match="there is no nobody among its authenticators"):
        set_driver(files(), Places(), "authenticators/nobody", {})


def test_new_drivers_and_rules_come_before_all_others() -> None:
    text = "begin routers\nlocal:\n  driver = accept\n"
    edited, places = Files([MAIN, "first"], {MAIN: text, "first": ""}), Places(main=MAIN)
    set_driver(edited, places, "routers/new", {"driver": "manualroute", "more": "false", "self": None})
    set_retry(edited, places, "127.0.0.1 *", "F,5d,1s")
    set_retry(edited, places, "127.0.0.1 *", "F,5d,1m")
    assert edited.texts[MAIN] == (
        "begin routers\n\nnew:\n  driver = manualroute\n  more = false\nlocal:\n  driver = accept\n\n"
        "begin retry\n127.0.0.1 * F,5d,1m\n"
    )
    set_retry(edited, places, "127.0.0.1 *", None)
    assert "127.0.0.1" not in edited.texts[MAIN]
    edited = Files([MAIN, "first"], {MAIN: text, "first": ""})
    set_driver(edited, Places(sections={"routers": "first"}), "routers/other", {"driver": "accept"})
    assert edited.texts["first"].endswith("\nother:\n  driver = accept\n"), "in a file of our own, where Debian has such"


REQUIRE = "require\n  message = relay not permitted\n  domains = +local_domains : +relay_to_domains   # no comment"
DENY = "deny\n  hosts = 1.2.3.4"


@pytest.mark.parametrize(
    ("change", "lines"),
    [(AclChange("acl_check_rcpt", new=DENY), ["acl +  deny", "acl +    hosts = 1.2.3.4", "acl +"]),
     (AclChange("acl_check_rcpt", new="accept"), []),
     (AclChange("acl_check_rcpt", new=DENY, before=REQUIRE), ["acl +  deny", "acl +    hosts = 1.2.3.4", "acl +"]),
     (AclChange("acl_check_rcpt", old="accept hosts = :\ncontrol = dkim_disable_verify"),
      ["acl -  accept hosts = :", "acl -    control = dkim_disable_verify"]),
     (AclChange("acl_check_rcpt", old="deny\nhosts = 9.9.9.9"), []),
     (AclChange("acl_check_rcpt", old="accept hosts = :\ncontrol = dkim_disable_verify",
                new="accept\nencrypted = *\nhosts = :\ncontrol = dkim_disable_verify"),
      ["acl -  accept hosts = :", "acl +  accept", "acl +    encrypted = *", "acl +    hosts = :"]),
     (AclChange("acl_check_rcpt", old="accept hosts = :\ncontrol = dkim_disable_verify", new="accept\nhosts = 1.1.1.1"),
      ["acl -  accept hosts = :", "acl -    control = dkim_disable_verify", "acl +  accept", "acl +    hosts = 1.1.1.1"]),
     (AclChange("acl_check_rcpt", old="deny\ndomains = +local_domains\nlocal_parts = ^[.]",
                new="deny\ndomains = +local_domains\nlocal_parts = ^[.]\nhosts = !10.0.0.1"), ["acl +    hosts = !10.0.0.1"]),
     (AclChange("acl_check_rcpt", old="deny\ndomains = +local_domains\nlocal_parts = ^[.]", new="deny\nlocal_parts = ^[/]"),
      ["acl -    domains = +local_domains", "acl -    local_parts = ^[.]", "acl +    local_parts = ^[/]"])],
    ids=["first", "there-already", "before", "gone", "never-there", "one-more-in-front", "of-the-verbs-line", "one-more",
         "one-less"],
)  # fmt: skip
def test_statements(change: AclChange, lines: list[str]) -> None:
    edited = files()
    change_acl(edited, change)
    assert difference(edited) == lines
    again = Files(edited.order, dict(edited.texts), generated=GENERATED)
    change_acl(again, change)
    assert difference(again) == [], "a second time changes nothing"


def test_before_means_above_its_comment_and_its_ifdef() -> None:
    edited = files()
    change_acl(edited, AclChange("acl_check_rcpt", new=DENY, before="deny\ndomains = +local_domains\nlocal_parts = ^[.]"))
    assert "    hosts = 1.2.3.4\n\n  # Some local parts are none.\n  .ifdef STRICT\n" in edited.texts[ACL]


@pytest.mark.parametrize(
    ("change", "why"),
    [(AclChange("acl_nobody", new=DENY), "have no ACL 'acl_nobody'"),
     (AclChange("acl_check_rcpt", new="deny\naccept"), "is not one statement"),
     (AclChange("acl_check_rcpt", new=DENY, before="deny\nhosts = 9.9.9.9"), "has no statement 'deny hosts = 9.9.9.9'"),
     (AclChange("acl_check_rcpt", old="deny\nhosts = 9.9.9.9", new=DENY), "has no statement 'deny hosts = 9.9.9.9'")],
)  # fmt: skip
def test_a_statement_that_is_not_there(change: AclChange, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        change_acl(files(), change)


def test_new_acls() -> None:
    edited = files()
    add_acl(edited, PLACES, "acl_new", DENY)
    add_acl(edited, PLACES, "acl_new", DENY)
    assert difference(edited) == ["new-acl +", "new-acl +acl_new:", "new-acl +  deny", "new-acl +    hosts = 1.2.3.4"]
    with pytest.raises(ConfigError, match="it has an ACL acl_other already"):
        add_acl(edited, PLACES, "acl_other", DENY)

    one = Files([MAIN], {MAIN: "prdr_enable\n\nbegin acl\na:\n  accept\n\nbegin routers\n"})
    add_acl(one, Places(main=MAIN), "b", "deny")
    assert one.texts[MAIN] == "prdr_enable\n\nbegin acl\na:\n  accept\n\nb:\n  deny\n\nbegin routers\n"
    set_option(one, Places(main=MAIN), "recipients_max", "5")
    assert one.texts[MAIN].startswith("prdr_enable\nrecipients_max = 5\n\nbegin acl\n")


def test_one_wish_after_the_other() -> None:
    first = Wanted({"a": "1", "b": "2"}, drivers={"routers/x": {"y": "1"}}, statements=(AclChange("a", new="accept"),))
    both = first.then(Wanted({"b": "3"}, drivers={"routers/x": {"z": "2"}}, statements=(AclChange("a", old="accept"),)))
    assert both.options == {"a": "1", "b": "3"} and both.drivers == {"routers/x": {"y": "1", "z": "2"}}
    assert both.statements == (AclChange("a", new="accept"), AclChange("a", old="accept"))
