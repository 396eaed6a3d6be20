"""Small programs of ours for a bare Python, on this machine or sent to another over SSH.

What is sent goes by standard input: nothing has to be installed there but Python 3.8, and nothing
stays there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from slackwater.errors import OutsideError
from slackwater.outside import sent_answers
from slackwater.outside.host import Host

_PARTS = ("gate.netlink", "gate.rules", "gate.queue", "gate.listeners", "gate.pace",
          "gate.running", "gate.holder", "sent_sockets", "sent_answers")  # fmt: skip
ASK_LIMIT_S = 10.0

# Reads from standard input what makes the modules, then runs them: wherever there is a Python,
# and whatever happens to our files meanwhile.
BOOT = (
    "import sys,json,types\n"
    "n,order=json.loads(sys.stdin.buffer.raw.readline())\n"
    "data=b''\n"
    "while len(data)<n:\n"
    "    more=sys.stdin.buffer.raw.read(n-len(data))\n"
    "    if not more: sys.exit(1)\n"
    "    data+=more\n"
    "def make(name,source):\n"
    "    m=sys.modules[name]=types.ModuleType(name); m.__path__=[]\n"
    "    parent,_,child=name.rpartition('.')\n"
    "    if parent: setattr(sys.modules[parent],child,m)\n"
    "    exec(compile(source,name,'exec'),m.__dict__)\n"
    "for name,source in json.loads(data): make(name,source)\n"
    "sys.modules['slackwater.outside.sent_answers'].main(order)\n"
)


def program(order: Mapping[str, Any]) -> bytes:
    """What BOOT reads: a line with the length and the order, then the modules."""
    package = resources.files("slackwater.outside")
    parts = [(name, "") for name in ("slackwater", "slackwater.outside", "slackwater.outside.gate")]
    for part in _PARTS:
        file = package / f"{part.replace('.', '/')}.py"
        parts.append((f"slackwater.outside.{part}", file.read_text("utf-8")))
    source = json.dumps(parts).encode()
    return json.dumps([len(source), dict(order)]).encode() + b"\n" + source


def words(title: str) -> list[str]:
    """The command that reads `program` on another host; `title` is to be seen in `ps`."""
    return ["python3", "-I", "-S", "-c", BOOT, title]


async def ask(host: Host, question: str, *, limit_s: float = ASK_LIMIT_S, **more: Any) -> Any:
    """Have the machine answer one question of `sent_answers`.

    Raises OSError with the machine's own errno, OutsideError when it cannot be asked.
    """
    order = {"ask": question, **more}
    if host.here and question in sent_answers.SLOW:
        return await asyncio.to_thread(sent_answers.answer, order)
    if host.here:
        return sent_answers.answer(order)
    async with host.agent_lock:
        for last in (False, True):
            try:
                async with asyncio.timeout(limit_s):
                    found = await _ask_there(host, order)
                break
            except TimeoutError as error:
                host.forget_agent()
                raise OutsideError(f"ssh {host.where}", f"no answer within {limit_s:g} s",
                                   sent=True) from error
            except OutsideError:
                host.forget_agent()
                if last:
                    raise  # else the connection may have been lost before: questions do no harm
    if "errno" in found:
        raise OSError(found["errno"], found["why"])
    return found["answer"]


async def _ask_there(host: Host, order: Mapping[str, Any]) -> dict[str, Any]:
    """By the process of ours that answers there; it ends with the connection."""
    if host.agent is None:
        host.agent = await host.open(host.as_root(words("slackwater answers")))
        host.agent.write(program({"serve": True}))
    host.agent.write(json.dumps(order).encode() + b"\n")
    line = await host.agent.line()
    try:
        return dict(json.loads(line))
    except ValueError:
        said = line.decode(errors="replace").strip()[:200] or "python3 there said nothing"
        raise OutsideError(f"ssh {host.where}", said, sent=False,
                           hint="it has to have python3 (3.8 or later)") from None
