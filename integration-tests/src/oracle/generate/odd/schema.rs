//! Odd statements about the schema, roles and what DESCRIBE shows.

use super::{column, list, maybe, new_name, relations, table, ty, value};
use crate::chance::Chance;
use crate::oracle::generate::world::World;

pub fn create_table(chance: &mut Chance, world: &World) -> String {
    let name = new_name(chance);
    let columns: Vec<String> = (0..1 + chance.below(4))
        .map(|place| {
            let suffix = [
                "",
                "",
                "",
                " static",
                " PRIMARY KEY",
                " MASKED WITH DEFAULT",
            ];
            let suffix = suffix[chance.below(suffix.len())];
            let place = place - usize::from(place > 0 && chance.below(12) == 0);
            format!("a{place} {}{suffix}", ty(chance, world))
        })
        .collect();
    let keys = [
        "PRIMARY KEY (a0)",
        "PRIMARY KEY (a0, a1)",
        "PRIMARY KEY ((a0, a1), a2)",
        "PRIMARY KEY (nope)",
        "PRIMARY KEY (a0, a0)",
        "PRIMARY KEY ()",
        "",
    ];
    let key = keys[chance.below(keys.len())];
    let options = [
        "",
        "",
        "",
        " WITH CLUSTERING ORDER BY (a1 DESC)",
        " WITH CLUSTERING ORDER BY (nope ASC)",
        " WITH COMPACT STORAGE",
        " WITH comment = 1 AND nope = 2",
        " WITH gc_grace_seconds = 'x'",
        " WITH compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': '1'}",
        " WITH comment = 'a' AND comment = 'b'",
        " WITH id = 'x'",
        " WITH default_time_to_live = 630720001",
        " WITH compression = {'sstable_compression': 'Nope'}",
        " WITH memtable = 'nope'",
        " WITH caching = {'keys': 'NOPE'}",
    ];
    let options = options[chance.below(options.len())];
    let exists = ["", "", "IF NOT EXISTS "][chance.below(3)];
    let comma = if key.is_empty() { "" } else { ", " };
    format!(
        "CREATE TABLE {exists}{name} ({}{comma}{key}){options}",
        columns.join(", ")
    )
}

pub fn create_type(chance: &mut Chance, world: &World) -> String {
    let name = match chance.below(4) {
        0 => "u0".to_owned(),
        1 => "text".to_owned(),
        _ => new_name(chance),
    };
    let fields = list(chance, 3, |chance| {
        format!(
            "{} {}",
            ["a", "b", "\"A\"", "1"][chance.below(4)],
            ty(chance, world)
        )
    });
    format!("CREATE TYPE {name} ({fields})")
}

pub fn create_index(chance: &mut Chance, world: &World) -> String {
    let custom = ["", "", "CUSTOM "][chance.below(3)];
    let name = new_name(chance);
    let table = table(chance, world);
    let target = list(chance, 2, |chance| {
        let name = column(chance, world);
        match chance.below(6) {
            0 => format!("keys({name})"),
            1 => format!("full({name})"),
            2 => format!("entries({name})"),
            3 => format!("nope({name})"),
            _ => name,
        }
    });
    let class = [
        "",
        " USING 'sai'",
        " USING 'nope'",
        " USING 'org.apache.cassandra.index.sasi.SASIIndex'",
        " USING 'StorageAttachedIndex' WITH OPTIONS = {'nope': 'x'}",
        " WITH OPTIONS = {'a': 'b'}",
        " USING 'legacy_local_table'",
        " USING sai",
    ];
    let class = class[chance.below(class.len())];
    format!("CREATE {custom}INDEX {name} ON {table} ({target}){class}")
}

pub fn create_view(chance: &mut Chance, world: &World) -> String {
    let name = new_name(chance);
    let columns = match chance.below(3) {
        0 => "*".to_owned(),
        1 => format!("count({})", column(chance, world)),
        _ => list(chance, 3, |chance| column(chance, world)),
    };
    let table = table(chance, world);
    let relations = maybe(chance, 2, |chance| relations(chance, world));
    let key = list(chance, 3, |chance| column(chance, world));
    let options = [
        "",
        "",
        " WITH CLUSTERING ORDER BY (nope DESC)",
        " WITH COMPACT STORAGE",
    ];
    let options = options[chance.below(options.len())];
    format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT {columns} FROM {table}{relations} PRIMARY KEY ({key}){options}"
    )
}

pub fn alter(chance: &mut Chance, world: &World) -> String {
    match chance.below(10) {
        0 => format!(
            "ALTER TABLE {} ADD {} {}",
            table(chance, world),
            column(chance, world),
            ty(chance, world)
        ),
        1 => format!(
            "ALTER TABLE {} ALTER {} TYPE {}",
            table(chance, world),
            column(chance, world),
            ty(chance, world)
        ),
        2 => format!(
            "ALTER TABLE {} DROP {} USING TIMESTAMP {}",
            table(chance, world),
            ["nope", "p0", "9"][chance.below(3)],
            value(chance, world)
        ),
        3 => format!(
            "ALTER TABLE {} RENAME {} TO {}",
            table(chance, world),
            ["nope", "v0", "s0"][chance.below(3)],
            column(chance, world)
        ),
        4 => format!("ALTER TABLE {} DROP COMPACT STORAGE", table(chance, world)),
        5 => format!(
            "ALTER TYPE {} ADD {} {}",
            ["nope", "u9", "\"U\""][chance.below(3)],
            new_name(chance),
            ty(chance, world)
        ),
        6 => format!(
            "ALTER MATERIALIZED VIEW {} WITH nope = 1",
            table(chance, world)
        ),
        7 => format!(
            "ALTER TABLE {} WITH {}",
            table(chance, world),
            [
                "",
                "id = 1",
                "clustering order by (c0 desc)",
                "comment = {}",
                "nope"
            ][chance.below(5)]
        ),
        8 => format!(
            "ALTER TABLE IF EXISTS {} ADD IF NOT EXISTS {} int",
            ["nope", "nope.t"][chance.below(2)],
            column(chance, world)
        ),
        _ => format!(
            "ALTER TABLE {} ALTER {} MASKED WITH {}",
            table(chance, world),
            column(chance, world),
            [
                "nope()",
                "mask_inner('x')",
                "mask_null(1)",
                "count()",
                "DEFAULT",
                "mask_default"
            ][chance.below(6)]
        ),
    }
}

pub fn drop(chance: &mut Chance, world: &World) -> String {
    let kind = [
        "TABLE",
        "TYPE",
        "INDEX",
        "MATERIALIZED VIEW",
        "FUNCTION",
        "AGGREGATE",
        "NOPE",
        "ROLE",
    ][chance.below(8)];
    let exists = ["", "IF EXISTS ", "IF NOT EXISTS "][chance.below(3)];
    let name = match chance.below(4) {
        0 => "nope.nope".to_owned(),
        1 => "system.local".to_owned(),
        2 if kind != "TABLE" => table(chance, world),
        _ => "nope".to_owned(),
    };
    format!("DROP {kind} {exists}{name}")
}

/// None of them makes a keyspace, or takes one away.
pub fn keyspace(chance: &mut Chance) -> String {
    [
        "CREATE KEYSPACE nope",
        "CREATE KEYSPACE nope WITH replication = {}",
        "CREATE KEYSPACE nope WITH replication = {'class': 'Nope'}",
        "CREATE KEYSPACE nope WITH replication = 1",
        "CREATE KEYSPACE nope WITH replication = {'class': 'SimpleStrategy', 'nope': 1}",
        "CREATE KEYSPACE nope WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 'x'}",
        "CREATE KEYSPACE nope WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND nope = 1",
        "CREATE KEYSPACE nope WITH durable_writes = true",
        "CREATE KEYSPACE \"\" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE KEYSPACE system WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "ALTER KEYSPACE nope WITH durable_writes = true",
        "ALTER KEYSPACE system WITH durable_writes = true",
        "DROP KEYSPACE nope",
        "DROP KEYSPACE IF EXISTS nope",
        "DROP KEYSPACE system",
    ][chance.below(15)]
    .to_owned()
}

pub fn function(chance: &mut Chance, world: &World) -> String {
    let ty = ty(chance, world);
    match chance.below(5) {
        0 => format!(
            "CREATE FUNCTION odd (a {ty}) {} RETURNS {ty} LANGUAGE {} AS $$return a;$$",
            ["CALLED ON NULL INPUT", "RETURNS NULL ON NULL INPUT", ""][chance.below(3)],
            ["java", "javascript", "nope"][chance.below(3)]
        ),
        1 => format!(
            "CREATE AGGREGATE odd ({ty}) SFUNC nope STYPE {ty} INITCOND {}",
            value(chance, world)
        ),
        2 => format!("DROP FUNCTION IF EXISTS odd ({ty})"),
        3 => "DROP AGGREGATE odd".to_owned(),
        _ => format!("CREATE OR REPLACE FUNCTION nope.odd () RETURNS {ty} LANGUAGE java AS 'x'"),
    }
}

pub fn trigger(chance: &mut Chance, world: &World) -> String {
    match chance.below(3) {
        0 => format!("DROP TRIGGER odd ON {}", table(chance, world)),
        1 => format!("DROP TRIGGER IF EXISTS odd ON {}", table(chance, world)),
        _ => format!(
            "CREATE TRIGGER odd ON {} USING 'nope'",
            table(chance, world)
        ),
    }
}

/// Nobody is logged in: none of them does anything.
pub fn role(chance: &mut Chance, world: &World) -> String {
    let table = table(chance, world);
    match chance.below(12) {
        0 => "CREATE ROLE odd WITH PASSWORD = 'x' AND LOGIN = true".to_owned(),
        1 => "CREATE USER odd WITH PASSWORD 'x' NOSUPERUSER".to_owned(),
        2 => "ALTER ROLE nope WITH SUPERUSER = maybe".to_owned(),
        3 => "DROP ROLE nope".to_owned(),
        4 => format!("GRANT SELECT ON {table} TO nope"),
        5 => format!(
            "REVOKE ALL PERMISSIONS ON KEYSPACE nope FROM {}",
            ["nope", "'x'", "9"][chance.below(3)]
        ),
        6 => "LIST ROLES OF nope NORECURSIVE".to_owned(),
        7 => "LIST ALL PERMISSIONS OF nope".to_owned(),
        8 => "GRANT nope TO nope".to_owned(),
        9 => format!("GRANT FLY ON {table} TO nope"),
        10 => "LIST USERS".to_owned(),
        _ => "DROP USER IF EXISTS nope".to_owned(),
    }
}

pub fn describe(chance: &mut Chance, world: &World) -> String {
    let table = table(chance, world);
    match chance.below(8) {
        0 => format!("DESCRIBE TABLE {table}"),
        1 => "DESCRIBE TYPE nope".to_owned(),
        2 => "DESCRIBE INDEX nope".to_owned(),
        3 => format!("DESC {table}"),
        4 => "DESCRIBE FUNCTION nope".to_owned(),
        5 => "DESCRIBE KEYSPACE nope".to_owned(),
        6 => "DESCRIBE MATERIALIZED VIEW nope WITH INTERNALS".to_owned(),
        _ => "DESCRIBE".to_owned(),
    }
}
