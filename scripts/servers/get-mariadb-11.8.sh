#!/usr/bin/env bash
# MariaDB 11.8 (Debian trixie, with its security suite) in $SLACKWATER_SERVERS/mariadb-11.8:
# base/bin/mariadbd, and mariadb-backup beside it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mariadb-11.8
EXTRA_SUITES=trixie-security "$here/aptroot.sh" trixie "$root" \
  mariadb-server-core mariadb-client mariadb-backup
"$here/wraps.sh" "$root"
"$root/base/bin/mariadbd" --no-defaults --version
