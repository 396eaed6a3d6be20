#!/usr/bin/env bash
# A switchover behind a closed port: drop SYN packets to the balancer, so that nobody new comes in
# and clients try again in silence; let the connections there end; lock, catch up, swap the servers
# in the running HAProxy; open the port.
#
# syn_drop.sh OLD NEW, with RUNTIME (path of HAProxy's admin socket) and PORT (of the balancer)
# beside the environment of administrator.sh. The rule is made in the network namespace that the
# script is started in: the bench's own.
set -euo pipefail
old=$1 new=$2
source "$(dirname "$0")/administrator.sh"

sessions() { # of the application, on the old server: how many, and how many at work
    sql "$old" "SELECT COUNT(*), COALESCE(SUM(command <> 'Sleep'), 0)
        FROM information_schema.PROCESSLIST WHERE user = 'app'"
}
runtime() {
    python3 -ISc 'import socket, sys
link = socket.socket(socket.AF_UNIX); link.connect(sys.argv[1])
link.sendall(sys.argv[2].encode() + b"\n"); print(link.recv(65536).decode().strip(), end="")
' "$RUNTIME" "$1"
}

say begin
wait_for_small_lag
prepare_file

# A careful administrator's rule goes when the script does (unless that is killed with -9).
trap 'nft delete table inet switchover 2> /dev/null || true' EXIT
nft -f - <<RULE
table inet switchover {
    chain gate {
        type filter hook input priority 0;
        tcp dport $PORT tcp flags & (fin | syn | rst | ack) == syn counter drop
    }
}
RULE
say closed

# Connections in progress end; those of pools stay. So: until their number stands still and none
# is at work, for at most some five seconds. What is left then (pools) is cut, and cannot come back
# in: none of them meets a read-only server.
before=-1
for attempt in {1..100}; do
    read -r count busy <<< "$(sessions)"
    [ "$busy" = 0 ] && [ "$count" = "$before" ] && break
    before=$count
    sleep 0.05
done
runtime "shutdown sessions server pair/$old"

lock_and_hand_over
runtime "set server pair/$new state ready; set server pair/$old state maint"
mv "$next" "$PAIR_CONFIG"
unlock
nft list table inet switchover | awk '/counter/ { print "# dropped: " $0 }'
nft delete table inet switchover
say open
say end
