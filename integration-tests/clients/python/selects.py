"""SELECT: by key, by slice, IN, order, limits, DISTINCT, filtering, counting, token ranges."""

from cassandra import InvalidRequest

from story import expect, expect_error, rows


def _grid(session):
    session.execute("CREATE TABLE t (k int, c int, d text, v int, PRIMARY KEY (k, c, d))")
    insert = session.prepare("INSERT INTO t (k, c, d, v) VALUES (?, ?, ?, ?)")
    for k in range(4):
        for c in range(5):
            for d in "abc":
                session.execute(insert, [k, c, d, 100 * k + 10 * c + ord(d) - ord("a")])


def slices_and_in_find_their_rows(world, session, keyspace):
    _grid(session)

    def found(where):
        return [row[0] for row in session.execute("SELECT v FROM t WHERE " + where)]

    expect(found("k = 1 AND c = 2 AND d = 'b'"), [121])
    expect(found("k = 1 AND c = 2"), [120, 121, 122])
    expect(found("k = 1 AND c > 2 AND c < 4"), [130, 131, 132])
    expect(found("k = 1 AND c >= 3"), [130, 131, 132, 140, 141, 142])
    expect(found("k = 1 AND c = 2 AND d > 'a'"), [121, 122])
    expect(found("k = 1 AND c IN (3, 0, 3) AND d = 'c'"), [102, 132])
    expect(found("k = 1 AND c IN (0, 1) AND d >= 'b'"), [101, 102, 111, 112])
    expect(found("k = 1 AND (c, d) > (3, 'b')"), [132, 140, 141, 142])
    expect(found("k = 1 AND (c, d) >= (1, 'c') AND (c, d) < (2, 'b')"), [112, 120])
    expect(found("k = 1 AND (c, d) IN ((4, 'a'), (0, 'b'))"), [101, 140])
    expect(found("k = 1 AND c = 9"), [])
    expect(found("k = 77"), [])
    expect(found("k IN (3, 1) AND c = 0 AND d = 'a'"), [100, 300])
    expect(found("k = 1 AND c IN () AND d = 'a'"), [])
    prepared = session.prepare("SELECT v FROM t WHERE k IN ? AND c = ? AND d IN ?")
    expect([row[0] for row in session.execute(prepared, [[2, 0], 4, ["c", "a"]])], [40, 42, 240, 242])
    named = session.prepare("SELECT v FROM t WHERE k = :key AND c = :first AND d = :second")
    expect(rows(session.execute(named, {"key": 3, "first": 1, "second": "a"})), [(310,)])


def order_and_limits(world, session, keyspace):
    _grid(session)
    expect([row[0] for row in session.execute("SELECT v FROM t WHERE k = 1 ORDER BY c DESC, d DESC LIMIT 4")], [142, 141, 140, 132])
    expect([row[0] for row in session.execute("SELECT v FROM t WHERE k = 1 AND c < 3 ORDER BY c DESC LIMIT 2")], [122, 121])
    expect([row[0] for row in session.execute("SELECT v FROM t WHERE k = 2 ORDER BY c ASC LIMIT 2")], [200, 201])
    limited = session.prepare("SELECT v FROM t WHERE k = ? LIMIT ?")
    expect(len(rows(session.execute(limited, [1, 7]))), 7)
    expect(sorted(row[0] for row in session.execute("SELECT v FROM t PER PARTITION LIMIT 2")), [0, 1, 100, 101, 200, 201, 300, 301])
    expect(len(rows(session.execute("SELECT v FROM t PER PARTITION LIMIT 2 LIMIT 5"))), 5)
    expect(sorted(row[0] for row in session.execute("SELECT DISTINCT k FROM t")), [0, 1, 2, 3])
    expect_error(InvalidRequest, "ORDER BY is only supported when the partition key is restricted", lambda: session.execute("SELECT v FROM t ORDER BY c"))
    expect_error(InvalidRequest, "LIMIT must be strictly positive", lambda: session.execute("SELECT v FROM t LIMIT 0"))


def filtering_is_asked_for(world, session, keyspace):
    _grid(session)
    expect_error(InvalidRequest, 'column "d" cannot be restricted as preceding column "c" is not', lambda: session.execute("SELECT v FROM t WHERE k = 1 AND d = 'a'"))
    for where in ("v = 121", "c = 2", "k = 1 AND v > 5", "k > 1"):
        expect_error(InvalidRequest, "ALLOW FILTERING", lambda where=where: session.execute("SELECT v FROM t WHERE " + where))
    expect(rows(session.execute("SELECT k, c, d FROM t WHERE v = 121 ALLOW FILTERING")), [(1, 2, "b")])
    expect(sorted(row[0] for row in session.execute("SELECT v FROM t WHERE c = 4 AND d = 'c' ALLOW FILTERING")), [42, 142, 242, 342])
    expect([row[0] for row in session.execute("SELECT v FROM t WHERE k = 1 AND d = 'a' ALLOW FILTERING")], [100, 110, 120, 130, 140])
    expect([row[0] for row in session.execute("SELECT v FROM t WHERE k = 1 AND v >= 140 LIMIT 2 ALLOW FILTERING")], [140, 141])
    session.execute("CREATE TABLE u (k int PRIMARY KEY, s set<text>, m map<text, int>, l list<int>)")
    session.execute("INSERT INTO u (k, s, m, l) VALUES (1, {'a', 'b'}, {'x': 1}, [1, 2])")
    session.execute("INSERT INTO u (k, s, m, l) VALUES (2, {'c'}, {'y': 1}, [3])")
    expect(rows(session.execute("SELECT k FROM u WHERE s CONTAINS 'b' ALLOW FILTERING")), [(1,)])
    expect(rows(session.execute("SELECT k FROM u WHERE m CONTAINS KEY 'y' ALLOW FILTERING")), [(2,)])
    expect(rows(session.execute("SELECT k FROM u WHERE l CONTAINS 3 ALLOW FILTERING")), [(2,)])


def counting_rows(world, session, keyspace):
    _grid(session)
    expect(rows(session.execute("SELECT COUNT(*) FROM t")), [(60,)])
    expect(rows(session.execute("SELECT COUNT(1) AS n FROM t WHERE k = 1 AND c < 2")), [(6,)])
    expect(rows(session.execute("SELECT COUNT(v) FROM t WHERE k = 99")), [(0,)])
    result = session.execute("SELECT count(*) FROM t WHERE k = 1")
    expect(result.column_names, ["count"])


def token_ranges_cut_the_ring(world, session, keyspace):
    _grid(session)
    tokens = sorted((row[1], row[0]) for row in session.execute("SELECT DISTINCT k, token(k) FROM t"))
    # Murmur3 as every driver computes it.
    expect({k: token for token, k in tokens}, {0: -3485513579396041028, 1: -4069959284402364209, 2: -3248873570005575792, 3: 9010454139840013625})
    prepared = session.prepare("SELECT DISTINCT k FROM t WHERE token(k) > ? AND token(k) <= ?")
    expect([row[0] for row in session.execute(prepared, [tokens[0][0], tokens[2][0]])], [tokens[1][1], tokens[2][1]])
    expect([row[0] for row in session.execute("SELECT DISTINCT k FROM t")], [k for _, k in tokens])
    expect(rows(session.execute("SELECT k FROM t WHERE token(k) = token(2) LIMIT 1")), [(2,)])
    session.execute("CREATE TABLE two (a int, b text, PRIMARY KEY ((a, b)))")
    session.execute("INSERT INTO two (a, b) VALUES (1, 'x')")
    expect(rows(session.execute("SELECT a FROM two WHERE token(a, b) >= token(1, 'x')")), [(1,)])


def columns_have_their_names(world, session, keyspace):
    session.execute('CREATE TABLE t (k int PRIMARY KEY, "Mixed Case" int, b int, a map<text, int>)')
    session.execute('INSERT INTO t (k, "Mixed Case", b, a) VALUES (1, 2, 3, {\'x\': 4})')
    expect(session.execute("SELECT * FROM t").column_names, ["k", "Mixed Case", "a", "b"])
    result = session.execute('SELECT b AS other, "Mixed Case", WRITETIME(b), TTL(b), a[\'x\'] FROM t')
    expect(result.column_names, ["other", "Mixed Case", "writetime(b)", "ttl(b)", "a['x']"])
    expect((result[0][0], result[0][1], result[0][4]), (3, 2, 4))
    expect(session.execute("SELECT cast(b AS text), token(k) FROM t").column_names, ["cast(b as text)", "system.token(k)"])
