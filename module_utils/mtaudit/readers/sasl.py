"""Read what Cyrus SASL's library offers a server program: the mechanisms of its configuration file, else of its plug-ins.

The file is that of the program (`Sendmail.conf`, `smtpd.conf`); the first of the library's directories that has it counts
(sasl_set_path(3)). Without one, and without `mech_list` in it, every plug-in that is installed serves (tried with 2.1.28).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..runner import ReadError, Runner
from ..text import printable

# Where the library looks without being told; Debian's has the directories of the plug-ins as well.
DIRECTORIES = ("/etc/sasl2", "/etc/sasl", "/usr/lib/*/sasl2", "/usr/lib/sasl2")
_PLUGINS = ("/usr/lib/*/sasl2/lib*.so", "/usr/lib/sasl2/lib*.so")
# What a plug-in is the mechanism of, by the name of its file. Those without one store or check passwords.
_MECHANISMS = {
    "plain": ("PLAIN",), "login": ("LOGIN",), "crammd5": ("CRAM-MD5",), "digestmd5": ("DIGEST-MD5",), "ntlm": ("NTLM",),
    "anonymous": ("ANONYMOUS",), "otp": ("OTP",), "srp": ("SRP",), "passdss": ("PASSDSS-3DES-1",), "kerberos4": ("KERBEROS_V4",),
    "scram": ("SCRAM-SHA-1", "SCRAM-SHA-224", "SCRAM-SHA-256", "SCRAM-SHA-384", "SCRAM-SHA-512"),
    "gssapiv2": ("GSSAPI", "GSS-SPNEGO"), "gs2": ("GS2-IAKERB", "GS2-KRB5"), "xoauth2": ("XOAUTH2",),
    "sasldb": (), "ldapdb": (), "sql": (),
}  # fmt: skip
# What each is to the security options, as its plug-in tells the library (the security_flags in plugins/*.c).
_FLAGS = {
    "PLAIN": {"plaintext"}, "LOGIN": {"plaintext"}, "ANONYMOUS": {"anonymous"},
    "CRAM-MD5": {"active", "dictionary"}, "DIGEST-MD5": {"active", "dictionary"}, "NTLM": {"active", "dictionary"},
    "OTP": {"active", "dictionary"},
}  # fmt: skip
_SETTING = re.compile(r"(?m)^[ \t]*([\w-]+)[ \t]*:[ \t]*(.*?)[ \t]*$")


@dataclass(frozen=True)
class Sasl:
    """What the library is told for one program. `file` is empty without one; `plugins` are the mechanisms that are installed,
    None when one of them is not known; `problem` says why the file could not be read."""

    file: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    plugins: Optional[tuple[str, ...]] = ()
    problem: str = ""

    @property
    def methods(self) -> list[str]:
        """What checks a password: each is asked in turn."""
        return self.settings.get("pwcheck_method", "auxprop").lower().split()

    @property
    def mechanisms(self) -> Optional[list[str]]:
        """What is offered by the library, in capitals; None when that is not known."""
        listed = self.settings.get("mech_list")
        if self.problem or listed is None and self.plugins is None:
            return None
        wanted = re.split(r"[\s,]+", listed.upper()) if listed is not None else list(self.plugins or ())
        installed = self.plugins if self.plugins is not None else wanted
        return [name for name in wanted if name and (name in installed or name == "EXTERNAL")]

    @property
    def doubt(self) -> str:
        """Why the mechanisms are not known; empty when they are."""
        if self.problem or self.mechanisms is not None:
            return self.problem
        return "a plug-in of Cyrus SASL is installed that is not known, and no mech_list says what is offered"

    @property
    def origin(self) -> str:
        """Where the mechanisms come from."""
        return f"{self.file} mech_list" if "mech_list" in self.settings else "the plug-ins of Cyrus SASL"


def read(runner: Runner, program: str, directories: Sequence[str] = DIRECTORIES) -> Sasl:
    """What the library is told for `program`, the name of its file. No spawn."""
    plugins = _plugins(runner)
    for directory in directories:
        for path in runner.glob(f"{directory}/{program}.conf"):
            try:
                text = runner.read(path)
            except ReadError as exc:
                return Sasl(path, plugins=plugins, problem=printable(str(exc)))
            return Sasl(path, {name.lower(): value for name, value in _SETTING.findall(text)}, plugins)
    return Sasl(plugins=plugins)


def banned(names: Iterable[str], flags: Iterable[str]) -> list[str]:
    """Those of the mechanisms that security options take away: plaintext, active, dictionary, anonymous."""
    unwanted = set(flags)
    return [name for name in names if _FLAGS.get(name.upper(), set()) & unwanted]


def saslauthd(runner: Runner) -> Optional[str]:
    """What the daemon that runs asks (`-a`, saslauthd(8)); empty where that does not show, None where none runs."""
    for path in runner.glob("/proc/[0-9]*/cmdline"):
        try:
            words = runner.read(path).split("\0")
        except ReadError:
            continue  # it has ended
        if words[0].rpartition("/")[2] == "saslauthd":
            return next((word[2:] or after for word, after in zip(words, words[1:]) if word.startswith("-a")), "")
    return None


def _plugins(runner: Runner) -> Optional[tuple[str, ...]]:
    stems = [path.rpartition("/lib")[2][: -len(".so")] for pattern in _PLUGINS for path in runner.glob(pattern)]
    if any(stem not in _MECHANISMS for stem in stems):
        return None
    return tuple(dict.fromkeys(name for stem in stems for name in _MECHANISMS[stem]))
