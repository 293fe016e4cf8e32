//! Differences from Cassandra 5.0.6 that we keep on purpose: the one list, with the reason for each.
//!
//! A pattern is a text in which `*` stands for anything; it is held against the whole statement, the whole of Cassandra's answer and the whole of ours,
//! as they are printed. All three must fit; `|` stands between several that may. Warnings that only one of the two gives are taken away first: the rest
//! of the answers has to be alike, or to be kept for a reason of its own. `server/README.md` names the same differences by chapter.

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

/// All of them.
pub const KEPT: &[Kept] = &[
    Kept {
        statement: "*",
        theirs: "0x1300 Operation failed*",
        ours: "*",
        why: "a failure of Cassandra's own says nothing about the statement",
    },
    Kept {
        statement: "*",
        theirs: "0x1500 Operation failed*",
        ours: "*",
        why: "a failure of Cassandra's own says nothing about the statement",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Function system.* requires a * list argument, but found argument * of type *list<*|0x2200 Function system.* requires a *set/list argument, but found argument * of type *list<*|0x2200 Function system.* requires a *set/list argument, but found argument * of type *set<*|0x2200 Function system.* requires a set or list argument, but found argument * of type *set<*|0x2200 Function system.* requires a map argument, but found argument * of type *map<*|0x2200 Function system.* requires a * argument, but found argument c* of type *",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *mask_replace(c*, {*",
        theirs: "0x2200 Type error: {*} cannot be passed as argument 1 of function system.mask_replace of type frozen<*",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *count(c*[*",
        theirs: "0x2200 Type error: c*[*] cannot be passed as argument 0 of function system.count of type blob",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *((*, *",
        theirs: "0x2200 Type error: (*, *) cannot be passed as argument 0 of function system.* of type frozen<tuple<*frozen<*",
        ours: "[*|prepared: *|0x2200 *",
        why: "a collection or a user type that is not frozen may be a part of a tuple that is made of it",
    },
    Kept {
        statement: "SELECT *mask_replace(*, (0x*))*",
        theirs: "[*tuple<*",
        ours: "[*tuple<*",
        why: "Cassandra parses a bare constant as the internal text of a tuple",
    },
    Kept {
        statement: "*0x*",
        theirs: "*",
        ours: "0x2200 Invalid HEX constant (0x*) for * of type tinyint",
        why: "Cassandra takes a blob constant for a tinyint, and calculates with its first byte",
    },
    Kept {
        statement: "*-0x*|*- 0x*",
        theirs: "*",
        ours: "0x2200 Invalid call to function system._negate, none of its type signatures match *",
        why: "Cassandra takes a blob constant for a tinyint, and calculates with its first byte",
    },
    Kept {
        statement: "*",
        theirs: "*",
        ours: "0x2200 the '*' operation is not supported between *0x*",
        why: "Cassandra takes a blob constant for a tinyint, and calculates with its first byte",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Cannot use CONTAINS* on non-* column *",
        ours: "0x2200 *|prepared: *|[*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "*MASKED WITH *",
        theirs: "0x2200 Function system.* requires an argument of type *, but found argument org.apache.cassandra.db.marshal.ReversedType(*) of type *",
        ours: "0x2200 Function system.* requires an argument of type *, but found argument org.apache.cassandra.db.marshal.* of type *",
        why: "the names of Java's classes are not ours",
    },
    Kept {
        statement: "*vector<*99999>*",
        theirs: "*",
        ours: "0x2200 vectors may have at most 65535 dimensions; given 99999",
        why: "a vector has so many dimensions at most that two bytes count them",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Invalid BOOLEAN constant*",
        ours: "0x2200 Invalid BOOLEAN constant*",
        why: "letters of a boolean and of a UUID are repeated small",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Invalid UUID constant*",
        ours: "0x2200 Invalid UUID constant*",
        why: "letters of a boolean and of a UUID are repeated small",
    },
    Kept {
        statement: "UPDATE *|BEGIN *",
        theirs: "0x2200 Value for a * addition has to be a *, but was: '*-*-*-*-*'|0x2200 Invalid operation (*) for *",
        ours: "0x2200 Value for a * addition has to be a *, but was: '*-*-*-*-*'|0x2200 Invalid operation (*) for *",
        why: "letters of a UUID are repeated small",
    },
    Kept {
        statement: "SELECT *similarity_cosine(*Infinity*",
        theirs: "0x2200 Function system.similarity_cosine doesn't support all-zero vectors.",
        ours: "[*",
        why: "a vector with an infinite element has no zero length",
    },
    Kept {
        statement: "*",
        theirs: "done|[*",
        ours: "0x2200 Input long out of bounds for time",
        why: "a time beyond the end of a day is refused, whichever way it comes",
    },
    Kept {
        statement: "SELECT *min((c*, *))*|SELECT *max((c*, *))*",
        theirs: "[*tuple<*",
        ours: "[*tuple<*",
        why: "Cassandra takes the order of a descending column into a tuple that is made of it",
    },
    Kept {
        statement: "*IF * AND *",
        theirs: "0x2200 Invalid 'unset' value in condition",
        ours: "[[applied]*",
        why: "which of several conditions Cassandra looks at first is a hash table's order: it may not come to the one that makes no sense",
    },
    Kept {
        statement: "*True*|*FALSE*",
        theirs: "0x2200 the '*' operation is not supported between *",
        ours: "0x2200 the '*' operation is not supported between *",
        why: "letters of a boolean and of a UUID are repeated small",
    },
    Kept {
        statement: "*- ?*|*-?*",
        theirs: "0x2200 Invalid unset value for argument in call to function *",
        ours: "0x2200 *",
        why: "of two mistakes another one is met first",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Invalid tuple literal for *",
        ours: "0x2200 Invalid tuple type literal for *",
        why: "a user type is no tuple here, and a tuple's literal none of its values",
    },
    Kept {
        statement: "SELECT *count ( )*",
        theirs: "0x2200 Invalid number of arguments in call to function system.count: 1 required but 0 provided",
        ours: "0x2200 *",
        why: "of two mistakes another one is met first where a table has static columns",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Unsupported \"!=\" relation*",
        ours: "0x2200 Unsupported \"!=\" relation*",
        why: "a literal is repeated as it is understood, not as it was spelled",
    },
    Kept {
        statement: "*",
        theirs: "0x1100 *",
        ours: "*",
        why: "a time-out of Cassandra's own says nothing about the statement",
    },
    Kept {
        statement: "*",
        theirs: "0x1200 *",
        ours: "*",
        why: "a time-out of Cassandra's own says nothing about the statement",
    },
    Kept {
        statement: "SELECT *[*..*]*",
        theirs: "[*..*map<*",
        ours: "[*..*map<*",
        why: "Cassandra loses the last value of a slice of a map",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Could not decode JSON string as a map: com.fasterxml.*",
        ours: "0x2200 Could not decode JSON string as a map: *",
        why: "the words of Jackson are not ours",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Invalid ASCII character in string literal: java.nio.*",
        ours: "0x2200 Invalid ASCII character in string literal: *",
        why: "the words of Java are not ours",
    },
    Kept {
        statement: "*",
        theirs: "0x1400 org.apache.cassandra.serializers.MarshalException: *",
        ours: "0x1400 *",
        why: "the name of a Java class is not ours",
    },
    Kept {
        statement: "*-*",
        theirs: "0x2000 *mismatched character * expecting set null*",
        ours: "*",
        why: "Cassandra takes -i and -n for the beginnings of -Infinity and -NaN",
    },
    Kept {
        statement: "*$*",
        theirs: "0x2000 *",
        ours: "0x2000 *character '$'*",
        why: "a lone dollar sign begins no string here",
    },
    Kept {
        statement: "*",
        theirs: "0x2000 *",
        ours: "0x2000 *",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "CREATE MATERIALIZED VIEW *COMPACT STORAGE*",
        theirs: "0x2000 COMPACT STORAGE tables are not allowed starting with version 4.0",
        ours: "0x2000 line *",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "CREATE TABLE *",
        theirs: "0x2200 Duplicate column * declaration for table *|0x2200 Multiple PRIMARY KEY specified for table *",
        ours: "0x2000 *",
        why: "Cassandra's parser says so before it has read the rest, which is no CQL",
    },
    Kept {
        statement: "*",
        theirs: "0x2000 Error setting type *",
        ours: "0x2000 line *|0x2000 Multiple definitions for property *",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "SELECT *FROM ?*",
        theirs: "0x2000 line *",
        ours: "0x2000 Bind variables cannot be used for table names",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Value for a map * has to be a *, but was: *-*-*-*-*",
        ours: "0x2200 Value for a map * has to be a *, but was: *-*-*-*-*",
        why: "letters of a boolean and of a UUID are repeated small",
    },
    Kept {
        statement: "CREATE *INDEX *",
        theirs: "0x2200 Cannot create () index on frozen column *",
        ours: "0x2200 Cannot create values() index on frozen column *",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "*0x*",
        theirs: "done|[*|prepared: *",
        ours: "0x2200 Expected 1 byte for a tinyint (*)",
        why: "Cassandra looks at the length of a key's tinyint only, and stores the others",
    },
    Kept {
        statement: "ALTER TABLE * MASKED WITH mask_replace(*)",
        theirs: "schema: UPDATED *",
        ours: "0x2200 Type error: * cannot be passed as argument * of function system.mask_replace of type *tuple<*",
        why: "Cassandra parses a bare constant as the internal text of a tuple",
    },
    Kept {
        statement: "SELECT *min((c*|SELECT *max((c*",
        theirs: "[*tuple<*",
        ours: "[*tuple<*",
        why: "Cassandra compares a tuple of a descending column backwards",
    },
    Kept {
        statement: "SELECT * FROM system.local*",
        theirs: "[*broadcast_address inet*",
        ours: "[*broadcast_address inet*",
        why: "each has an address of its own",
    },
    Kept {
        statement: "UPDATE *|BEGIN *",
        theirs: "0x2000 line *",
        ours: "0x2000 Only expressions of the form X = X * are supported.|0x2000 Multiple incompatible setting of column *",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "*",
        theirs: "0x0000 *",
        ours: "*",
        why: "an internal error of Cassandra's says nothing",
    },
    Kept {
        statement: "*",
        theirs: "*LegacyTimeUUIDType*",
        ours: "*timeuuid*",
        why: "a type that no driver knows, where timeuuid is meant",
    },
    Kept {
        statement: "*",
        theirs: "done|[*|prepared: *|0x2200 *",
        ours: "0x2200 Invalid * constant (*) for * of type *tuple<*",
        why: "Cassandra parses a bare constant as the internal text of a tuple",
    },
    Kept {
        statement: "*",
        theirs: "done|[*|prepared: *|0x2200 *",
        ours: "0x2200 Invalid * constant (*) for * of type vector<*",
        why: "Cassandra parses a bare constant as the internal text of a vector",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 More than one restriction was found for * on * ,*|0x2200 * ,* cannot be restricted by *|0x2200 Collection column * ,*",
        ours: "0x2200 * ,*",
        why: "columns in the order of a hash table",
    },
    Kept {
        statement: "*json*",
        theirs: "*tojson*",
        ours: "*to_json*",
        why: "Cassandra names a function by whichever of its two names was called first",
    },
    Kept {
        statement: "*json*",
        theirs: "*to_json*",
        ours: "*tojson*",
        why: "Cassandra names a function by whichever of its two names was called first",
    },
    Kept {
        statement: "*json*",
        theirs: "*class java.lang*",
        ours: "*",
        why: "the names of Java's classes are not ours",
    },
    Kept {
        statement: "*CAST(c*",
        theirs: "0x2200 * cannot be cast to *",
        ours: "[*|prepared: *|0x2200 *",
        why: "Cassandra does not know a descending column's own type again",
    },
    Kept {
        statement: "SELECT *mask_replace(c*, {f*",
        theirs: "0x2200 Undefined column name f* in table *",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *",
        theirs: "0x2200 Key may not be empty",
        ours: "[*]",
        why: "a key that cannot be is none to look for where no rows are wanted",
    },
    Kept {
        statement: "SELECT *GROUP BY *",
        theirs: "0x2200 the '*' operation is not supported between *",
        ours: "0x2200 Group by with functions is not supported yet",
        why: "what is calculated in GROUP BY is refused in any case",
    },
    Kept {
        statement: "SELECT *(*) [*- *",
        theirs: "0x2200 Cannot assign value (*) to (*) of type *",
        ours: "0x2200 Invalid * literal for (*: value -* is not of type *",
        why: "the part of a literal that does not fit is named",
    },
    Kept {
        statement: "SELECT JSON *similarity_*",
        theirs: "[[json] text]*system.similarity_*",
        ours: "[[json] text]*system.similarity_*",
        why: "the last digit of a similarity is the business of the processor's vectors",
    },
    Kept {
        statement: "*IF * AND *",
        theirs: "[[applied]*",
        ours: "0x2200 Invalid comparison with *|0x2200 Invalid null value for * element access",
        why: "which of several conditions Cassandra looks at first is a hash table's order: it may not come to the one that makes no sense",
    },
    Kept {
        statement: "*IF * AND *",
        theirs: "0x2200 Invalid comparison with *",
        ours: "[[applied]*",
        why: "which of several conditions Cassandra looks at first is a hash table's order: it may not come to the one that makes no sense",
    },
    Kept {
        statement: "*IF *",
        theirs: "[[applied]*",
        ours: "0x2200 Invalid 'unset' value in condition|0x2200 Invalid unset value for element access",
        why: "an unset value in a condition is refused; Cassandra takes it for an empty one, or fails",
    },
    Kept {
        statement: "ALTER TABLE *DROP *|ALTER TABLE *RENAME *",
        theirs: "0x2200 Can*dependent secondary indexes (*, *)",
        ours: "0x2200 Can*dependent secondary indexes (*, *)",
        why: "indexes in the order of a hash table",
    },
    Kept {
        statement: "*CAST(c*",
        theirs: "0x2200 Invalid call to function system.cast_as_*",
        ours: "[*",
        why: "Cassandra does not know a descending column's own type again",
    },
    Kept {
        statement: "CREATE ROLE *|ALTER ROLE *|CREATE USER *|ALTER USER *",
        theirs: "0x2200 org.apache.cassandra.auth.CassandraRoleManager doesn't support *",
        ours: "0x2100 *",
        why: "who is nobody is told so first",
    },
    Kept {
        statement: "SELECT *system_schema.views*",
        theirs: "[*where_clause*-*-*-*-*",
        ours: "[*where_clause*-*-*-*-*",
        why: "letters of a UUID are repeated small",
    },
    Kept {
        statement: "TRUNCATE system*",
        theirs: "done",
        ours: "0x2100 *",
        why: "the server's own tables are not emptied by anybody",
    },
    Kept {
        statement: "*",
        theirs: "done",
        ours: "0x2200 Unable to make inet address from *",
        why: "Cassandra asks for the addresses of host names, and completes short addresses",
    },
    Kept {
        statement: "*",
        theirs: "0x2000 Failed parsing statement*",
        ours: "*",
        why: "a number that Cassandra's parser fails at",
    },
    Kept {
        statement: "*BETWEEN*",
        theirs: "0x2000 *",
        ours: "*",
        why: "BETWEEN, NOT IN and NOT CONTAINS came after CQL 3.4.7: the first is answered, the others are known by name",
    },
    Kept {
        statement: "*NOT *",
        theirs: "0x2000 *",
        ours: "0x2200 Unsupported *NOT *",
        why: "BETWEEN, NOT IN and NOT CONTAINS came after CQL 3.4.7: the first is answered, the others are known by name",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Unsupported \"!=\" relation*-*-*-*-*",
        ours: "0x2200 Unsupported \"!=\" relation*-*-*-*-*",
        why: "letters of a UUID are repeated small",
    },
    Kept {
        statement: "*JSON*",
        theirs: "0x2200 Error decoding JSON value *",
        ours: "0x2200 Error decoding JSON value *",
        why: "of several wrong values of a document another one may be met first",
    },
    Kept {
        statement: "*CREATE TRIGGER*",
        theirs: "0x2200 *",
        ours: "0x2200 *",
        why: "there are no triggers here",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Cannot infer type of argument c*",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *CAST(c*",
        theirs: "0x2200 c* cannot be cast to *|0x2200 Invalid call to function system.cast_as_*",
        ours: "*",
        why: "Cassandra does not know a descending column's own type again",
    },
    Kept {
        statement: "SELECT *GROUP BY*",
        theirs: "0x000a Invalid value for the paging state*",
        ours: "[*|0x2200 *",
        why: "Cassandra hands out a page state of groups that it then refuses",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Column c* cannot be used as a map",
        ours: "0x2200 Map-entry equality predicates on frozen map column c*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "ALTER TABLE *DROP *",
        theirs: "0x2200 Cannot drop column * because it has dependent secondary indexes (*,*",
        ours: "0x2200 Cannot drop column * because it has dependent secondary indexes (*,*",
        why: "indexes in the order of a hash table",
    },
    Kept {
        statement: "CREATE MATERIALIZED VIEW *",
        theirs: "0x2200 * when defining a materialized view (got org.apache.*",
        ours: "0x2200 * when defining a materialized view (got *",
        why: "the names of Java's classes are not ours",
    },
    Kept {
        statement: "ALTER TABLE t ADD w text MASKED WITH mask_null()",
        theirs: "schema: UPDATED TABLE ks t",
        ours: "0x2200 Cannot mask columns*",
        why: "Cassandra stores a mask that it never applies",
    },
    Kept {
        statement: "SELECT * FROM f WHERE k = {*",
        theirs: "[*",
        ours: "[*",
        why: "of two spellings of one key the newest write's is kept",
    },
    Kept {
        statement: "SELECT k, i, tx, de, ts, bl, bo FROM t WHERE k = 10",
        theirs: "[*",
        ours: "[*",
        why: "Cassandra reads numbers of JSON as doubles; digits are kept here",
    },
];

/// Who gives a warning that the other does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Only {
    Ours,
    Theirs,
    /// One says it more often than the other.
    Either,
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
        of: Only::Theirs,
        text: "*anti-pattern due to ambiguity*",
        why: "Cassandra warns of USE once in a while; the statement is none the worse",
    },
    KeptWarning {
        of: Only::TheirErrors,
        text: "Aggregation*",
        why: "an error carries no warning of an answer that there is not",
    },
    KeptWarning {
        of: Only::Either,
        text: "SAI ANN indexes on vector columns are experimental*",
        why: "not yet: Cassandra says so again with every later index of the table",
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
        if warning.of == Only::Either {
            let before = theirs.warnings.len() + ours.warnings.len();
            theirs.warnings.retain(|text| !fits(warning.text, text));
            ours.warnings.retain(|text| !fits(warning.text, text));
            if theirs.warnings.len() + ours.warnings.len() < before {
                why = Some(warning.why);
            }
            continue;
        }
        let reply = match warning.of {
            Only::Ours => &mut ours,
            Only::Theirs => &mut theirs,
            Only::TheirErrors if theirs.is_refused() => &mut theirs,
            Only::TheirErrors | Only::Either => continue,
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
    if fits("SELECT JSON * IN *ORDER BY *", statement)
        && compare::difference(&theirs, &compare::in_their_order(&theirs, &ours)).is_none()
    {
        return Some(
            "rows of several partitions are sorted by their columns, by Cassandra by their JSON",
        );
    }
    let (theirs, ours) = (theirs.to_string(), ours.to_string());
    let any = |patterns: &str, text: &str| patterns.split('|').any(|pattern| fits(pattern, text));
    KEPT.iter()
        .chain(NOT_YET)
        .find(|kept| {
            any(kept.statement, statement) && any(kept.theirs, &theirs) && any(kept.ours, &ours)
        })
        .map(|kept| kept.why)
}

/// No statement may make the server fail, or end the connection, whatever Cassandra makes of it.
fn is_broken(ours: &Reply) -> bool {
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
