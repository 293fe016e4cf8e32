import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.metadata.schema.KeyspaceMetadata;
import com.datastax.oss.driver.api.core.servererrors.AlreadyExistsException;
import com.datastax.oss.driver.api.core.servererrors.InvalidQueryException;
import com.datastax.oss.driver.api.core.servererrors.SyntaxError;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import shop.Shop;

/** The Java driver 4 against a CQL server: connects, creates, writes, reads, pages, maps; with each protocol version and compression. `Client HOST PORT`. */
public final class Client {
  private static final int ROWS = 20_000;

  public static void main(String[] arguments) throws Exception {
    InetSocketAddress address = new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1]));
    // The newest version comes first by negotiation alone.
    story(address, null, "none");
    story(address, "V3", "lz4");
    story(address, "V4", "none");
    story(address, "V5", "lz4");
    System.out.println("ok");
  }

  private static void story(InetSocketAddress address, String version, String compression) throws Exception {
    var loader =
        DriverConfigLoader.programmaticBuilder()
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(60))
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, Duration.ofSeconds(60))
            // Every DDL statement waits for the driver's metadata; by default that waits a second for more of them.
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_WINDOW, Duration.ofMillis(5))
            .withString(DefaultDriverOption.REQUEST_CONSISTENCY, DefaultConsistencyLevel.LOCAL_ONE.name())
            // Small pages, so that the mapper's reads have several.
            .withInt(DefaultDriverOption.REQUEST_PAGE_SIZE, 300)
            .withString(DefaultDriverOption.PROTOCOL_COMPRESSION, compression);
    if (version != null) {
      loader = loader.withString(DefaultDriverOption.PROTOCOL_VERSION, version);
    }
    try (CqlSession session = CqlSession.builder().addContactPoint(address).withLocalDatacenter("datacenter1").withConfigLoader(loader.build()).build()) {
      String keyspace = "java_" + UUID.randomUUID().toString().replace("-", "").substring(0, 12);
      session.execute("CREATE KEYSPACE " + keyspace + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
      session.execute("USE " + keyspace);
      try {
        // Version 3 has no date, time, smallint and tinyint; this driver cannot read them there.
        if (!"V3".equals(version)) {
          types(session, keyspace);
        }
        pages(session);
        statements(session, keyspace);
        errors(session);
        // Version 3 cannot leave a value unset, and the types story has made its own address.
        if (!"V3".equals(version)) {
          session.execute("DROP TABLE types");
          session.execute("DROP TYPE address");
          Shop.story(session);
        }
      } finally {
        session.execute("DROP KEYSPACE " + keyspace);
      }
      System.out.printf("ok      %s, compression %s%n", session.getContext().getProtocolVersion(), compression);
    }
  }

  private static void types(CqlSession session, String keyspace) throws Exception {
    session.execute("CREATE TYPE address (street text, zip int)");
    session.execute(
        "CREATE TABLE types (k int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, dou double, f float, i inet, s smallint, t text,"
            + " ti time, ts timestamp, u uuid, ty tinyint, vi varint, l list<int>, se set<text>, m map<text, bigint>, tu tuple<int, text>, ad frozen<address>)");
    PreparedStatement insert =
        session.prepare(
            "INSERT INTO types (k, a, b, bl, bo, d, de, dou, f, i, s, t, ti, ts, u, ty, vi, l, se, m, tu, ad)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    var variables = insert.getVariableDefinitions();
    TupleValue tuple = ((com.datastax.oss.driver.api.core.type.TupleType) variables.get("tu").getType()).newValue(7, "seven");
    UdtValue home = ((com.datastax.oss.driver.api.core.type.UserDefinedType) variables.get("ad").getType()).newValue("Elm", 12345);
    Object[] values = {
      1, "ascii", Long.MIN_VALUE, ByteBuffer.wrap(new byte[] {0, -1, 7}), true, LocalDate.of(2026, 11, 25), new BigDecimal("-1.500"), Math.PI, 0.25f,
      InetAddress.getByName("2001:db8::1"), Short.MIN_VALUE, "grün 日本語", LocalTime.of(23, 59, 59, 999_999_999), Instant.ofEpochMilli(-14182940123L),
      UUID.fromString("3f1c2a90-5b1e-4c64-8d3c-0a9b8c7d6e5f"), Byte.MIN_VALUE, BigInteger.TWO.pow(200).negate(), List.of(3, 1, 2), Set.of("a", "b"),
      Map.of("x", 1L, "y", 2L), tuple, home
    };
    session.execute(insert.bind(values));
    Row row = session.execute("SELECT k, a, b, bl, bo, d, de, dou, f, i, s, t, ti, ts, u, ty, vi, l, se, m, tu, ad FROM types WHERE k = 1").one();
    for (int index = 0; index < values.length; index++) {
      equal(row.getObject(index), values[index], row.getColumnDefinitions().get(index).getName().asInternal());
    }
    Row empty = session.execute(session.prepare("SELECT t, l FROM types WHERE k = :key").boundStatementBuilder().setInt("key", 2).build()).one();
    equal(empty, null, "a row that was never written");

    session.checkSchemaAgreement();
    KeyspaceMetadata metadata = session.refreshSchema().getKeyspace(keyspace).orElseThrow();
    equal(metadata.getTable("types").orElseThrow().getColumns().size(), values.length, "columns in the driver's metadata");
    equal(metadata.getUserDefinedType("address").isPresent(), true, "the type in the driver's metadata");
  }

  private static void pages(CqlSession session) throws Exception {
    session.execute("CREATE TABLE pages (k int, c int, v text, PRIMARY KEY (k, c))");
    PreparedStatement insert = session.prepare("INSERT INTO pages (k, c, v) VALUES (?, ?, ?)");
    List<CompletionStage<AsyncResultSet>> pending = new ArrayList<>();
    for (int i = 0; i < ROWS; i++) {
      pending.add(session.executeAsync(insert.bind(i % 100, i / 100, "value " + i)));
      if (pending.size() == 500 || i == ROWS - 1) {
        for (CompletionStage<AsyncResultSet> one : pending) {
          one.toCompletableFuture().get();
        }
        pending.clear();
      }
    }
    long sum = 0;
    int count = 0;
    for (Row row : session.execute(SimpleStatement.newInstance("SELECT k, c, v FROM pages").setPageSize(999))) {
      int i = row.getInt("c") * 100 + row.getInt("k");
      equal(row.getString("v"), "value " + i, "row " + i);
      sum += i;
      count++;
    }
    equal(count, ROWS, "rows");
    equal(sum, (long) ROWS * (ROWS - 1) / 2, "their sum");

    int next = 0;
    for (Row row : session.execute(session.prepare("SELECT c FROM pages WHERE k = ?").bind(42).setPageSize(7))) {
      equal(row.getInt(0), next++, "order inside a partition");
    }
    equal(next, ROWS / 100, "rows of one partition");
  }

  private static void statements(CqlSession session, String keyspace) {
    session.execute("CREATE TABLE kv (k int PRIMARY KEY, v int)");
    PreparedStatement insert = session.prepare("INSERT INTO kv (k, v) VALUES (:key, :value) IF NOT EXISTS");
    ResultSet first = session.execute(insert.boundStatementBuilder().setInt("key", 1).setInt("value", 10).build());
    equal(first.wasApplied(), true, "the first insert");
    ResultSet second = session.execute(insert.boundStatementBuilder().setInt("key", 1).setInt("value", 11).build());
    equal(second.wasApplied(), false, "the second insert");
    equal(second.one().getInt("v"), 10, "what stood in its way");
    PreparedStatement update = session.prepare(SimpleStatement.newInstance("UPDATE " + keyspace + ".kv SET v = ? WHERE k = ?"));
    BatchStatement batch = BatchStatement.newInstance(DefaultBatchType.LOGGED, update.bind(1, 100), update.bind(2, 101));
    session.execute(batch.add(SimpleStatement.newInstance("INSERT INTO kv (k, v) VALUES (?, ?)", 102, 3)));
    equal(session.execute("SELECT COUNT(*) FROM kv").one().getLong(0), 4L, "rows after a batch");
    equal(session.execute(SimpleStatement.newInstance("SELECT v FROM kv WHERE k = ?", 102)).one().getInt(0), 3, "a simple statement with values");

    session.execute("CREATE TABLE n (k int PRIMARY KEY, c counter)");
    for (int i = 0; i < 10; i++) {
      session.execute("UPDATE n SET c = c + 2 WHERE k = 1");
    }
    equal(session.execute("SELECT c FROM n").one().getLong("c"), 20L, "a counter");

    // The driver finds by itself that its prepared statement has new columns.
    PreparedStatement star = session.prepare("SELECT * FROM kv WHERE k = ?");
    session.execute("ALTER TABLE kv ADD w text");
    session.execute("UPDATE kv SET w = 'new' WHERE k = 1");
    Row row = session.execute(star.bind(1)).one();
    equal(row.getInt("v"), 10, "a column after ALTER");
  }

  private static void errors(CqlSession session) {
    refused(SyntaxError.class, () -> session.execute("SELEC * FROM kv"));
    refused(InvalidQueryException.class, () -> session.execute("SELECT nothing FROM kv"));
    refused(InvalidQueryException.class, () -> session.prepare("SELECT * FROM nowhere WHERE k = ?"));
    refused(AlreadyExistsException.class, () -> session.execute("CREATE TABLE kv (k int PRIMARY KEY)"));
    equal(session.execute("SELECT v FROM kv WHERE k = 1").one().getInt(0), 10, "the connection after errors");
  }

  private static void refused(Class<? extends Exception> kind, Runnable action) {
    try {
      action.run();
    } catch (Exception error) {
      if (kind.isInstance(error)) {
        return;
      }
      throw new AssertionError("wanted " + kind.getSimpleName(), error);
    }
    throw new AssertionError("wanted " + kind.getSimpleName() + ", got an answer");
  }

  private static void equal(Object found, Object wanted, String about) {
    if (!Objects.equals(found, wanted)) {
      throw new AssertionError(about + ": found " + found + ", wanted " + wanted);
    }
  }
}
