"""DDL: what it changes, what it says to listeners, and what the driver then believes."""

import queue

from cassandra import AlreadyExists, InvalidRequest

from story import REPLICATION, eventually, expect, expect_error, rows


def listeners_hear_of_other_sessions_changes(world, session, keyspace):
    other = world.connect()
    events = queue.Queue()
    control = other.cluster.control_connection._connection
    control.register_watcher("SCHEMA_CHANGE", events.put)

    def hear(**wanted):
        wanted["keyspace"] = keyspace
        while True:
            event = events.get(timeout=20)
            if all(event.get(key) == value for key, value in wanted.items()):
                return

    session.execute("CREATE TABLE t (k int PRIMARY KEY, v int)")
    hear(change_type="CREATED", target_type="TABLE", table="t")
    eventually(lambda: "t" in other.cluster.metadata.keyspaces[keyspace].tables, "the listener's metadata knows the table")
    session.execute("ALTER TABLE t ADD w text")
    hear(change_type="UPDATED", target_type="TABLE", table="t")
    eventually(lambda: "w" in other.cluster.metadata.keyspaces[keyspace].tables["t"].columns, "the listener's metadata knows the column")
    session.execute("CREATE TYPE y (a int)")
    hear(change_type="CREATED", target_type="TYPE", type="y")
    session.execute("DROP TABLE t")
    hear(change_type="DROPPED", target_type="TABLE", table="t")
    eventually(lambda: "t" not in other.cluster.metadata.keyspaces[keyspace].tables, "the listener's metadata forgot the table")
    session.execute(f"DROP KEYSPACE {keyspace}")
    hear(change_type="DROPPED", target_type="KEYSPACE")
    # What the listener believes is what it can use.
    session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {REPLICATION}")
    hear(change_type="CREATED", target_type="KEYSPACE")


def a_table_can_be_altered(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, v int, PRIMARY KEY (k, c))")
    session.execute("INSERT INTO t (k, c, v) VALUES (1, 1, 1)")
    session.execute("ALTER TABLE t ADD w text")
    session.execute("ALTER TABLE t ADD (x int, y list<int>)")
    session.execute("UPDATE t SET w = 'w', y = [1] WHERE k = 1 AND c = 1")
    expect(rows(session.execute("SELECT * FROM t")), [(1, 1, 1, "w", None, [1])])
    session.execute("ALTER TABLE t DROP v")
    expect(session.execute("SELECT * FROM t").column_names, ["k", "c", "w", "x", "y"])
    expect_error(InvalidRequest, "Undefined column name v", lambda: session.execute("SELECT v FROM t"))
    session.execute("ALTER TABLE t ADD v int")
    expect(rows(session.execute("SELECT v FROM t")), [(None,)], "a dropped column's values do not come back")
    session.execute("ALTER TABLE t RENAME c TO d")
    expect(rows(session.execute("SELECT k, d, w FROM t WHERE k = 1 AND d = 1")), [(1, 1, "w")])
    session.execute("ALTER TABLE t WITH comment = 'it''s about time' AND gc_grace_seconds = 100")
    found = session.execute(f"SELECT comment, gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = '{keyspace}' AND table_name = 't'")
    expect(rows(found), [("it's about time", 100)])
    expect_error(InvalidRequest, "", lambda: session.execute("ALTER TABLE t ADD v int"))
    expect_error(InvalidRequest, "Cannot drop PRIMARY KEY column k", lambda: session.execute("ALTER TABLE t DROP k"))
    expect_error(InvalidRequest, "", lambda: session.execute("ALTER TABLE t RENAME w TO z"))


def prepared_statements_outlive_an_alter(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int)")
    insert = session.prepare("INSERT INTO t (k, a) VALUES (?, ?)")
    star = session.prepare("SELECT * FROM t WHERE k = ?")
    session.execute(insert, [1, 1])
    expect(rows(session.execute(star, [1])), [(1, 1)])
    other = world.connect(keyspace)
    other.execute("ALTER TABLE t ADD b text")
    session.execute(insert, [2, 2])
    expect(rows(session.execute("SELECT k, a, b FROM t WHERE k = 2")), [(2, 2, None)])
    if session.cluster.protocol_version >= 5:
        # Version 5 tells the driver of the changed columns by the id of the result's metadata.
        expect(rows(session.execute(star, [2])), [(2, 2, None)])
    session.execute("DROP TABLE t")
    expect_error(InvalidRequest, "", lambda: session.execute(insert, [3, 3]))
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int)")
    session.execute(insert, [4, 4])
    expect(rows(session.execute("SELECT k, a FROM t")), [(4, 4)])


def exists_is_asked_or_refused(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY)")
    session.execute("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY, other int)")
    expect_error(AlreadyExists, "already exists", lambda: session.execute("CREATE TABLE t (k int PRIMARY KEY)"))
    session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {REPLICATION}")
    expect_error(AlreadyExists, "already exists", lambda: session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {REPLICATION}"))
    session.execute("DROP TABLE IF EXISTS nowhere")
    expect_error(InvalidRequest, "doesn't exist", lambda: session.execute("DROP TABLE nowhere"))
    session.execute("DROP KEYSPACE IF EXISTS nowhere")
    expect_error(InvalidRequest, "doesn't exist", lambda: session.execute("DROP KEYSPACE nowhere"))
    session.execute("CREATE TYPE y (a int)")
    session.execute("CREATE TYPE IF NOT EXISTS y (a int)")
    expect_error(InvalidRequest, "already exists", lambda: session.execute("CREATE TYPE y (a int)"))


def types_can_be_altered_and_dropped(world, session, keyspace):
    session.execute("CREATE TYPE y (a int, b text)")
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v frozen<y>)")
    session.execute("INSERT INTO t (k, v) VALUES (1, {a: 1, b: 'x'})")
    expect_error(InvalidRequest, "", lambda: session.execute("DROP TYPE y"))
    session.execute("ALTER TYPE y ADD c int")
    session.execute("INSERT INTO t (k, v) VALUES (2, {a: 2, c: 3})")
    expect(sorted(rows(session.execute("SELECT k, v.a, v.b, v.c FROM t"))), [(1, 1, "x", None), (2, 2, None, 3)])
    session.execute("ALTER TYPE y RENAME a TO aa")
    expect(sorted(rows(session.execute("SELECT v.aa FROM t"))), [(1,), (2,)])
    session.execute("DROP TABLE t")
    session.execute("DROP TYPE y")


def use_chooses_a_keyspace(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY)")
    other = world.connect()
    expect_error(InvalidRequest, "No keyspace has been specified", lambda: other.execute("SELECT * FROM t"))
    other.execute(f"USE {keyspace}")
    expect(rows(other.execute("SELECT * FROM t")), [])
    expect_error(InvalidRequest, "'nowhere' does not exist", lambda: other.execute("USE nowhere"))


def exported_schema_can_be_run_again(world, session, keyspace):
    session.execute("CREATE TYPE y (a int, b frozen<map<text, int>>)")
    session.execute(
        'CREATE TABLE t (a int, b text, c timeuuid, "D d" int STATIC, e map<int, frozen<y>>, f list<text>, PRIMARY KEY ((a, b), c))'
        " WITH CLUSTERING ORDER BY (c DESC) AND comment = 'a ''comment''' AND gc_grace_seconds = 7"
    )
    session.execute("CREATE TABLE n (k int PRIMARY KEY, c counter)")
    session.cluster.refresh_schema_metadata()
    text = session.cluster.metadata.keyspaces[keyspace].export_as_string()
    session.execute(f"DROP KEYSPACE {keyspace}")
    for statement in text.split(";"):
        if statement.strip():
            session.execute(statement)
    session.cluster.refresh_schema_metadata()
    expect(session.cluster.metadata.keyspaces[keyspace].export_as_string(), text)


def a_changed_schema_has_another_version(world, session, keyspace):
    def version():
        return session.execute("SELECT schema_version FROM system.local WHERE key = 'local'")[0][0]

    before = version()
    session.execute("CREATE TABLE t (k int PRIMARY KEY)")
    changed = version()
    assert before != changed, before
    session.execute("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)")
    expect(version(), changed)


def system_tables_answer(world, session, keyspace):
    local = session.execute("SELECT key, cluster_name, partitioner, release_version, native_protocol_version, data_center, rack, host_id, tokens FROM system.local")[0]
    expect((local[0], local[2]), ("local", "org.apache.cassandra.dht.Murmur3Partitioner"))
    assert local[3].startswith("5.0"), local[3]
    assert local[7] is not None and len(local[8]) >= 1
    for table in ("peers", "peers_v2"):
        expect(rows(session.execute(f"SELECT * FROM system.{table}")), [])
    for table in ("keyspaces", "tables", "columns", "types", "functions", "aggregates", "triggers", "indexes", "views"):
        session.execute(f"SELECT * FROM system_schema.{table}")
    session.execute("SELECT keyspace_name, table_name, column_name, kind, type FROM system_schema.dropped_columns")
    for table in ("keyspaces", "tables", "columns"):
        session.execute(f"SELECT * FROM system_virtual_schema.{table}")
    session.execute("CREATE TABLE t (k int, c text, s int STATIC, v frozen<list<int>>, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC)")
    found = session.execute(f"SELECT column_name, clustering_order, kind, position, type FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = 't'")
    expect(rows(found), [("c", "desc", "clustering", 0, "text"), ("k", "none", "partition_key", 0, "int"), ("s", "none", "static", -1, "int"), ("v", "none", "regular", -1, "frozen<list<int>>")])
