"""A server as a distribution runs it: its settings are in files, and it starts with no others.

`python -m tests.setup.file_server DIRECTORY` restarts it, as a service manager would.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from slackwater.lab import template
from slackwater.lab.instance import Instance

# Of an Instance's options, those that say who and where it is; the rest is left to the files.
_WHERE = ("--basedir", "--datadir", "--tmpdir", "--lc-messages-dir", "--user", "--socket",
          "--pid-file", "--log-error", "--port", "--bind-address", "--secure-file-priv",
          "--innodb-redo-log-capacity", "--innodb-log-file-size", "--mysqlx",
          "--innodb-buffer-pool-size", "--skip-name-resolve", "--plugin-dir")  # fmt: skip


class FileServer(Instance):
    """`conf` is its configuration directory; the first file in it is its owner's."""

    @property
    def conf(self) -> Path:
        return self.directory / "conf.d"

    def command(self) -> list[str]:
        """With an option file in place of most options."""
        whole = super().command()
        kept = [w for w in whole[2:] if w.split("=")[0] in _WHERE]
        return [whole[0], f"--defaults-file={self.directory / 'my.cnf'}", *kept]

    def launch(self) -> None:
        """Its files are made at the first start."""
        if not self.conf.exists():
            self.conf.mkdir(mode=0o755)
            (self.conf / "50-server.cnf").write_text(
                f"[mysqld]\nserver_id = {self.server_id}\nmax_connections = 100\n")
            text = f"!includedir {self.conf}/\n"
            (self.directory / "my.cnf").write_text(text)
            template.hand_over(self.directory, template.run_as())
        super().launch()


def command(directory: Path) -> str:
    """The line for a slackwater.toml."""
    return shlex.join([sys.executable, "-m", "tests.setup.file_server", str(directory)])


if __name__ == "__main__":
    server = FileServer.load(Path(sys.argv[1]))
    server.stop()
    server.start()
