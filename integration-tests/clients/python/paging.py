"""Results larger than one page."""

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import SimpleStatement

from story import expect, rows

ROWS = 50_000


def fifty_thousand_rows_come_in_pages(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, v text, PRIMARY KEY (k, c))")
    insert = session.prepare("INSERT INTO t (k, c, v) VALUES (?, ?, ?)")
    # Half of them in one partition, the other half in partitions of ten.
    half = ROWS // 2
    wanted = [(0, c, f"value {c}") for c in range(half)] + [(1 + c // 10, c % 10, f"value {c}") for c in range(half)]
    for success, outcome in execute_concurrent_with_args(session, insert, wanted, concurrency=200):
        assert success, outcome

    for fetch_size in (100, 5000, ROWS * 2):
        statement = SimpleStatement("SELECT k, c, v FROM t", fetch_size=fetch_size)
        found = rows(session.execute(statement))
        expect(len(found), ROWS, f"rows at {fetch_size} a page")
        expect(sorted(found) == sorted(wanted), True, f"the rows at {fetch_size} a page")
    one = session.prepare("SELECT c FROM t WHERE k = ?")
    one.fetch_size = 999
    expect([row[0] for row in session.execute(one, [0])] == list(range(half)), True, "one partition, in order")
    backwards = SimpleStatement("SELECT c FROM t WHERE k = 0 ORDER BY c DESC", fetch_size=1000)
    expect([row[0] for row in session.execute(backwards)] == list(range(half))[::-1], True, "one partition, backwards")
    limited = SimpleStatement("SELECT c FROM t WHERE k = 0 LIMIT 2500", fetch_size=1000)
    expect([row[0] for row in session.execute(limited)] == list(range(2500)), True, "a limit over three pages")
    expect(rows(session.execute("SELECT COUNT(*) FROM t")), [(ROWS,)])


def a_page_can_be_resumed_by_another_session(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, PRIMARY KEY (k, c))")
    insert = session.prepare("INSERT INTO t (k, c) VALUES (?, ?)")
    execute_concurrent_with_args(session, insert, [(k, c) for k in range(10) for c in range(10)], concurrency=100)
    text = f"SELECT k, c FROM {keyspace}.t"
    found, state, sessions, pages = [], None, [session, world.connect()], 0
    while True:
        result = sessions[pages % 2].execute(SimpleStatement(text, fetch_size=7), paging_state=state)
        page = [tuple(row) for row in result.current_rows]
        assert len(page) <= 7, page
        found += page
        pages += 1
        state = result.paging_state
        if state is None:
            break
    assert pages >= 15, pages
    expect(sorted(found), [(k, c) for k in range(10) for c in range(10)])


def pages_hold_with_filters_static_rows_and_limits(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, s int STATIC, v int, PRIMARY KEY (k, c))")
    insert = session.prepare("INSERT INTO t (k, c, s, v) VALUES (?, ?, ?, ?)")
    execute_concurrent_with_args(session, insert, [(k, c, k, c % 3) for k in range(20) for c in range(30)], concurrency=100)
    for k in range(100, 110):
        session.execute("INSERT INTO t (k, s) VALUES (%s, %s)", [k, k])

    def found(text, size):
        return rows(session.execute(SimpleStatement(text, fetch_size=size)))

    expect(len(found("SELECT k, c, s FROM t", 7)), 20 * 30 + 10)
    expect(len(found("SELECT DISTINCT k, s FROM t", 7)), 30)
    expect(len(found("SELECT k, c FROM t WHERE v = 1 ALLOW FILTERING", 7)), 200)
    expect(len(found("SELECT k, c FROM t PER PARTITION LIMIT 3", 7)), 70)
    expect(len(found("SELECT k, c FROM t WHERE k IN (1, 2, 3, 100)", 7)), 91)
    expect(len(found("SELECT k, c FROM t LIMIT 123", 50)), 123)
    expect(found("SELECT COUNT(*) FROM t", 10), [(20 * 30 + 10,)])
