"""DELETE in all its forms, and TRUNCATE."""

from cassandra import InvalidRequest

from story import expect, expect_error, rows


def _grid(session):
    session.execute("CREATE TABLE t (k int, c int, d int, v int, w int, PRIMARY KEY (k, c, d))")
    insert = session.prepare("INSERT INTO t (k, c, d, v, w) VALUES (?, ?, ?, ?, ?)")
    for k in range(3):
        for c in range(4):
            for d in range(4):
                session.execute(insert, [k, c, d, 100 * k + 10 * c + d, 0])


def _left(session, k):
    return [row[0] for row in session.execute("SELECT v FROM t WHERE k = %s", [k])]


def deletions_take_what_they_name(world, session, keyspace):
    _grid(session)
    session.execute("DELETE FROM t WHERE k = 0 AND c = 1 AND d = 2")
    session.execute("DELETE FROM t WHERE k = 0 AND c = 2")
    session.execute("DELETE FROM t WHERE k = 0 AND c = 0 AND d > 0 AND d <= 2")
    session.execute("DELETE FROM t WHERE k = 0 AND c >= 3")
    expect(_left(session, 0), [0, 3, 10, 11, 13])
    session.execute("DELETE FROM t WHERE k = 1 AND (c, d) > (1, 1) AND (c, d) < (3, 3)")
    expect(_left(session, 1), [100, 101, 102, 103, 110, 111, 133])
    session.execute("DELETE FROM t WHERE k = 1 AND c IN (0, 3)")
    expect(_left(session, 1), [110, 111])
    session.execute("DELETE FROM t WHERE k = 1")
    expect(_left(session, 1), [])
    session.execute("DELETE v FROM t WHERE k = 2 AND c = 0 AND d = 0")
    expect(rows(session.execute("SELECT v, w FROM t WHERE k = 2 AND c = 0 AND d = 0")), [(None, 0)])
    session.execute("DELETE FROM t WHERE k IN (0, 2) AND c = 0")
    expect(_left(session, 2)[:2], [210, 211])
    prepared = session.prepare("DELETE FROM t WHERE k = ? AND c = ? AND d >= ?")
    session.execute(prepared, [2, 1, 2])
    expect(_left(session, 2)[:3], [210, 211, 220])


def what_is_written_after_a_deletion_stays(world, session, keyspace):
    _grid(session)
    session.execute("DELETE FROM t WHERE k = 0")
    session.execute("INSERT INTO t (k, c, d, v) VALUES (0, 1, 1, 7)")
    expect(_left(session, 0), [7])
    session.execute("DELETE FROM t USING TIMESTAMP 10 WHERE k = 0 AND c = 1")
    expect(_left(session, 0), [7])
    session.execute("INSERT INTO t (k, c, d, v) VALUES (9, 1, 1, 1) USING TIMESTAMP 100")
    session.execute("INSERT INTO t (k, c, d, v) VALUES (9, 1, 2, 2) USING TIMESTAMP 300")
    session.execute("DELETE FROM t USING TIMESTAMP 200 WHERE k = 9 AND c = 1")
    expect(_left(session, 9), [2])


def truncate_empties_a_table(world, session, keyspace):
    _grid(session)
    session.execute("TRUNCATE TABLE t")
    expect(rows(session.execute("SELECT * FROM t")), [])
    session.execute("INSERT INTO t (k, c, d, v) VALUES (1, 1, 1, 5)")
    session.execute("INSERT INTO t (k, c, d, v) VALUES (1, 1, 2, 6)")
    expect(_left(session, 1), [5, 6])
    session.execute("TRUNCATE t")
    expect(_left(session, 1), [])


def a_deletion_must_name_a_key(world, session, keyspace):
    _grid(session)
    expect_error(InvalidRequest, "Some partition key parts are missing: k", lambda: session.execute("DELETE FROM t WHERE c = 1"))
    expect_error(InvalidRequest, "Invalid identifier k for deletion", lambda: session.execute("DELETE k FROM t WHERE k = 1 AND c = 1 AND d = 1"))
    expect_error(InvalidRequest, "Range deletions are not supported for specific columns", lambda: session.execute("DELETE v FROM t WHERE k = 1"))
