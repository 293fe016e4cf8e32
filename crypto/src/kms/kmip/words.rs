//! The numbers of the KMIP standard that are used here: tags, enumerations, and what the reasons of a refusal are called.

/// Tags.
pub(super) mod tag {
    pub const ATTRIBUTE: u32 = 0x42_0008;
    pub const ATTRIBUTE_NAME: u32 = 0x42_000a;
    pub const ATTRIBUTE_VALUE: u32 = 0x42_000b;
    pub const BATCH_COUNT: u32 = 0x42_000d;
    pub const BATCH_ITEM: u32 = 0x42_000f;
    pub const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
    pub const CRYPTOGRAPHIC_ALGORITHM: u32 = 0x42_0028;
    pub const CRYPTOGRAPHIC_PARAMETERS: u32 = 0x42_002b;
    pub const IV_COUNTER_NONCE: u32 = 0x42_003d;
    pub const MAXIMUM_ITEMS: u32 = 0x42_004f;
    pub const NAME_TYPE: u32 = 0x42_0054;
    pub const NAME_VALUE: u32 = 0x42_0055;
    pub const OPERATION: u32 = 0x42_005c;
    pub const PROTOCOL_VERSION: u32 = 0x42_0069;
    pub const PROTOCOL_VERSION_MAJOR: u32 = 0x42_006a;
    pub const PROTOCOL_VERSION_MINOR: u32 = 0x42_006b;
    pub const REQUEST_HEADER: u32 = 0x42_0077;
    pub const REQUEST_MESSAGE: u32 = 0x42_0078;
    pub const REQUEST_PAYLOAD: u32 = 0x42_0079;
    pub const RESPONSE_HEADER: u32 = 0x42_007a;
    pub const RESPONSE_MESSAGE: u32 = 0x42_007b;
    pub const RESPONSE_PAYLOAD: u32 = 0x42_007c;
    pub const RESULT_MESSAGE: u32 = 0x42_007d;
    pub const RESULT_REASON: u32 = 0x42_007e;
    pub const RESULT_STATUS: u32 = 0x42_007f;
    pub const UNIQUE_IDENTIFIER: u32 = 0x42_0094;
    pub const DATA: u32 = 0x42_00c2;
    pub const TAG_LENGTH: u32 = 0x42_00ce;
    pub const AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA: u32 = 0x42_00fe;
    pub const AUTHENTICATED_ENCRYPTION_TAG: u32 = 0x42_00ff;
    pub const SERVER_CORRELATION_VALUE: u32 = 0x42_0106;
}

/// Operations.
pub(super) mod operation {
    pub const LOCATE: u32 = 0x08;
    pub const GET_ATTRIBUTES: u32 = 0x0b;
    pub const ENCRYPT: u32 = 0x1f;
    pub const DECRYPT: u32 = 0x20;
}

/// States of a key.
pub(super) mod state {
    pub const ACTIVE: u32 = 2;
    pub const DESTROYED: u32 = 5;
    pub const DESTROYED_COMPROMISED: u32 = 6;
}

/// Cryptographic algorithm AES.
pub(super) const AES: u32 = 3;
/// Block cipher mode GCM.
pub(super) const GCM: u32 = 9;
/// Usage mask: may encrypt.
pub(super) const MAY_ENCRYPT: i32 = 4;
/// Usage mask: may decrypt.
pub(super) const MAY_DECRYPT: i32 = 8;
/// Object type Symmetric Key.
pub(super) const SYMMETRIC_KEY: u32 = 2;
/// Name type "uninterpreted text string".
pub(super) const TEXT_NAME: u32 = 1;
/// Result status Success.
pub(super) const SUCCESS: u32 = 0;

/// Reasons of a refusal.
pub(super) mod reason {
    pub const ITEM_NOT_FOUND: u32 = 0x01;
    pub const AUTHENTICATION_NOT_SUCCESSFUL: u32 = 0x03;
    pub const OPERATION_NOT_SUPPORTED: u32 = 0x05;
    pub const INVALID_FIELD: u32 = 0x07;
    pub const FEATURE_NOT_SUPPORTED: u32 = 0x08;
    pub const CRYPTOGRAPHIC_FAILURE: u32 = 0x0a;
    pub const PERMISSION_DENIED: u32 = 0x0c;
    pub const OBJECT_ARCHIVED: u32 = 0x0d;
    pub const GENERAL_FAILURE: u32 = 0x100;
    // KMIP 2.0 names; servers that speak 1.4 for us may still use them.
    pub const BAD_CRYPTOGRAPHIC_PARAMETERS: u32 = 0x24;
    pub const INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK: u32 = 0x29;
    pub const INTERNAL_SERVER_ERROR: u32 = 0x2a;
    pub const OBJECT_DESTROYED: u32 = 0x36;
    pub const OBJECT_NOT_FOUND: u32 = 0x37;
    pub const NOT_AUTHORISED: u32 = 0x39;
    pub const SERVER_LIMIT_EXCEEDED: u32 = 0x3a;
    pub const UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS: u32 = 0x3e;
    pub const UNSUPPORTED_PROTOCOL_VERSION: u32 = 0x3f;
    pub const WRONG_KEY_LIFECYCLE_STATE: u32 = 0x43;

    /// The standard's word for a reason.
    pub fn name(reason: u32) -> &'static str {
        match reason {
            ITEM_NOT_FOUND => "Item Not Found",
            AUTHENTICATION_NOT_SUCCESSFUL => "Authentication Not Successful",
            OPERATION_NOT_SUPPORTED => "Operation Not Supported",
            INVALID_FIELD => "Invalid Field",
            FEATURE_NOT_SUPPORTED => "Feature Not Supported",
            CRYPTOGRAPHIC_FAILURE => "Cryptographic Failure",
            PERMISSION_DENIED => "Permission Denied",
            OBJECT_ARCHIVED => "Object Archived",
            GENERAL_FAILURE => "General Failure",
            BAD_CRYPTOGRAPHIC_PARAMETERS => "Bad Cryptographic Parameters",
            INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK => "Incompatible Cryptographic Usage Mask",
            INTERNAL_SERVER_ERROR => "Internal Server Error",
            OBJECT_DESTROYED => "Object Destroyed",
            OBJECT_NOT_FOUND => "Object Not Found",
            NOT_AUTHORISED => "Not Authorised",
            SERVER_LIMIT_EXCEEDED => "Server Limit Exceeded",
            UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS => "Unsupported Cryptographic Parameters",
            UNSUPPORTED_PROTOCOL_VERSION => "Unsupported Protocol Version",
            WRONG_KEY_LIFECYCLE_STATE => "Wrong Key Lifecycle State",
            _ => "a reason not known here",
        }
    }
}
