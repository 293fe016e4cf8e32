//! What is chance in Cassandra: the order of its hash tables, its own failures, the clock.
//!
//! What must hold: a pattern is as narrow as the differences that its reason explains.

use super::Kept;

/// All of them.
pub const KEPT: &[Kept] = &[
    Kept {
        statement: "*- * + - *|*- * - - *|*- * * - *|*- * / - *|*- * % - *|UPDATE *= - * + *|UPDATE *= - * - *",
        theirs: "0x2200 Unable to make byte from '*'|0x2200 Unable to make short from '*'|0x2200 Unable to make int from '*'|0x2200 Unable to make long from '*'",
        ours: "done|[*|prepared: *|0x2200 Unable to make * from '*'",
        why: "of several functions that take what is negated Cassandra calls the one that its hash table has first, another one at each start",
    },
    Kept {
        statement: "*",
        theirs: "0x2100 User * has no UNMASK nor SELECT_MASKED permission on table *, cannot query masked columns [*, *]",
        ours: "0x2100 User * has no UNMASK nor SELECT_MASKED permission on table *, cannot query masked columns [*, *]",
        why: "Cassandra lists the columns in the order of a hash table, another one at each start",
    },
    Kept {
        statement: "TRUNCATE *",
        theirs: "0x1003 Truncate failed on replica *",
        ours: "*",
        why: "a failure of Cassandra's own says nothing about the statement",
    },
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
        statement: "*BATCH*DELETE FROM *< null*|*BATCH*DELETE FROM *<= null*|*BATCH*DELETE FROM *> null*|*BATCH*DELETE FROM *>= null*",
        theirs: "0x2200 Invalid null value in condition for column *",
        ours: "0x2200 Invalid null value in condition for column *",
        why: "Cassandra fails by itself at a range that ends in null, once all statements of the batch are in order",
    },
    Kept {
        statement: "*IF * AND *",
        theirs: "0x2200 Invalid 'unset' value in condition",
        ours: "[[applied]*",
        why: "which of several conditions Cassandra looks at first is a hash table's order: it may not come to the one that makes no sense",
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
        statement: "SELECT * FROM system.local*",
        theirs: "[*broadcast_address inet*|[[json] text*broadcast_address*",
        ours: "[*broadcast_address inet*|[[json] text*broadcast_address*",
        why: "each has an address of its own",
    },
    Kept {
        statement: "*",
        theirs: "0x0000 *",
        ours: "*",
        why: "an internal error of Cassandra's says nothing",
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
        ours: "[[applied]*|0x2200 Invalid comparison with *",
        why: "which of several conditions Cassandra looks at first is a hash table's order: it may not come to the one that makes no sense",
    },
    Kept {
        statement: "SELECT *WHERE *?*?*",
        theirs: "0x2200 Unsupported unset value for column *",
        ours: "0x2200 Unsupported unset value for column *",
        why: "which of several values that are unset Cassandra comes to first is another one at times",
    },
    Kept {
        statement: "ALTER TABLE *DROP *|ALTER TABLE *RENAME *",
        theirs: "0x2200 Can*dependent secondary indexes (*, *)",
        ours: "0x2200 Can*dependent secondary indexes (*, *)",
        why: "indexes in the order of a hash table",
    },
    Kept {
        statement: "*JSON*",
        theirs: "0x2200 Error decoding JSON value *|0x2200 Unable to convert * to a duration",
        ours: "0x2200 Error decoding JSON value *|0x2200 Unable to convert * to a duration",
        why: "of several wrong values of a document another one may be met first",
    },
    Kept {
        statement: "SELECT *GROUP BY*",
        theirs: "0x000a Invalid value for the paging state*",
        ours: "[*|0x2200 *",
        why: "Cassandra hands out a page state of groups that it then refuses",
    },
    Kept {
        statement: "SELECT *GROUP BY *floor(*; -- pages of *",
        theirs: "[*(more)",
        ours: "0x2200 The floor function starting time is greater than the provided time",
        why: "a deleted row ends a group for Cassandra, so that the row behind it, of which there is no floor, is met a page later",
    },
    Kept {
        statement: "ALTER TABLE *DROP *",
        theirs: "0x2200 Cannot drop column * because it has dependent secondary indexes (*,*",
        ours: "0x2200 Cannot drop column * because it has dependent secondary indexes (*,*",
        why: "indexes in the order of a hash table",
    },
];
