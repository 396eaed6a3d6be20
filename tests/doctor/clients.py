"""Clients in the languages where the mistakes are made. Each answers a line with a line.

Commands: `query` (answers "ok" or the error), `big` (a statement of 40 MB), `warn` (a child writes
to its standard error), `child` (a child that lives on), `fork` (one more process of the same
program, which at SIGTERM ends in order, and so closes the session), `drop` (it closes the
connection's descriptor; Perl and C), `bye`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.patience import PATIENCE

WARNING = "rndc: WARNING: key file (/etc/bind/rndc.key) exists, but using default"

PERL = """
use DBI; $| = 1;
my ($how, $socket, $port) = @ARGV;
close(STDERR) if $how eq "closed";
my $at = $port ? "host=127.0.0.1;port=$port" : "mariadb_socket=$socket";
my $user = $port ? "app" : "root"; my $pass = $port ? "geheim" : "";
my $dbh = DBI->connect("dbi:MariaDB:$at", $user, $pass,
  {RaiseError => 0, PrintError => 0, AutoInactiveDestroy => 0}) or die "no: " . $DBI::errstr;
print "ready ", $dbh->selectrow_array("SELECT CONNECTION_ID()"), "\\n";
my @children;
while (<STDIN>) {
  if (/warn/) { system("sh", "-c", "echo '@WARNING@' >&2"); print "warned\\n"; }
  elsif (/child/) { my $p = fork; if (!$p) { exec "sleep", "300" } push @children, $p;
    print "started $p\\n"; }
  elsif (/fork/) { my $p = fork; push @children, $p;
    if (!$p) { $SIG{TERM} = sub { exit }; sleep 300; exit }
    print "started $p\\n"; }
  elsif (/drop/) { require POSIX; POSIX::close($dbh->mariadb_sockfd); print "dropped\n"; }
  elsif (/query|big/) { my @r = $dbh->selectrow_array(
      /big/ ? "SELECT LENGTH('" . "x" x (40 << 20) . "')" : "SELECT 1");
    print @r ? "ok\\n" : "error " . $dbh->err . " " . $dbh->errstr . "\\n"; }
  else { last }
}
kill 9, @children; waitpid $_, 0 for @children;
""".replace("@WARNING@", WARNING)

PHP = """<?php
[$_, $how, $socket, $port] = array_pad($argv, 4, "");
if ($how == "closed") fclose(STDERR);
mysqli_report(MYSQLI_REPORT_OFF);
$db = $port ? new mysqli("127.0.0.1", "app", "geheim", "", (int) $port)
            : new mysqli(null, "root", "", "", 0, $socket);
if ($db->connect_errno) { print "no: {$db->connect_error}\\n"; exit(1); }
print "ready " . $db->query("SELECT CONNECTION_ID()")->fetch_row()[0] . "\\n";
while (($line = trim(fgets(STDIN))) && $line != "bye") {
  if ($line == "warn") { exec("echo '@WARNING@' >&2"); print "warned\\n"; }
  if ($line == "fork") { $p = pcntl_fork(); if (!$p) {
      pcntl_async_signals(true); pcntl_signal(SIGTERM, function() { exit; }); sleep(300); exit; }
    $children[] = $p; print "started $p\\n"; }
  if ($line == "query" || $line == "big") { $r = @$db->query(
    $line == "big" ? "SELECT LENGTH('" . str_repeat("x", 40 << 20) . "')" : "SELECT 1");
    print $r ? "ok\\n" : "error {$db->errno} {$db->error}\\n"; }
}
foreach ($children ?? [] as $p) { posix_kill($p, 9); pcntl_waitpid($p, $status); }
""".replace("@WARNING@", WARNING)

PYTHON = """
import os, signal, sys, time
how, socket, port = (sys.argv + ["", ""])[1:4]
if how == "closed":
    os.close(2)
import pymysql
at = dict(host="127.0.0.1", port=int(port), user="app", password="geheim") if port else dict(
    unix_socket=socket, user="root")
db = pymysql.connect(**at)
print("ready", db.thread_id(), flush=True)
children = []
for line in sys.stdin:
    word = line.strip()
    if word == "warn":
        # Python's sockets are closed in its children; its own prints go there all the same.
        os.write(2, b"@WARNING@\\n"); print("warned", flush=True)
    elif word == "fork":
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, lambda *_: (db.close(), os._exit(0)))
            time.sleep(300); os._exit(0)
        children.append(pid); print("started", pid, flush=True)
    elif word in ("query", "big"):
        try:
            db.query("SELECT LENGTH('" + "x" * (40 << 20) + "')" if word == "big" else "SELECT 1")
            print("ok", flush=True)
        except pymysql.err.Error as error:
            print("error", error, flush=True)
    else:
        break
for pid in children:
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
""".replace("@WARNING@", WARNING)

C = Path(__file__).with_name("client.c")
LANGUAGES = {
    "perl": ["perl", "-e", PERL],
    "php": ["php", "-r", PHP.removeprefix("<?php")],
    "python": [sys.executable, "-c", PYTHON],
    "c": ["mariadb_config"],  # see `compiled`
}


@functools.cache
def compiled() -> Path:
    """The client in C; made once for a session of tests."""
    made = Path(tempfile.mkdtemp(prefix="slackwater-client-")) / "c-client"
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    flags = subprocess.run(["mariadb_config", "--cflags", "--libs"], capture_output=True, text=True,
                           check=True).stdout.split()
    subprocess.run(["gcc", "-O1", f'-DWARNING="{WARNING}"', "-o", made, C, *flags], check=True)
    return made


class Client:
    """One running client."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.session_id = int(self.heard().split()[1])

    def heard(self) -> str:
        """The next line that it says."""
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line, "the client ended"
        assert not line.startswith("no:"), line
        return line

    def say(self, word: str) -> str:
        """Give a command, and return its answer."""
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.heard()


@contextlib.contextmanager
def client(language: str, how: str, socket: Path | str, port: int = 0) -> Iterator[Client]:
    """A client that is connected (`how`: "closed" closes standard error first)."""
    command = LANGUAGES[language]
    needs = ["gcc", *command] if language == "c" else command[:1]
    if any(shutil.which(program) is None for program in needs):
        pytest.skip(f"no {language} here (scripts/setup tests installs it)")
    if language == "c":
        command = [str(compiled())]
    arguments = [how, str(socket), *([str(port)] if port else [])]
    separator = ["--"] if language == "php" else []
    process = subprocess.Popen(
        [*command, *separator, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Client(process)
    finally:
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # ends it, and its children
        try:
            process.wait(20 * PATIENCE)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
