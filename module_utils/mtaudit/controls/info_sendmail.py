"""Controls on what Sendmail tells strangers: which addresses exist, and which version answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from ..control import Site, control
from ..finding import Evidence, Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.sendmail import Sendmail
from ..readers.sendmail_questions import Questions
from .sendmail_login import clients
from .sendmail_ports import each_listener, seen, subject

# The one word that stands for several (Operation Guide, PrivacyOptions).
_GOAWAY = ("noexpn", "novrfy")
_GREETING = "$j Sendmail $v ready at $b"  # where SmtpGreetingMessage says nothing
# What names the release: the program's version, and that of the configuration files.
_VERSION = re.compile(r"\$&?[vZ]|\$&?\{[vZ]\}")
_NUMBER = re.compile(r"(?i)\bsendmail[\s/(v-]{1,3}\d+\.\d+|(?<![\d.])8\.\d{1,2}\.\d")


def _privacy(sendmail: Sendmail) -> set[str]:
    words = set(re.split(r"[\s,]+", sendmail.cf.option("PrivacyOptions").lower()))
    return words | set(_GOAWAY) if "goaway" in words else words


@control("INFO-01", "sendmail")
@each_listener
def vrfy_and_expn_reveal_no_account(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    """M=a does not stop them: they are answered before a login (tried on 8.17.1.9 and 8.18.1)."""
    option = seen(sendmail.origin("PrivacyOptions"), sendmail.cf.option("PrivacyOptions") or "(unset)")
    told: list[tuple[str, str, str]] = []
    doubt = ""
    for client in clients(sendmail, port, site):
        given = client.features
        if "novrfy" not in _privacy(sendmail):
            told.append(("VRFY", client.named, "check_vrfy"))
        # x offers EXPN in spite of noexpn, X takes it away; nothing does that to VRFY (tried).
        if given.given("x") or "noexpn" not in _privacy(sendmail) and not given.given("X"):
            told.append(("EXPN", client.named, "check_expn"))
        doubt = doubt or given.doubt
    told = list(dict.fromkeys(told))  # over IPv4 and IPv6
    refused = {command: _refused(sendmail, port, ruleset) for command, _, ruleset in told}
    for command, named, _ in told:
        if refused[command][0] is False:
            what = "whether an address exists" if command == "VRFY" else "what an address stands for"
            yield fail(subject(port), f"{command} tells strangers{named} {what}", option)
    if any(answer is False for answer, _ in refused.values()):
        return
    doubt = next((reason for answer, reason in refused.values() if answer is None), doubt)
    if doubt:
        yield unknown(subject(port), "whether VRFY and EXPN are answered could not be told", doubt, option)
    else:
        yield passed(subject(port), "VRFY and EXPN tell strangers nothing")


def _refused(sendmail: Sendmail, port: Listener, ruleset: str) -> tuple[Optional[bool], str]:
    """Whether the site's own rules refuse the command to strangers; None with the reason where they could not be asked."""
    questions = Questions(sendmail, sendmail.daemon_of(port))
    if ruleset not in sendmail.cf.rules:
        return False, ""
    outside = questions.unasked(ruleset)
    if outside:
        return None, f"{ruleset} asks something outside of Sendmail, the map {outside}, which was not contacted"
    answers = [sendmail.told(question) for whom, question in questions.offers(ruleset) if not whom]
    if any(told.allowed for told in answers):
        return False, ""
    undecided = next((told.reason for told in answers if told.allowed is None), "")
    return (None, undecided) if undecided or not answers else (True, "")


@control("INFO-02", "sendmail")
@each_listener
def neither_the_greeting_nor_help_names_a_version(sendmail: Sendmail, port: Listener, site: Site) -> Iterator[Finding]:
    greeting = sendmail.cf.option("SmtpGreetingMessage", _GREETING)
    shown = seen(sendmail.origin("SmtpGreetingMessage"), greeting)
    said = [(f"the greeting names a version of Sendmail: {greeting[:100]}", shown)] if _names(sendmail, greeting) else []
    said += [(f"HELP names a version of Sendmail: {line[:100]}", evidence) for line, evidence in _help(sendmail)]
    for text, evidence in said:
        yield fail(subject(port), text, evidence)
    if said:
        return
    others = _unknown_macros(sendmail, greeting)
    if others:
        reason = f"what {others[0]} holds is known to a session only"
        yield unknown(subject(port), "the greeting could not be evaluated", reason, shown)
    else:
        yield passed(subject(port), "neither the greeting nor HELP names the version")


def _help(sendmail: Sendmail) -> Iterator[tuple[str, Evidence]]:
    """Lines of the file that HELP prints; without a file it names the release itself (help() in srvrsmtp.c; tried)."""
    path = sendmail.cf.option("HelpFile")
    if sendmail.help_problem or not path:
        reason = sendmail.help_problem or "HelpFile is unset"
        yield "502 5.3.0 Sendmail ... -- HELP not implemented", seen(sendmail.origin("HelpFile"), reason)
        return
    for number, line in enumerate(sendmail.help.splitlines(), 1):
        topic, _, text = line.partition("\t")
        if not topic.startswith("#") and _names(sendmail, text):
            yield text.strip(), seen(f"{path}:{number}", line)
            return


def _names(sendmail: Sendmail, text: str) -> bool:
    own = re.search(rf"(?<![\w.]){re.escape(sendmail.version)}(?!\w)", text) if sendmail.version else None
    return bool(own or _VERSION.search(text) or _NUMBER.search(_expanded(sendmail, text)))


def _expanded(sendmail: Sendmail, text: str) -> str:
    """With the macros that the configuration itself sets."""
    return re.sub(r"\$&?(?:\{(\w+)\}|(\w))", lambda m: sendmail.cf.macros.get(m[1] or m[2], (m[0], 0))[0], text)


def _unknown_macros(sendmail: Sendmail, text: str) -> list[str]:
    """Macros that only a session has, but for names and times."""
    harmless = {"j", "w", "m", "k", "b", "d", "t", "n", "l"}
    named = re.findall(r"\$&?(?:\{(\w+)\}|(\w))", _expanded(sendmail, text))
    return [f"${{{long}}}" if long else f"${short}" for long, short in named if (long or short) not in harmless]
