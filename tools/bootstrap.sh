#!/bin/sh
# Make sure that there is a Python to run setup.py with; everything else is set up there.
# bootstrap.sh audit | dev | lab | test
set -eu
tools=$(cd "$(dirname "$0")" && pwd)

# setup.py runs on 3.9 and newer, and finds the best Python for the rest itself. A command may be there and not start (the
# stub of a version manager), or be too old while a newer one has another name.
find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

if ! find_python; then
    install='apt-get install --no-install-recommends python3 python3-venv'
    if [ "$(id -u)" = 0 ] && grep -qx 'ID="\{0,1\}debian"\{0,1\}' /etc/os-release 2>/dev/null && command -v apt-get >/dev/null 2>&1; then
        echo "set-up: installing python3 and python3-venv with apt-get: Ansible runs on them"
        export DEBIAN_FRONTEND=noninteractive
        # A new machine updates itself after its start; the option makes apt-get wait for that.
        if ! { apt-get update -q && apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 python3 python3-venv; }; then
            echo "set-up: apt-get did not install python3 and python3-venv; above is why. Mend that, then run this again." >&2
            exit 1
        fi
    else
        echo "set-up: python3 (3.11 or newer, with venv) is missing. Install it, then run this again: it names what else there is to install." >&2
        if command -v apt-get >/dev/null 2>&1; then
            [ "$(id -u)" = 0 ] || install="sudo $install"
            echo "set-up: with apt: $install" >&2
        fi
        case "${1:-}" in
            lab | test) [ "$(id -u)" = 0 ] || echo "set-up: the lab needs root: as root on Debian, all of it is installed for you." >&2 ;;
        esac
        exit 1
    fi
    find_python || { echo "set-up: apt-get installed python3, but it does not start, or is older than 3.9." >&2; exit 1; }
fi
exec "$python" "$tools/setup.py" "$@"
