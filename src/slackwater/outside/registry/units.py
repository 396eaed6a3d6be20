"""Files for systemd and sudo: the registry's service, its one privileged command, a member's."""

from __future__ import annotations

import re

USER = "slackwater-registry"
KINDS = ("serve", "sudoers", "path", "member")
_SERVICE = re.compile(r"[A-Za-z0-9@_.-]{1,80}\.service")
_PLAIN = re.compile(r"[A-Za-z0-9 @%:/._=,+-]{1,500}")

_SERVE = """\
# /etc/systemd/system/slackwater-registry.service
# First: useradd --system --home-dir /var/lib/{user} {user}
[Unit]
Description=slackwater registry
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
User={user}
StateDirectory={user}
StateDirectoryMode=0711
LimitNOFILE=65536
ExecStart={program} registry serve --config /etc/slackwater/registry.toml
Restart=always
RestartSec=1
# sudo, where it is used for the reload, needs privileges: so no NoNewPrivileges here.
ProtectHome=yes
PrivateTmp=yes
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""

_SUDOERS = """\
# /etc/sudoers.d/slackwater-registry (mode 0440; see that `visudo -c` takes it)
# The reload is all that the registry may do as root. In registry.toml, below [balancers.NAME]:
# reload = "sudo -n /usr/bin/systemctl reload {service}"
{user} ALL=(root) NOPASSWD: /usr/bin/systemctl reload {service}
"""

_PATH = """\
# /etc/systemd/system/slackwater-reload.path, and below it slackwater-reload.service
# Without sudo: the registry touches a file. In registry.toml, below [balancers.NAME]:
# reload = "touch /var/lib/{user}/reload"
[Unit]
Description=Reload {service} when the registry asks for it

[Path]
PathModified=/var/lib/{user}/reload

[Install]
WantedBy=multi-user.target

# ---- /etc/systemd/system/slackwater-reload.service
[Unit]
Description=Reload {service} for the registry
# It comes at most every second or two; systemd's own limit would stop it for good.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl reload {service}
"""

_MEMBER = """\
# /etc/systemd/system/slackwater-member.service
# It starts when the server has started. It stops before the server does, which waits for it:
# balancers send nothing new, what is under way is answered, and then the server is stopped.
[Unit]
Description=Member of a load-balanced pool
After={service} network-online.target
Wants=network-online.target
BindsTo={service}
PartOf={service}

[Service]
Type=notify
DynamicUser=yes
LoadCredential=key:{key_file}
ExecStart={program} register {command}
TimeoutStopSec=90
Restart=on-failure
RestartSec=2

[Install]
WantedBy={service}
"""


def text(what: str, *, service: str, command: str = "", program: str = "") -> str:
    """The file's text. Raises ValueError."""
    if not _SERVICE.fullmatch(service):
        raise ValueError(f"not the name of a service: {service!r}; write nginx.service")
    if what not in KINDS:
        raise ValueError(f"one of {', '.join(KINDS)}")
    if what != "member":
        form = {"serve": _SERVE, "sudoers": _SUDOERS, "path": _PATH}[what]
        return form.format(user=USER, service=service, program=program)
    if not _PLAIN.fullmatch(command):
        raise ValueError("--command: the options of `slackwater register`, without quotes")
    found = re.search(r"--key-file[ =](\S+)", command)
    if not found:
        raise ValueError("--command needs --key-file FILE")
    # The key is for root alone; systemd hands it to the service in a directory of its own. The
    # file is then called `key`, so its name is said.
    name = found[1].rpartition("/")[2].removesuffix(".key")
    command = command.replace(found[0], f"--key-file %d/key --key {name}")
    return _MEMBER.format(service=service, command=command, program=program, key_file=found[1])
