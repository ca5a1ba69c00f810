"""Reads the addresses of the database and the brokers. A wrong one ends the program, with one line."""

from contextlib import suppress
from urllib.parse import urlsplit

import dj_database_url


def database_of(url):
    """Return Django's settings for DATABASE_URL: postgres://user:password@host:5432/name"""
    database = {"ENGINE": ""}
    with suppress(ValueError):
        database = dj_database_url.parse(url, conn_health_checks=True)
    if not database["ENGINE"].endswith(".postgresql") or not database["HOST"] or not database["NAME"]:
        raise SystemExit(
            "DATABASE_URL must look like postgres://user:password@host:5432/name. A / in the password is %2F."
        )
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(
            f"DATABASE_URL needs the driver psycopg: {reason}. pip install 'psycopg[binary,pool]'"
        ) from None
    return {"OPTIONS": {}} | database


def sentinels_of(url):
    """Return the sentinels, the primary's name and password of sentinel://:password@a:26379,b:26379/name"""
    parts = urlsplit(url)
    name, (login, _, places) = parts.path.strip("/"), parts.netloc.rpartition("@")
    pairs = [
        (host, port or "26379") for host, _, port in (place.partition(":") for place in places.split(","))
    ]
    if not name or not all(host and port.isdecimal() for host, port in pairs):
        raise SystemExit(
            f"REDIS_URL must look like sentinel://host:26379,host:26379/name, not {parts.scheme}://{places}{parts.path}."
        )
    password = login.partition(":")[2]
    return [(host, int(port)) for host, port in pairs], name, {"password": password} if password else {}


def layer_hosts(url):
    """Return the channel layer's hosts: one address, several with spaces between, or sentinels."""
    if not url.startswith("sentinel://"):
        if not url or not all(address.startswith(("redis://", "rediss://")) for address in url.split()):
            raise SystemExit("REDIS_URL must be redis://host:6379, several of them, or sentinel://…/name.")
        return [{"address": address} for address in url.split()]
    sentinels, name, login = sentinels_of(url)
    return [{"sentinels": sentinels, "master_name": name, "sentinel_kwargs": {"socket_timeout": 1}} | login]


def celery_broker(url):
    """Return Celery's broker address for REDIS_URL, and what its transport needs to know besides."""
    if not url.startswith("sentinel://"):
        return url.split()[0], {}
    sentinels, name, login = sentinels_of(url)
    user = f":{login['password']}@" if login else ""
    return ";".join(f"sentinel://{user}{host}:{port}" for host, port in sentinels), {"master_name": name}
