"""Free and taken ports."""

import errno
import socket


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def another_port(port: int) -> int:
    """Return a port to offer in place of a taken one: 8080, as 8001 is the preview's."""
    return 8080 if port == 8000 else port + 1


def port_problem(host: str, port: int) -> str | None:
    """Return in a few words why a server couldn't listen on a port, or None if it could.

    Args:
        host: The address or name to listen on.
        port: The port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except socket.gaierror:
            return f"{host!r} is not an address of this machine"
        except OverflowError:
            return "a port is a number from 1 to 65535"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program listens there"
            return (error.strerror or str(error)).lower()
    return None
