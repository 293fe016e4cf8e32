//! Generated trees of SELECT, INSERT, UPDATE, DELETE, BATCH and DESCRIBE, shaped as the grammar shapes them: an operand
//! is never a looser operation, a bare name is no term. The positions of markers are left at zero.

use palladium_protocol::cql::Statement;
use palladium_protocol::cql::ast::{
    Arithmetic, Assignment, Attribute, Batch, BatchKind, CellFact, ColumnCondition, Condition,
    ConditionTarget, ConditionTest, Delete, DeleteTarget, Describe, DescribeTarget, Direction,
    InValues, Insert, InsertValues, JsonDefault, JsonValue, Literal, Marker, Modification, Name,
    NativeType, Operator, Ordering, OrderingKey, QualifiedName, Relation, Select, Selectable,
    Selection, Selector, Term, Type, Update, Using,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Names that need quotes, that are keywords of every reach, and that look like other things.
const NAMES: [&str; 36] = [
    "a", "b", "c1", "_x", "A", "Select", "select", "from", "key", "type", "ttl", "count", "token",
    "json", "distinct", "as", "cast", "int", "text", "map", "frozen", "values", "exists",
    "between", "tags", "true", "nan", "expr", "a b", "q\"q", "é😀", "1a", "p1y", "all", "enum",
    "default",
];

pub fn ident() -> BoxedStrategy<Name> {
    prop_oneof![
        4 => select(NAMES.to_vec()).prop_map(Name::exact),
        1 => "[a-zA-Z_\" é]{1,8}".prop_map(Name::exact),
    ]
    .boxed()
}

/// A name where `""` is one too.
pub fn column() -> BoxedStrategy<Name> {
    prop_oneof![
        9 => ident(),
        1 => Just(Name::exact("")),
    ]
    .boxed()
}

pub fn qualified() -> BoxedStrategy<QualifiedName> {
    (option::of(ident()), ident())
        .prop_map(|(keyspace, name)| QualifiedName { keyspace, name })
        .boxed()
}

pub fn native() -> BoxedStrategy<NativeType> {
    select(NativeType::ALL.to_vec()).boxed()
}

pub fn of_type() -> BoxedStrategy<Type> {
    let leaf = prop_oneof![
        4 => native().prop_map(Type::Native),
        1 => qualified().prop_map(Type::User),
        1 => "[a-z.']{0,6}".prop_map(Type::Custom),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Type::List),
            boxed().prop_map(Type::Set),
            (boxed(), boxed()).prop_map(|(key, value)| Type::Map(key, value)),
            vec(inner.clone(), 1..4).prop_map(Type::Tuple),
            (boxed(), any::<i32>()).prop_map(|(of, dimension)| Type::Vector(of, dimension)),
            boxed().prop_map(|of| match *of {
                Type::Native(_) | Type::Custom(_) => Type::Frozen(Box::new(Type::List(of))),
                _ => Type::Frozen(of),
            }),
        ]
    })
    .boxed()
}

/// The type of a hint: its classes are known to the parser.
fn hint() -> BoxedStrategy<Type> {
    of_type()
        .prop_filter("a class that Cassandra has", |written| {
            written.check_classes().is_ok()
        })
        .boxed()
}

pub fn constant() -> BoxedStrategy<Literal> {
    let float = [
        "1.5",
        "-0.25",
        "1.",
        "1e5",
        "-1.5E-3",
        "NaN",
        "Infinity",
        "-Infinity",
    ];
    let duration = [
        "1y2mo",
        "-3d",
        "PT5S",
        "-P1Y2M",
        "P2W",
        "P0001-02-03T04:05:06",
        "9us",
    ];
    prop_oneof![
        any::<String>().prop_map(Literal::String),
        any::<i128>().prop_map(|n| Literal::Integer(n.to_string())),
        select(float.to_vec()).prop_map(|text| Literal::Float(text.into())),
        any::<bool>().prop_map(|value| Literal::Boolean(value.to_string())),
        any::<u128>().prop_map(|n| Literal::Uuid(uuid::Uuid::from_u128(n).to_string())),
        "0[xX][0-9a-fA-F]{0,7}".prop_map(Literal::Blob),
        select(duration.to_vec()).prop_map(|text| Literal::Duration(text.into())),
    ]
    .boxed()
}

fn literal() -> BoxedStrategy<Literal> {
    prop_oneof![
        6 => constant(),
        1 => Just(Literal::Null),
    ]
    .boxed()
}

pub fn marker() -> BoxedStrategy<Marker> {
    option::of(ident())
        .prop_map(|name| Marker { index: 0, name })
        .boxed()
}

fn operator_tight() -> BoxedStrategy<Arithmetic> {
    select([Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Modulo].to_vec()).boxed()
}

fn operator_loose() -> BoxedStrategy<Arithmetic> {
    select([Arithmetic::Add, Arithmetic::Subtract].to_vec()).boxed()
}

/// A term that needs no parentheses anywhere.
fn simple_term(inner: BoxedStrategy<Term>) -> BoxedStrategy<Term> {
    let leaf = || {
        prop_oneof![
            4 => literal().prop_map(Term::Literal),
            1 => marker().prop_map(Term::Marker),
        ]
    };
    let terms = |least: usize| vec(inner.clone(), least..4);
    prop_oneof![
        4 => leaf(),
        1 => (qualified(), terms(0)).prop_map(|(name, arguments)| Term::Function { name, arguments }),
        1 => (leaf(), native()).prop_map(|(term, to)| Term::Cast { term: Box::new(term), to }),
        1 => (hint(), leaf()).prop_map(|(to, term)| Term::TypeHint { to, term: Box::new(term) }),
        1 => terms(0).prop_map(Term::List),
        1 => terms(0).prop_map(Term::Set),
        1 => vec((inner.clone(), inner.clone()), 1..3).prop_map(Term::Map),
        1 => vec((ident(), inner.clone()), 1..3).prop_map(Term::User),
        1 => terms(1).prop_map(Term::Tuple),
    ]
    .boxed()
}

pub fn term() -> BoxedStrategy<Term> {
    let leaf = literal().prop_map(Term::Literal).boxed();
    leaf.prop_recursive(3, 24, 4, |inner| {
        let simple = simple_term(inner);
        let group = prop_oneof![
            5 => simple.clone(),
            1 => simple.prop_map(|term| Term::Negation(Box::new(term))),
        ]
        .boxed();
        let product = chain(group, operator_tight().boxed());
        chain(product, operator_loose().boxed())
    })
    .boxed()
}

/// `operand (operator operand)*`, mostly one operand.
fn chain(operand: BoxedStrategy<Term>, operator: BoxedStrategy<Arithmetic>) -> BoxedStrategy<Term> {
    let more = prop_oneof![
        5 => Just(0usize),
        1 => 1usize..3,
    ];
    (
        operand.clone(),
        more.prop_flat_map(move |count| vec((operator.clone(), operand.clone()), count)),
    )
        .prop_map(|(first, rest)| {
            rest.into_iter()
                .fold(first, |left, (operator, right)| Term::Arithmetic {
                    operator,
                    left: Box::new(left),
                    right: Box::new(right),
                })
        })
        .boxed()
}

fn int_value() -> BoxedStrategy<Term> {
    prop_oneof![
        any::<i64>().prop_map(|n| Term::Literal(Literal::Integer(n.to_string()))),
        marker().prop_map(Term::Marker),
    ]
    .boxed()
}

fn selectable_leaf() -> BoxedStrategy<Selectable> {
    prop_oneof![
        4 => ident().prop_map(Selectable::Column),
        1 => literal().prop_map(Selectable::Literal),
        1 => marker().prop_map(Selectable::Marker),
        1 => Just(Selectable::CountRows),
    ]
    .boxed()
}

/// A column with fields, elements and slices behind it.
fn path() -> BoxedStrategy<Selectable> {
    let column = ident().prop_map(Selectable::Column);
    column
        .prop_recursive(2, 4, 1, |of| {
            let of = || of.clone().prop_map(Box::new);
            let key = || term().prop_map(Box::new);
            prop_oneof![
                (of(), ident()).prop_map(|(of, field)| Selectable::Field { of, field }),
                (of(), key()).prop_map(|(of, key)| Selectable::Element { of, key }),
                (of(), key(), option::of(key())).prop_map(|(of, from, to)| Selectable::Slice {
                    of,
                    from: Some(from),
                    to
                }),
                (of(), key()).prop_map(|(of, to)| Selectable::Slice {
                    of,
                    from: None,
                    to: Some(to)
                }),
            ]
        })
        .boxed()
}

/// `{(a): b}` is a set of `(a) :b`, a marker with a type: no map has such a key.
fn map_key(key: Selectable) -> Selectable {
    match key {
        Selectable::Tuple(items) => Selectable::List(items),
        other => other,
    }
}

pub fn selectable() -> BoxedStrategy<Selectable> {
    selectable_leaf()
        .prop_recursive(3, 16, 4, |inner| {
            let items = |least: usize| vec(inner.clone(), least..4);
            let facts = [CellFact::WriteTime, CellFact::MaxWriteTime, CellFact::Ttl];
            let boxed = || inner.clone().prop_map(Box::new);
            let tight = || prop_oneof![selectable_leaf(), path()].prop_map(Box::new);
            prop_oneof![
                path(),
                (select(facts.to_vec()), path().prop_map(Box::new))
                    .prop_map(|(fact, of)| Selectable::CellFact { fact, of }),
                (boxed(), native())
                    .prop_map(|(expression, to)| Selectable::Cast { expression, to }),
                (qualified(), items(0))
                    .prop_map(|(name, arguments)| Selectable::Function { name, arguments }),
                (hint(), selectable_leaf().prop_map(Box::new))
                    .prop_map(|(to, expression)| Selectable::TypeHint { to, expression }),
                items(1).prop_map(Selectable::Tuple),
                items(0).prop_map(Selectable::List),
                items(0).prop_map(Selectable::Set),
                vec((inner.clone().prop_map(map_key), inner.clone()), 1..3)
                    .prop_map(Selectable::Map),
                tight().prop_map(Selectable::Negation),
                (operator_tight(), tight(), tight()).prop_map(|(operator, left, right)| {
                    Selectable::Arithmetic {
                        operator,
                        left,
                        right,
                    }
                }),
                (operator_loose(), boxed(), tight()).prop_map(|(operator, left, right)| {
                    Selectable::Arithmetic {
                        operator,
                        left,
                        right,
                    }
                }),
            ]
        })
        .boxed()
}

pub fn selection() -> BoxedStrategy<Selection> {
    let selector = (selectable(), option::of(ident()))
        .prop_map(|(expression, alias)| Selector { expression, alias });
    prop_oneof![
        1 => Just(Selection::All),
        4 => vec(selector, 1..4).prop_map(Selection::Items),
    ]
    .boxed()
}

fn operator() -> BoxedStrategy<Operator> {
    use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    select([Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual].to_vec()).boxed()
}

fn in_values() -> BoxedStrategy<InValues> {
    prop_oneof![
        vec(term(), 0..4).prop_map(InValues::Terms),
        marker().prop_map(InValues::Marker),
    ]
    .boxed()
}

fn tuple_value() -> BoxedStrategy<Term> {
    prop_oneof![
        vec(term(), 1..4).prop_map(Term::Tuple),
        marker().prop_map(Term::Marker),
    ]
    .boxed()
}

fn relation() -> BoxedStrategy<Relation> {
    let columns = || vec(column(), 1..4);
    let tuples = prop_oneof![
        vec(tuple_value(), 0..3).prop_map(InValues::Terms),
        marker().prop_map(InValues::Marker),
    ];
    prop_oneof![
        (column(), operator(), term()).prop_map(|(column, operator, value)| Relation::Column {
            column,
            operator,
            value
        }),
        (column(), any::<bool>(), in_values()).prop_map(|(column, negated, values)| Relation::In {
            column,
            negated,
            values
        }),
        (column(), term(), term()).prop_map(|(column, low, high)| Relation::Between {
            column,
            low,
            high
        }),
        (column(), any::<bool>(), any::<bool>(), term()).prop_map(
            |(column, negated, key, value)| Relation::Contains {
                column,
                negated,
                key,
                value
            }
        ),
        (column(), term()).prop_map(|(column, pattern)| Relation::Like { column, pattern }),
        column().prop_map(|column| Relation::IsNotNull { column }),
        (column(), term(), operator(), term()).prop_map(|(column, key, operator, value)| {
            Relation::Element {
                column,
                key,
                operator,
                value,
            }
        }),
        (columns(), operator(), term()).prop_map(|(columns, operator, value)| Relation::Token {
            columns,
            operator,
            value
        }),
        (columns(), term(), term()).prop_map(|(columns, low, high)| Relation::TokenBetween {
            columns,
            low,
            high
        }),
        (columns(), operator(), tuple_value()).prop_map(|(columns, operator, value)| {
            Relation::Tuple {
                columns,
                operator,
                value,
            }
        }),
        (columns(), any::<bool>(), tuples).prop_map(|(columns, negated, values)| {
            Relation::TupleIn {
                columns,
                negated,
                values,
            }
        }),
        (columns(), tuple_value(), tuple_value())
            .prop_map(|(columns, low, high)| Relation::TupleBetween { columns, low, high }),
        (ident(), term()).prop_map(|(index, value)| Relation::CustomIndex { index, value }),
    ]
    .boxed()
}

pub fn relations(least: usize) -> BoxedStrategy<Vec<Relation>> {
    vec(relation(), least..4).boxed()
}

pub fn direction() -> BoxedStrategy<Direction> {
    select([Direction::Ascending, Direction::Descending].to_vec()).boxed()
}

fn select_statement() -> BoxedStrategy<Select> {
    let by = prop_oneof![
        column().prop_map(OrderingKey::Column),
        (column(), term()).prop_map(|(column, near)| OrderingKey::Ann { column, near }),
    ];
    let ordering = (by, direction()).prop_map(|(by, direction)| Ordering { by, direction });
    (
        (any::<bool>(), any::<bool>(), selection(), qualified()),
        relations(0),
        vec(selectable(), 0..3),
        vec(ordering, 0..3),
        (
            option::of(int_value()),
            option::of(int_value()),
            any::<bool>(),
        ),
    )
        .prop_map(|(head, relations, group_by, order_by, tail)| Select {
            json: head.0,
            distinct: head.1,
            selection: head.2,
            table: head.3,
            relations,
            group_by,
            order_by,
            per_partition_limit: tail.0,
            limit: tail.1,
            allow_filtering: tail.2,
        })
        .boxed()
}

fn using() -> BoxedStrategy<Using> {
    let attribute = prop_oneof![
        int_value().prop_map(Attribute::Timestamp),
        int_value().prop_map(Attribute::Ttl),
    ];
    vec(attribute, 0..3)
        .prop_map(|attributes| Using { attributes })
        .boxed()
}

fn insert() -> BoxedStrategy<Insert> {
    let json = prop_oneof![
        any::<String>().prop_map(JsonValue::Text),
        marker().prop_map(JsonValue::Marker),
    ];
    let defaults = [JsonDefault::Null, JsonDefault::Unset];
    let values = prop_oneof![
        3 => (vec(column(), 1..4), vec(term(), 1..4))
            .prop_map(|(columns, terms)| InsertValues::Columns { columns, terms }),
        1 => (json, select(defaults.to_vec()))
            .prop_map(|(value, default)| InsertValues::Json { value, default }),
    ];
    (qualified(), values, any::<bool>(), using())
        .prop_map(|(table, values, if_not_exists, using)| Insert {
            table,
            values,
            if_not_exists,
            using,
        })
        .boxed()
}

fn assignment() -> BoxedStrategy<Assignment> {
    prop_oneof![
        (column(), term()).prop_map(|(column, value)| Assignment::Set { column, value }),
        (column(), term()).prop_map(|(column, value)| Assignment::Add { column, value }),
        (column(), term()).prop_map(|(column, value)| Assignment::Subtract { column, value }),
        (column(), term()).prop_map(|(column, value)| Assignment::Prepend { column, value }),
        (column(), term(), term()).prop_map(|(column, key, value)| Assignment::Element {
            column,
            key,
            value
        }),
        (column(), ident(), term()).prop_map(|(column, field, value)| Assignment::Field {
            column,
            field,
            value
        }),
    ]
    .boxed()
}

/// Keeps assignments that do not contradict an earlier one.
fn assignments() -> BoxedStrategy<Vec<Assignment>> {
    vec(assignment(), 1..5)
        .prop_map(|all| {
            let mut kept: Vec<Assignment> = Vec::new();
            for next in all {
                if kept.iter().all(|other| other.column() != next.column()) {
                    kept.push(next);
                }
            }
            kept
        })
        .boxed()
}

fn condition() -> BoxedStrategy<Condition> {
    let target = prop_oneof![
        column().prop_map(ConditionTarget::Column),
        (column(), term()).prop_map(|(column, key)| ConditionTarget::Element(column, key)),
        (column(), ident()).prop_map(|(column, field)| ConditionTarget::Field(column, field)),
    ];
    let test = prop_oneof![
        (operator(), term()).prop_map(|(operator, term)| ConditionTest::Compare(operator, term)),
        in_values().prop_map(ConditionTest::In),
    ];
    let contains =
        (column(), any::<bool>(), term()).prop_map(|(column, key, value)| ColumnCondition {
            target: ConditionTarget::Column(column),
            test: ConditionTest::Contains { key, value },
        });
    let condition = prop_oneof![
        4 => (target, test).prop_map(|(target, test)| ColumnCondition { target, test }),
        1 => contains,
    ];
    prop_oneof![
        2 => Just(Condition::None),
        1 => Just(Condition::Exists),
        2 => vec(condition, 1..3).prop_map(Condition::Columns),
    ]
    .boxed()
}

fn update() -> BoxedStrategy<Update> {
    (
        qualified(),
        using(),
        assignments(),
        relations(1),
        condition(),
    )
        .prop_map(|(table, using, assignments, relations, condition)| Update {
            table,
            using,
            assignments,
            relations,
            condition,
        })
        .boxed()
}

fn delete() -> BoxedStrategy<Delete> {
    let target = prop_oneof![
        column().prop_map(DeleteTarget::Column),
        (column(), term()).prop_map(|(column, key)| DeleteTarget::Element(column, key)),
        (column(), ident()).prop_map(|(column, field)| DeleteTarget::Field(column, field)),
    ];
    let using = option::of(int_value()).prop_map(|timestamp| Using {
        attributes: timestamp.into_iter().map(Attribute::Timestamp).collect(),
    });
    (
        vec(target, 0..3),
        qualified(),
        using,
        relations(1),
        condition(),
    )
        .prop_map(|(targets, table, using, relations, condition)| Delete {
            targets,
            table,
            using,
            relations,
            condition,
        })
        .boxed()
}

fn batch() -> BoxedStrategy<Batch> {
    let kinds = [BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter];
    let statement = prop_oneof![
        insert().prop_map(Modification::Insert),
        update().prop_map(Modification::Update),
        delete().prop_map(Modification::Delete),
    ];
    (select(kinds.to_vec()), using(), vec(statement, 0..4))
        .prop_map(|(kind, using, statements)| Batch {
            kind,
            using,
            statements,
        })
        .boxed()
}

fn describe() -> BoxedStrategy<Describe> {
    let target = prop_oneof![
        Just(DescribeTarget::Cluster),
        any::<bool>().prop_map(|full| DescribeTarget::Schema { full }),
        Just(DescribeTarget::Keyspaces),
        (any::<bool>(), option::of(ident()))
            .prop_map(|(only, keyspace)| DescribeTarget::Keyspace { only, keyspace }),
        Just(DescribeTarget::Tables),
        qualified().prop_map(DescribeTarget::Table),
        qualified().prop_map(DescribeTarget::Index),
        qualified().prop_map(DescribeTarget::View),
        Just(DescribeTarget::Types),
        qualified().prop_map(DescribeTarget::Type),
        Just(DescribeTarget::Functions),
        qualified().prop_map(DescribeTarget::Function),
        Just(DescribeTarget::Aggregates),
        qualified().prop_map(DescribeTarget::Aggregate),
        qualified().prop_map(DescribeTarget::Any),
    ];
    (target, any::<bool>())
        .prop_map(|(target, internals)| Describe { target, internals })
        .boxed()
}

pub fn statement() -> BoxedStrategy<Statement> {
    prop_oneof![
        4 => select_statement().prop_map(Statement::Select),
        2 => insert().prop_map(Statement::Insert),
        2 => update().prop_map(Statement::Update),
        2 => delete().prop_map(Statement::Delete),
        1 => batch().prop_map(Statement::Batch),
        1 => describe().prop_map(Statement::Describe),
        1 => ident().prop_map(Statement::Use),
        1 => qualified().prop_map(Statement::Truncate),
    ]
    .boxed()
}
