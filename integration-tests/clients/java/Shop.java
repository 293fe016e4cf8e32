package shop;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.PagingIterable;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.mapper.annotations.ClusteringColumn;
import com.datastax.oss.driver.api.mapper.annotations.CqlName;
import com.datastax.oss.driver.api.mapper.annotations.Dao;
import com.datastax.oss.driver.api.mapper.annotations.DaoFactory;
import com.datastax.oss.driver.api.mapper.annotations.Delete;
import com.datastax.oss.driver.api.mapper.annotations.Entity;
import com.datastax.oss.driver.api.mapper.annotations.GetEntity;
import com.datastax.oss.driver.api.mapper.annotations.Increment;
import com.datastax.oss.driver.api.mapper.annotations.Insert;
import com.datastax.oss.driver.api.mapper.annotations.Mapper;
import com.datastax.oss.driver.api.mapper.annotations.PartitionKey;
import com.datastax.oss.driver.api.mapper.annotations.Query;
import com.datastax.oss.driver.api.mapper.annotations.SchemaHint;
import com.datastax.oss.driver.api.mapper.annotations.Select;
import com.datastax.oss.driver.api.mapper.annotations.Update;
import com.datastax.oss.driver.api.mapper.entity.saving.NullSavingStrategy;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;

/** A small shop with the object mapper of the Java driver: entities with collections, a type and a static column, and what a DAO makes of them. */
public final class Shop {
  private Shop() {}

  /** A user-defined type. */
  @Entity
  @SchemaHint(targetElement = SchemaHint.TargetElement.UDT)
  public static class Address {
    private String street;
    private Integer zip;

    public Address() {}

    public Address(String street, Integer zip) {
      this.street = street;
      this.zip = zip;
    }

    public String getStreet() { return street; }
    public void setStreet(String street) { this.street = street; }
    public Integer getZip() { return zip; }
    public void setZip(Integer zip) { this.zip = zip; }

    @Override
    public boolean equals(Object other) {
      return other instanceof Address that && Objects.equals(street, that.street) && Objects.equals(zip, that.zip);
    }

    @Override
    public int hashCode() { return Objects.hash(street, zip); }
  }

  /** A row of `orders`. */
  @Entity
  @CqlName("orders")
  public static class Order {
    @PartitionKey private UUID customer;
    @ClusteringColumn private Integer number;
    private String name;
    private String status;
    private Set<String> tags;
    private List<String> lines;
    private Map<String, BigDecimal> prices;
    private Address home;

    public Order() {}

    public Order(UUID customer, Integer number, String status) {
      this.customer = customer;
      this.number = number;
      this.status = status;
    }

    public UUID getCustomer() { return customer; }
    public void setCustomer(UUID customer) { this.customer = customer; }
    public Integer getNumber() { return number; }
    public void setNumber(Integer number) { this.number = number; }
    public String getName() { return name; }
    public void setName(String name) { this.name = name; }
    public String getStatus() { return status; }
    public void setStatus(String status) { this.status = status; }
    public Set<String> getTags() { return tags; }
    public void setTags(Set<String> tags) { this.tags = tags; }
    public List<String> getLines() { return lines; }
    public void setLines(List<String> lines) { this.lines = lines; }
    public Map<String, BigDecimal> getPrices() { return prices; }
    public void setPrices(Map<String, BigDecimal> prices) { this.prices = prices; }
    public Address getHome() { return home; }
    public void setHome(Address home) { this.home = home; }
  }

  /** A row of counters. */
  @Entity
  public static class Visits {
    @PartitionKey private String page;
    private long count;

    public String getPage() { return page; }
    public void setPage(String page) { this.page = page; }
    public long getCount() { return count; }
    public void setCount(long count) { this.count = count; }
  }

  /** What is done with orders. */
  @Dao
  public interface Orders {
    @Insert
    void insert(Order order);

    @Insert(nullSavingStrategy = NullSavingStrategy.SET_TO_NULL)
    void replace(Order order);

    @Insert(ifNotExists = true)
    Order insertIfNotExists(Order order);

    @Insert(ttl = ":seconds")
    void insertFor(Order order, int seconds);

    @Insert
    BoundStatement inserting(Order order);

    @Select
    Order find(UUID customer, Integer number);

    @Select
    PagingIterable<Order> of(UUID customer);

    @Select(customWhereClause = "customer = :customer AND number > :after", orderBy = "number ASC", limit = ":most")
    PagingIterable<Order> after(UUID customer, int after, int most);

    @Update(nullSavingStrategy = NullSavingStrategy.DO_NOT_SET)
    void update(Order order);

    @Update(customIfClause = "status = :expected", nullSavingStrategy = NullSavingStrategy.DO_NOT_SET)
    boolean updateIf(Order order, String expected);

    @Delete
    void delete(Order order);

    @Delete(entityClass = Order.class, ifExists = true)
    boolean deleteIfExists(UUID customer, Integer number);

    @Query("SELECT count(*) FROM ${keyspaceId}.orders WHERE customer = :customer")
    long count(UUID customer);

    @Query("SELECT ttl(status) FROM ${keyspaceId}.orders WHERE customer = :customer AND number = :number")
    Row left(UUID customer, int number);

    @GetEntity
    Order entity(Row row);
  }

  /** What is done with counters. */
  @Dao
  public interface Pages {
    @Increment(entityClass = Visits.class)
    void visit(String page, long count);

    @Select
    Visits find(String page);
  }

  /** The door to both. */
  @Mapper(builderName = "shop.ShopMapperBuilder")
  public interface ShopMapper {
    @DaoFactory
    Orders orders();

    @DaoFactory
    Pages pages();
  }

  /** Makes the tables in the session's keyspace and runs the shop. */
  public static void story(CqlSession session) {
    session.execute("CREATE TYPE address (street text, zip int)");
    session.execute(
        "CREATE TABLE orders (customer uuid, number int, name text static, status text, tags set<text>, lines list<text>, prices map<text, decimal>,"
            + " home frozen<address>, PRIMARY KEY (customer, number)) WITH CLUSTERING ORDER BY (number DESC)");
    session.execute("CREATE TABLE visits (page text PRIMARY KEY, count counter)");
    ShopMapper mapper = new ShopMapperBuilder(session).withDefaultKeyspace(session.getKeyspace().orElseThrow()).build();
    UUID customer = UUID.fromString("3f1c2a90-5b1e-4c64-8d3c-0a9b8c7d6e5f");
    rows(mapper.orders(), session, customer);
    conditions(mapper.orders(), customer);
    pages(mapper.orders(), session);
    mapper.pages().visit("start", 5);
    mapper.pages().visit("start", -2);
    equal(mapper.pages().find("start").getCount(), 3L, "a counter");
  }

  private static void rows(Orders orders, CqlSession session, UUID customer) {
    Order order = new Order(customer, 1, "new");
    order.setName("Ada");
    order.setTags(Set.of("gift", "big"));
    order.setLines(List.of("tea", "milk"));
    order.setPrices(Map.of("tea", new BigDecimal("2.50")));
    order.setHome(new Address("Elm", 12345));
    orders.insert(order);
    Order found = orders.find(customer, 1);
    equal(found.getName(), "Ada", "a static column");
    equal(found.getTags(), order.getTags(), "a set");
    equal(found.getLines(), order.getLines(), "a list");
    equal(found.getPrices(), order.getPrices(), "a map");
    equal(found.getHome(), order.getHome(), "a user-defined type");
    // What is null in the object stays as it is in the row.
    orders.update(new Order(customer, 1, "paid"));
    equal(orders.find(customer, 1).getStatus(), "paid", "an update");
    equal(orders.find(customer, 1).getLines(), order.getLines(), "what an update did not set");
    // And replacing it makes it null.
    orders.replace(new Order(customer, 1, "empty"));
    equal(orders.find(customer, 1).getHome(), null, "a type that was set to null");
    orders.insertFor(new Order(customer, 2, "fleeting"), 5000);
    int left = orders.left(customer, 2).getInt(0);
    if (left <= 4000 || left > 5000) {
      throw new AssertionError("a TTL: " + left);
    }
    Row row = session.execute("SELECT * FROM orders LIMIT 1").one();
    equal(orders.entity(row).getNumber(), 2, "an entity of a row");
    orders.delete(orders.find(customer, 2));
    equal(orders.find(customer, 2), null, "a deleted row");
    equal(orders.count(customer), 1L, "rows by a query");
  }

  private static void conditions(Orders orders, UUID customer) {
    equal(orders.insertIfNotExists(new Order(customer, 3, "new")), null, "the first insert");
    equal(orders.insertIfNotExists(new Order(customer, 3, "other")).getStatus(), "new", "what stood in the way of the second");
    equal(orders.updateIf(new Order(customer, 3, "paid"), "new"), true, "an update whose condition holds");
    equal(orders.updateIf(new Order(customer, 3, "sent"), "new"), false, "one whose condition does not");
    equal(orders.find(customer, 3).getStatus(), "paid", "the row between");
    equal(orders.deleteIfExists(customer, 3), true, "a deletion");
    equal(orders.deleteIfExists(customer, 3), false, "a second deletion");
  }

  private static void pages(Orders orders, CqlSession session) {
    UUID customer = UUID.fromString("00000000-0000-0000-0000-000000000007");
    for (int start = 0; start < 1000; start += 100) {
      List<BoundStatement> members = new ArrayList<>();
      for (int number = start; number < start + 100; number++) {
        members.add(orders.inserting(new Order(customer, number, "of a batch")));
      }
      session.execute(BatchStatement.newInstance(DefaultBatchType.UNLOGGED).addAll(members).setPageSize(10));
    }
    int next = 999;
    for (Order order : orders.of(customer)) {
      equal(order.getNumber(), next--, "an order in its place");
    }
    equal(next, -1, "orders over all pages");
    List<Integer> numbers = new ArrayList<>();
    orders.after(customer, 500, 3).forEach(order -> numbers.add(order.getNumber()));
    equal(numbers, List.of(501, 502, 503), "a slice the other way around");
  }

  private static void equal(Object found, Object wanted, String about) {
    if (!Objects.equals(found, wanted)) {
      throw new AssertionError("mapper: " + about + ": found " + found + ", wanted " + wanted);
    }
  }
}
