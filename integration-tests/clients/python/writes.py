"""INSERT, UPDATE and BATCH: upserts, collections, counters, TTL and timestamps, static columns."""

import time

from cassandra import InvalidRequest
from cassandra.query import BatchStatement, BatchType

from story import expect, expect_error, rows


def insert_and_update_are_upserts(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int, b text)")
    session.execute("UPDATE t SET a = 1 WHERE k = 1")
    session.execute("INSERT INTO t (k, b) VALUES (1, 'x')")
    session.execute("INSERT INTO t (k) VALUES (2)")
    session.execute("UPDATE t SET a = null, b = null WHERE k = 3")
    expect(sorted(rows(session.execute("SELECT k, a, b FROM t"))), [(1, 1, "x"), (2, None, None)])
    # A row made by UPDATE lives by its cells alone; one made by INSERT lives without them.
    session.execute("UPDATE t SET a = null, b = null WHERE k = 1")
    session.execute("UPDATE t SET a = 5 WHERE k = 4")
    session.execute("DELETE a FROM t WHERE k = 4")
    expect(sorted(rows(session.execute("SELECT k, a, b FROM t"))), [(1, None, None), (2, None, None)])


def the_newest_timestamp_wins(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int, b int)")
    session.execute("INSERT INTO t (k, a, b) VALUES (1, 1, 1) USING TIMESTAMP 2000")
    session.execute("INSERT INTO t (k, a) VALUES (1, 2) USING TIMESTAMP 1000")
    session.execute("UPDATE t USING TIMESTAMP 3000 SET b = 3 WHERE k = 1")
    expect(rows(session.execute("SELECT a, WRITETIME(a), b, WRITETIME(b) FROM t")), [(1, 2000, 3, 3000)])
    # Of two with the same timestamp the larger value wins, whichever came first, and a deletion wins over both.
    session.execute("UPDATE t USING TIMESTAMP 2000 SET a = 9 WHERE k = 1")
    session.execute("UPDATE t USING TIMESTAMP 2000 SET a = 5 WHERE k = 1")
    expect(rows(session.execute("SELECT a FROM t")), [(9,)])
    session.execute("DELETE a FROM t USING TIMESTAMP 2000 WHERE k = 1")
    expect(rows(session.execute("SELECT a FROM t")), [(None,)])
    session.execute("DELETE FROM t USING TIMESTAMP 5000 WHERE k = 1")
    session.execute("INSERT INTO t (k, a) VALUES (1, 1) USING TIMESTAMP 4000")
    expect(rows(session.execute("SELECT * FROM t")), [])
    prepared = session.prepare("INSERT INTO t (k, a) VALUES (?, ?) USING TIMESTAMP ?")
    session.execute(prepared, [1, 7, 6000])
    expect(rows(session.execute("SELECT a, WRITETIME(a) FROM t")), [(7, 6000)])


def cells_expire(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int, b int)")
    session.execute("INSERT INTO t (k, a) VALUES (1, 1) USING TTL 1000")
    session.execute("UPDATE t SET b = 2 WHERE k = 1")
    ttl_a, ttl_b = session.execute("SELECT TTL(a), TTL(b) FROM t WHERE k = 1")[0]
    assert 0 < ttl_a <= 1000 and ttl_b is None, (ttl_a, ttl_b)
    session.execute("INSERT INTO t (k, a, b) VALUES (2, 1, 2) USING TTL 1")
    session.execute("UPDATE t USING TTL 1 SET a = 5 WHERE k = 3")
    session.execute("UPDATE t SET b = 6 WHERE k = 3")
    deadline = time.monotonic() + 20
    while rows(session.execute("SELECT k FROM t WHERE k = 2")) or rows(session.execute("SELECT a FROM t WHERE k = 3")) != [(None,)]:
        assert time.monotonic() < deadline, "cells with a TTL of one second are still there"
        time.sleep(0.1)
    expect(sorted(rows(session.execute("SELECT k, a, b FROM t"))), [(1, 1, 2), (3, None, 6)])
    prepared = session.prepare("UPDATE t USING TTL ? AND TIMESTAMP ? SET a = ? WHERE k = ?")
    session.execute(prepared, [5000, 10**15, 8, 9])
    ttl, writetime = session.execute("SELECT TTL(a), WRITETIME(a) FROM t WHERE k = 9")[0]
    assert 4900 < ttl <= 5000 and writetime == 10**15
    session.execute("INSERT INTO t (k, a) VALUES (10, 1) USING TTL 0")
    expect(rows(session.execute("SELECT TTL(a) FROM t WHERE k = 10")), [(None,)])
    session.execute("CREATE TABLE d (k int PRIMARY KEY, a int) WITH default_time_to_live = 600")
    session.execute("INSERT INTO d (k, a) VALUES (1, 1)")
    assert 500 < session.execute("SELECT TTL(a) FROM d WHERE k = 1")[0][0] <= 600
    expect_error(InvalidRequest, "A TTL must be greater or equal to 0", lambda: session.execute("INSERT INTO t (k, a) VALUES (1, 1) USING TTL -1"))
    expect_error(InvalidRequest, "ttl is too large", lambda: session.execute("INSERT INTO t (k, a) VALUES (1, 1) USING TTL 630720001"))


def sets_and_maps_change_by_element(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, s set<text>, m map<text, int>)")
    session.execute("UPDATE t SET s = {'b', 'a'}, m = {'x': 1, 'y': 2} WHERE k = 1")
    session.execute("UPDATE t SET s = s + {'c'}, m = m + {'z': 3, 'x': 10} WHERE k = 1")
    session.execute("UPDATE t SET s = s - {'a'}, m = m - {'y'} WHERE k = 1")
    session.execute("UPDATE t SET m['w'] = 7 WHERE k = 1")
    prepared = session.prepare("UPDATE t SET s = s + ?, m[?] = ?, m = m - ? WHERE k = ?")
    session.execute(prepared, [{"d"}, "v", 8, {"z"}, 1])
    s, m = session.execute("SELECT s, m FROM t WHERE k = 1")[0]
    expect((list(s), dict(m.items())), (["b", "c", "d"], {"v": 8, "w": 7, "x": 10}))
    session.execute("DELETE s['b'], m['w'] FROM t WHERE k = 1")
    session.execute("UPDATE t SET m['v'] = null WHERE k = 1")
    expect(rows(session.execute("SELECT s, m FROM t")), [({"c", "d"}, {"x": 10})])
    session.execute("UPDATE t SET s = {}, m = {'only': 1} WHERE k = 1")
    expect(rows(session.execute("SELECT s, m FROM t WHERE k = 1")), [(None, {"only": 1})])
    session.execute("UPDATE t SET s = s + {'q'} WHERE k = 2")
    expect(rows(session.execute("SELECT s, m FROM t WHERE k = 2")), [({"q"}, None)])


def lists_change_by_position(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, l list<int>)")
    session.execute("INSERT INTO t (k, l) VALUES (1, [1, 2, 3])")
    session.execute("UPDATE t SET l = l + [4, 5] WHERE k = 1")
    session.execute("UPDATE t SET l = [-1, 0] + l WHERE k = 1")
    expect(rows(session.execute("SELECT l FROM t WHERE k = 1")), [([-1, 0, 1, 2, 3, 4, 5],)])
    session.execute("UPDATE t SET l[0] = 100, l[6] = 500 WHERE k = 1")
    session.execute("DELETE l[1] FROM t WHERE k = 1")
    session.execute("UPDATE t SET l = l - [2, 4] WHERE k = 1")
    expect(rows(session.execute("SELECT l FROM t WHERE k = 1")), [([100, 1, 3, 500],)])
    prepared = session.prepare("UPDATE t SET l[?] = ?, l = l + ? WHERE k = 1")
    session.execute(prepared, [1, 11, [7, 7]])
    expect(rows(session.execute("SELECT l FROM t WHERE k = 1")), [([100, 11, 3, 500, 7, 7],)])
    session.execute("UPDATE t SET l = l - [7] WHERE k = 1")
    expect(rows(session.execute("SELECT l FROM t WHERE k = 1")), [([100, 11, 3, 500],)])
    expect_error(InvalidRequest, "index 9 out of bound", lambda: session.execute("UPDATE t SET l[9] = 1 WHERE k = 1"))


def counters_count(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c text, n counter, m counter, PRIMARY KEY (k, c))")
    add = session.prepare("UPDATE t SET n = n + ? WHERE k = ? AND c = ?")
    for step in (1, 41, -5, 2**40):
        session.execute(add, [step, 1, "a"])
    session.execute("UPDATE t SET n = n - 7, m = m + 1 WHERE k = 1 AND c = 'a'")
    session.execute("UPDATE t SET m = m + 2 WHERE k = 1 AND c = 'b'")
    expect(rows(session.execute("SELECT c, n, m FROM t WHERE k = 1")), [("a", 1 + 41 - 5 + 2**40 - 7, 1), ("b", None, 2)])
    futures = [session.execute_async(add, [1, 2, "x"]) for _ in range(500)]
    for future in futures:
        future.result()
    expect(rows(session.execute("SELECT n FROM t WHERE k = 2")), [(500,)])
    batch = BatchStatement(batch_type=BatchType.COUNTER)
    for _ in range(10):
        batch.add(add, [2, 3, "x"])
        batch.add(add, [3, 3, "y"])
    session.execute(batch)
    expect(rows(session.execute("SELECT c, n FROM t WHERE k = 3")), [("x", 20), ("y", 30)])
    session.execute("DELETE FROM t WHERE k = 3 AND c = 'x'")
    expect(rows(session.execute("SELECT c, n FROM t WHERE k = 3")), [("y", 30)])
    expect_error(InvalidRequest, "INSERT statements are not allowed on counter tables", lambda: session.execute("INSERT INTO t (k, c, n) VALUES (1, 'a', 1)"))
    expect_error(InvalidRequest, "Cannot set the value of counter column n", lambda: session.execute("UPDATE t SET n = 5 WHERE k = 1 AND c = 'a'"))
    expect_error(InvalidRequest, "Cannot mix counter and non counter columns", lambda: session.execute("CREATE TABLE u (k int PRIMARY KEY, n counter, v int)"))


def static_columns_belong_to_the_partition(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, s text STATIC, m map<text, int> STATIC, v int, PRIMARY KEY (k, c))")
    session.execute("INSERT INTO t (k, s) VALUES (1, 'only static')")
    expect(rows(session.execute("SELECT k, c, s, v FROM t WHERE k = 1")), [(1, None, "only static", None)])
    session.execute("INSERT INTO t (k, c, s, v) VALUES (1, 1, 'one', 10)")
    session.execute("INSERT INTO t (k, c, v) VALUES (1, 2, 20)")
    session.execute("UPDATE t SET m['a'] = 5 WHERE k = 1")
    session.execute("UPDATE t SET s = 'two' WHERE k = 2")
    expect(rows(session.execute("SELECT c, s, v FROM t WHERE k = 1")), [(1, "one", 10), (2, "one", 20)])
    expect(rows(session.execute("SELECT c, s, v FROM t WHERE k = 1 AND c = 2")), [(2, "one", 20)])
    expect(rows(session.execute("SELECT DISTINCT k, s FROM t WHERE k IN (1, 2)")), [(1, "one"), (2, "two")])
    expect(rows(session.execute("SELECT m FROM t WHERE k = 1 LIMIT 1")), [({"a": 5},)])
    session.execute("DELETE s FROM t WHERE k = 1")
    expect(rows(session.execute("SELECT c, s, v FROM t WHERE k = 1")), [(1, None, 10), (2, None, 20)])
    session.execute("DELETE FROM t WHERE k = 1 AND c = 1")
    session.execute("DELETE FROM t WHERE k = 1 AND c = 2")
    expect(rows(session.execute("SELECT c, m FROM t WHERE k = 1")), [(None, {"a": 5})])


def batches_apply_whole(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, v text, PRIMARY KEY (k, c))")
    session.execute("CREATE TABLE u (k int PRIMARY KEY, v text)")
    insert = session.prepare("INSERT INTO t (k, c, v) VALUES (?, ?, ?)")
    for kind in (BatchType.LOGGED, BatchType.UNLOGGED):
        batch = BatchStatement(batch_type=kind)
        for c in range(20):
            batch.add(insert, [int(kind.value), c, str(c)])
        batch.add("INSERT INTO u (k, v) VALUES (%s, 'text')", [int(kind.value)])
        session.execute(batch)
        expect(len(rows(session.execute("SELECT c FROM t WHERE k = %s", [int(kind.value)]))), 20)
    expect(sorted(rows(session.execute("SELECT k, v FROM u"))), [(0, "text"), (1, "text")])
    session.execute("BEGIN BATCH APPLY BATCH")
    session.execute(
        "BEGIN BATCH USING TIMESTAMP 1000 INSERT INTO u (k, v) VALUES (7, 'a'); UPDATE t SET v = 'b' WHERE k = 7 AND c = 1; DELETE FROM u WHERE k = 0; APPLY BATCH;"
    )
    expect(rows(session.execute("SELECT v, WRITETIME(v) FROM u WHERE k = 7")), [("a", 1000)])
    session.execute("BEGIN UNLOGGED BATCH INSERT INTO u (k, v) VALUES (8, 'later') USING TIMESTAMP 20; INSERT INTO u (k, v) VALUES (8, 'earlier') USING TIMESTAMP 10 APPLY BATCH")
    expect(rows(session.execute("SELECT v FROM u WHERE k = 8")), [("later",)])
    # A batch with a bad member changes nothing.
    expect_error(InvalidRequest, "", lambda: session.execute("BEGIN BATCH INSERT INTO u (k, v) VALUES (9, 'x'); INSERT INTO t (k, v) VALUES (9, 'x'); APPLY BATCH"))
    expect(rows(session.execute("SELECT v FROM u WHERE k = 9")), [])
    session.execute("CREATE TABLE n (k int PRIMARY KEY, c counter)")
    mixed = "BEGIN BATCH UPDATE n SET c = c + 1 WHERE k = 1; INSERT INTO u (k, v) VALUES (9, 'x'); APPLY BATCH"
    expect_error(InvalidRequest, "counter", lambda: session.execute(mixed))
