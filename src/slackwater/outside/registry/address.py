"""Which address a node has: the one that its way to the registry begins with."""

from __future__ import annotations

import asyncio
import socket

from slackwater.errors import OutsideError, Refused
from slackwater.facts.members import is_loopback, plain_address


async def own_address(host: str, port: int, *, limit_s: float = 5.0,
                      loopback: bool = False) -> str:
    """The local address of a connection to host:port.

    The host's name, or the first address of an interface, is often 127.0.0.1 or 127.0.1.1; the
    way that packets take is not a matter of opinion. Raises OutsideError when nobody answers,
    Refused when the way is the loopback (unless `loopback`), as others would look at themselves.
    """
    where = f"registry {host}:{port}"
    try:
        async with asyncio.timeout(limit_s):
            _, writer = await asyncio.open_connection(host, port, family=socket.AF_UNSPEC)
            found = writer.get_extra_info("sockname")[0]
            writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise OutsideError(where, f"cannot connect: {error or 'no answer'}", sent=False,
                           refused=True) from error
    address = plain_address(found.partition("%")[0])
    if is_loopback(address) and not loopback:
        raise Refused(
            "cannot register", [f"the way to {host}:{port} is this machine's loopback, {address}, "
                                "which is another machine for everybody else"],
            hint="name the registry by the address that others use, or give --address",
        )
    return address
