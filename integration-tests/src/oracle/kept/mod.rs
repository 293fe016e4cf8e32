//! Differences from Cassandra 5.0.6 that we keep on purpose: the one list, with the reason for each.
//!
//! A pattern is a text in which `*` stands for anything; it is held against the whole statement, the whole of Cassandra's answer and the whole of ours,
//! as they are printed. All three must fit; `|` stands between several that may. Warnings that only one of the two gives are taken away first: the rest
//! of the answers has to be alike, or to be kept for a reason of its own. `server/README.md` names the same differences by chapter.
//!
//! The rooms: `chance` (what Cassandra itself does not always do alike), `types` (what it takes for something else), `syntax` (what is no CQL), `words`.

mod chance;
mod syntax;
mod types;
mod words;

use super::answer::{Answer, Reply};
use super::compare;
use super::not_yet::NOT_YET;

/// One difference, and why it stays.
pub struct Kept {
    pub statement: &'static str,
    pub theirs: &'static str,
    pub ours: &'static str,
    pub why: &'static str,
}

/// All of them. The first that fits gives the reason.
const KEPT: [&[Kept]; 5] = [
    chance::KEPT,
    types::KEPT,
    syntax::KEPT,
    words::KEPT,
    NOT_YET,
];

/// Why rows are missing of which Cassandra itself says that they are there: what a statement does not ask for is skipped where it is older than its row's own
/// timestamp, be that one of a row whose time to live is over.
pub const HIDDEN_ROWS: &str = "Cassandra hides a row whose time to live is over where its other columns, which are older, are not asked for";

/// Why rows are missing where a storage-attached index is asked beside a filter that it does not answer.
pub const FROZEN_CONTAINS: &str = "Cassandra finds nothing in frozen collections that stand beside what an index of the attached kind answers";

/// Why rows are there that are not meant.
pub const ANY_VECTOR: &str = "Cassandra takes any vector for the one that is meant where it stands beside what an index of the attached kind answers";

/// Why rows are missing where a classic index over a static column is asked beside a clustering.
pub const INDEXED_STATIC: &str = "Cassandra finds nothing by an index over a static column where the key of the row is told as well";

/// Why rows are missing where a classic index over a clustering column is asked.
pub const INDEXED_CLUSTERING: &str = "Cassandra's entry of a row in a classic index over its clustering expires by the server's clock, and with the newest of its cells";

/// Why rows are missing where a number is compared with.
pub const CALCULATED_SPELLING: &str = "Cassandra calculates a number in more bytes than it takes, and an index of the attached kind does not know it again in these";

/// Why rows are missing whose clustering is shorter in the index than in the table.
pub const SHORT_TUPLE: &str = "Cassandra's index of the attached kind does not know a row again whose clustering has a tuple that ends in a null";

/// Why rows are missing that are asked for by a value without a byte.
pub const EMPTY_VALUE: &str = "Cassandra's index of the attached kind does not know a number without a byte, nor a text without one in a descending column";

/// Why rows are missing that are there with just the value that is asked for. Seen of static columns, of keys of a map that are written twice at one timestamp, of
/// collections of numbers that were there before the index, and of an index that was built on a busy machine.
pub const LOST_ENTRY: &str =
    "Cassandra's index has lost an entry of a value that its own partition shows";

/// Why rows are there whose static column says that they are not meant.
pub const EXPIRED_STATIC: &str = "Cassandra's index of the attached kind tries static columns by the server's clock, whatever moment a statement brings";

/// Why rows are there that are asked for by an element of a static collection.
pub const DELETED_ELEMENT: &str =
    "Cassandra finds an element in a static collection where its deletion alone is there";

/// Why something is refused where an index over vectors of the key would be asked.
pub const VECTOR_KEY: &str = "Cassandra asks an index over vectors of the key, which compares none, for the vector that a row is to have";

/// Why something is refused beside a column whose order is reversed.
pub const REVERSED_TYPE: &str = "Cassandra takes a column of reversed order for one of another type where it looks for a function, an operator or what a literal is";

/// Why an index or a view is built by ours alone.
pub const THEIRS_IS_NOT_BUILT: &str =
    "Cassandra builds no view of a partition without bytes, and fails at some builds by itself";

/// Why a view's rows are others than ours.
pub const NO_MIRROR: &str = "Cassandra's view has other rows than its base: a row that was gone once and was written again with an older timestamp stays away";

/// Why a view has rows that its base has not.
pub const UNREADABLE_BASE: &str =
    "Cassandra cannot read the view's own base, where a column was dropped before its last write";

/// Why partitions of a view come in another order.
pub const DESCENDING_KEY: &str = "Cassandra lists partitions of a view from the last value to the first where its base's clustering descends; a key has no order in its own tables";

/// Why rows are missing that Cassandra shows when it is asked for all of them at once. Seen where a filter on a static column leaves rows out, which fill its pages
/// none the less.
pub const ROWS_LOST_IN_PAGES: &str =
    "Cassandra loses rows when it is asked page by page, and shows them when asked at once";

/// Why rows are missing under a LIMIT. Seen where an attached index brings values that have expired by the statement's moment, or had in a static column.
pub const ROWS_LOST_UNDER_LIMIT: &str =
    "Cassandra counts towards a LIMIT what its index brings and nobody is shown";

/// What a whole number has behind it where it is calculated to 32 digits.
const ZEROS: &str = ".0000000000000000000000000000000";

/// Documents of several partitions that are put in order.
pub const ORDERED_DOCUMENTS: &str = "SELECT JSON * IN *ORDER BY *";

/// Why they are in another order, or others under a LIMIT.
pub const SORTED_DOCUMENTS: &str =
    "rows of several partitions are sorted by their columns, by Cassandra by their JSON";

/// Who gives a warning that the other does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Only {
    Ours,
    Theirs,
    /// Theirs, with an error.
    TheirErrors,
}

/// A warning that only one of the two gives.
pub struct KeptWarning {
    pub of: Only,
    pub text: &'static str,
    pub why: &'static str,
}

/// All of them.
pub const KEPT_WARNINGS: &[KeptWarning] = &[
    KeptWarning {
        of: Only::Ours,
        text: "Table options that are stored and shown and change nothing else on this server*",
        why: "what an option does not do here is said",
    },
    KeptWarning {
        of: Only::Ours,
        text: "A table's id is drawn by the server; the ID in this statement was not used",
        why: "a key belongs to a table's id, which must never be another table's again",
    },
    KeptWarning {
        of: Only::Theirs,
        text: "*anti-pattern due to ambiguity*",
        why: "Cassandra warns of USE once in a while; the statement is none the worse",
    },
    KeptWarning {
        of: Only::TheirErrors,
        text: "SAI ANN indexes on vector columns are experimental*",
        why: "an error carries no warning of an answer that there is not",
    },
    KeptWarning {
        of: Only::TheirErrors,
        text: "Aggregation*",
        why: "an error carries no warning of an answer that there is not",
    },
];

/// The reason why a difference is none to be reported.
pub fn kept(statement: &str, theirs: &Reply, ours: &Reply) -> Option<&'static str> {
    if is_broken(ours) {
        return None;
    }
    let (mut theirs, mut ours) = (theirs.clone(), ours.clone());
    let mut why = None;
    for warning in KEPT_WARNINGS {
        let reply = match warning.of {
            Only::Ours => &mut ours,
            Only::Theirs => &mut theirs,
            Only::TheirErrors if theirs.is_refused() => &mut theirs,
            Only::TheirErrors => continue,
        };
        let before = reply.warnings.len();
        reply.warnings.retain(|text| !fits(warning.text, text));
        if reply.warnings.len() < before {
            why = Some(warning.why);
        }
    }
    if why.is_some() && compare::difference(&theirs, &ours).is_none() {
        return why;
    }
    if fits("SELECT *similarity_*", statement)
        && compare::difference(&compare::with_close_floats(&theirs, &ours), &ours).is_none()
    {
        return Some("the last digit of a similarity is the business of the processor's vectors");
    }
    let times = [
        "SELECT *avg(writetime(*",
        "SELECT *avg(maxwritetime(*",
        "SELECT *sum(writetime(*",
        "SELECT *sum(maxwritetime(*",
    ];
    if times.iter().any(|pattern| fits(pattern, statement))
        && compare::difference(&compare::with_our_times(&theirs, &ours), &ours).is_none()
    {
        return Some(
            "a write without a timestamp has that of the moment at which it came to its server",
        );
    }
    if compare::difference(&compare::with_short_varints(&theirs), &ours).is_none() {
        return Some(
            "a varint has as few bytes as it takes; which function calculates one is the order of a hash table of Cassandra's",
        );
    }
    if fits(ORDERED_DOCUMENTS, statement)
        && compare::difference(&theirs, &compare::in_their_order(&theirs, &ours)).is_none()
    {
        return Some(SORTED_DOCUMENTS);
    }
    if fits("SELECT * FROM system_schema.column_masks*", statement)
        && compare::is_part(&theirs, &ours)
    {
        return Some("Cassandra leaves the mask of a column behind that was dropped");
    }
    if fits("ALTER TYPE *", statement) && lists_tables_alike(&theirs, &ours) {
        return Some("the tables that use a type are in the order of a hash table");
    }
    let is_of_all =
        fits("SELECT *FROM system_schema*", statement) && !statement.contains(" WHERE ");
    if is_of_all && theirs.has_rows() && ours.has_rows() {
        return Some("each has system tables of its own");
    }
    let (theirs, ours) = (theirs.to_string(), ours.to_string());
    if fits("SELECT *log10(*", statement) && theirs.replace(ZEROS, "") == ours {
        return Some(
            "the first logarithm of a power of ten that Cassandra takes since its start has zeros at its end, and the same one later has none",
        );
    }
    let any = |patterns: &str, text: &str| patterns.split('|').any(|pattern| fits(pattern, text));
    KEPT.into_iter()
        .flatten()
        .find(|kept| {
            any(kept.statement, statement) && any(kept.theirs, &theirs) && any(kept.ours, &ours)
        })
        .map(|kept| kept.why)
}

/// Whether both are the same error, but for the order of the tables that it lists at its end.
fn lists_tables_alike(theirs: &Reply, ours: &Reply) -> bool {
    let listed = |reply: &Reply| {
        let text = reply.to_string();
        let (words, tables) = text.split_once(" by the following tables: ")?;
        let mut tables: Vec<String> = tables.split(", ").map(str::to_owned).collect();
        tables.sort();
        Some((words.to_owned(), tables))
    };
    let theirs = listed(theirs);
    theirs.is_some() && theirs == listed(ours)
}

/// No statement may make the server fail, or end the connection, whatever Cassandra makes of it.
pub fn is_broken(ours: &Reply) -> bool {
    match &ours.answer {
        Answer::Refused(refusal) => refusal.code == 0,
        Answer::Gone(_) => true,
        _ => false,
    }
}

/// Whether a text is what the pattern says, letters alike in both cases.
pub fn fits(pattern: &str, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(place) => rest = &rest[place + middle.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(end) => rest.len() >= end.len() && rest.ends_with(end),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::{fits, kept};
    use crate::oracle::answer::{Answer, Column, Kind, Refusal, Reply, Table, Type};

    fn refused(message: &str) -> Reply {
        Reply {
            answer: Answer::Refused(Refusal {
                code: 0x2200,
                message: message.into(),
                fields: Vec::new(),
            }),
            warnings: Vec::new(),
        }
    }

    fn rows(values: &[&'static str]) -> Reply {
        let column = Column {
            keyspace: "ks".into(),
            table: "t".into(),
            name: "v".into(),
            ty: Type::Native("text", Kind::Text),
        };
        let rows = values.iter().map(|value| vec![Some((*value).into())]);
        Reply {
            answer: Answer::Rows(Table {
                columns: vec![column],
                rows: rows.collect(),
                page_state: None,
            }),
            warnings: Vec::new(),
        }
    }

    fn warned(mut reply: Reply, warning: &str) -> Reply {
        reply.warnings.push(warning.into());
        reply
    }

    const USE: &str = "`USE <keyspace>` with prepared statements is considered to be an anti-pattern due to ambiguity in non-qualified table names.";
    const OPTIONS: &str =
        "Table options that are stored and shown and change nothing else on this server: cdc";

    #[test]
    fn a_warning_of_one_alone_excuses_nothing_else() {
        let select = "SELECT v FROM t";
        let theirs = warned(rows(&["a"]), USE);
        assert!(kept(select, &theirs, &rows(&["a"])).is_some());
        assert_eq!(kept(select, &theirs, &rows(&["b"])), None);
        assert_eq!(
            kept(select, &theirs, &refused("Undefined column name v")),
            None
        );
        let ours = warned(rows(&["a"]), OPTIONS);
        assert!(kept(select, &rows(&["a"]), &ours).is_some());
        assert_eq!(kept(select, &rows(&[]), &ours), None);
        let both = warned(
            warned(rows(&["a"]), USE),
            "Aggregation query used without partition key",
        );
        assert_eq!(
            kept(select, &both, &rows(&["a"])),
            None,
            "rows without their warning"
        );
        let failed = warned(
            refused("no"),
            "Aggregation query used without partition key",
        );
        assert!(kept(select, &failed, &refused("no")).is_some());
        assert_eq!(kept(select, &failed, &refused("another")), None);
    }

    #[test]
    fn columns_in_another_order_excuse_no_other_error() {
        let theirs = "More than one restriction was found for the start bound on b ,a";
        let ours = "More than one restriction was found for the start bound on a ,b";
        assert!(kept("SELECT", &refused(theirs), &refused(ours)).is_some());
        assert_eq!(
            kept("SELECT", &refused(theirs), &refused("Unknown keyspace")),
            None
        );
        assert_eq!(kept("SELECT", &refused(theirs), &rows(&[])), None);
    }

    #[test]
    fn tables_that_use_a_type_are_the_same_ones_in_any_order() {
        let with = |tables: &str| {
            refused(&format!(
                "Cannot add new field f as the type is being used in partition key by the following tables: {tables}"
            ))
        };
        let alter = "ALTER TYPE u ADD f int";
        assert!(kept(alter, &with("k.a, k.b"), &with("k.b, k.a")).is_some());
        assert_eq!(kept(alter, &with("k.a, k.b"), &with("k.b, k.c")), None);
        assert_eq!(kept(alter, &with("k.a, k.b"), &refused("another")), None);
    }

    #[test]
    fn a_failure_of_our_own_is_never_kept() {
        let failed = |code| Reply {
            answer: Answer::Refused(Refusal {
                code,
                message: "java.lang.NullPointerException".into(),
                fields: Vec::new(),
            }),
            warnings: Vec::new(),
        };
        assert!(kept("SELECT", &failed(0), &failed(0x2200)).is_some());
        assert_eq!(kept("SELECT", &failed(0), &failed(0)), None);
        assert_eq!(
            kept("SELECT", &failed(0), &Reply::gone("it ended".into())),
            None
        );
    }

    #[test]
    fn a_star_stands_for_anything_and_the_ends_are_fixed() {
        assert!(fits("*", ""));
        assert!(fits("a*c", "abc"));
        assert!(fits("a*b*c", "a--b--b--c"));
        assert!(fits("SELECT *", "select k from t"));
        assert!(!fits("a*c", "abcd"));
        assert!(!fits("ab", "abc"));
        assert!(!fits("ab*ba", "aba"));
    }
}
