"""What a client sees of its own requests: traces, warnings, itself among the clients."""

from cassandra import InvalidRequest
from cassandra.query import SimpleStatement

from story import expect, expect_error, rows


def a_trace_tells_the_way_of_a_request(world, session, keyspace):
    session.execute("CREATE TABLE t (k text PRIMARY KEY, v int)")
    prepared = session.prepare("UPDATE t SET v = ? WHERE k = ?")
    for statement, values, kind in [
        ("INSERT INTO t (k, v) VALUES ('a', 1)", None, "Execute CQL3 query"),
        ("SELECT * FROM t WHERE k = 'a'", None, "Execute CQL3 query"),
        (prepared, [2, "a"], "Execute CQL3 prepared query"),
    ]:
        trace = session.execute(statement, values, trace=True).get_query_trace(10)
        expect(trace.request_type, kind)
        assert trace.duration is not None and trace.client and trace.started_at, trace
        assert trace.events, "a trace without events"
        elapsed = [event.source_elapsed for event in trace.events]
        expect(elapsed, sorted(elapsed))


def warnings_are_heard(world, session, keyspace):
    # Protocol v3 has no room for them.
    heard = (lambda words: [words]) if session.cluster.protocol_version >= 4 else (lambda words: None)
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v text)")
    future = session.execute_async("SELECT count(*) FROM t")
    future.result()
    expect(future.warnings, heard("Aggregation query used without partition key"))
    large = "".join(f"INSERT INTO t (k, v) VALUES ({k}, '{'x' * 1000}');" for k in range(10))
    future = session.execute_async(f"BEGIN BATCH {large} APPLY BATCH")
    future.result()
    # 8 and the empty static row, the row, its cell: see Cassandra's PartitionUpdate.dataSize.
    expect(future.warnings, heard(f"Batch for [{keyspace}.t] is of size 10700, exceeding specified threshold of 5120 by 5580."))
    too_large = "".join(f"INSERT INTO t (k, v) VALUES ({k}, '{'x' * 10000}');" for k in range(10))
    expect_error(InvalidRequest, "Batch too large", lambda: session.execute(f"BEGIN BATCH {too_large} APPLY BATCH"))


def a_client_sees_itself_among_the_clients(world, session, keyspace):
    found = session.execute(SimpleStatement("SELECT address, driver_name, connection_stage, request_count FROM system_views.clients"))
    found = [row for row in found if row[1] and "Python" in row[1]]
    assert found, "no Python driver among the clients"
    assert all(row[2] == "ready" for row in found), found
    assert any(row[3] > 0 for row in found), found
