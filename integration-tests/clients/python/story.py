"""What every scenario stands on: a connection, a keyspace of its own, and a way to say what must be true.

A scenario is a module's public function `name(world, session, keyspace)`; `main.py` finds them in the order they are written.
"""

import contextlib
import decimal
import inspect
import math
import time
import uuid

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from cassandra.query import tuple_factory

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"


def scenarios(module):
    functions = [f for name, f in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_") and f.__module__ == module.__name__]
    return sorted((f for f in functions if list(inspect.signature(f).parameters) == ["world", "session", "keyspace"]), key=lambda f: f.__code__.co_firstlineno)


class World:
    """Connections to one server."""

    def __init__(self, host, port, protocol, compression):
        self.host, self.port = host, port
        self.options = {}
        if protocol:
            self.options["protocol_version"] = protocol
        if compression:
            self.options["compression"] = compression
        self.clusters = []
        self.session = self.connect()

    def connect(self, keyspace=None):
        profile = ExecutionProfile(
            load_balancing_policy=RoundRobinPolicy(), request_timeout=60, consistency_level=ConsistencyLevel.ONE, row_factory=tuple_factory
        )
        cluster = Cluster([self.host], port=self.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **self.options)
        # A test that creates and drops many tables must not fall behind its own metadata.
        cluster.schema_event_refresh_window = 0
        self.clusters.append(cluster)
        return cluster.connect(keyspace)

    @contextlib.contextmanager
    def keyspace(self):
        name = "k" + uuid.uuid4().hex[:12]
        self.session.execute(f"CREATE KEYSPACE {name} WITH replication = {REPLICATION}")
        self.session.set_keyspace(name)
        try:
            yield self.session, name
        finally:
            self.session.execute(f"DROP KEYSPACE IF EXISTS {name}")

    def close(self):
        for cluster in self.clusters:
            cluster.shutdown()


def rows(result):
    """All rows of a result, over all its pages."""
    return [tuple(row) for row in result]


def plain(value):
    """A value as plain Python, so that a driver's own containers compare with ours, and 1.0 is not 1.00."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, decimal.Decimal):
        return ("decimal", str(value))
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if hasattr(value, "items"):
        return {"map": sorted(((plain(k), plain(v)) for k, v in value.items()), key=repr)}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if type(value).__name__ in ("set", "frozenset", "SortedSet"):
        return {"set": sorted((plain(item) for item in value), key=repr)}
    return value


def expect(found, wanted, about=""):
    found, wanted = plain(found), plain(wanted)
    assert found == wanted, f"{about}\n   found {found!r}\n  wanted {wanted!r}"


def expect_error(kind, words, action):
    """`action` must raise exactly `kind`, and its message must hold `words`."""
    try:
        action()
    except kind as error:
        assert words.lower() in str(error).lower(), f"{kind.__name__} should say {words!r}, and said: {error}"
        return
    except Exception as error:
        raise AssertionError(f"wanted {kind.__name__} ({words!r}), got {type(error).__name__}: {error}") from error
    raise AssertionError(f"wanted {kind.__name__} ({words!r}), got an answer")


def eventually(question, about, seconds=20):
    """Waits for something that another thread brings about; the limit only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {about}"
        time.sleep(0.02)
