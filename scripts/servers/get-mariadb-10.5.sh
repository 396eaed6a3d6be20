#!/usr/bin/env bash
# MariaDB 10.5 (Debian bullseye, with its security suite) in $SLACKWATER_SERVERS/mariadb-10.5:
# base/bin/mariadbd
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mariadb-10.5
EXTRA_SUITES=bullseye-security "$here/aptroot.sh" bullseye "$root" mariadb-server-core-10.5 mariadb-client-10.5
"$here/wraps.sh" "$root"
"$root/base/bin/mariadbd" --no-defaults --version
