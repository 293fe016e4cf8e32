//! RESULT Rows: metadata in its four moods, and cells.

use bytes::{BufMut, BytesMut};
use palladium_protocol::response::{ColumnSpec, EncodedMetadata, MetadataMode, RowsWriter};
use palladium_protocol::{CqlType, Version};

use crate::hex::assert_wire;

fn column(table: &str, name: &str, ty: CqlType) -> ColumnSpec {
    ColumnSpec {
        keyspace: "ks".into(),
        table: table.into(),
        name: name.into(),
        ty,
    }
}

fn two_columns() -> EncodedMetadata {
    EncodedMetadata::new(
        &[
            column("t", "k", CqlType::Int),
            column("t", "v", CqlType::list(CqlType::Text)),
        ],
        [0xaa; 16],
    )
}

fn two_rows(mut rows: RowsWriter<'_>) {
    rows.cell(Some(&[0, 0, 0, 1]));
    rows.cell(None);
    rows.end_row();
    rows.cell_with(|out| out.put_i32(2));
    rows.cell(Some(&[]));
    rows.end_row();
    assert_eq!(rows.finish(), 2);
}

const CELLS: &str = "
    00000002                    # two rows
    00000004 00000001 ffffffff
    00000004 00000002 00000000
";

#[test]
fn full_metadata_of_one_table() {
    let mut out = BytesMut::new();
    two_rows(RowsWriter::begin(
        &mut out,
        Version::V4,
        &two_columns(),
        MetadataMode::Full,
        None,
    ));
    assert_wire(
        &out,
        &format!(
            "
        00000002 00000001 00000002
        0002 'ks' 0001 't'
        0001 'k' 0009
        0001 'v' 0020 000d
        {CELLS}
    "
        ),
    );
}

#[test]
fn skipped_metadata_still_counts_its_columns() {
    let mut out = BytesMut::new();
    two_rows(RowsWriter::begin(
        &mut out,
        Version::V4,
        &two_columns(),
        MetadataMode::Skip,
        Some(&[9, 9]),
    ));
    assert_wire(
        &out,
        &format!(
            "
        00000002 00000006 00000002     # more pages, no metadata
        00000002 0909
        {CELLS}
    "
        ),
    );
}

#[test]
fn changed_metadata_brings_its_new_id_in_version_five() {
    let mut out = BytesMut::new();
    two_rows(RowsWriter::begin(
        &mut out,
        Version::V5,
        &two_columns(),
        MetadataMode::Changed,
        None,
    ));
    assert_wire(
        &out,
        &format!(
            "
        00000002 00000009 00000002
        0010 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        0002 'ks' 0001 't'
        0001 'k' 0009
        0001 'v' 0020 000d
        {CELLS}
    "
        ),
    );
}

#[test]
fn columns_of_two_tables_each_name_theirs() {
    let metadata = EncodedMetadata::new(
        &[
            column("t", "a", CqlType::Int),
            column("u", "b", CqlType::Uuid),
        ],
        [0; 16],
    );
    let mut out = BytesMut::new();
    RowsWriter::begin(&mut out, Version::V3, &metadata, MetadataMode::Full, None).finish();
    assert_wire(
        &out,
        "
        00000002 00000000 00000002
        0002 'ks' 0001 't' 0001 'a' 0009
        0002 'ks' 0001 'u' 0001 'b' 000c
        00000000
    ",
    );
}

#[test]
fn a_paging_state_found_after_the_rows_stands_before_them() {
    let mut first = BytesMut::from(&b"an envelope before this one"[..]);
    let mut late = first.clone();
    let state = [1, 2, 3, 4, 5];
    two_rows(RowsWriter::begin(
        &mut first,
        Version::V5,
        &two_columns(),
        MetadataMode::Full,
        Some(&state),
    ));

    let metadata = two_columns();
    let mut rows = RowsWriter::begin(&mut late, Version::V5, &metadata, MetadataMode::Full, None);
    rows.cell(Some(&[0, 0, 0, 1]));
    rows.cell(None);
    rows.end_row();
    rows.set_paging_state(&state);
    two_rows_second(rows);
    assert_eq!(late, first);
}

fn two_rows_second(mut rows: RowsWriter<'_>) {
    rows.cell_with(|out| out.put_i32(2));
    rows.cell(Some(&[]));
    rows.end_row();
    assert_eq!(rows.finish(), 2);
}

#[test]
fn every_type_has_its_option() {
    let udt = palladium_protocol::types::UserType {
        keyspace: "ks".into(),
        name: "u".into(),
        fields: vec![("f".into(), CqlType::Inet)],
    };
    let types = [
        (CqlType::Ascii, "0001"),
        (CqlType::Bigint, "0002"),
        (CqlType::Blob, "0003"),
        (CqlType::Boolean, "0004"),
        (CqlType::Counter, "0005"),
        (CqlType::Decimal, "0006"),
        (CqlType::Double, "0007"),
        (CqlType::Float, "0008"),
        (CqlType::Int, "0009"),
        (CqlType::Timestamp, "000b"),
        (CqlType::Uuid, "000c"),
        (CqlType::Text, "000d"),
        (CqlType::Varint, "000e"),
        (CqlType::Timeuuid, "000f"),
        (CqlType::Inet, "0010"),
        (CqlType::Date, "0011"),
        (CqlType::Time, "0012"),
        (CqlType::Smallint, "0013"),
        (CqlType::Tinyint, "0014"),
        (CqlType::Duration, "0015"),
        (
            CqlType::map(CqlType::Text, CqlType::set(CqlType::Int).frozen()),
            "0021 000d 0022 0009",
        ),
        (
            CqlType::tuple([CqlType::Int, CqlType::Text]),
            "0031 0002 0009 000d",
        ),
        (
            CqlType::Udt(udt.into()),
            "0030 0002 'ks' 0001 'u' 0001 0001 'f' 0010",
        ),
        (
            CqlType::vector(CqlType::Float, 3),
            "0000 0059 'org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)'",
        ),
    ];
    for (ty, golden) in types {
        let mut out = BytesMut::new();
        ty.put_option(Version::V5, &mut out);
        assert_wire(&out, golden);
    }
}
