use palladium_crypto::TableId;
use palladium_protocol::cql;

use super::*;
use crate::query::functions::Moment;
use crate::query::functions::timeuuid::TimeUuids;
use crate::schema::describe::create_keyspace;
use palladium_crypto::OsEntropy;

/// A catalog that statements change, one after the other.
#[derive(Default)]
struct World {
    catalog: Catalog,
    tables: u8,
}

impl World {
    fn new() -> Self {
        let mut world = World::default();
        let system = Keyspace::new("system", KeyspaceKind::System);
        world
            .catalog
            .keyspaces
            .insert("system".into(), Arc::new(system));
        world.ok("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
        world
    }

    fn run(&mut self, text: &str) -> CqlResult<Option<Changed>> {
        let statement = cql::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(is_schema_change(&statement), "{text}");
        written::check(&statement, None)?;
        self.tables += 1;
        let uuids = TimeUuids::new(&OsEntropy);
        let circumstances = Circumstances {
            keyspace: None,
            data_center: "datacenter1",
            new_id: TableId([self.tables; 16]),
            moment: Moment {
                micros: 1_000_000,
                seconds: 1,
                uuids: &uuids,
            },
            masking: true,
        };
        match plan(&self.catalog, &statement, &circumstances)? {
            Plan::Nothing | Plan::Warned(_) => Ok(None),
            Plan::Change(changed) => {
                self.catalog = changed.catalog.clone();
                Ok(Some(*changed))
            }
        }
    }

    fn ok(&mut self, text: &str) -> Changed {
        self.run(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .unwrap_or_else(|| panic!("{text} changed nothing"))
    }

    fn nothing(&mut self, text: &str) {
        let plan = self
            .run(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(plan.is_none(), "{text} changed something");
    }

    fn refused(&mut self, text: &str, message: &str) {
        match self.run(text) {
            Err(error) => assert_eq!(error.message, message, "{text}"),
            Ok(_) => panic!("{text} was not refused"),
        }
    }

    fn table(&self, name: &str) -> &TableSchema {
        self.catalog.table("ks", name).unwrap()
    }

    /// Columns as `name type kind`.
    fn columns(&self, table: &str) -> Vec<String> {
        let columns = self.table(table).columns.iter();
        columns
            .map(|column| {
                let order = if column.reversed { " desc" } else { "" };
                format!(
                    "{} {} {}{order}",
                    column.name,
                    column.ty,
                    column.kind.name()
                )
            })
            .collect()
    }
}

#[test]
fn a_custom_property_that_does_nothing_here_is_warned_of_once() {
    const SAID: &str =
        "Custom properties that are stored and shown and change nothing else on this server: ";
    let mut world = World::new();
    let plain = world.ok("CREATE TABLE ks.plain (k int PRIMARY KEY)");
    assert_eq!(plain.warnings, Vec::<String>::new());
    let created = world.ok(
        "CREATE TABLE ks.t (k int PRIMARY KEY) WITH custom_properties = {'capacity_mode': {'throughput_mode': 'PROVISIONED'}}",
    );
    assert_eq!(created.warnings, [format!("{SAID}capacity_mode")]);
    let altered = world.ok(
        "ALTER TABLE ks.t WITH custom_properties = {'cdc_specification': {'view_type': 'NEW_IMAGE'}}",
    );
    assert_eq!(altered.warnings, [format!("{SAID}cdc_specification")]);
    let altered =
        world.ok("ALTER TABLE ks.t WITH custom_properties = {'ttl': {'status': 'enabled'}}");
    assert_eq!(altered.warnings, Vec::<String>::new());
}

#[test]
fn keyspaces_are_made_changed_and_dropped() {
    let mut world = World::new();
    let many = world.ok("CREATE KEYSPACE many WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 2}");
    assert_eq!(
        many.warnings,
        [
            "Your replication factor 2 for keyspace many is higher than the number of nodes 1 for datacenter datacenter1"
        ]
    );
    world
        .nothing("CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy'}");
    world.refused(
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy'}",
        "Cannot add existing keyspace \"ks\"",
    );
    world.refused(
        "CREATE KEYSPACE a WITH durable_writes = true",
        "Missing mandatory option 'replication'",
    );
    world.refused(
        "CREATE KEYSPACE system WITH replication = {'class': 'SimpleStrategy'}",
        "System keyspace 'system' is not user-modifiable",
    );
    world.refused(
        "CREATE KEYSPACE \"a-b\" WITH replication = {'class': 'SimpleStrategy'}",
        "Keyspace name must not be empty and must contain alphanumeric or underscore characters only (got \"a-b\")",
    );
    world.refused(
        "CREATE KEYSPACE a WITH replication = {'class': 'SimpleStrategy'} AND durable_writes = 'maybe'",
        "Invalid boolean value maybe for 'durable_writes'. Positive values can be '1', 'true' or 'yes'. Negative values can be '0', \
         'false' or 'no'.",
    );
    let altered = world.ok(
        "ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}",
    );
    assert_eq!(
        altered.warnings,
        [
            "Your replication factor 2 for keyspace ks is higher than the number of nodes 1",
            "When increasing replication factor you need to run a full (-full) repair to distribute the data."
        ]
    );
    world.ok("ALTER KEYSPACE ks WITH durable_writes = false");
    let tagged = world.ok("ALTER KEYSPACE ks ADD TAGS {'team': 'it''s', 'stage': 'test'}");
    assert_eq!(tagged.warnings, Vec::<String>::new());
    world.ok("ALTER KEYSPACE ks DROP TAGS {'stage': 'test'}");
    let ks = world.catalog.keyspace("ks").unwrap();
    assert!(
        create_keyspace(ks).ends_with("AND durable_writes = false AND tags = {'team': 'it''s'};")
    );
    assert!(!world.catalog.keyspace("ks").unwrap().durable_writes);
    world.refused(
        "ALTER KEYSPACE nope WITH durable_writes = true",
        "Keyspace 'nope' doesn't exist",
    );
    world.refused(
        "ALTER KEYSPACE system WITH durable_writes = true",
        "system keyspace is not user-modifiable.",
    );
    world.refused(
        "DROP KEYSPACE system",
        "system keyspace is not user-modifiable.",
    );
    world.refused("DROP KEYSPACE nope", "Keyspace 'nope' doesn't exist");
    world.nothing("DROP KEYSPACE IF EXISTS nope");
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY)");
    let dropped = world.ok("DROP KEYSPACE ks");
    assert!(matches!(dropped.effects.as_slice(), [Effect::Drop(_)]));
    assert!(world.catalog.keyspace("ks").is_none());
}

#[test]
fn a_table_has_its_columns_in_the_order_of_select() {
    let mut world = World::new();
    let created = world.ok(
        "CREATE TABLE ks.t (v text, l list<int>, s int static, k2 int, k1 int, c2 int, c1 int, PRIMARY KEY ((k1, k2), c1, c2)) WITH \
         CLUSTERING ORDER BY (c1 DESC)",
    );
    assert_eq!(
        world.columns("t"),
        [
            "k1 int partition_key",
            "k2 int partition_key",
            "c1 int clustering desc",
            "c2 int clustering",
            "s int static",
            "l list<int> regular",
            "v text regular",
        ]
    );
    assert!(matches!(created.effects.as_slice(), [Effect::Create(table)] if table.name == "t"));
    let mut ids: Vec<u32> = world
        .table("t")
        .columns
        .iter()
        .map(|column| column.id.0)
        .collect();
    ids.sort();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(world.table("t").next_column_id, 8);
}

#[test]
fn wrong_tables_are_refused_in_cassandras_words() {
    let mut world = World::new();
    world.ok("CREATE TYPE ks.u (a int)");
    for (definition, message) in [
        (
            "(k int, v int)",
            "No PRIMARY KEY specifed for table 'ks.t' (exactly one required)",
        ),
        (
            "(k int PRIMARY KEY, v int PRIMARY KEY)",
            "Multiple PRIMARY KEY specified for table 'ks.t' (exactly one required)",
        ),
        (
            "(k int PRIMARY KEY, k int)",
            "Duplicate column 'k' declaration for table 'ks.t'",
        ),
        (
            "(k int, PRIMARY KEY (z))",
            "Unknown column 'z' referenced in PRIMARY KEY for table 't'",
        ),
        (
            "(k int, c int, PRIMARY KEY (k, c, c))",
            "Duplicate column 'c' in PRIMARY KEY clause for table 't'",
        ),
        (
            "(k int static, c int, PRIMARY KEY (k, c))",
            "Static column 'k' cannot be part of the PRIMARY KEY",
        ),
        (
            "(k int PRIMARY KEY, c int static)",
            "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
        ),
        (
            "(k list<int> PRIMARY KEY)",
            "Invalid non-frozen collection type list<int> for PRIMARY KEY column 'k'",
        ),
        (
            "(k u PRIMARY KEY)",
            "Invalid non-frozen user-defined type \"ks.u\" for PRIMARY KEY column 'k'",
        ),
        (
            "(k counter PRIMARY KEY)",
            "counter type is not supported for PRIMARY KEY column 'k'",
        ),
        (
            "(k int, c frozen<list<duration>>, PRIMARY KEY (k, c))",
            "duration type is not supported for PRIMARY KEY column 'c'",
        ),
        (
            "(k int PRIMARY KEY, c counter, d int)",
            "Cannot mix counter and non counter columns in the same table",
        ),
        (
            "(k int PRIMARY KEY, c counter) WITH default_time_to_live = 5",
            "Cannot set default_time_to_live on a table with counters",
        ),
        ("(k int PRIMARY KEY, c nope)", "Unknown type ks.nope"),
        (
            "(k int PRIMARY KEY, c int) WITH CLUSTERING ORDER BY (c DESC)",
            "Only clustering key columns can be defined in CLUSTERING ORDER directive: [c] are not clustering columns",
        ),
        (
            "(k int, c int, d int, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (d DESC, c ASC)",
            "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns (c must appear before \
             d)",
        ),
        (
            "(k int, c int, d int, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (d DESC)",
            "Missing CLUSTERING ORDER for column c",
        ),
        (
            "(k int, c int, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC, c ASC)",
            "Duplicate column 'c' in CLUSTERING ORDER BY clause for table 'ks.t'",
        ),
        ("(k int PRIMARY KEY) WITH ID = 'abc'", "Invalid table id"),
        (
            "(k int PRIMARY KEY) WITH COMPACT STORAGE",
            "No definition found that is not part of the PRIMARY KEY",
        ),
        (
            "(k int PRIMARY KEY) WITH bogus = 1",
            "Unknown property 'bogus'",
        ),
        (
            "(k int PRIMARY KEY) WITH encryption = {'kms_key': 'nope'}",
            "'nope' names no KMS key: expected default, local:NAME, arn:aws:kms:..., an AWS key id, alias/NAME, vault:..., pkcs11:... or kmip:...",
        ),
    ] {
        world.refused(&format!("CREATE TABLE ks.t {definition}"), message);
    }
    world.refused(
        "CREATE TABLE nope.t (k int PRIMARY KEY)",
        "Keyspace 'nope' doesn't exist",
    );
    world.refused(
        "CREATE TABLE system.t (k int PRIMARY KEY)",
        "system keyspace is not user-modifiable.",
    );
    world.refused(
        "CREATE TABLE t (k int PRIMARY KEY)",
        "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename",
    );
    world.refused(
        "CREATE TABLE ks.\"a-b\" (k int PRIMARY KEY)",
        "ks.a-b: Table name must not be empty or not contain non-alphanumeric-underscore characters (got \"a-b\")",
    );
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY)");
    world.nothing("CREATE TABLE IF NOT EXISTS ks.t (k int PRIMARY KEY)");
    world.refused(
        "CREATE TABLE ks.t (k int PRIMARY KEY)",
        "Cannot add already existing table \"t\" to keyspace \"ks\"",
    );
}

#[test]
fn tables_are_altered_by_cassandras_rules() {
    let mut world = World::new();
    world.ok("CREATE TABLE ks.a (k int, c int, s int static, v int, l list<int>, m map<int, int>, PRIMARY KEY (k, c))");
    world.ok("CREATE TABLE ks.cn (k int PRIMARY KEY, v counter)");
    for (text, message) in [
        (
            "ALTER TABLE ks.nope ADD x int",
            "Table 'ks.nope' doesn't exist",
        ),
        (
            "ALTER TABLE nope.nope ADD x int",
            "Table 'nope.nope' doesn't exist",
        ),
        (
            "ALTER TABLE ks.a ADD v int",
            "Column with name 'v' already exists",
        ),
        (
            "ALTER TABLE ks.a ADD (x int, x text)",
            "Column with name 'x' already exists",
        ),
        (
            "ALTER TABLE ks.a ADD x counter",
            "ks.a: Cannot have a counter column (\"x\") in a non counter table",
        ),
        (
            "ALTER TABLE ks.cn ADD x int",
            "ks.cn: Cannot have a non counter column (\"x\") in a counter table",
        ),
        (
            "ALTER TABLE ks.cn ADD y counter static",
            "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
        ),
        ("ALTER TABLE ks.a ADD x nope", "Unknown type ks.nope"),
        (
            "ALTER TABLE ks.a DROP nope",
            "Column nope was not found in table 'ks.a'",
        ),
        (
            "ALTER TABLE ks.a DROP k",
            "Cannot drop PRIMARY KEY column k",
        ),
        (
            "ALTER TABLE ks.a RENAME zz TO y",
            "Undefined column name zz in table ks.a",
        ),
        (
            "ALTER TABLE ks.a RENAME v TO w",
            "Cannot rename non PRIMARY KEY column v",
        ),
        (
            "ALTER TABLE ks.a RENAME k TO m",
            "Cannot rename column k to m in table 'ks.a'; another column with that name already exists",
        ),
        (
            "ALTER TABLE ks.a ALTER m TYPE text",
            "Altering column types is no longer supported",
        ),
        (
            "ALTER TABLE ks.a DROP COMPACT STORAGE",
            "DROP COMPACT STORAGE is disabled. Enable in cassandra.yaml to use.",
        ),
        ("ALTER TABLE ks.a WITH foo = 1", "Unknown property 'foo'"),
        (
            "ALTER TABLE ks.a WITH id = 5a1c395e-b41f-11e5-9f22-ba0be0483c18",
            "Cannot alter table id.",
        ),
        (
            "ALTER TABLE ks.cn WITH default_time_to_live = 5",
            "Cannot set default_time_to_live on a table with counters",
        ),
    ] {
        world.refused(text, message);
    }
    world.nothing("ALTER TABLE IF EXISTS ks.nope ADD x int");
    world.ok("ALTER TABLE ks.a RENAME k TO kk AND c TO cc");
    let altered = world.ok("ALTER TABLE ks.a WITH gc_grace_seconds = 5 AND comment = 'x'");
    assert!(matches!(
        altered.effects.as_slice(),
        [Effect::SetOptions(_)]
    ));
    assert_eq!(
        world.columns("a")[..3],
        ["kk int partition_key", "cc int clustering", "s int static"]
    );
}

#[test]
fn a_column_that_comes_back_has_a_new_id() {
    let mut world = World::new();
    world.ok(
        "CREATE TABLE ks.a (k int, c int, v int, l list<int>, s int static, PRIMARY KEY (k, c))",
    );
    world.ok("CREATE TABLE ks.cn (k int PRIMARY KEY, v counter, w counter)");
    let before = world.table("a").column("v").unwrap().id;
    let dropped = world.ok("ALTER TABLE ks.a DROP v");
    assert_eq!(world.table("a").dropped[0].name, "v");
    assert!(
        matches!(&dropped.effects[..], [Effect::SetOptions(altered)] if altered.for_storage().columns_gone[..] == [before]),
        "merges give its bytes back"
    );
    for (text, message) in [
        (
            "ALTER TABLE ks.a ADD v bigint",
            "Cannot re-add previously dropped column 'v' of type bigint, incompatible with previous type int",
        ),
        (
            "ALTER TABLE ks.a ADD v int static",
            "Cannot re-add previously dropped column 'v' of kind STATIC, incompatible with previous kind REGULAR",
        ),
    ] {
        world.refused(text, message);
    }
    world.ok("ALTER TABLE ks.a ADD v int");
    let after = world.table("a").column("v").unwrap().id;
    assert!(after > before);
    assert!(world.table("a").storage_columns.regular.contains(&after));
    assert!(!world.table("a").storage_columns.regular.contains(&before));
    world.ok("ALTER TABLE ks.cn DROP v");
    world.refused(
        "ALTER TABLE ks.cn ADD v counter",
        "Cannot re-add previously dropped counter column v",
    );
}

#[test]
fn naming_a_key_switches_it() {
    let mut world = World::new();
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:a'}");
    let switched = world.ok("ALTER TABLE ks.t WITH encryption = {'kms_key': 'local:a'}");
    assert!(matches!(
        switched.effects.as_slice(),
        [Effect::SwitchKey(_)]
    ));
    let back = world.ok(
        "ALTER TABLE ks.t WITH custom_properties = {'encryption_specification': {'encryption_type': 'AWS_OWNED_KMS_KEY'}}",
    );
    assert!(matches!(back.effects.as_slice(), [Effect::SwitchKey(_)]));
    assert_eq!(
        world.table("t").encryption,
        crate::schema::Encryption::Default
    );
    let rewritten =
        world.ok("ALTER TABLE ks.t WITH encryption = {'kms_key': 'local:b', 'rewrite': 'true'}");
    assert!(matches!(
        rewritten.effects.as_slice(),
        [Effect::SwitchKey(_), Effect::Rewrite(_)]
    ));
    world.refused(
        "ALTER TABLE ks.t WITH encryption = {'rewrite': 'true'}",
        "Missing sub-option 'kms_key' for the 'encryption' option",
    );
    world.refused(
        "CREATE TABLE ks.u (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:b', 'rewrite': 'true'}",
        "encryption option 'rewrite' is for ALTER TABLE: a new table has nothing to write again",
    );
    world.ok("ALTER TABLE ks.t ADD TAGS {'team': 'billing'}");
    world.ok("ALTER TABLE ks.t DROP TAGS {'team': 'billing'}");
    assert!(world.table("t").custom_properties.is_empty());
}

#[test]
fn types_follow_cassandras_rules() {
    let mut world = World::new();
    world.ok("CREATE TYPE ks.u (a int)");
    world.ok("CREATE TYPE ks.w (u frozen<u>, l list<frozen<u>>)");
    for (text, message) in [
        (
            "CREATE TYPE ks.u (a int)",
            "A user type with name 'u' already exists",
        ),
        (
            "CREATE TYPE ks.x (a int, a text)",
            "Duplicate field name 'a' in type 'x'",
        ),
        (
            "CREATE TYPE ks.x (a counter)",
            "A user type cannot contain counters",
        ),
        (
            "CREATE TYPE ks.x (a u)",
            "A user type cannot contain non-frozen UDTs",
        ),
        (
            "CREATE TYPE ks.x (a list<list<int>>)",
            "Non-frozen collections are not allowed inside collections: list<list<int>>",
        ),
        (
            "CREATE TYPE nope.x (a int)",
            "Keyspace 'nope' doesn't exist",
        ),
        (
            "CREATE TYPE system.x (a int)",
            "system keyspace is not user-modifiable.",
        ),
        (
            "CREATE TYPE ks.\"int\" (a int)",
            "Invalid (reserved) user type name int",
        ),
        ("ALTER TYPE ks.nope ADD x int", "Type ks.nope doesn't exist"),
        (
            "ALTER TYPE ks.u ADD a int",
            "Cannot add field a to type ks.u: a field with name a already exists",
        ),
        (
            "ALTER TYPE ks.u ADD f u",
            "A user type cannot contain non-frozen UDTs",
        ),
        (
            "ALTER TYPE ks.u ADD f frozen<u>",
            "Cannot add new field f of type frozen<ks.u> to user type ks.u as it would create a circular reference",
        ),
        (
            "ALTER TYPE ks.u ADD f frozen<w>",
            "Cannot add new field f of type frozen<ks.w> to user type ks.u as it would create a circular reference",
        ),
        (
            "ALTER TYPE ks.u RENAME nope TO b",
            "Unkown field nope in user type ks.u",
        ),
        (
            "ALTER TYPE ks.u ALTER a TYPE text",
            "Altering field types is no longer supported",
        ),
        (
            "DROP TYPE ks.u",
            "Cannot drop user type 'ks.u' as it is still used by user types w",
        ),
        ("DROP TYPE ks.nope", "Type 'ks.nope' doesn't exist"),
    ] {
        world.refused(text, message);
    }
    world.nothing("CREATE TYPE IF NOT EXISTS ks.u (a int)");
    world.nothing("DROP TYPE IF EXISTS ks.nope");
}

#[test]
fn a_changed_type_is_changed_everywhere() {
    let mut world = World::new();
    world.ok("CREATE TYPE ks.u (a int)");
    world.ok("CREATE TYPE ks.w (u frozen<u>)");
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY, v map<int, frozen<w>>, x u)");
    world.ok("CREATE TABLE ks.p (k frozen<w> PRIMARY KEY)");
    world.refused(
        "ALTER TYPE ks.u ADD b text",
        "Cannot add new field b of type text to user type ks.u as the type is being used in partition key by the following tables: \
         ks.p",
    );
    world.ok("DROP TABLE ks.p");
    world.ok("ALTER TYPE ks.u ADD b text");
    world.ok("ALTER TYPE ks.u RENAME a TO z");
    let CqlType::Map(_, value) = &world.table("t").column("v").unwrap().ty else {
        panic!("v is a map");
    };
    let CqlType::Udt(w) = value.bare() else {
        panic!("v holds w");
    };
    let CqlType::Udt(u) = w.fields[0].1.bare() else {
        panic!("w holds u");
    };
    let names: Vec<&str> = u.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "b"]);
    world.ok("ALTER TYPE ks.u ADD l list<int>");
    world.refused(
        "CREATE TABLE ks.q (k int PRIMARY KEY, v u)",
        "Non-frozen UDTs with nested non-frozen collections are not supported",
    );
    world.refused(
        "DROP TYPE ks.w",
        "Cannot drop user type 'ks.w' as it is still used by tables t",
    );
}

#[test]
fn what_is_not_there_yet_says_so() {
    let mut world = World::new();
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY, v int)");
    world.refused("DROP INDEX ks.i", "Index 'ks.i' doesn't exist'");
    world.nothing("DROP INDEX IF EXISTS ks.i");
}

use palladium_protocol::types::CqlType;

#[test]
fn what_stands_already_is_no_change() {
    let mut world = World::new();
    world.ok("CREATE TABLE ks.t (k int PRIMARY KEY, v int)");
    world.ok("CREATE TYPE ks.u (a int)");
    world.nothing("ALTER TABLE ks.t ADD IF NOT EXISTS v int");
    world.nothing("ALTER TABLE ks.t DROP IF EXISTS nope");
    world.nothing("ALTER TYPE ks.u ADD IF NOT EXISTS a int");
    world.nothing("ALTER TYPE ks.u RENAME IF EXISTS nope TO b");
    world.ok("ALTER TABLE ks.t ADD IF NOT EXISTS w int");
    world.ok(
        "CREATE MATERIALIZED VIEW ks.w AS SELECT * FROM ks.t WHERE k IS NOT NULL PRIMARY KEY (k)",
    );
    world.ok("ALTER MATERIALIZED VIEW ks.w WITH gc_grace_seconds = 1000");
    world.nothing("ALTER MATERIALIZED VIEW ks.w WITH gc_grace_seconds = 1000");
}

#[test]
fn types_that_name_each_other_are_refused_before_they_are_too_deep_for_any_stack() {
    let mut world = World::new();
    world.ok("CREATE TYPE ks.t0 (a int)");
    let made = (1..10_000).take_while(|level| {
        let text = format!("CREATE TYPE ks.t{level} (a frozen<t{}>)", level - 1);
        world.run(&text).is_ok()
    });
    let made = made.count();
    assert!((50..200).contains(&made), "{made} levels");
    // What it is made of does not grow below it either.
    let text = "ALTER TYPE ks.t0 ADD b frozen<list<frozen<list<frozen<list<int>>>>>>";
    let error = world.run(text).expect_err("the deepest type is too deep");
    assert!(error.message.contains("nested too deeply"), "{error}");
}

#[test]
fn types_that_name_others_many_times_are_refused_before_they_are_too_large_for_any_memory() {
    let mut world = World::new();
    world.ok("CREATE TYPE ks.t0 (a int)");
    let made = (1..20).take_while(|level| {
        let fields: Vec<String> = (0..10)
            .map(|field| format!("f{field} frozen<t{}>", level - 1))
            .collect();
        let text = format!("CREATE TYPE ks.t{level} ({})", fields.join(", "));
        world.run(&text).is_ok()
    });
    let made = made.count();
    assert!((3..6).contains(&made), "{made} times ten");
}
