#!/bin/sh
# Make sure that there is a Python to run setup.py with; everything else is set up there.
# bootstrap.sh audit | dev | lab | test
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
if ! command -v python3 >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
        echo "set-up: installing python3 and python3-venv with apt-get: Ansible runs on them"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-venv
    else
        echo "set-up: python3 (3.11 or newer, with venv) is missing. Install it, then run this again." >&2
        case "${1:-}" in
            lab | test) [ "$(id -u)" = 0 ] || echo "set-up: the lab needs root: as root on Debian, all of it is installed for you." >&2 ;;
        esac
        exit 1
    fi
fi
exec python3 "$tools/setup.py" "$@"
