//! Every response without rows.

use palladium_protocol::response::{
    BindMetadata, Change, ColumnSpec, EncodedMetadata, Event, Prepared, ResultResponse,
    SchemaChange, SchemaTarget, Supported,
};
use palladium_protocol::wire::Extras;
use palladium_protocol::{CqlType, Response, Version};

use crate::hex::{assert_wire, wire, wire_with};

#[test]
fn ready_is_empty() {
    assert_wire(
        &wire(Version::V3, &Response::Ready),
        "83 00 0001 02 00000000",
    );
    assert_wire(
        &wire(Version::V4, &Response::Ready),
        "84 00 0001 02 00000000",
    );
    assert_wire(
        &wire(Version::V5, &Response::Ready),
        "85 00 0001 02 00000000",
    );
}

#[test]
fn the_messages_of_authentication() {
    let class = "PasswordAuthenticator";
    assert_wire(
        &wire(Version::V4, &Response::Authenticate(class)),
        "84 00 0001 03 00000017  0015 'PasswordAuthenticator'",
    );
    assert_wire(
        &wire(Version::V4, &Response::AuthChallenge(Some(b"nonce"))),
        "84 00 0001 0e 00000009  00000005 'nonce'",
    );
    assert_wire(
        &wire(Version::V4, &Response::AuthSuccess(None)),
        "84 00 0001 10 00000004  ffffffff",
    );
}

#[test]
fn supported_lists_versions_compression_and_cql() {
    assert_wire(
        &wire(Version::V4, &Response::Supported(&Supported::new("3.4.7"))),
        "
        84 00 0001 06 0000005b
        0003
        0011 'PROTOCOL_VERSIONS' 0003 0004 '3/v3' 0004 '4/v4' 0004 '5/v5'
        000b 'COMPRESSION' 0002 0006 'snappy' 0003 'lz4'
        000b 'CQL_VERSION' 0001 0005 '3.4.7'
    ",
    );
}

#[test]
fn events_of_nodes() {
    let node = "127.0.0.1:9042".parse().unwrap();
    assert_wire(
        &wire(Version::V4, &Response::Event(&Event::NewNode(node))),
        "
        84 00 0001 0c 00000024
        000f 'TOPOLOGY_CHANGE' 0008 'NEW_NODE'
        04 7f000001 00002352
    ",
    );
    let node = "[::1]:9042".parse().unwrap();
    assert_wire(
        &wire(Version::V5, &Response::Event(&Event::Down(node))),
        "
        85 00 0001 0c 0000002a
        000d 'STATUS_CHANGE' 0004 'DOWN'
        10 00000000000000000000000000000001 00002352
    ",
    );
}

fn change(target: SchemaTarget) -> SchemaChange {
    SchemaChange {
        change: Change::Created,
        keyspace: "ks".into(),
        target,
    }
}

#[test]
fn schema_changes_as_events() {
    let table = Event::SchemaChange(change(SchemaTarget::Table("t".into())));
    assert_wire(
        &wire(Version::V4, &Response::Event(&table)),
        "
        84 00 0001 0c 00000026
        000d 'SCHEMA_CHANGE' 0007 'CREATED' 0005 'TABLE' 0002 'ks' 0001 't'
    ",
    );
    let function = Event::SchemaChange(change(SchemaTarget::Function {
        name: "f".into(),
        arguments: vec!["int".into(), "text".into()],
    }));
    assert_wire(
        &wire(Version::V4, &Response::Event(&function)),
        "
        84 00 0001 0c 00000036
        000d 'SCHEMA_CHANGE' 0007 'CREATED' 0008 'FUNCTION' 0002 'ks' 0001 'f'
        0002 0003 'int' 0004 'text'
    ",
    );
    // Version 3 has no functions: their keyspace was updated.
    assert_wire(
        &wire(Version::V3, &Response::Event(&function)),
        "
        83 00 0001 0c 00000026
        000d 'SCHEMA_CHANGE' 0007 'UPDATED' 0008 'KEYSPACE' 0002 'ks'
    ",
    );
}

#[test]
fn results_without_rows() {
    let result = |result| Response::Result(result);
    assert_wire(
        &wire(Version::V4, &result(ResultResponse::Void)),
        "84 00 0001 08 00000004 00000001",
    );
    assert_wire(
        &wire(Version::V4, &result(ResultResponse::SetKeyspace("ks"))),
        "84 00 0001 08 00000008 00000003 0002 'ks'",
    );
    let keyspace = change(SchemaTarget::Keyspace);
    assert_wire(
        &wire(
            Version::V4,
            &result(ResultResponse::SchemaChange(&keyspace)),
        ),
        "
        84 00 0001 08 0000001b
        00000005 0007 'CREATED' 0008 'KEYSPACE' 0002 'ks'
    ",
    );
}

fn column(name: &str, ty: CqlType) -> ColumnSpec {
    ColumnSpec {
        keyspace: "ks".into(),
        table: "t".into(),
        name: name.into(),
        ty,
    }
}

#[test]
fn prepared_differs_in_every_version() {
    let bind = BindMetadata::new(
        &[column("v", CqlType::Date), column("k", CqlType::Int)],
        vec![1],
    );
    let result = EncodedMetadata::new(&[column("v", CqlType::Duration)], [0xee; 16]);
    let prepared = Response::Result(ResultResponse::Prepared(Prepared {
        id: &[0xca, 0xfe],
        bind: &bind,
        result: &result,
    }));
    assert_wire(
        &wire(Version::V3, &prepared),
        "
        83 00 0001 08 00000093
        00000004 0002 cafe
        00000001 00000002              # one table, two markers, no key indexes
        0002 'ks' 0001 't'
        0001 'v' 0000 002e 'org.apache.cassandra.db.marshal.SimpleDateType'
        0001 'k' 0009
        00000001 00000001              # one table, one column
        0002 'ks' 0001 't'
        0001 'v' 0000 002c 'org.apache.cassandra.db.marshal.DurationType'
    ",
    );
    assert_wire(
        &wire(Version::V4, &prepared),
        "
        84 00 0001 08 00000069
        00000004 0002 cafe
        00000001 00000002
        00000001 0001                  # the key is marker 1
        0002 'ks' 0001 't'
        0001 'v' 0011
        0001 'k' 0009
        00000001 00000001
        0002 'ks' 0001 't'
        0001 'v' 0000 002c 'org.apache.cassandra.db.marshal.DurationType'
    ",
    );
    assert_wire(
        &wire(Version::V5, &prepared),
        "
        85 00 0001 08 0000004d
        00000004 0002 cafe
        0010 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee      # result metadata id
        00000001 00000002
        00000001 0001
        0002 'ks' 0001 't'
        0001 'v' 0011
        0001 'k' 0009
        00000001 00000001
        0002 'ks' 0001 't'
        0001 'v' 0015
    ",
    );
}

#[test]
fn a_prepared_write_without_markers() {
    let bind = BindMetadata::new(&[], Vec::new());
    let result = EncodedMetadata::none([0; 16]);
    let prepared = Response::Result(ResultResponse::Prepared(Prepared {
        id: &[0xca, 0xfe],
        bind: &bind,
        result: &result,
    }));
    assert_wire(
        &wire(Version::V4, &prepared),
        "
        84 00 0001 08 0000001c
        00000004 0002 cafe
        00000000 00000000 00000000     # no flags, no markers, no key indexes
        00000004 00000000              # no metadata, no columns
    ",
    );
}

#[test]
fn extras_stand_before_the_message() {
    let warnings = ["slow".to_owned()];
    let custom_payload = [("k".to_owned(), Some(vec![1, 2])), ("n".to_owned(), None)];
    let extras = Extras {
        tracing_id: Some(uuid::Uuid::from_u128(1)),
        warnings: &warnings,
        custom_payload: &custom_payload,
    };
    let void = Response::Result(ResultResponse::Void);
    assert_wire(
        &wire_with(Version::V4, &extras, &void),
        "
        84 0e 0001 08 0000002e                # tracing, custom payload, warnings
        00000000000000000000000000000001
        0001 0004 'slow'
        0002 0001 'k' 00000002 0102 0001 'n' ffffffff
        00000001
    ",
    );
    // Version 3 knows the tracing id only.
    assert_wire(
        &wire_with(Version::V3, &extras, &void),
        "
        83 02 0001 08 00000014
        00000000000000000000000000000001
        00000001
    ",
    );
}
