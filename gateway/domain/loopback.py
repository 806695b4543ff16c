"""Whether a host is this machine itself, which no one else can reach or be."""

from ipaddress import IPv6Address, ip_address


def is_loopback(host: str) -> bool:
    """
    Return whether *host*, a name or an address, is the loopback interface.

    Of names only ``localhost`` is: any other could be made to resolve to 127.0.0.1 by
    whoever owns it. An IPv6 address may be in brackets.
    """
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
