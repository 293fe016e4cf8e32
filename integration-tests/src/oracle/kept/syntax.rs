//! What is no CQL, and how it is said: the parser is our own.
//!
//! What must hold: a pattern is as narrow as the differences that its reason explains.

use super::Kept;

/// All of them.
pub const KEPT: &[Kept] = &[
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
        statement: "CREATE TABLE * LIKE *",
        theirs: "0x2000 line * mismatched input 'LIKE' expecting '(' *",
        ours: "schema: *|0x2200 *|0x2400 *|done",
        why: "a table is made like another one, as in the Cassandra after 5.0",
    },
    Kept {
        statement: "SELECT *FROM ?*",
        theirs: "0x2000 line *",
        ours: "0x2000 Bind variables cannot be used for table names",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
    },
    Kept {
        statement: "UPDATE *|BEGIN *",
        theirs: "0x2000 line *",
        ours: "0x2000 Only expressions of the form X = X * are supported.|0x2000 Multiple incompatible setting of column *",
        why: "a syntax error has the same code; where it is seen, and in which words, is the parser's own",
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
        statement: "*NOT CONTAINS*|*NOT IN*",
        theirs: "0x2000 * no viable alternative at input 'NOT' *",
        ours: "0x2200 *",
        why: "BETWEEN, NOT IN and NOT CONTAINS came after CQL 3.4.7: the first is answered, the others are known by name",
    },
    Kept {
        statement: "*[[[[[[[[[[[[[[[[[[[[*|*[ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [*",
        theirs: "no answer in *",
        ours: "0x2000 *|0x2200 *",
        why: "Cassandra's parser tries every reading of brackets within brackets, each twice as long as the one before",
    },
    Kept {
        statement: "SELECT *) AS *,*|SELECT *) AS AS *",
        theirs: "0x2200 Undefined column name as in table *",
        ours: "0x2000 *no viable alternative at input *|0x2000 *mismatched input *",
        why: "AS behind parentheses is an alias, and not the name of a column that has a type in front",
    },
];
