#!/usr/bin/env bash
# aptroot.sh SUITE ROOT PACKAGE...
#
# Unpack PACKAGE... and the closure of their dependencies (libc and the loader included) from
# another suite of this machine's own Debian mirror into ROOT. The system's apt sources, lists,
# dpkg database and libraries are not touched:
#  - a private apt state (sources, lists, cache) under $SLACKWATER_SERVERS/apt/SUITE;
#  - a private dpkg status in which only perl counts as installed, so that apt's own solver
#    works out the closure down to libc6, but leaves perl out;
#  - `apt-get install --download-only` checks the signatures and hashes;
#  - the packages are only unpacked: no maintainer script is run.
# Idempotent: ROOT/.done marks a finished root, and says of which packages: one that was finished
# without some of them gets what it lacks. KEEP_DEBS=1 keeps the .debs.
# EXTRA_SUITES names more suites, such as bookworm-security.
set -euo pipefail
suite=$1 root=$2
shift 2
: "${SLACKWATER_SERVERS:=$HOME/.cache/slackwater/servers}"
finished() { [ -e "$root/.done" ] && [ "$(cat "$root/.done")" = "$*" ]; }
! finished "$@" || exit 0
state=$SLACKWATER_SERVERS/apt/$suite
mkdir -p "$state"/{lists,cache/archives}/partial "$state/state" "$root"
exec 9>"$state/lock"
flock 9 # one at a time for each suite
! finished "$@" || exit 0

# The mirror: the first URI of the machine's own sources (deb822 or one-line).
# A *-security suite comes from the one whose path ends in -security.
uris() {
  sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' \
    /etc/apt/sources.list.d/*.sources 2>/dev/null || :
  sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?\([^[:space:]]*\).*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || :
}
mirror_of() {
  case $1 in
    *-security) uris | grep -- '-security/*$' | head -n1 ;;
    *) uris | grep -v -- '-security/*$' | head -n1 ;;
  esac
}
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$key" ] || { echo "aptroot: needs debian-archive-keyring ($key)" >&2; exit 1; }
: >"$state/sources.list"
for each in "$suite" ${EXTRA_SUITES:-}; do
  mirror=$(mirror_of "$each") || :
  [ -n "$mirror" ] || { echo "aptroot: no mirror for $each in the apt sources" >&2; exit 1; }
  echo "deb [signed-by=$key] $mirror $each main" >>"$state/sources.list"
done

: >"$state/status"
for each in perl perl-base; do
  cat >>"$state/status" <<END
Package: $each
Status: install ok installed
Version: 99
Architecture: amd64
Multi-Arch: allowed
Maintainer: none
Description: stand-in

END
done

apt=(apt-get -q
  -oDir::Etc::SourceList="$state/sources.list" -oDir::Etc::SourceParts=/dev/null
  -oDir::Etc::Preferences=/dev/null -oDir::Etc::PreferencesParts=/dev/null
  -oDir::State="$state/state" -oDir::State::Lists="$state/lists"
  -oDir::State::status="$state/status" -oDir::Cache="$state/cache"
  -oAcquire::Languages=none -oAcquire::Retries=3 -oAPT::Install-Recommends=0
  -oAPT::Sandbox::User="$(id -un)")
run() { "$@" >"$state/log" 2>&1 || { tail -n 40 "$state/log" >&2; exit 1; }; }
run "${apt[@]}" update
rm -f "$state"/cache/archives/*.deb
run "${apt[@]}" install -y --download-only "$@"

# A merged-/usr root (base-files, which would bring these links, is not in the closure).
mkdir -p "$root/usr"
for each in bin sbin lib lib64; do
  mkdir -p "$root/usr/$each"
  [ -e "$root/$each" ] || ln -s "usr/$each" "$root/$each"
done
# tar rather than `dpkg-deb -x`: that replaces the /lib symlink by a folder when a package of an
# older suite brings ./lib, and it cannot leave out documents.
for each in "$state"/cache/archives/*.deb; do
  # What is there is left alone: somebody may be running it.
  ! grep -qxF -- "${each##*/}" "$root/.packages" 2>/dev/null || continue
  dpkg-deb --fsys-tarfile "$each" | tar -x -C "$root" --keep-directory-symlink \
    --no-same-owner --exclude=./usr/share/{doc,man,locale}
done
(cd "$state/cache/archives" && ls -- *.deb) >"$root/.packages.new"
mv "$root/.packages.new" "$root/.packages"
[ -n "${KEEP_DEBS:-}" ] || rm -f "$state"/cache/archives/*.deb
echo "$*" >"$root/.done"
