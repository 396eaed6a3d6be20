#!/usr/bin/env bash
# MySQL 9.7 (Debian sid) in $SLACKWATER_SERVERS/mysql-9.7: base/bin/mysqld
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mysql-9.7
"$here/aptroot.sh" sid "$root" mysql-server-core mysql-client-core
"$here/wraps.sh" "$root"
version=$("$root/base/bin/mysqld" --no-defaults --version)
echo "$version"
case $version in
  *'Ver 9.7.'*) ;;
  *) echo "note: Debian sid has moved on from MySQL 9.7" >&2 ;;
esac
