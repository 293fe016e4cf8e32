"""A bad statement gets the exception, and the words, that applications know from Cassandra; and the connection goes on."""

from cassandra import InvalidRequest
from cassandra.protocol import ConfigurationException, SyntaxException

from story import expect, expect_error, rows

SYNTAX = {
    "SELEC * FROM t": "line 1:0 no viable alternative at input 'SELEC'",
    "SELECT * FORM t": "line 1:9",
    "SELECT * FROM": "line 0:-1 no viable alternative at input '<EOF>'",
    "INSERT INTO t (k, v) VALUES (1, )": "line 1:32",
    "CREATE TABLE u (k int PRIMARY KEY": "line 0:-1 mismatched input '<EOF>' expecting ')'",
    "SELECT * FROM t WHERE k = 'unclosed": "line 1",
    "": "line 0:-1",
}

INVALID = {
    "SELECT * FROM nowhere": "table nowhere does not exist",
    "SELECT * FROM no_keyspace.t": "keyspace no_keyspace does not exist",
    "SELECT nothing FROM t": "Undefined column name nothing",
    "SELECT * FROM t WHERE nothing = 1": "Undefined column name nothing",
    "INSERT INTO t (k, c, nothing) VALUES (1, 1, 1)": "Undefined column name nothing",
    "INSERT INTO t (k, v) VALUES (1, 1)": "Some clustering keys are missing: c",
    "INSERT INTO t (c, v) VALUES (1, 1)": "Some partition key parts are missing: k",
    "INSERT INTO t (k, c, v) VALUES (1, 1, 'text')": "Invalid STRING constant (text) for \"v\" of type int",
    "INSERT INTO t (k, c, w) VALUES (1, 1, 5)": 'Invalid INTEGER constant (5) for "w" of type text',
    "INSERT INTO t (k, c, v) VALUES (1, 1)": "Unmatched column names/values",
    "INSERT INTO t (k, c, k) VALUES (1, 1, 1)": "The column names contains duplicates",
    "INSERT INTO t (k, c, v) VALUES (null, 1, 1)": "Invalid null value in condition for column k",
    "UPDATE t SET v = 1 WHERE k = 1": "Some clustering keys are missing: c",
    "UPDATE t SET k = 2 WHERE k = 1 AND c = 1": "PRIMARY KEY part k found in SET part",
    "UPDATE t SET v = 1 WHERE k = 1 AND c > 1": "",
    "SELECT * FROM t WHERE v = 1": "Cannot execute this query as it might involve data filtering",
    "SELECT * FROM t WHERE c = 1": "Cannot execute this query as it might involve data filtering",
    "SELECT * FROM t WHERE k > 1": "Cannot execute this query as it might involve data filtering",
    "SELECT * FROM t WHERE k = 1 AND k = 2": "k cannot be restricted by more than one relation if it includes an Equal",
    "SELECT * FROM t WHERE k = 1 ORDER BY v": "Order by is currently only supported on the clustered columns of the PRIMARY KEY",
    "SELECT DISTINCT v FROM t": "SELECT DISTINCT queries must only request partition key columns and/or static columns",
    "SELECT nofunction(v) FROM t": "Unknown function",
    "CREATE TABLE u (k int, v int)": "No PRIMARY KEY specifed",
    "CREATE TABLE u (k int PRIMARY KEY, v nothing)": "Unknown type",
    "CREATE TABLE u (k int PRIMARY KEY, k text)": "",
    "CREATE TABLE u (k list<int> PRIMARY KEY)": "Invalid non-frozen collection type",
    "CREATE TABLE u (k int PRIMARY KEY, v list<list<int>>)": "Non-frozen collections are not allowed inside collections",
    "ALTER TABLE nowhere ADD v int": "doesn't exist",
    "TRUNCATE nowhere": "does not exist",
    "INSERT INTO t (k, c, u) VALUES (1, 1, 'not-a-uuid')": "Invalid STRING constant (not-a-uuid)",
}


def bad_statements_get_the_right_exception(world, session, keyspace):
    session.execute("CREATE TABLE t (k int, c int, v int, w text, u uuid, PRIMARY KEY (k, c))")
    wrong = []
    for kind, statements in ((SyntaxException, SYNTAX), (InvalidRequest, INVALID)):
        for text, words in statements.items():
            for what, action in (("query", lambda text=text: session.execute(text)), ("prepare", lambda text=text: session.prepare(text))):
                if what == "prepare" and (text.split(" ")[0] in ("CREATE", "ALTER", "TRUNCATE", "") or "null" in text):
                    continue
                try:
                    expect_error(kind, words, action)
                except AssertionError as error:
                    wrong.append(f"{what} {text!r}: {error}")
    assert not wrong, "\n".join(["", *wrong])
    expect(rows(session.execute("SELECT * FROM t")), [])


def options_are_checked(world, session, keyspace):
    for text in (
        "CREATE KEYSPACE u WITH replication = {'class': 'NoSuchStrategy'}",
        "CREATE TABLE u (k int PRIMARY KEY) WITH compaction = {'class': 'NoSuchStrategy'}",
        "CREATE TABLE u (k int PRIMARY KEY) WITH compression = {'class': 'NoSuchCompressor'}",
    ):
        expect_error(ConfigurationException, "", lambda text=text: session.execute(text))
    expect_error(SyntaxException, "Unknown property 'nothing'", lambda: session.execute("CREATE TABLE u (k int PRIMARY KEY) WITH nothing = 1"))
    session.execute("CREATE TABLE u (k int PRIMARY KEY) WITH compression = {} AND compaction = {'class': 'LeveledCompactionStrategy'} AND bloom_filter_fp_chance = 0.1")


def bad_bound_values_are_refused(world, session, keyspace):
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v int, a ascii, s set<int>)")
    blob = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    expect_error(InvalidRequest, "", lambda: session.execute(blob, [None, 1]))
    from cassandra.cqltypes import LongType, UTF8Type

    # The driver is told that the columns have other types, so it sends what the server must not believe.
    for column, wrong in (("v", LongType), ("a", UTF8Type)):
        statement = session.prepare(f"INSERT INTO t (k, {column}) VALUES (?, ?)")
        statement.column_metadata = [statement.column_metadata[0], statement.column_metadata[1]._replace(type=wrong)]
        expect_error(InvalidRequest, "", lambda statement=statement, value={"v": 2**40, "a": "ü"}[column]: session.execute(statement, [1, value]))
    expect(rows(session.execute("SELECT * FROM t")), [])
    session.execute(blob, [1, 1])
    expect(rows(session.execute("SELECT k, v FROM t")), [(1, 1)])


def system_keyspaces_are_not_for_writing(world, session, keyspace):
    from cassandra import Unauthorized

    for text in ("CREATE TABLE system.t (k int PRIMARY KEY)", "DROP TABLE system.local", "DROP KEYSPACE system", "DROP TABLE system_schema.tables"):
        expect_error(Unauthorized, "", lambda text=text: session.execute(text))
