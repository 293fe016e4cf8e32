//! What is refused by both in other words, or by one of the two for a reason of its own.
//!
//! What must hold: a pattern is as narrow as the differences that its reason explains.

use super::Kept;

/// All of them.
pub const KEPT: &[Kept] = &[
    Kept {
        statement: "INSERT * IF NOT EXISTS*|UPDATE * IF *|DELETE * IF *|BEGIN * IF *",
        theirs: "*",
        ours: "0x2100 User * has no UNMASK nor SELECT_MASKED permission on table *, cannot query masked columns [*]",
        why: "a conditional statement needs UNMASK: its answer would show what is behind a mask",
    },
    Kept {
        statement: "SELECT *WHERE *token(* AND *|SELECT *WHERE * AND *token(*",
        theirs: "[*",
        ours: "0x2100 User * has no UNMASK nor SELECT_MASKED permission on table *, cannot query masked columns [*]",
        why: "a token tells of the values it is of: Cassandra forgets that beside another condition on the key",
    },
    Kept {
        statement: "DESCRIBE *",
        theirs: "[*MASKED WITH system.*",
        ours: "[*MASKED WITH system.*blob_as_*(0x)*|[*MASKED WITH system.mask_replace(*0s*)*",
        why: "a mask that is described is read as the same mask: Cassandra takes an empty value for none, and shows no duration of nothing",
    },
    Kept {
        statement: "CREATE TABLE * MASKED WITH *''*|ALTER TABLE * MASKED WITH *''*",
        theirs: "0x2000 Failed parsing CQL term: *",
        ours: "schema: *",
        why: "a text in a mask's argument may hold a quotation mark",
    },
    Kept {
        statement: "*MASKED WITH *",
        theirs: "0x2200 Function system.* requires an argument of type *, but found argument org.apache.cassandra.db.marshal.ReversedType(*) of type *",
        ours: "0x2200 Function system.* requires an argument of type *, but found argument org.apache.cassandra.db.marshal.* of type *",
        why: "the names of Java's classes are not ours",
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
        theirs: "0x2200 Could not decode JSON string as a map: com.fasterxml.*",
        ours: "0x2200 Could not decode JSON string as a map: *",
        why: "the words of Jackson are not ours",
    },
    Kept {
        statement: "*",
        theirs: "0x1400 execution of 'system.from_json[text]' failed: Could not decode JSON string '*': com.fasterxml.*",
        ours: "0x1400 execution of 'system.from_json[text]' failed: Could not decode JSON string '*': no value of JSON *",
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
        theirs: "0x2200 Expected 4 or 16 byte inetaddress; got *",
        ours: "0x2200 Expected 4 or 16 byte inetaddress; got * bytes",
        why: "the bytes of a value that is no address are counted, not repeated: errors hold no plaintext",
    },
    Kept {
        statement: "*",
        theirs: "0x1400 org.apache.cassandra.serializers.MarshalException: *",
        ours: "0x1400 *",
        why: "the name of a Java class is not ours",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Value for a map * has to be a *, but was: *-*-*-*-*",
        ours: "0x2200 Value for a map * has to be a *, but was: *-*-*-*-*",
        why: "letters of a boolean and of a UUID are repeated small",
    },
    Kept {
        statement: "*json*",
        theirs: "*class java.lang*",
        ours: "*",
        why: "the names of Java's classes are not ours",
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
        statement: "*IF *",
        theirs: "[[applied]*",
        ours: "0x2200 Invalid 'unset' value in condition|0x2200 Invalid unset value for element access",
        why: "an unset value in a condition is refused; Cassandra takes it for an empty one, or fails",
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
        statement: "INSERT INTO system.*|UPDATE system.*|DELETE * FROM system.*|DELETE FROM system.*",
        theirs: "done|0x2200 *",
        ours: "0x2100 *",
        why: "the server's own tables are not changed by anybody",
    },
    Kept {
        statement: "TRUNCATE system*",
        theirs: "done",
        ours: "0x2100 *",
        why: "the server's own tables are not emptied by anybody",
    },
    Kept {
        statement: "*",
        theirs: "0x2200 Unsupported \"!=\" relation*-*-*-*-*",
        ours: "0x2200 Unsupported \"!=\" relation*-*-*-*-*",
        why: "letters of a UUID are repeated small",
    },
    Kept {
        statement: "*CREATE TRIGGER*",
        theirs: "0x2200 *",
        ours: "0x2200 *",
        why: "there are no triggers here",
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
        statement: "*TIMESTAMP*|*BATCH of *",
        theirs: "done",
        ours: "0x2200 Vectors whose length is not finite cannot be indexed*|0x2200 non-finite value at vector[*|0x2200 Zero vectors cannot be indexed*",
        why: "a vector that is older than what is there never comes to Cassandra's index, which would refuse it",
    },
    Kept {
        statement: "BEGIN *0x* IF *",
        theirs: "0x2200 Batch with conditions cannot span multiple partitions",
        ours: "0x2200 Expected * for a tinyint (*)|0x2200 Expected * for a smallint (*)",
        why: "a key that is no value of its type is no partition, and is told first",
    },
    Kept {
        statement: "BEGIN *0x*|*BATCH*0x*",
        theirs: "0x2200 Attempted to set an element on a list which is null",
        ours: "0x2200 Expected * for a tinyint (*)|0x2200 Expected * for a smallint (*)",
        why: "a key that is no value of its type is told before anything is read",
    },
    Kept {
        statement: "SELECT *where_clause*FROM system_schema.views*",
        theirs: "[*where_clause *'*'*'*",
        ours: "[*where_clause *''*",
        why: "a quote in a string of a view's condition is stored so that it can be read again",
    },
    Kept {
        statement: "ALTER TYPE * ADD *",
        theirs: "schema: UPDATED TYPE *",
        ours: "0x2200 Cannot add new field * as the type is being used in clustering, sets or map keys by the following tables: *",
        why: "a type that keys are made of gets no field whose values are spelled in several ways",
    },
    Kept {
        statement: "SELECT *FROM system_schema.views*|DESCRIBE *",
        theirs: "[*IS NOT NULL*{f*: *, f*: *",
        ours: "[*IS NOT NULL*{f*: *, f*: *",
        why: "the fields of a value in a view's condition stay in their order; Cassandra has them in that of a hash table",
    },
    Kept {
        statement: "DESCRIBE *",
        theirs: "[*WHERE *IS NOT NULL*'*'*'*",
        ours: "[*WHERE *IS NOT NULL*''*",
        why: "a quote in a string of a view's condition is stored so that it can be read again",
    },
    Kept {
        statement: "SELECT *WHERE c* = [*",
        theirs: "0x2200 Use of ANN OF in an ORDER BY clause requires a LIMIT *",
        ours: "[*|prepared: *|0x2200 *",
        why: "Cassandra takes the equality of a clustering vector with an index for a search for what is near",
    },
];
