"""The address that a request comes from, as far as a tunnel or a Space tells it.

It is weak evidence of who asks: many people share one, and one may have many. It decides nothing
but who waits first.
"""

import ipaddress

from starlette.requests import Request
from starlette.types import Scope

from chat_ui.limits import Door


def address_of(scope: Scope, door: Door) -> str:
    """A visitor's address; "" where it is not known, as at the door of this machine.

    What connects to us at the other doors is a proxy that adds whom it asks for at the end of
    X-Forwarded-For; what stands before that, its visitor may have made up. Uvicorn has read it
    where the proxy is on this machine, as the tunnel is; a Space's has an address of its network.

    Args:
        scope: the request's.
        door: which one is served.
    """
    if door == "local":
        return ""
    request = Request(scope)
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    nearest_first = [request.client.host if request.client else "", *reversed(forwarded)]
    return next(filter(None, map(_public, nearest_first)), "")


def _public(text: str) -> str:
    """A network's name where this is an address of the Internet, else ""."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped:  # as a socket of both versions has it
        address = address.ipv4_mapped
    if not address.is_global:
        return ""
    # Of version 6 each household has so many.
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), False))
