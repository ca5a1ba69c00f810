"""What must be right before a server or a worker takes work. What isn't ends it, with one line."""

import ssl

import redis
from asgiref.sync import sync_to_async
from celery.signals import worker_init
from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from config.addresses import sentinels_of

TIMEOUTS = {"socket_timeout": 1, "socket_connect_timeout": 1}  # seconds


def database_problem():
    """Return why the database can't be used, or None if it can."""
    database = connection.copy()
    # The pool would try again and again, and not say why.
    database.settings_dict["OPTIONS"].pop("pool", None)
    place = "{HOST}:{PORT}/{NAME}" if database.settings_dict["HOST"] else "{NAME}"
    place = place.format(**database.settings_dict)
    try:
        executor = MigrationExecutor(database)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except OperationalError as error:
        return f"The database {place} can't be used: {' '.join(str(error).split())}"
    finally:
        database.close()
    if missing:
        return f"The database {place} lacks {len(missing)} migrations. Run: python manage.py migrate"
    return None


def broker_problem():
    """Return why a broker will never do, or None. One that doesn't answer yet is waited for."""
    url, name = settings.REDIS_URL, None
    if url.startswith("sentinel://"):
        sentinels, name, _ = sentinels_of(url)
        clients = {f"{host}:{port}": redis.Redis(host, port, **TIMEOUTS) for host, port in sentinels}
    else:
        clients = {
            address.rpartition("@")[2]: redis.Redis.from_url(address, **TIMEOUTS) for address in url.split()
        }
    for place, client in clients.items():
        try:
            if name is None:
                client.ping()
            elif name not in (known := client.sentinel_masters()):
                return f"REDIS_URL: the sentinel {place} knows no {name}, but {', '.join(known)}."
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if isinstance(error, redis.AuthenticationError) or isinstance(error.__context__, ssl.SSLError):
                return f"REDIS_URL: {place} can't be used: {error}"
        finally:
            client.close()
    return None


def find_problem():
    """Return what is wrong with the database or the broker, in a line, or None."""
    return broker_problem() or database_problem()


async def lifespan(scope, receive, send):
    """Called by the server when it starts, before it takes connections."""
    await receive()
    if problem := await sync_to_async(find_problem)():
        await send({"type": "lifespan.startup.failed", "message": problem})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@worker_init.connect
def check_worker(**_):
    """Called when a worker starts, before it takes tasks."""
    if problem := find_problem():
        raise SystemExit(problem)
