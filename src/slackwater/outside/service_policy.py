"""Debian's policy for the services of packages: while ours is in place, a package's scripts do not
stop, start or restart the database server.

/usr/sbin/policy-rc.d is asked by invoke-rc.d and deb-systemd-invoke before any service action.
Ours answers 101 ("forbidden") for database services until its time is over, and asks the one that
was there before for everything else. It then has no effect, also if nobody takes it away.
Raises OutsideError when the host cannot be asked.
"""

from __future__ import annotations

from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.outside.host import Host

POLICY = Path("/usr/sbin/policy-rc.d")
SERVICES = ("mariadb", "mysql", "mysqld", "mariadb@*", "mysql@*")
_MARK = "# put here by slackwater for operation "

_TEXT = """#!/bin/sh
{mark}$operation
# While it upgrades packages below a running database server, their scripts leave that server
# alone. This ends by itself ($until, seconds since 1970), and `slackwater recover` takes it away.
service=
for word in "\\$@"; do case \\$word in -*) ;; *) service=\\$word; break ;; esac; done
case \\${{service%.service}} in
  {services}) [ "\\$(date +%s)" -ge $until ] || exit 101 ;;
esac
if [ -x "$saved" ]; then exec "$saved" "\\$@"; fi
[ -e /sbin/init ] || exit 101  # what is done without any policy
exit 104
"""

# $1: the policy's path, $2: operation, $3: seconds.
_PUT = f"""set -eu
policy=$1 operation=$2 until=$(($(date +%s) + $3))
saved=$policy.before-slackwater beside=$policy.slackwater-new
trap 'rm -f -- "$beside"' EXIT
if [ -f "$policy" ] && grep -q '^{_MARK}' "$policy"; then
  theirs=$(sed -n 's/^{_MARK}//p' "$policy")
  ends=$(sed -n 's/.*-ge \\([0-9]*\\) .*/\\1/p' "$policy")
  if [ "$theirs" != "$operation" ] && [ "$(date +%s)" -lt "${{ends:-0}}" ]; then
    echo "$policy is that of operation $theirs, which upgrades packages here or was cut off"
    exit 3
  fi
elif [ -e "$policy" ] || [ -L "$policy" ]; then
  rm -f -- "$beside"
  cp -a -- "$policy" "$beside"
  mv -fT -- "$beside" "$saved"
else
  rm -f -- "$saved"
fi
cat >"$beside" <<END
{_TEXT.format(mark=_MARK, services="|".join(SERVICES))}END
chmod 755 "$beside"
sync -- "$beside"
mv -fT -- "$beside" "$policy"
"""

# $1: the policy's path. Somebody else's is left as it is.
_TAKE = f"""set -eu
policy=$1 saved=$1.before-slackwater
if [ -f "$policy" ] && grep -q '^{_MARK}' "$policy"; then
  if [ -e "$saved" ] || [ -L "$saved" ]; then mv -fT -- "$saved" "$policy"
  else rm -f -- "$policy"; fi
else
  rm -f -- "$saved"
fi
rm -f -- "$policy.slackwater-new"
sync -- "${{policy%/*}}"
"""

_IS = f'[ -f "$1" ] && grep -q "^{_MARK}" "$1"'


async def deny(
    host: Host, operation: str, seconds: float, *, policy: Path = POLICY
) -> None:
    """From now on, for at most so long, nothing stops or starts a database service there that
    asks the policy. Raises StepFailed; then nothing has changed."""
    words = ["sh", "-c", _PUT, "sh", str(policy), operation, str(round(seconds))]
    code, said = await host.run(host.as_root(words))
    if code:
        raise StepFailed(f"{policy} cannot be put in place: {said.strip()[-300:]}")


async def allow(host: Host, *, policy: Path = POLICY) -> None:
    """Put back what was there. Quiet where ours is not in place. Raises StepFailed."""
    code, said = await host.run(host.as_root(["sh", "-c", _TAKE, "sh", str(policy)]))
    if code:
        raise StepFailed(f"{policy} cannot be put back: {said.strip()[-300:]}")


async def denied(host: Host, *, policy: Path = POLICY) -> bool:
    """Whether ours is in place, its time over or not."""
    return (await host.run(["sh", "-c", _IS, "sh", str(policy)]))[0] == 0
