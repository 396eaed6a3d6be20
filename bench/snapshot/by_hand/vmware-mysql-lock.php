#!/usr/bin/env php
<?php
/*
 * THE METHOD BY HAND, for comparison only: never install this.
 *
 * What a well-known script of 2015 for VMware does, rebuilt from its description step by step,
 * with its flaws: one file under three names (pre-freeze-script, post-thaw-script,
 * pre-freeze-mysql-lock). Ours are only: its settings come from the environment, errors are told
 * as by the PHP of its time if BY_HAND_PHP is 7 (8.1 and later throw), and its helper may take a
 * while to begin, as on a busy machine (BY_HAND_SLOW_MS).
 */
if (getenv('BY_HAND_PHP') == '7') {
    mysqli_report(MYSQLI_REPORT_OFF);
}
$config = [
    'socket' => getenv('BY_HAND_SOCKET'),
    'login' => getenv('BY_HAND_LOGIN') ?: 'root',
    'password' => getenv('BY_HAND_PASSWORD') ?: '',
    'runFile' => getenv('BY_HAND_RUN'),
    'logFile' => getenv('BY_HAND_LOG'),
    'snapshotTimeout' => (int) getenv('BY_HAND_TURNS') ?: 600,
    'lockWaitTimeout' => (int) getenv('BY_HAND_LOCK_WAIT') ?: 10,
    'maxLockTime' => (int) getenv('BY_HAND_HOLD') ?: 15,
    'errorExitCode' => 1,
    'ignore' => ['Sleep', 'Delayed insert', 'Binlog Dump', 'Connect'],
];

function told(string $text): void
{
    global $config;
    file_put_contents($config['logFile'], date('c') . " $text\n", FILE_APPEND);
}

function link_to_server(): mysqli
{
    global $config;
    try {
        $link = @new mysqli(null, $config['login'], $config['password'], null, 0,
                            $config['socket']);
        $code = $link->connect_errno;
        $text = $link->connect_error;
    } catch (mysqli_sql_exception $error) {
        $code = $error->getCode();
        $text = $error->getMessage();
    }
    if ($code) {
        told("MySQL connect Error ($code) $text");
        exit($config['errorExitCode']);
    }
    return $link;
}

function run_file(): ?array
{
    global $config;
    $text = is_readable($config['runFile']) ? file_get_contents($config['runFile']) : false;
    return $text ? unserialize($text) : null;
}

function note(array $state): void
{
    global $config;
    file_put_contents($config['runFile'], serialize($state));
}

function longest_running(mysqli $link): int
{
    global $config;
    $longest = 0;
    $rows = $link->query('SHOW FULL PROCESSLIST');
    while ($row = $rows->fetch_assoc()) {
        if (!in_array($row['Command'], $config['ignore'])) {
            $longest = max($longest, (int) $row['Time']);
        }
    }
    return $longest;
}

function pre_freeze(mysqli $link): void
{
    global $config, $argv;
    $started = false;
    for ($i = 1; $i < $config['snapshotTimeout']; $i++) {
        told("Iteration $i of {$config['snapshotTimeout']}");
        $longest = longest_running($link);
        told("Longest running query: $longest");
        if (!$started && $longest < $config['lockWaitTimeout']) {
            told('Not started, and no long running queries; Attempting lock acquisition.');
            $child = dirname($argv[0]) . '/pre-freeze-mysql-lock';
            exec("nohup $child > /dev/null 2> /dev/null < /dev/null &");
            $started = true;
            usleep(300000);
        }
        $state = run_file();
        if ($state && $state['lockStatus'] == 'acquired') {
            told('Yup, Lock acquired!');
            exit(0);
        }
        if ($state && $state['lockStatus'] == 'waiting'
            && microtime(true) - $state['startTime'] > $config['lockWaitTimeout']) {
            told("Lock status is waiting, and for longer than {$config['lockWaitTimeout']}"
                 . ' seconds. Killing the process.');
            post_thaw($link);
        }
        sleep(1);
    }
    told(" = TIMEOUT = . We've failed to acquire the lock.");
    exit(1);
}

function lock(mysqli $link): void
{
    global $config;
    $id = $link->query('SELECT CONNECTION_ID()')->fetch_row()[0];
    $state = ['PID' => getmypid(), 'mysqlConnId' => $id, 'lockStatus' => 'waiting',
              'startTime' => microtime(true)];
    note($state);
    told('Trying to acquire the lock now...');
    $link->query('FLUSH TABLES WITH READ LOCK');
    try {
        $answer = $link->query('SHOW MASTER STATUS');
        if (!$answer) {
            throw new Exception($link->error);
        }
        $row = $answer->fetch_assoc();
        told("Master file: {$row['File']}; Position: {$row['Position']}");
    } catch (Throwable $error) {
        told('Skipping replication master status, ' . $error->getMessage());
    }
    note(['lockStatus' => 'acquired'] + $state);
    sleep($config['maxLockTime']);
    $link->query('UNLOCK TABLES');
    $link->close();
    note(['lockStatus' => 'released'] + $state);
    told(' == Oops! == Lock was released due to the maxLockTime. Check why snapshot took so long.');
}

function post_thaw(mysqli $link): void
{
    global $config;
    told('Ending lock process, and cleaning up');
    $state = run_file();
    if ($state) {
        posix_kill($state['PID'], 9);
        $link->query("KILL {$state['mysqlConnId']}");
        unlink($config['runFile']);
    }
    exit(0);
}

$name = basename($argv[0]);
if ($name == 'pre-freeze-mysql-lock') {
    usleep(1000 * (int) getenv('BY_HAND_SLOW_MS'));
}
$link = link_to_server();
told("$name called");
switch ($name) {
    case 'pre-freeze-script': pre_freeze($link); break;
    case 'pre-freeze-mysql-lock': lock($link); break;
    case 'post-thaw-script': post_thaw($link); break;
    default: told("Unknown command $name!"); exit($config['errorExitCode']);
}
