"""Whether a balancer leads to the servers that slackwater.toml means."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from slackwater.facts.balancer import HOLD
from slackwater.facts.pair import PairSeen, Road


def leads(road: Road, address: str) -> bool:
    """Whether `address` is the server that is meant; also where nobody can tell."""
    if address == road.meant or address in road.proven:
        return True
    (host, port), (meant, meant_port) = _parts(address), _parts(road.meant)
    places, wanted = _places(road, host), _places(road, meant)
    if road.far and any(map(_loopback, places | wanted)):
        return True  # what that is there cannot be seen from here
    if host == "-":
        return True  # the balancer does not tell
    if port != meant_port:
        return False
    return not places or not wanted or bool(places & wanted)


def wrong_roads(seen: PairSeen) -> Iterator[str]:
    """Each balancer's servers that are not where they are meant to be, and what to do."""
    for name, balancer in seen.balancers.items():
        again = f"`slackwater balancer install {name}`, then reload HAProxy"
        for server, road in balancer.roads.items():
            if road.now is None:
                yield f"balancer {name} has no server {server}: {again}"
            elif not leads(road, road.now):
                yield (f"balancer {name} has server {server} at {road.now}, but slackwater.toml at "
                       f"{road.meant}: clients would be sent to the former; {again}")
            elif road.in_file is not None and not leads(road, road.in_file):
                yield (f"the file of balancer {name} has server {server} at {road.in_file}, but "
                       f"slackwater.toml at {road.meant}: a reload would lead there; {again}")


def waiting(seen: PairSeen) -> Iterator[str]:
    """Balancers at which clients wait although nothing is held."""
    for name, balancer in seen.balancers.items():
        if balancer.waiting:
            active = balancer.state.servers.get(balancer.state.active or HOLD)
            full = (f": {active.name} has {active.sessions} of the {active.limit} sessions that "
                    "this balancer gives it at once" if active and active.limit else "")
            yield f"{balancer.waiting} client(s) wait at balancer {name}, and nothing is held{full}"


def _parts(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _places(road: Road, host: str) -> frozenset[str]:
    """What a host stands for, as IP addresses; empty when it cannot be told."""
    found = frozenset({host}) if _ip(host) else road.names.get(host, frozenset())
    return frozenset(str(ip) for ip in map(_ip, found) if ip)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _loopback(ip: str) -> bool:
    return ipaddress.ip_address(ip).is_loopback


def host_of(address: str) -> str | None:
    """The host name in `host:port`; None when that is an IP address already."""
    host = _parts(address)[0]
    return None if _ip(host) or host == "-" else host
