"""Controls on what Exim tells strangers: which addresses exist, and which version answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..control import Site, control
from ..finding import Finding, fail, passed, unknown
from ..listeners import Listener
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt, Expander, ForcedFailure
from .exim_paths import Finder
from .exim_ports import decided, each_listener, option, subject
from .exim_walk import Answer, Walk


@control("INFO-01", "exim")
@each_listener
def vrfy_and_expn_reveal_no_account(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    """Without their ACLs Exim answers 252 to every VRFY and 550 to every EXPN (specification, acl_smtp_vrfy, acl_smtp_expn)."""
    refused = True
    for name, tells in (("acl_smtp_vrfy", "whether an address exists"), ("acl_smtp_expn", "what an address stands for")):
        if not exim.options.get(name):
            continue
        outcome = Walk(exim, Finder(exim, port, site).session()).stage(name)
        command = name[-4:].upper()
        evidence = [option(exim, name), *decided(exim, outcome)]
        if outcome.answer is Answer.OK:
            refused = False
            yield fail(subject(port), f"{command} tells strangers {tells}: {name} accepts", *evidence)
        elif outcome.answer is Answer.UNKNOWN:
            refused = False
            text = f"whether {command} is open to strangers could not be evaluated"
            yield unknown(subject(port), text, outcome.doubt, *evidence)
    if refused:
        yield passed(subject(port), "VRFY and EXPN are refused to strangers")


@control("INFO-02", "exim")
@each_listener
def the_banner_names_no_version(exim: Exim, port: Listener, site: Site) -> Iterator[Finding]:
    text, shown = exim.options.get("smtp_banner", ""), option(exim, "smtp_banner")
    if re.search(r"\$\{?(?:version_number|exim_version)\b", text):
        yield fail(subject(port), "the banner names Exim's version", shown)
        return
    known = exim.known()
    variables = {**known.variables, "tod_full": "", "tod_log": "", "tod_zulu": "", "compile_date": ""}
    try:
        banner = Expander(type(known)(variables, known.exists, known.lookup), Finder(exim, port, site).session()).expand(text)
    except (Doubt, ForcedFailure) as exc:
        yield unknown(subject(port), "the banner could not be evaluated", str(exc) or "its expansion fails", shown)
        return
    if re.search(rf"(?i)(?<![\w.]){re.escape(exim.version)}(?!\w)|\bexim[\s/(v-]{{1,3}}\d+\.\d+", banner):
        yield fail(subject(port), f"the banner names a version of Exim: {banner[:100]}", shown)
    else:
        yield passed(subject(port), "the banner names no version")
