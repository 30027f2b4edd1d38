"""The names that this server may be asked under, and how they are read."""

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Final

from chat_ui.settings import Settings

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(slots=True)
class Hosts:
    """The names that this server may be asked under.

    Another name that leads here is a foreign page's trick to read ours (DNS rebinding), so only
    what we know is taken. Addresses in figures can't be rebound; where the server listens beyond
    this machine, they and this machine's own name are known, too.

    Attributes:
        own: names that only this server has, lower case, without ports. A page under one of them
            is ours, whatever name a proxy asks us for.
        known: beside them, the names of the machine that every server on it has.
        takes_addresses: whether any address in figures is taken.
    """

    own: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=lambda: set(LOOPBACK))
    takes_addresses: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """The hosts of these settings."""
        hosts = cls()
        hosts.add_own(*settings.allowed_hosts, settings.space_host)
        if settings.host not in LOOPBACK and settings.host != "::1":
            hosts.takes_addresses = True
            machine = (settings.host, socket.gethostname(), socket.getfqdn())
            hosts.known.update(name.lower() for name in machine)
        return hosts

    def add_own(self, *names: str) -> None:
        """Take these names, too; "" is none."""
        self.own.update(name.lower() for name in names if name)

    def takes(self, host: str) -> bool:
        """Whether a Host header's value is one of them."""
        name = host_name(host)
        return name in self.own or name in self.known or (self.takes_addresses and is_address(name))

    def is_ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is served by this server, which was asked for as `host`."""
        scheme, separator, netloc = origin.lower().partition("://")
        if not separator or scheme not in ("http", "https"):
            return False
        return netloc == host.lower() or host_name(netloc) in self.own


def host_name(host: str) -> str:
    """The name in a Host header's value, lower case and without its port; "" where it is none."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(:\d{1,5})?", host.lower())
    return match[1].removesuffix(".") if match else ""


def is_address(name: str) -> bool:
    """Whether a host's name is an address in figures."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
