//! ERROR: every code, with what each version makes of it.

use palladium_protocol::response::{ErrorDetail, ErrorResponse, FailureReasons, WriteType};
use palladium_protocol::{Consistency, ErrorCode, Response, Version};

use crate::hex::{assert_wire, wire};

fn error(detail: ErrorDetail) -> ErrorResponse {
    ErrorResponse {
        message: "no".into(),
        detail,
    }
}

/// The body of an ERROR, without the header.
fn body(version: Version, error: &ErrorResponse) -> Vec<u8> {
    wire(version, &Response::Error(error))[9..].to_vec()
}

#[test]
fn codes_without_fields() {
    for code in [
        ErrorCode::ServerError,
        ErrorCode::ProtocolError,
        ErrorCode::BadCredentials,
        ErrorCode::Overloaded,
        ErrorCode::IsBootstrapping,
        ErrorCode::TruncateError,
        ErrorCode::SyntaxError,
        ErrorCode::Unauthorized,
        ErrorCode::Invalid,
        ErrorCode::ConfigError,
    ] {
        for version in Version::ALL {
            let golden = format!("{:08x} 0002 'no'", code as i32);
            assert_wire(&body(version, &ErrorResponse::plain(code, "no")), &golden);
        }
    }
}

#[test]
fn a_whole_error_frame() {
    let error = ErrorResponse::plain(ErrorCode::Invalid, "unconfigured table t");
    assert_wire(
        &wire(Version::V4, &Response::Error(&error)),
        "84 00 0001 00 0000001a  00002200 0014 'unconfigured table t'",
    );
}

#[test]
fn unavailable_counts_replicas() {
    let error = error(ErrorDetail::Unavailable {
        consistency: Consistency::Quorum,
        required: 2,
        alive: 1,
    });
    for version in Version::ALL {
        assert_wire(
            &body(version, &error),
            "00001000 0002 'no' 0004 00000002 00000001",
        );
    }
}

#[test]
fn a_write_timeout_names_its_kind_and_from_version_five_contentions() {
    let timeout = |write_type| {
        error(ErrorDetail::WriteTimeout {
            consistency: Consistency::One,
            received: 0,
            block_for: 1,
            write_type,
            contentions: 3,
        })
    };
    let simple = "00001100 0002 'no' 0001 00000000 00000001 0006 'SIMPLE'";
    let cas = "00001100 0002 'no' 0001 00000000 00000001 0003 'CAS'";
    for version in Version::ALL {
        assert_wire(&body(version, &timeout(WriteType::Simple)), simple);
    }
    assert_wire(&body(Version::V4, &timeout(WriteType::Cas)), cas);
    assert_wire(
        &body(Version::V5, &timeout(WriteType::Cas)),
        &format!("{cas} 0003"),
    );
}

#[test]
fn a_read_timeout_says_whether_data_came() {
    let error = error(ErrorDetail::ReadTimeout {
        consistency: Consistency::One,
        received: 0,
        block_for: 1,
        data_present: true,
    });
    assert_wire(
        &body(Version::V4, &error),
        "00001200 0002 'no' 0001 00000000 00000001 01",
    );
}

#[test]
fn failures_are_timeouts_then_counts_then_reasons() {
    let failures = FailureReasons(vec![("127.0.0.1".parse().unwrap(), 1)]);
    let read = error(ErrorDetail::ReadFailure {
        consistency: Consistency::One,
        received: 0,
        block_for: 1,
        failures: failures.clone(),
        data_present: false,
    });
    assert_wire(
        &body(Version::V3, &read),
        "00001200 0002 'no' 0001 00000000 00000001 00",
    );
    assert_wire(
        &body(Version::V4, &read),
        "00001300 0002 'no' 0001 00000000 00000001 00000001 00",
    );
    assert_wire(
        &body(Version::V5, &read),
        "
        00001300 0002 'no' 0001 00000000 00000001
        00000001 04 7f000001 0001
        00
    ",
    );
    let write = error(ErrorDetail::WriteFailure {
        consistency: Consistency::One,
        received: 0,
        block_for: 1,
        failures,
        write_type: WriteType::Batch,
    });
    assert_wire(
        &body(Version::V3, &write),
        "00001100 0002 'no' 0001 00000000 00000001 0005 'BATCH'",
    );
    assert_wire(
        &body(Version::V4, &write),
        "00001500 0002 'no' 0001 00000000 00000001 00000001 0005 'BATCH'",
    );
    assert_wire(
        &body(Version::V5, &write),
        "
        00001500 0002 'no' 0001 00000000 00000001
        00000001 04 7f000001 0001
        0005 'BATCH'
    ",
    );
}

#[test]
fn a_failed_function_is_invalid_in_version_three() {
    let error = error(ErrorDetail::FunctionFailure {
        keyspace: "ks".into(),
        function: "f".into(),
        argument_types: vec!["int".into()],
    });
    assert_wire(
        &body(Version::V4, &error),
        "
        00001400 0002 'no' 0002 'ks' 0001 'f' 0001 0003 'int'
    ",
    );
    assert_wire(
        &body(Version::V3, &error),
        "00002200 001a 'ERROR FUNCTION_FAILURE: no'",
    );
}

#[test]
fn an_unknown_compare_and_set_is_a_timeout_before_version_five() {
    let error = error(ErrorDetail::CasWriteUnknown {
        consistency: Consistency::Serial,
        received: 1,
        block_for: 2,
    });
    assert_wire(
        &body(Version::V5, &error),
        "00001700 0002 'no' 0008 00000001 00000002",
    );
    assert_wire(
        &body(Version::V4, &error),
        "00001100 0002 'no' 0008 00000001 00000002 0003 'CAS'",
    );
}

#[test]
fn a_failed_cdc_write_is_invalid_in_version_three() {
    let error = ErrorResponse::plain(ErrorCode::CdcWriteFailure, "no");
    assert_wire(&body(Version::V5, &error), "00001600 0002 'no'");
    assert_wire(
        &body(Version::V3, &error),
        "00002200 001b 'ERROR CDC_WRITE_FAILURE: no'",
    );
}

#[test]
fn what_exists_is_named() {
    let table = error(ErrorDetail::AlreadyExists {
        keyspace: "ks".into(),
        table: "t".into(),
    });
    assert_wire(
        &body(Version::V4, &table),
        "00002400 0002 'no' 0002 'ks' 0001 't'",
    );
    let keyspace = error(ErrorDetail::AlreadyExists {
        keyspace: "ks".into(),
        table: String::new(),
    });
    assert_wire(
        &body(Version::V4, &keyspace),
        "00002400 0002 'no' 0002 'ks' 0000",
    );
}

#[test]
fn an_unprepared_statement_is_named_by_its_id() {
    let error = error(ErrorDetail::Unprepared {
        id: vec![0xca, 0xfe],
    });
    assert_wire(&body(Version::V4, &error), "00002500 0002 'no' 0002 cafe");
}
