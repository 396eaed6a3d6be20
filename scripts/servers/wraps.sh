#!/usr/bin/env bash
# wraps.sh ROOT
#
# Write ROOT/base, a basedir for the servers in ROOT:
#   base/bin/TOOL  launchers that run ROOT/usr/{sbin,bin}/TOOL through ROOT's own dynamic loader
#                  and libraries (scripts are linked as they are)
#   base/sbin -> bin, base/share -> ../usr/share, base/lib -> ../usr/lib
# No root rights, chroot, LD_LIBRARY_PATH (which the processes that a server starts would inherit)
# or patched binary is needed. A launcher finds ROOT from where it lies, and ends in exec, so its
# pid is the server's. (Seen by name, the process is `ld-linux-x86-64`.)
set -euo pipefail
root=$1
mkdir -p "$root/base/bin"
ln -sfn bin "$root/base/sbin"
ln -sfn ../usr/share "$root/base/share"
ln -sfn ../usr/lib "$root/base/lib"
for each in "$root"/usr/sbin/{mysqld,mariadbd} "$root"/usr/bin/{mysql,mariadb}* \
  "$root"/usr/bin/{my_print_defaults,resolveip,innochecksum,perror,ibd2sdi,mbstream}; do
  [ -f "$each" ] || continue
  tool=$root/base/bin/${each##*/} inside=${each#"$root"/}
  if [ "$(head -c4 "$each" | tail -c3)" != ELF ]; then
    ln -sfn "../../$inside" "$tool"
    continue
  fi
  cat >"$tool.new" <<END
#!/bin/sh
r=\$(CDPATH= cd -- "\$(dirname -- "\$0")/../.." && pwd -P) || exit 1
l=\$r/usr/lib/x86_64-linux-gnu
exec "\$l/ld-linux-x86-64.so.2" --library-path "\$l" "\$r/$inside" "\$@"
END
  chmod 755 "$tool.new"
  mv "$tool.new" "$tool" # whole or not at all: another one may be running it
done
