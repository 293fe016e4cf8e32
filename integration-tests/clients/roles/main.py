"""Logins and permissions under the Python driver: `main.py HOST PORT`, against a server where roles are on and `cassandra` has the password `cassandra`.

Runs against Apache Cassandra with PasswordAuthenticator and CassandraAuthorizer, too, where nothing about roles is cached.
"""

import sys
import uuid

from cassandra import Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable

host, port = sys.argv[1], int(sys.argv[2])
name = "r" + uuid.uuid4().hex[:10]


def connect(user, password, protocol=None):
    options = {} if protocol is None else {"protocol_version": protocol}
    cluster = Cluster([host], port=port, auth_provider=PlainTextAuthProvider(user, password), **options)
    return cluster, cluster.connect()


def refused(user, password, words):
    try:
        cluster, _ = connect(user, password)
    except NoHostAvailable as error:
        assert words in str(error), str(error)
        return
    cluster.shutdown()
    raise AssertionError(f"{user} was let in")


def unauthorized(session, statement, words, values=None):
    try:
        session.execute(statement, values)
    except Unauthorized as error:
        assert words in str(error), str(error)
        return
    raise AssertionError(f"{statement} was allowed")


admin_cluster, admin = connect("cassandra", "cassandra")
admin.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
admin.execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY, v int)")
admin.execute(f"CREATE ROLE {name} WITH PASSWORD = 'first' AND LOGIN = true")
admin.execute(f"GRANT SELECT ON {name}.t TO {name}")
try:
    refused(name, "wrong", f"Provided username {name} and/or password are incorrect")
    refused("nobody at all", "x", "Provided username nobody at all and/or password are incorrect")
    print("ok      wrong passwords are refused")

    for protocol in (5, 4, 3):
        cluster, session = connect(name, "first", protocol)
        assert [row.v for row in session.execute(f"SELECT v FROM {name}.t")] == []
        unauthorized(session, f"INSERT INTO {name}.t (k, v) VALUES (1, 1)", f"User {name} has no MODIFY permission on <table {name}.t>")
        cluster.shutdown()
    print("ok      login in versions 3, 4 and 5")

    cluster, session = connect(name, "first")
    write = session.prepare(f"INSERT INTO {name}.t (k, v) VALUES (?, ?)")
    read = session.prepare(f"SELECT v FROM {name}.t WHERE k = ?")
    unauthorized(session, write, "has no MODIFY permission", (1, 2))
    admin.execute(f"GRANT MODIFY ON KEYSPACE {name} TO {name}")
    session.execute(write, (1, 2))
    assert session.execute(read, (1,)).one().v == 2
    admin.execute(f"REVOKE MODIFY ON KEYSPACE {name} FROM {name}")
    unauthorized(session, write, "has no MODIFY permission", (1, 3))
    assert session.execute(read, (1,)).one().v == 2
    print("ok      grants and revocations are felt by prepared statements of an open session")

    session.execute(f"ALTER ROLE {name} WITH PASSWORD = 'second'")
    refused(name, "first", "incorrect")
    connect(name, "second")[0].shutdown()
    print("ok      a role changes its own password")

    many = [connect(name, "second") for _ in range(20)]
    for other, of_other in many:
        of_other.execute(read.query_string.replace("?", "1"))
        other.shutdown()
    print("ok      twenty sessions of one role")
    cluster.shutdown()
finally:
    admin.execute(f"DROP ROLE {name}")
    admin.execute(f"DROP KEYSPACE {name}")
    admin_cluster.shutdown()
