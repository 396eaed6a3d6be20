#!/usr/bin/env bash
# A switchover by hand, as a careful administrator types it into a script: stop and start
# replication, wait until lag is about zero, lock the tables, let the passive catch up, swap the
# servers in HAProxy's file, reload, unlock. The old recipe, with the traps avoided that can be
# avoided in it; comments say which.
#
# by_hand.sh OLD NEW, with MASTER_PID (HAProxy's) beside the environment of administrator.sh.
set -euo pipefail
old=$1 new=$2
source "$(dirname "$0")/administrator.sh"

# A schema change would go between these. The old server's own replication stays stopped until it
# is the passive one.
say begin
sql "$old" "STOP SLAVE"
sql "$new" "STOP SLAVE"
sql "$new" "START SLAVE"
wait_for_small_lag
prepare_file # before anything is locked

lock_and_hand_over
mv "$next" "$PAIR_CONFIG"
kill -USR2 "$MASTER_PID"
server_id=$(sql "$new" "SELECT @@server_id")
for attempt in {1..100}; do # until a new connection really comes out on the new server
    [ "$(sql front "SELECT @@server_id")" = "$server_id" ] && break
done
[ "$attempt" -lt 100 ] || fail "the balancer still sends clients to $old"
say reloaded
unlock

# A reload leaves open sessions where they are: on the old server, where every write of a pool now
# fails. The recipe is silent about them; a careful administrator ends them.
sql "$old" "SELECT CONCAT('KILL ', id, ';') FROM information_schema.PROCESSLIST
    WHERE user = 'app'" | client "$old" -f 2> /dev/null || true # some end before their turn
sql "$old" "START SLAVE"
say end
