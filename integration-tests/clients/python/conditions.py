"""Lightweight transactions."""

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.query import SimpleStatement

from story import expect, expect_error, rows


def only_the_first_insert_is_applied(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, v text, PRIMARY KEY (k, c))")
    insert = session.prepare("INSERT INTO t (k, c, v) VALUES (?, ?, ?) IF NOT EXISTS")
    expect(rows(session.execute(insert, [1, 1, "first"])), [(True,)])
    result = session.execute(insert, [1, 1, "second"])
    expect(result.column_names, ["[applied]", "k", "c", "v"])
    assert not result.was_applied
    expect(rows(result), [(False, 1, 1, "first")])
    futures = [session.execute_async(insert, [2, 2, str(i)]) for i in range(50)]
    winners = [i for i, future in enumerate(futures) if future.result()[0][0]]
    expect(len(winners), 1, "winners of fifty at once")
    expect(rows(session.execute("SELECT v FROM t WHERE k = 2")), [(str(winners[0]),)])


def an_update_holds_to_its_condition(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v int, w text)")
    expect(rows(session.execute("UPDATE t SET v = 1 WHERE k = 1 IF EXISTS")), [(False,)])
    session.execute("INSERT INTO t (k, v, w) VALUES (1, 1, 'a')")
    expect(rows(session.execute("UPDATE t SET v = 2 WHERE k = 1 IF v = 5")), [(False, 1)])
    expect(rows(session.execute("UPDATE t SET v = 2 WHERE k = 1 IF v = 1 AND w = 'a'")), [(True,)])
    expect(rows(session.execute("UPDATE t SET v = 3 WHERE k = 1 IF v IN (7, 2)")), [(True,)])
    expect(rows(session.execute("UPDATE t SET v = 4 WHERE k = 1 IF v > 3")), [(False, 3)])
    expect(rows(session.execute("UPDATE t SET v = 4 WHERE k = 1 IF v != 4")), [(True,)])
    expect(rows(session.execute("UPDATE t SET v = 5 WHERE k = 1 IF w = null")), [(False, "a")])
    expect(rows(session.execute("UPDATE t SET v = 5 WHERE k = 1 IF EXISTS")), [(True,)])
    prepared = session.prepare("UPDATE t SET v = ? WHERE k = ? IF v = ?")
    for v in range(5, 25):
        expect(rows(session.execute(prepared, [v + 1, 1, v])), [(True,)])
    read = SimpleStatement("SELECT v FROM t WHERE k = 1", consistency_level=ConsistencyLevel.SERIAL)
    expect(rows(session.execute(read)), [(25,)])
    expect(rows(session.execute("DELETE FROM t WHERE k = 1 IF v = 1")), [(False, 25)])
    expect(rows(session.execute("DELETE FROM t WHERE k = 1 IF EXISTS")), [(True,)])
    expect(rows(session.execute("DELETE FROM t WHERE k = 1 IF EXISTS")), [(False,)])
    expect_error(InvalidRequest, "Cannot provide custom timestamp for conditional updates", lambda: session.execute("UPDATE t USING TIMESTAMP 1 SET v = 1 WHERE k = 1 IF v = 1"))


def a_conditional_batch_is_all_or_nothing(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, s int STATIC, v int, PRIMARY KEY (k, c))")
    batch = "BEGIN BATCH INSERT INTO t (k, c, v) VALUES (1, 1, 1) IF NOT EXISTS; INSERT INTO t (k, c, v) VALUES (1, 2, 2); APPLY BATCH"
    expect(rows(session.execute(batch)), [(True,)])
    expect(session.execute(batch)[0][0], False)
    session.execute("UPDATE t SET s = 1 WHERE k = 1")
    expect(rows(session.execute("BEGIN BATCH UPDATE t SET s = 2 WHERE k = 1 IF s = 1; UPDATE t SET v = 9 WHERE k = 1 AND c = 1; APPLY BATCH")), [(True,)])
    expect(rows(session.execute("SELECT c, s, v FROM t WHERE k = 1")), [(1, 2, 9), (2, 2, 2)])
    across = "BEGIN BATCH INSERT INTO t (k, c, v) VALUES (1, 3, 1) IF NOT EXISTS; INSERT INTO t (k, c, v) VALUES (2, 2, 2); APPLY BATCH"
    expect_error(InvalidRequest, "multiple partitions", lambda: session.execute(across))
