"""Find out what Postfix writes into the header of mail that people submit: smtpd's Received, and what header checks make of it.

The header is that of smtpd.c (tried on 3.7 and 3.10); the checks are asked for it with `postmap -hq -`, see header_checks(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

from ..runner import ReadError, Runner
from ..text import printable
from .postfix_match import is_table
from .postfix_model import Postfix, Service, SmtpService
from .postfix_restrictions import all_statements
from .postfix_syntax import unbraced, words
from .postfix_tables import INDEXED, QUERY_TIMEOUT_S, TableProblem, sampled
from .submitted import ADDRESSES, HELO, LOGIN, NAME, Written

_HIDES = "smtpd_hide_client_session"  # since 3.10


def submitted(runner: Runner, postfix: Postfix) -> dict[str, tuple[Written, ...]]:
    """By the label of each smtpd that takes logins: what leaves, for a client of each family. One spawn for each table of header
    checks, and for each of check_sasl_access that cannot be listed."""
    asker = _Asker(runner, postfix)
    services = {smtp.smtpd.label: smtp for smtp in postfix.smtp_services() if smtp.smtpd.on("smtpd_sasl_auth_enable")}
    return {label: tuple(asker.leaves(smtp)) for label, smtp in services.items()}


def received(smtp: SmtpService, family: str) -> str:
    """The header that smtpd writes."""
    service, address = smtp.smtpd, ADDRESSES[family]
    shown = f"IPv6:{address}" if family == "ipv6" else str(address)
    by = f"by {service.value('myhostname')} ({service.value('mail_name')})"
    end = "\n\tfor <probe@mtaudit.invalid>; Thu, 1 Jan 2026 00:00:00 +0000 (UTC)"
    if service.knows(_HIDES) and service.on(_HIDES):
        return f"Received: {by} id 4dF8vT2Y5Bz9q{end}"  # nor the account (tried on 3.10)
    tls = "\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(No client certificate requested)"
    account = f"\n\t(Authenticated sender: {LOGIN})"
    return "".join((
        f"Received: from {HELO} ({NAME} [{shown}])", tls * service.on("smtpd_tls_received_header"),
        account * service.on("smtpd_sasl_authenticated_header"), f"\n\t{by} with ESMTPSA id 4dF8vT2Y5Bz9q{end}",
    ))  # fmt: skip


class _Asker:
    """Asks each table once for the same headers."""

    def __init__(self, runner: Runner, postfix: Postfix) -> None:
        self._runner, self._postfix = runner, postfix
        self._asked: dict[tuple[str, tuple[str, ...]], Union[list[str], str]] = {}  # or why it cannot answer

    def leaves(self, smtp: SmtpService) -> Iterator[Written]:
        texts = [received(smtp, family) for family in smtp.families]
        names = ["smtpd_sasl_authenticated_header", *([_HIDES] if smtp.smtpd.knows(_HIDES) else [])]
        doubt, more = "", ""
        try:
            for service, name in _checks(smtp):
                names.append(f"{service.label} {name}" if service.entry else name)
                texts = self._checked(words(service.value(name)), texts)
            more = self._prepended(smtp.smtpd)
        except (ReadError, TableProblem) as exc:
            doubt = printable(str(exc))
        if more:
            names.append("check_sasl_access")
        for text in texts:
            yield Written(f"{text}\n{more}".strip(), tuple(names), doubt)

    def _checked(self, tables: Sequence[str], texts: list[str]) -> list[str]:
        """The headers after a list of tables: the first one that knows a header decides about it."""
        found, known = list(texts), [False] * len(texts)
        for spec in filter(is_table, tables):
            for number, action in enumerate(self._actions(spec, tuple(texts))):
                if action and not known[number]:
                    found[number], known[number] = _applied(action, texts[number]), True
        return found

    def _actions(self, spec: str, texts: tuple[str, ...]) -> list[str]:
        if (spec, texts) not in self._asked:
            bare = spec.replace("proxy:", "")
            argv = ["postmap", "-c", self._postfix.config_directory, "-hq", "-", bare]
            stdin = "".join(f"{text}\n" for text in dict.fromkeys(texts) if text)
            done = self._runner.run(argv, stdin=f"{stdin}\n", timeout_s=QUERY_TIMEOUT_S)
            wrong = done.stderr.strip() if done.returncode != 0 or "error" in done.stderr else ""
            # Behind each header that the table knows stands its action, which may span lines as well.
            self._asked[(spec, texts)] = wrong or [_behind(done.stdout, text, texts) for text in texts]
        found = self._asked[(spec, texts)]
        if isinstance(found, str):
            raise ReadError(f"{spec} cannot be asked: {found.splitlines()[-1]}")
        return found

    def _prepended(self, smtpd: Service) -> str:
        """What check_sasl_access puts before the message. Raises TableProblem where it goes by single accounts."""
        for word, argument in all_statements(smtpd):
            if word != "check_sasl_access" or not argument:
                continue
            table = smtpd.table(unbraced(argument))
            if not table.problem and table.kind not in (*INDEXED, "static", "inline", "texthash"):
                table = sampled(self._runner, table.spec, self._postfix.config_directory, [LOGIN])
            action = table.get(LOGIN) or ""
            if action.upper().startswith("PREPEND "):
                return action[len("PREPEND "):].strip()
            if any(value.upper().startswith("PREPEND ") for value in table.entries.values()):
                raise TableProblem(f"{table.spec} adds a header for the accounts that it lists")
        return ""


def _checks(smtp: SmtpService) -> Iterator[tuple[Service, str]]:
    """Who looks at the header, and by which parameter: cleanup on the way in, the client that delivers on the way out."""
    services = [s for s in smtp.smtpd.postfix.services() if s.entry and s.entry.type != "inet"]
    if "no_header_body_checks" not in words(smtp.smtpd.value("receive_override_options")):
        name = smtp.smtpd.value("cleanup_service_name")
        yield next((s for s in services if s.entry and s.entry.name == name), smtp.smtpd.postfix.main), "header_checks"
    transport = smtp.smtpd.postfix.main.value("default_transport").partition(":")[0]
    yield next((s for s in services if s.entry and s.entry.name == transport), smtp.smtpd.postfix.main), "smtp_header_checks"


def _behind(answer: str, text: str, texts: Sequence[str]) -> str:
    """The action behind a header in what postmap prints; empty without one."""
    _, found, rest = answer.partition(f"{text}\t") if text else ("", "", "")
    ends = [at for other in texts if other and other != text for at in [rest.find(f"\n{other}\t")] if at >= 0]
    return rest[: min(ends)] if found and ends else rest if found else ""


def _applied(action: str, text: str) -> str:
    """A header after an action of header_checks(5); most leave it as it is."""
    word, _, rest = action.strip().partition(" ")
    if word.upper() in ("IGNORE", "STRIP"):
        return ""
    if word.upper() == "REPLACE":
        return rest.strip()
    return f"{rest.strip()}\n{text}" if word.upper() == "PREPEND" else text
