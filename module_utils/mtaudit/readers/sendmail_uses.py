"""What a Sendmail uses of its host: so far the certificate that it shows."""

from __future__ import annotations

from .sendmail_model import Sendmail
from .uses import Around, Shown, Uses

OPTION = "ServerCertFile"


def uses(around: Around, sendmail: Sendmail) -> Uses:
    """Of files, processes and accounts nothing is known here. Without a certificate there is no TLS (Operation Guide, 5.1.1)."""
    # A second file, for another kind of key, stands behind a comma.
    paths = [path.strip() for path in sendmail.cf.option(OPTION).split(",")]
    shown = [Shown(port, path, sendmail.origin(OPTION)) for port in sendmail.listeners for path in paths if path.startswith("/")]
    problem = sendmail.problem or "which files and processes it uses is not known to mtaudit"
    return Uses("Sendmail", certificates=None if sendmail.problem else shown, problem=problem)
