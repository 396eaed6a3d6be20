# What both scripts do in the same way; to be sourced. Plain calls of the mariadb client.
#
# From the environment: ADMIN (an option file with a group for each server, [client_a] and so on,
# and [client_front] for the way through the balancer), MAIN_CONFIG and PAIR_CONFIG (HAProxy's).

client() { mariadb --defaults-file="$ADMIN" --defaults-group-suffix="_$1" -N -B "${@:2}"; }
sql() { client "$1" -e "$2"; }
say() { echo "$EPOCHREALTIME $*"; } # unix seconds, for the bench
fail() { say "FAILED: $*"; exit 1; }

# Wait until the new server has what the old one had at most a tenth of a second ago. By GTID,
# because Seconds_Behind_Master cannot be trusted.
wait_for_small_lag() {
    local attempt position
    for attempt in {1..100}; do
        position=$(sql "$old" "SELECT @@gtid_binlog_pos")
        [ "$(sql "$new" "SELECT MASTER_GTID_WAIT('$position', 0.1)")" = 0 ] && return
    done
    fail "$new does not catch up"
}

# Write HAProxy's next file, the other server active in it, and have it checked: $next.
prepare_file() {
    local address
    next=$PAIR_CONFIG.next
    address=$(awk -v new="$new" '$1 == "server" && $2 == new { print $3 }' "$PAIR_CONFIG")
    awk -v old="$old" -v new="$new" -v address="$address" '
        $1 == "server" && $2 == new    { sub(/ disabled/, "") }
        $1 == "server" && $2 == old    { $0 = $0 " disabled" }
        $1 == "server" && $2 == "hold" { sub($3, address) }
        { print }' "$PAIR_CONFIG" > "$next"
    haproxy -c -q -f "$MAIN_CONFIG" -f "$next"
}

# One statement in the session that holds the lock; its answer is in $answer.
locked() {
    echo "$1;" >&"${LOCK[1]}"
    read -r -t 15 answer <&"${LOCK[0]}"
}

# Lock the old server (in a session that stays open), let the new one catch up, and change who is
# read-only. read_only comes before the unlock: a write that waits behind the lock must not commit
# late on the old server. The new one opens here, before any client is sent to it.
lock_and_hand_over() {
    coproc LOCK { client "$old" -n; }
    say lock
    locked "SET SESSION lock_wait_timeout = 10, wait_timeout = 30; FLUSH TABLES WITH READ LOCK;
        SELECT @@gtid_binlog_pos"
    [ "$(sql "$new" "SELECT MASTER_GTID_WAIT('$answer', 10)")" = 0 ] || fail "$new is behind"
    locked "SET GLOBAL read_only = 1; SELECT @@global.read_only"
    [ "$answer" = 1 ] || fail "$old is not read-only"
    sql "$new" "SET GLOBAL read_only = 0"
}

unlock() {
    locked "UNLOCK TABLES; SELECT 1"
    say unlock
}
