#!/usr/bin/env bash
# MariaDB 10.11 (Debian bookworm, with its security suite) in $SLACKWATER_SERVERS/mariadb-10.11:
# base/bin/mariadbd, and mariadb-backup beside it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mariadb-10.11
EXTRA_SUITES=bookworm-security "$here/aptroot.sh" bookworm "$root" \
  mariadb-server-core mariadb-client mariadb-backup
"$here/wraps.sh" "$root"
"$root/base/bin/mariadbd" --no-defaults --version
