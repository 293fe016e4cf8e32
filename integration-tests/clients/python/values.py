"""Every type there and back, by prepared statements: as a column, in collections, in tuples and user-defined types, and as part of a key."""

import datetime
import decimal
import struct
import uuid

from cassandra.util import Date, Duration, Time, sortedset

from story import expect, rows


def _float(value):
    return struct.unpack(">f", struct.pack(">f", value))[0]


UUID = uuid.UUID("3f1c2a90-5b1e-4c64-8d3c-0a9b8c7d6e5f")
TIMEUUID = uuid.UUID("8ac6d1dc-fbeb-11e9-8f0b-362b9e155667")
TIMEUUID_LATER = uuid.UUID("8ac6d1dc-fbec-11e9-8f0b-362b9e155667")
D = decimal.Decimal

# Type, values. The first two differ, and sort in this order; they stand for the type in collections and keys.
SCALARS = {
    "ascii": ["a", "b", "", "~!@ #"],
    "bigint": [-(2**63), 2**63 - 1, 0, -1],
    "blob": [b"\x00", b"\xff\x00\xfe", b"", bytes(range(256)) * 20],
    "boolean": [False, True],
    "date": [Date(-719162), Date(18000), Date(0)],
    "decimal": [D("-1.50"), D("12345678901234567890.123456789"), D("0"), D("1E-30"), D("1.0"), D("1.00")],
    "double": [-1.5, 3.141592653589793, 0.0, float("inf"), float("-inf"), float("nan"), 5e-324],
    "duration": [Duration(1, 2, 3), Duration(-1, -2, -3), Duration(0, 0, 0), Duration(2**31 - 1, 2**31 - 1, 2**63 - 1)],
    "float": [_float(-1.1), _float(3.3), 0.0, float("inf"), float("nan")],
    "inet": ["127.0.0.1", "192.168.1.254", "::1", "2001:db8::ff00:42:8329"],
    "int": [-(2**31), 2**31 - 1, 0, -1],
    "smallint": [-(2**15), 2**15 - 1, 0],
    "text": ["grün", "日本語", "", "x" * 70000, "\U0001f5fd"],
    "time": [Time(0), Time(86399999999999), Time(1)],
    "timestamp": [datetime.datetime(1969, 7, 20, 20, 17, 40, 123000), datetime.datetime(2026, 11, 25, 12, 0, 0, 1000), datetime.datetime(1970, 1, 1)],
    "timeuuid": [TIMEUUID, TIMEUUID_LATER],
    "tinyint": [-128, 127, 0],
    "uuid": [UUID, uuid.UUID(int=2**128 - 1), uuid.UUID(int=0)],
    "varchar": ["v", "w"],
    "varint": [-(2**100), 2**200, 0, -1, 127, 128, -128, -129],
}
NO_KEYS = ("duration",)


def every_scalar_type_comes_back(world, session, keyspace):
    columns = ", ".join(f"c_{name} {name}" for name in SCALARS)
    session.execute(f"CREATE TABLE t (k int PRIMARY KEY, {columns})")
    names = ", ".join(f"c_{name}" for name in SCALARS)
    insert = session.prepare(f"INSERT INTO t (k, {names}) VALUES (?{', ?' * len(SCALARS)})")
    select = session.prepare(f"SELECT {names} FROM t WHERE k = ?")
    for k in range(max(len(values) for values in SCALARS.values())):
        row = [values[k] if k < len(values) else None for values in SCALARS.values()]
        session.execute(insert, [k, *row])
        for name, found, wanted in zip(SCALARS, session.execute(select, [k])[0], row):
            expect(found, wanted, f"{name}, row {k}")


def literals_mean_what_bound_values_mean(world, session, keyspace):
    session.execute(
        "CREATE TABLE t (k int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, do double, du duration, f float, i inet,"
        " s smallint, t text, ti time, ts timestamp, tu timeuuid, ty tinyint, u uuid, vi varint)"
    )
    session.execute(
        "INSERT INTO t (k, a, b, bl, bo, d, de, do, du, f, i, s, t, ti, ts, tu, ty, u, vi) VALUES (1, 'ascii', -9223372036854775808, 0xCAFE, true,"
        " '2026-11-25', 1.50, -1.5e10, 1y2mo3d4h5m6s7ms, 0.25, '10.0.0.1', -32768, 'it''s', '08:12:54.123456789', '2026-11-25 10:11:12.345+0000',"
        f" {TIMEUUID}, -128, {UUID}, 123456789012345678901234567890)"
    )
    found = session.execute("SELECT a, b, bl, bo, d, de, do, du, f, i, s, t, ti, ts, tu, ty, u, vi FROM t WHERE k = 1")[0]
    nanos = (4 * 3600 + 5 * 60 + 6) * 10**9 + 7 * 10**6
    wanted = (
        "ascii", -(2**63), b"\xca\xfe", True, Date("2026-11-25"), D("1.50"), -1.5e10, Duration(14, 3, nanos), 0.25, "10.0.0.1", -32768, "it's",
        Time("08:12:54.123456789"), datetime.datetime(2026, 11, 25, 10, 11, 12, 345000), TIMEUUID, -128, UUID, 123456789012345678901234567890,
    )  # fmt: skip
    expect(tuple(found), wanted)


def every_collection_type_comes_back(world, session, keyspace):
    for name, values in SCALARS.items():
        two = values[:2]
        session.execute(f"CREATE TABLE l_{name} (k int PRIMARY KEY, l list<{name}>, fl frozen<list<{name}>>, m map<int, {name}>)")
        insert = session.prepare(f"INSERT INTO l_{name} (k, l, fl, m) VALUES (?, ?, ?, ?)")
        session.execute(insert, [1, two[::-1] + two[:1], two, {1: two[0], 2: two[1]}])
        session.execute(insert, [2, [], [], {}])
        expect(rows(session.execute(f"SELECT l, fl, m FROM l_{name} WHERE k = 1")), [(two[::-1] + two[:1], two, {1: two[0], 2: two[1]})], name)
        expect(rows(session.execute(f"SELECT l, fl, m FROM l_{name} WHERE k = 2")), [(None, [], None)], name)
        if name in NO_KEYS:
            continue
        session.execute(f"CREATE TABLE s_{name} (k int PRIMARY KEY, s set<{name}>, fs frozen<set<{name}>>, m map<{name}, {name}>, fm frozen<map<{name}, text>>)")
        insert = session.prepare(f"INSERT INTO s_{name} (k, s, fs, m, fm) VALUES (?, ?, ?, ?, ?)")
        session.execute(insert, [1, set(two), set(two), {two[0]: two[1], two[1]: two[0]}, {two[1]: "x", two[0]: ""}])
        found = session.execute(f"SELECT s, fs, m, fm FROM s_{name} WHERE k = 1")[0]
        expect(list(found[0]), two, f"set<{name}> is in order")
        expect(list(found[1]), two, f"frozen set<{name}> is in order")
        expect(list(found[2].items()), [(two[0], two[1]), (two[1], two[0])], f"map<{name}> is in order")
        expect(list(found[3].items()), [(two[0], ""), (two[1], "x")], f"frozen map<{name}> is in order")


def nested_collections_come_back(world, session, keyspace):
    session.execute(
        "CREATE TABLE t (k int PRIMARY KEY, a list<frozen<list<int>>>, b map<text, frozen<map<int, frozen<set<text>>>>>, c frozen<map<frozen<list<int>>, text>>,"
        " d set<frozen<tuple<int, text>>>)"
    )
    insert = session.prepare("INSERT INTO t (k, a, b, c, d) VALUES (?, ?, ?, ?, ?)")
    row = ([[1, 2], [], [3]], {"x": {1: {"p", "q"}}, "y": {}}, {(1, 2): "a", (3,): "b"}, {(1, "a"), (2, None)})
    session.execute(insert, [1, *row])
    a, b, c, d = session.execute("SELECT a, b, c, d FROM t WHERE k = 1")[0]
    expect(a, row[0])
    expect({k: {i: sorted(s) for i, s in v.items()} for k, v in b.items()}, {"x": {1: ["p", "q"]}, "y": {}})
    expect([(tuple(k), v) for k, v in c.items()], [((1, 2), "a"), ((3,), "b")])
    expect(sorted(map(tuple, d), key=repr), [(1, "a"), (2, None)])


def tuples_come_back(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v tuple<int, text, double>, n frozen<tuple<int, frozen<tuple<text, text>>>>)")
    insert = session.prepare("INSERT INTO t (k, v, n) VALUES (?, ?, ?)")
    for k, row in enumerate([((1, "a", 2.5), (1, ("x", "y"))), ((None, "", None), (2, (None, "y"))), (None, None)]):
        session.execute(insert, [k, *row])
        expect(tuple(session.execute("SELECT v, n FROM t WHERE k = %s", [k])[0]), row)
    session.execute("INSERT INTO t (k, v) VALUES (9, (7, 'seven', 7.5))")
    expect(rows(session.execute("SELECT v FROM t WHERE k = 9")), [((7, "seven", 7.5),)])


def frozen_user_types_come_back(world, session, keyspace):
    session.execute("CREATE TYPE phone (country int, number text, kinds set<text>)")
    session.execute("CREATE TYPE address (street text, zip int, phones frozen<map<text, frozen<phone>>>)")
    session.execute("CREATE TABLE t (k int PRIMARY KEY, a frozen<address>, l list<frozen<phone>>, m map<text, frozen<address>>)")
    insert = session.prepare("INSERT INTO t (k, a, l, m) VALUES (?, ?, ?, ?)")
    phone, empty = (49, "030-1", {"home", "work"}), (None, None, None)
    address = ("Main", 12345, {"x": phone})
    session.execute(insert, [1, address, [phone, empty], {"home": address}])
    a, l, m = session.execute("SELECT a, l, m FROM t WHERE k = 1")[0]
    expect((a[0], a[1], tuple(a[2]["x"])), ("Main", 12345, phone))
    expect([tuple(item) for item in l], [phone, empty])
    expect(tuple(m["home"])[:2], address[:2])
    session.execute("INSERT INTO t (k, a) VALUES (2, {street: 'Side', zip: 1})")
    expect(rows(session.execute("SELECT a.street, a.zip, a.phones FROM t WHERE k = 2")), [("Side", 1, None)])


def unset_leaves_a_column_alone(world, session, keyspace):
    if session.cluster.protocol_version < 4:
        return
    from cassandra.query import UNSET_VALUE

    session.execute("CREATE TABLE t (k int PRIMARY KEY, a int, b text)")
    insert = session.prepare("INSERT INTO t (k, a, b) VALUES (?, ?, ?)")
    session.execute(insert, [1, 5, "x"])
    session.execute(insert, [1, UNSET_VALUE, None])
    session.execute(insert, {"k": 1, "a": 6})
    expect(rows(session.execute("SELECT * FROM t")), [(1, 6, None)])


def every_type_may_be_a_key(world, session, keyspace):
    for name, values in SCALARS.items():
        if name in NO_KEYS:
            continue
        low, high = values[0], values[1]
        session.execute(f"CREATE TABLE p_{name} (k {name} PRIMARY KEY, v int)")
        insert = session.prepare(f"INSERT INTO p_{name} (k, v) VALUES (?, ?)")
        select = session.prepare(f"SELECT k, v FROM p_{name} WHERE k = ?")
        session.execute(insert, [low, 1])
        session.execute(insert, [high, 2])
        expect(rows(session.execute(select, [low])), [(low, 1)], name)
        expect(rows(session.execute(select, [high])), [(high, 2)], name)

        for order in ("ASC", "DESC"):
            table = f"c_{name}_{order.lower()}"
            session.execute(f"CREATE TABLE {table} (p int, c {name}, v int, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c {order})")
            insert = session.prepare(f"INSERT INTO {table} (p, c, v) VALUES (1, ?, ?)")
            session.execute(insert, [high, 2])
            session.execute(insert, [low, 1])
            wanted = [(low, 1), (high, 2)] if order == "ASC" else [(high, 2), (low, 1)]
            expect(rows(session.execute(f"SELECT c, v FROM {table} WHERE p = 1")), wanted, f"{name} {order}")
            above = session.prepare(f"SELECT v FROM {table} WHERE p = 1 AND c > ?")
            expect(rows(session.execute(above, [low])), [(2,)], f"{name} {order}")
            upto = session.prepare(f"SELECT v FROM {table} WHERE p = 1 AND c <= ?")
            expect(rows(session.execute(upto, [low])), [(1,)], f"{name} {order}")


def clustering_order_is_the_types_order(world, session, keyspace):
    for name, sample in {
        "int": [-(2**31), -256, -255, -1, 0, 1, 255, 256, 2**31 - 1],
        "bigint": [-(2**63), -(2**32), -1, 0, 1, 2**32, 2**63 - 1],
        "varint": [-(2**200), -(2**64), -256, -129, -128, -1, 0, 1, 127, 128, 255, 256, 2**64, 2**200],
        "decimal": [D("-1E30"), D("-10"), D("-9.99"), D("-0.001"), D("0"), D("1E-10"), D("0.1"), D("9.99"), D("10"), D("1E30")],
        "double": [float("-inf"), -1e300, -1.5, -5e-324, 0.0, 5e-324, 1.5, 1e300, float("inf"), float("nan")],
        "text": ["", "\x00", "\x00\x00", "\x00a", "a", "a\x00", "a\x00b", "aa", "b", "ä", "日"],
        "blob": [b"", b"\x00", b"\x00\x00", b"\x00\x01", b"\x01", b"\xff", b"\xff\x00", b"\xff\xff"],
        "frozen<list<int>>": [[], [-1], [-1, 5], [0], [0, -1], [1]],
        "frozen<tuple<int, text>>": [(-1, "z"), (0, "a"), (0, "b"), (1, "")],
    }.items():
        table = "o_" + "".join(c for c in name if c.isalpha())
        session.execute(f"CREATE TABLE {table} (p int, c {name}, PRIMARY KEY (p, c))")
        insert = session.prepare(f"INSERT INTO {table} (p, c) VALUES (1, ?)")
        for value in sample[::2] + sample[1::2][::-1]:
            session.execute(insert, [value])
        expect([row[0] for row in session.execute(f"SELECT c FROM {table} WHERE p = 1")], sample, name)
        expect([row[0] for row in session.execute(f"SELECT c FROM {table} WHERE p = 1 ORDER BY c DESC")], sample[::-1], name)


def composite_keys_and_mixed_orders(world, session, keyspace):
    session.execute(
        "CREATE TABLE t (a int, b text, c int, d text, e timeuuid, v int, PRIMARY KEY ((a, b), c, d, e)) WITH CLUSTERING ORDER BY (c DESC, d ASC, e DESC)"
    )
    insert = session.prepare("INSERT INTO t (a, b, c, d, e, v) VALUES (?, ?, ?, ?, ?, ?)")
    for v, (c, d, e) in enumerate([(1, "x", TIMEUUID), (1, "x", TIMEUUID_LATER), (1, "y", TIMEUUID), (2, "x", TIMEUUID)]):
        session.execute(insert, [1, "b", c, d, e, v])
        session.execute(insert, [1, "", c, d, e, v + 10])
    expect(rows(session.execute("SELECT v FROM t WHERE a = 1 AND b = 'b'")), [(3,), (1,), (0,), (2,)])
    expect(rows(session.execute("SELECT v FROM t WHERE a = 1 AND b = '' ORDER BY c ASC, d DESC, e ASC")), [(12,), (10,), (11,), (13,)])
    expect(rows(session.execute("SELECT v FROM t WHERE a = 1 AND b = 'b' AND c = 1 AND d >= 'x' AND d < 'y'")), [(1,), (0,)])
    expect(rows(session.execute("SELECT v FROM t WHERE a = 1 AND b = 'b' AND (c, d) <= (1, 'x')")), [(1,), (0,)])
