"""By which names this machine can be dialled."""

import socket


def hostname() -> str:
    """Return the machine's own name, as a certificate can have it."""
    plain = "".join(
        letter if letter.isalnum() and letter.isascii() else "-" for letter in socket.gethostname()
    )
    return plain.strip("-")[:64] or "hilnas"


def own_names() -> list[str]:
    """Return names and addresses of this machine, those that others can dial first."""
    import psutil

    names = [name for name in (socket.getfqdn(), socket.gethostname()) if name and "localhost" not in name]
    addresses = [
        one.address
        for interfaces in psutil.net_if_addrs().values()
        for one in interfaces
        if one.family in (socket.AF_INET, socket.AF_INET6) and "%" not in one.address
    ]
    here = [address for address in addresses if address.startswith("127.") or address == "::1"]
    elsewhere = [address for address in addresses if address not in here]
    return list(dict.fromkeys([*names, *elsewhere, "localhost", *sorted(here)]))
