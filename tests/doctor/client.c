/* A client in C, over libmariadb: the same commands as its brothers in clients.py. */
#include <mysql.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void wake(int number) { (void)number; }

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
  int port = argc > 3 ? atoi(argv[3]) : 0;
  char line[256];
  pid_t children[16];
  int count = 0;
  if (!strcmp(how, "closed")) close(2);
  MYSQL *db = mysql_init(NULL);
  unsigned limit = 60;
  mysql_options(db, MYSQL_OPT_CONNECT_TIMEOUT, &limit);
  if (!mysql_real_connect(db, port ? "127.0.0.1" : NULL, port ? "app" : "root",
                          port ? "geheim" : "", NULL, port, port ? NULL : path, 0)) {
    printf("no: %u %s\n", mysql_errno(db), mysql_error(db));
    return 1;
  }
  printf("ready %lu\n", mysql_thread_id(db));
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    if (!strncmp(line, "warn", 4)) {
      if (system("echo '" WARNING "' >&2") < 0) return 2;
      puts("warned");
    } else if (!strncmp(line, "child", 5) || !strncmp(line, "fork", 4)) {
      pid_t pid = fork();
      if (!pid) {
        if (line[0] == 'c') execlp("sleep", "sleep", "300", NULL);
        signal(SIGTERM, wake);
        if (sleep(300)) mysql_close(db); /* it was woken */
        _exit(0);
      }
      if (count < 16) children[count++] = pid;
      printf("started %d\n", pid);
    } else if (!strncmp(line, "drop", 4)) { /* as a process that ends: no goodbye is said */
      close(mysql_get_socket(db));
      puts("dropped");
    } else if (!strncmp(line, "query", 5) || !strncmp(line, "big", 3)) {
      char *sql = "SELECT 1";
      if (line[0] == 'b') { /* 40 MB */
        sql = malloc((40 << 20) + 32);
        strcpy(sql, "SELECT LENGTH('");
        memset(sql + 15, 'x', 40 << 20);
        strcpy(sql + 15 + (40 << 20), "')");
      }
      if (mysql_query(db, sql)) printf("error %u %s\n", mysql_errno(db), mysql_error(db));
      else {
        mysql_free_result(mysql_store_result(db));
        puts("ok");
      }
    } else break;
    fflush(stdout);
  }
  while (count--) {
    kill(children[count], SIGKILL);
    waitpid(children[count], NULL, 0);
  }
  return 0;
}
