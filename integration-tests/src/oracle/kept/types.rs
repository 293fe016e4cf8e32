//! Types and constants that Cassandra takes for something else: descending columns, bare constants, tuples.
//!
//! What must hold: a pattern is as narrow as the differences that its reason explains.

use super::Kept;

/// All of them.
pub const KEPT: &[Kept] = &[
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
        statement: "SELECT *mask_replace(*, (null))*",
        theirs: "[*tuple<*",
        ours: "[*tuple<*(null)*",
        why: "Cassandra does not know a descending column's own type again",
    },
    Kept {
        statement: "SELECT *min([*|SELECT *max([*|SELECT *min((*|SELECT *max((*|SELECT *min({*|SELECT *max({*",
        theirs: "[*.min(*|[*.max(*",
        ours: "[*.min(*|[*.max(*",
        why: "Cassandra compares a collection of a descending column's values from its last to its first",
    },
    Kept {
        statement: "*) IN (*(*, 0x)*|*) IN (*(*, 0x, *)*|*) IN (*(0x, *)*|*) IN (*(*''*)*",
        theirs: "0x2200 Invalid unset value for column *",
        ours: "[*|done",
        why: "Cassandra takes an empty value of a tuple for an unset one",
    },
    Kept {
        statement: "SELECT *(*) * AND *; *-- unset*",
        theirs: "[*",
        ours: "0x2200 Invalid unset value for tuple field number 0",
        why: "Cassandra compares with nothing where one end of a slice is a tuple and the other one unset",
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
        statement: "*vector*99999*",
        theirs: "*",
        ours: "0x2200 vectors may have at most 65535 dimensions; given 99999",
        why: "a vector has so many dimensions at most that two bytes count them",
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
        statement: "*",
        theirs: "0x2200 Invalid tuple literal for *",
        ours: "0x2200 Invalid tuple type literal for *",
        why: "a user type is no tuple here, and a tuple's literal none of its values",
    },
    Kept {
        statement: "SELECT *[*..*]*",
        theirs: "[*..*map<*",
        ours: "[*..*map<*",
        why: "Cassandra loses the last value of a slice of a map",
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
        theirs: "schema: UPDATED *|0x2200 Unable to make * from '*'|0x2200 Unable to parse * from '*'|0x2200 Unable to coerce '*",
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
        statement: "*",
        theirs: "*LegacyTimeUUIDType*",
        ours: "*timeuuid*",
        why: "a type that no driver knows, where timeuuid is meant",
    },
    Kept {
        statement: "*",
        theirs: "done|[*|prepared: *|0x2200 *|0x2100 *",
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
        statement: "*CAST(c*",
        theirs: "0x2200 Invalid call to function system.cast_as_*",
        ours: "[*",
        why: "Cassandra does not know a descending column's own type again",
    },
    Kept {
        statement: "*",
        theirs: "done",
        ours: "0x2200 Unable to make inet address from *",
        why: "Cassandra asks for the addresses of host names, and completes short addresses",
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
        statement: "*",
        theirs: "0x2200 Column c* cannot be used as a map",
        ours: "0x2200 Map-entry equality predicates on frozen map column c*",
        why: "Cassandra does not see that a descending column is a collection",
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
    Kept {
        statement: "SELECT *",
        theirs: "0x2200 Function system.* requires a float vector argument, but found argument * of type vector<float, *|0x2200 Function system.* requires a collection argument, but found argument * of type *map<*",
        ours: "*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *count(p*[*",
        theirs: "0x2200 Type error: p*[*] cannot be passed as argument 0 of function system.count of type blob",
        ours: "0x2200 *",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT * FROM w*",
        theirs: "0x2200 Column p* cannot be used as a map",
        ours: "0x2200 Map-entry equality predicates on frozen map column p*",
        why: "Cassandra does not see that a descending column is a collection",
    },
    Kept {
        statement: "SELECT *CAST(r*|SELECT *CAST(p* FROM w*|SELECT *CAST(v* FROM w*",
        theirs: "0x2200 r* cannot be cast to *|0x2200 p* cannot be cast to *|0x2200 v* cannot be cast to *|0x2200 Invalid call to function system.cast_as_*",
        ours: "[*|prepared: *|0x2200 *",
        why: "Cassandra does not know a descending column's own type again",
    },
];
