//! What a WHERE comes to: partitions by their keys or a stretch of tokens, positions in them, and conditions to try on each row.
//!
//! Plain values: `restrict` makes them, and whoever plans or reads takes them as they are.

use palladium_protocol::cql::ast::Operator;

use super::indexes::IndexChoice;
use crate::query::expression::Expression;
use crate::schema::TableSchema;
use crate::schema::index::Question;

/// The values a column or tuple may have.
#[derive(Debug, Clone)]
pub enum Alternatives {
    One(Expression),
    Several(Vec<Expression>),
    /// A bound list of them.
    Listed(Expression),
}

/// An end of a slice.
#[derive(Debug, Clone)]
pub struct End {
    pub value: Expression,
    pub inclusive: bool,
}

/// What is known of one clustering column, or of several as a tuple.
#[derive(Debug, Clone)]
pub enum Constraint {
    Among(Alternatives),
    Between {
        lower: Option<End>,
        upper: Option<End>,
    },
}

/// A constraint on neighbouring clustering columns. With `tuple` its values are tuples; else it is about one column.
#[derive(Debug, Clone)]
pub struct ClusteringPart {
    pub first: usize,
    pub count: usize,
    pub tuple: bool,
    pub constraint: Constraint,
}

#[derive(Debug, Clone)]
pub enum Partition {
    All,
    /// One for each column of the partition key.
    Keys(Vec<Alternatives>),
    Token {
        lower: Option<End>,
        upper: Option<End>,
    },
}

/// A condition to try on each row.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Columns by their place in the table; several only for a tuple.
    pub columns: Vec<usize>,
    /// Whether the values are tuples, be it of one.
    pub tuple: bool,
    pub test: Test,
}

#[derive(Debug, Clone)]
pub enum Test {
    Compare(Operator, Expression),
    In(Alternatives),
    Contains(Expression),
    ContainsKey(Expression),
    /// `m[key] op value`
    Element {
        key: Expression,
        operator: Operator,
        value: Expression,
    },
}

/// Who tries rows: Cassandra's indexes compare values in ways of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// Whoever tries those that no index brings.
    Any,
    /// The classic index of this column that answers this question: it knows values by their bytes. Whatever else is said is tried as ever.
    Classic { column: usize, question: Question },
    /// A view, of the rows of its base: where it names the whole partition key, it knows the key by its bytes.
    View,
    /// Storage-attached indexes, and nobody after them.
    Attached,
    /// Storage-attached indexes; what they brought is tried again as rows are that no index brings.
    AttachedAndAny,
}

impl Judge {
    pub fn is_attached(self) -> bool {
        matches!(self, Judge::Attached | Judge::AttachedAndAny)
    }
}

#[derive(Debug, Clone)]
pub struct Restrictions {
    pub partition: Partition,
    /// In the order of the clustering; all but the last are `Among`.
    pub clustering: Vec<ClusteringPart>,
    pub filters: Vec<Filter>,
    /// Every clustering column has one value, or one of several.
    pub is_full_clustering: bool,
    /// Something other than the partition key is restricted.
    pub restricts_rows: bool,
    /// Where the rows to try are found, if not by their key.
    pub index: Option<IndexChoice>,
    /// Cassandra would look into an index, be it one that brings nothing.
    pub asks_index: bool,
    /// What is said of the clustering where Cassandra asks an index as well: then its values have to be values before anything else is looked at.
    pub tried_clustering: Vec<Filter>,
    pub judge: Judge,
    /// Something is said of the partition key, be it enough or not.
    pub restricts_partition: bool,
    /// A column of the partition key is restricted by IN, be the rest of the key known or not.
    pub lists_keys: bool,
    /// The ends of a stretch of tokens that named partitions have to lie in.
    pub token: Option<(Option<End>, Option<End>)>,
    /// Rows would have to be tried, and the statement does not allow that; it is said last, after other mistakes.
    pub needs_filtering: bool,
}

impl Restrictions {
    /// Whether the partition key is restricted by IN, be it enough of the key or not.
    pub fn lists_partitions(&self) -> bool {
        self.lists_keys || self.names_several_partitions()
    }

    /// Whether some column of the partition key may have one of several values.
    pub fn names_several_partitions(&self) -> bool {
        match &self.partition {
            Partition::Keys(columns) => columns
                .iter()
                .any(|column| !matches!(column, Alternatives::One(_))),
            _ => false,
        }
    }
}

impl Restrictions {
    /// Every column that is restricted, in the table's order.
    pub fn columns(&self, table: &TableSchema) -> Vec<usize> {
        let partition: &[usize] = match self.partition {
            Partition::All => &[],
            Partition::Keys(_) | Partition::Token { .. } => &table.partition_key,
        };
        let first_clustering = table.partition_key.len();
        let clustering = self
            .clustering
            .iter()
            .flat_map(|part| part.first..part.first + part.count)
            .map(|place| first_clustering + place);
        let filtered = self.filters.iter().flat_map(|filter| &filter.columns);
        let mut all: Vec<usize> = partition
            .iter()
            .copied()
            .chain(clustering)
            .chain(filtered.copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
