"""Controls on configurations that their own program refuses or complains of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, passed, unknown
from ..readers.exim_model import Exim
from ..readers.opensmtpd_model import OpenSmtpd
from ..readers.postfix_model import Postfix
from ..text import printable


@control("DRIFT-02", "postfix")
def postfix_takes_its_files(postfix: Postfix, site: Site) -> Iterator[Finding]:
    yield _taken(postfix.config_directory, postfix.problem, " failed: ", postfix.warnings)


@control("DRIFT-02", "exim")
def exim_takes_its_file(exim: Exim, site: Site) -> Iterator[Finding]:
    yield _taken(exim.file, exim.problem, " failed: ")


@control("DRIFT-02", "opensmtpd")
def opensmtpd_takes_its_file(smtpd: OpenSmtpd, site: Site) -> Iterator[Finding]:
    yield _taken(smtpd.file, smtpd.problem, " refuses ")


def _taken(where: str, problem: str, refusal: str, warnings: Sequence[str] = ()) -> Finding:
    """`refusal` is what a problem holds when the program ended with an error, rather than was not there or did not end."""
    said = [problem] if refusal in problem else list(warnings)
    if said:
        shown = [Evidence(Method.CONFIG, printable(where), printable(text)) for text in said]
        more = f", and {len(said) - 1} more" if len(said) > 1 else ""
        what = "would not start again with its configuration" if problem else "complains of its configuration"
        return fail(HOST, f"the program {what}: {shown[0].text}{more}", *shown)
    if problem:
        return unknown(HOST, "whether the program takes its configuration is not known", problem)
    return passed(HOST, printable(f"{where} is taken without complaint"))
