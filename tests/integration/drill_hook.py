"""Put into a host's Python as sitecustomize: at the n-th step that touches the host, a fault.

A step is a file written, moved, dressed or removed where configuration and transactions stand, or a command that is started.
DRILL_STEP is its number (0: none), DRILL_FAULT what happens there, DRILL_COUNT a file that gets how many there were.
"""

import atexit
import os
import signal
import subprocess
import sys

PLACES = ("/etc/", "/var/lib/mtaudit", "/run/systemd")
TOUCHES = ("os.rename", "os.mkdir", "os.chmod", "os.chown", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.utime")
STEP, FAULT = int(os.environ["DRILL_STEP"]), os.environ["DRILL_FAULT"]
seen = 0


def is_step(event, arguments):
    if event == "subprocess.Popen":
        return True
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        return False
    path = arguments[0] if event == "open" or event in TOUCHES else None
    return isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(PLACES)


def hook(event, arguments):
    global seen
    if not is_step(event, arguments):
        return
    seen += 1
    if seen != STEP:
        return
    if FAULT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif FAULT in ("ENOSPC", "EROFS"):
        import errno

        number = getattr(errno, FAULT)
        raise OSError(number, os.strerror(number))
    elif FAULT == "daemon":
        subprocess.call(["pkill", "-9", "-x", "master"])
    elif FAULT == "edit":
        subprocess.call(["sh", "-c", "echo '# somebody was here' >> /etc/postfix/main.cf"])


def tell():
    with open(os.environ["DRILL_COUNT"], "w") as file:
        file.write(str(seen))


del os.environ["PYTHONPATH"]  # what it starts is not drilled
sys.addaudithook(hook)
atexit.register(tell)
