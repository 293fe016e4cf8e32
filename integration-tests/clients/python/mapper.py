"""cqlengine, the driver's object mapper: a small shop whose tables, types and statements nobody has written but the mapper."""

import decimal
import os
import uuid

from cassandra.cqlengine import columns, connection, functions, management, models, query, usertype

import story

# The mapper asks who may change schemas.
os.environ["CQLENG_ALLOW_SCHEMA_MANAGEMENT"] = "1"


class _Address(usertype.UserType):
    __type_name__ = "address"
    street = columns.Text()
    zip = columns.Integer()


class _Order(models.Model):
    __table_name__ = "orders"
    __options__ = {"gc_grace_seconds": 1000}
    customer = columns.UUID(primary_key=True)
    number = columns.Integer(primary_key=True, clustering_order="DESC")
    name = columns.Text(static=True)
    status = columns.Text(index=True)
    tags = columns.Set(columns.Text)
    lines = columns.List(columns.Text)
    prices = columns.Map(columns.Text, columns.Decimal)
    home = columns.UserDefinedType(_Address)
    weight = columns.Double(required=False)


class _LaterOrder(models.Model):
    """The same table as a later version of the application sees it."""

    __table_name__ = "orders"
    __options__ = {"gc_grace_seconds": 2000}
    customer = columns.UUID(primary_key=True)
    number = columns.Integer(primary_key=True, clustering_order="DESC")
    name = columns.Text(static=True)
    status = columns.Text(index=True)
    note = columns.Text()


class _Visits(models.Model):
    __table_name__ = "visits"
    page = columns.Text(primary_key=True)
    count = columns.Counter()


CUSTOMER = uuid.UUID("3f1c2a90-5b1e-4c64-8d3c-0a9b8c7d6e5f")


def _with_mapper(scenario):
    """A scenario whose session is the mapper's, with its tables made by it."""

    def mapped(world, session, keyspace):
        own = world.connect(keyspace)
        models.DEFAULT_KEYSPACE = keyspace
        connection.register_connection(keyspace, session=own, default=True)
        try:
            management.sync_table(_Order)
            management.sync_table(_Visits)
            scenario(world, own, keyspace)
        finally:
            connection.unregister_connection(keyspace)

    mapped.__name__ = scenario.__name__
    mapped.__code__ = mapped.__code__.replace(co_firstlineno=scenario.__code__.co_firstlineno)
    return mapped


def _order(number, **values):
    return _Order.create(customer=CUSTOMER, number=number, **values)


@_with_mapper
def mapped_rows_come_back_as_they_were_saved(world, session, keyspace):
    home = _Address(street="Elm", zip=12345)
    prices = {"tea": decimal.Decimal("2.5"), "milk": decimal.Decimal("0.99")}
    _order(1, name="Ada", status="new", tags={"gift", "big"}, lines=["tea", "milk"], prices=prices, home=home)
    order = _Order.get(customer=CUSTOMER, number=1)
    story.expect((order.name, order.status, order.weight), ("Ada", "new", None))
    story.expect((order.tags, order.lines, order.prices), ({"gift", "big"}, ["tea", "milk"], prices))
    story.expect((order.home.street, order.home.zip), ("Elm", 12345))
    # A change is saved by itself: elements, entries, a column that becomes null.
    order.tags.add("late")
    order.lines.append("sugar")
    order.prices["sugar"] = decimal.Decimal("1.5")
    order.home = _Address(street="Oak", zip=None)
    order.status = None
    order.save()
    order = _Order.get(customer=CUSTOMER, number=1)
    story.expect((sorted(order.tags), order.lines, order.status), (["big", "gift", "late"], ["tea", "milk", "sugar"], None))
    story.expect((order.prices["sugar"], order.home.street, order.home.zip), (decimal.Decimal("1.5"), "Oak", None))
    one = _Order.objects(customer=CUSTOMER, number=1)
    one.update(tags__remove={"big"}, lines__prepend=["salt"], prices__update={"tea": decimal.Decimal("3.5")}, weight=1.5)
    order = _Order.get(customer=CUSTOMER, number=1)
    story.expect((sorted(order.tags), order.lines, order.weight), (["gift", "late"], ["salt", "tea", "milk", "sugar"], 1.5))
    order.delete()
    story.expect(_Order.objects(customer=CUSTOMER, number=1).count(), 0)
    # The static column outlives its row, under no clustering.
    story.expect([row["name"] for row in session.execute("SELECT DISTINCT customer, name FROM orders")], ["Ada"])


@_with_mapper
def mapped_queries_filter_order_limit_and_page(world, session, keyspace):
    for number in range(25):
        _order(number, status="even" if number % 2 == 0 else "odd", tags={f"t{number % 3}"})
    all_of = _Order.objects(customer=CUSTOMER)
    story.expect([order.number for order in all_of.limit(3)], [24, 23, 22])
    story.expect([order.number for order in all_of.order_by("number").limit(3)], [0, 1, 2])
    story.expect([order.number for order in all_of.filter(number__gte=10, number__lt=13)], [12, 11, 10])
    story.expect(sorted(order.number for order in all_of.filter(number__in=[3, 5, 99])), [3, 5])
    story.expect(sum(order.number for order in all_of.fetch_size(7)), 300)
    story.expect(list(all_of.limit(2).values_list("number", "status")), [[24, "even"], [23, "odd"]])
    story.expect([order.number for order in all_of.only(["number"]).limit(1)], [24])
    story.expect(_Order.objects(status="odd").count(), 12, "by the index")
    story.expect(_Order.objects.filter(tags__contains="t1").allow_filtering().count(), 8)
    beyond = _Order.objects.filter(pk__token__gt=functions.Token(CUSTOMER))
    story.expect(len(beyond.limit(10)), 0, "behind the only partition")
    story.expect(len(_Order.objects.distinct(["customer"])), 1, "partitions")
    story.expect_error(query.MultipleObjectsReturned, "", lambda: _Order.get(customer=CUSTOMER))
    story.expect_error(_Order.DoesNotExist, "", lambda: _Order.get(customer=CUSTOMER, number=99))


@_with_mapper
def mapped_conditions_say_what_stood_in_their_way(world, session, keyspace):
    _Order.if_not_exists().create(customer=CUSTOMER, number=1, status="new", home=_Address(street="Elm", zip=1))
    again = _refused(lambda: _Order.if_not_exists().create(customer=CUSTOMER, number=1, status="other"))
    story.expect((again["[applied]"], again["status"]), (False, "new"))

    def one():
        # A query keeps its answer: each question is a new one().
        return _Order.objects(customer=CUSTOMER, number=1)

    one().iff(status="new").update(status="paid")
    story.expect(one().get().status, "paid")
    story.expect(_refused(lambda: one().iff(status="new").update(status="sent")), {"[applied]": False, "status": "paid"})
    order = one().get()
    order.iff(status="paid").update(status="sent")
    story.expect(one().get().status, "sent")
    story.expect(_refused(lambda: order.iff(status="paid").delete()), {"[applied]": False, "status": "sent"})
    one().get().if_exists().delete()
    story.expect(_refused(lambda: one().if_exists().update(status="back")), {"[applied]": False})
    # A batch with a condition is all or nothing.
    with query.BatchQuery() as batch:
        _Order.if_not_exists().batch(batch).create(customer=CUSTOMER, number=2, status="two")
        _Order.batch(batch).create(customer=CUSTOMER, number=3, status="three")

    def second():
        with query.BatchQuery() as batch:
            _Order.if_not_exists().batch(batch).create(customer=CUSTOMER, number=2, status="again")
            _Order.batch(batch).create(customer=CUSTOMER, number=4, status="four")

    story.expect(_refused(second)["status"], "two")
    story.expect(sorted(order.number for order in _Order.objects(customer=CUSTOMER)), [2, 3])


def _refused(action):
    """What the mapper says that there was instead."""
    try:
        action()
    except query.LWTException as refusal:
        return refusal.existing
    raise AssertionError("the condition held")


@_with_mapper
def mapped_batches_counters_timestamps_and_ttls_work(world, session, keyspace):
    with query.BatchQuery() as batch:
        for number in range(3):
            _Order.batch(batch).create(customer=CUSTOMER, number=number, status="of a batch")
        _Order.objects(customer=CUSTOMER, number=0).batch(batch).update(weight=2.0)
    story.expect(_Order.objects(customer=CUSTOMER).count(), 3)
    with query.BatchQuery(batch_type=query.BatchType.Unlogged) as batch:
        _Order.objects(customer=CUSTOMER, number=1).batch(batch).delete()
    story.expect(_Order.objects(customer=CUSTOMER).count(), 2)
    page = _Visits.create(page="start")
    page.count += 5
    page.save()
    page.count -= 2
    page.save()
    story.expect(_Visits.get(page="start").count, 3)
    _Order.ttl(5000).create(customer=CUSTOMER, number=7, status="fleeting")
    left = session.execute(f"SELECT ttl(status) AS left FROM orders WHERE customer = {CUSTOMER} AND number = 7").one()["left"]
    assert 4000 < left <= 5000, left
    _Order.objects(customer=CUSTOMER, number=0).timestamp(1_000_000).update(status="from long ago")
    story.expect(_Order.get(customer=CUSTOMER, number=0).status, "of a batch", "an older write")


@_with_mapper
def a_mapped_table_follows_its_model(world, session, keyspace):
    _order(1, status="new")
    # Nothing is to be done twice.
    management.sync_table(_Order)
    management.sync_table(_LaterOrder)
    table = session.cluster.metadata.keyspaces[keyspace].tables["orders"]
    assert "note" in table.columns and "weight" in table.columns, list(table.columns)
    story.expect(table.options["gc_grace_seconds"], 2000)
    story.expect((_LaterOrder.get(customer=CUSTOMER, number=1).note, len(table.indexes)), (None, 1))

    class _WiderAddress(usertype.UserType):
        __type_name__ = "address"
        street = columns.Text()
        zip = columns.Integer()
        country = columns.Text()

    management.sync_type(keyspace, _WiderAddress)
    story.expect(session.cluster.metadata.keyspaces[keyspace].user_types["address"].field_names, ["street", "zip", "country"])
    management.drop_table(_Order)
    assert "orders" not in session.cluster.metadata.keyspaces[keyspace].tables
