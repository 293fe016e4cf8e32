//! What each of AWS's error names means here: the one table.
//!
//! A name counts only in an answer of status 4xx that the SDK could read. The four kinds of answers that speak of the key are few and stand first; names that
//! nobody has seen before are no answer, so that a new kind of hiccup locks no table.

use std::error::Error as StdError;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use super::bounded_id;
use crate::error::{DenialReason, Error, UnavailableReason};
use crate::keys::CmkRef;

/// How much of a service's message is passed on.
const MESSAGE_CHARS_MAX: usize = 300;
/// How deep a chain of causes is followed.
const CAUSES_MAX: usize = 8;

/// AWS's names of the calls.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Operation {
    DescribeKey,
    GenerateDataKey,
    Decrypt,
    Encrypt,
    CreateGrant,
    RetireGrant,
    ListGrants,
    GetCallerIdentity,
}

/// What follows from an error.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Meaning {
    /// The owner's no.
    Denied(DenialReason),
    /// The key is in no state for this; its description says in which.
    AskForState,
    /// The ciphertext or the context is not what was encrypted.
    Tampered,
    /// The request is wrong.
    Invalid,
    /// A grant token that is sent along names a grant that is gone.
    GrantTokenSpent,
    /// Our own credentials are no good.
    OurCredentials,
    /// Too many requests.
    Throttled,
    /// Nobody has said anything about the key.
    NoAnswer,
}

use Meaning::{
    AskForState, Denied, GrantTokenSpent, Invalid, NoAnswer, OurCredentials, Tampered, Throttled,
};

/// Names without their ending `Exception`, which AWS writes or leaves out as it pleases.
const MEANINGS: &[(&str, Meaning)] = &[
    ("Disabled", Denied(DenialReason::Disabled)),
    ("NotFound", Denied(DenialReason::NotFound)),
    // Not "AccessDenied", which is what S3, STS and gateways say.
    ("AccessDeniedException", Denied(DenialReason::AccessDenied)),
    ("KMSInvalidState", AskForState),
    ("InvalidCiphertext", Tampered),
    ("IncorrectKey", Tampered),
    ("InvalidGrantToken", GrantTokenSpent),
    ("InvalidArn", Invalid),
    ("InvalidKeyUsage", Invalid),
    ("InvalidGrantId", Invalid),
    ("UnsupportedOperation", Invalid),
    ("Validation", Invalid),
    ("ExpiredToken", OurCredentials),
    ("TokenRefreshRequired", OurCredentials),
    ("UnrecognizedClient", OurCredentials),
    ("InvalidClientTokenId", OurCredentials),
    ("InvalidSignature", OurCredentials),
    ("SignatureDoesNotMatch", OurCredentials),
    ("IncompleteSignature", OurCredentials),
    ("MissingAuthenticationToken", OurCredentials),
    ("AuthFailure", OurCredentials),
    ("RequestExpired", OurCredentials),
    ("Throttling", Throttled),
    ("Throttled", Throttled),
    ("ThrottledRequest", Throttled),
    ("TooManyRequests", Throttled),
    ("RequestLimitExceeded", Throttled),
    ("LimitExceeded", Throttled),
    ("SlowDown", Throttled),
    ("KMSInternal", NoAnswer),
    ("DependencyTimeout", NoAnswer),
    ("KeyUnavailable", NoAnswer),
    ("InternalFailure", NoAnswer),
    ("ServiceUnavailable", NoAnswer),
];

/// A call that was not answered with what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    message: String,
    /// What the service calls the request.
    pub request_id: Option<String>,
}

impl Refusal {
    /// What the SDK says, without what it says it of: its own text may quote an answer, and an answer may hold a key.
    pub fn of<E>(error: &SdkError<E>) -> Refusal
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let silent = |message: String| Refusal {
            status: error.raw_response().map(|answer| answer.status().as_u16()),
            code: None,
            message,
            request_id: error.request_id().map(bounded_id),
        };
        match error {
            SdkError::ServiceError(context) => Refusal {
                code: context.err().code().map(readable),
                message: readable(context.err().message().unwrap_or_default()),
                ..silent(String::new())
            },
            SdkError::ResponseError(_) => {
                silent("the answer broke off, or cannot be read".to_owned())
            }
            SdkError::TimeoutError(_) => silent("no answer in time".to_owned()),
            other => silent(causes(other)),
        }
    }

    pub fn meaning(&self, operation: Operation) -> Meaning {
        let Some(code) = self.code.as_deref() else {
            return if self.status == Some(429) {
                Throttled
            } else {
                NoAnswer
            };
        };
        let meaning = meaning_of(code);
        match (meaning, operation) {
            // Throttling comes with 400, 429 and 503.
            (Throttled, Operation::CreateGrant) if code.starts_with("LimitExceeded") => Invalid,
            (Throttled, _) => Throttled,
            _ if !self
                .status
                .is_some_and(|status| (400..500).contains(&status)) =>
            {
                NoAnswer
            }
            // Whatever its name, as long as it is no name of another thing.
            (NoAnswer, _) if self.status == Some(429) => Throttled,
            // STS speaks of this server, never of a key.
            (_, Operation::GetCallerIdentity) => NoAnswer,
            // A table's key was encrypted by a request that was right, so this one is right, too.
            (Invalid, Operation::Decrypt) => NoAnswer,
            _ => meaning,
        }
    }

    /// The error for our own caller.
    pub fn error(&self, operation: Operation, key: &CmkRef, meaning: Meaning) -> Error {
        let status = self.status.map(|status| format!("status {status}"));
        let said = [self.code.clone().or(status), Some(self.message.clone())]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        let text = format!("{operation:?} {key}: {said}");
        match meaning {
            Denied(reason) => Error::denied(reason, text),
            Tampered => Error::tampered(format!("encrypted data key: {text}")),
            Invalid => Error::invalid(text),
            Throttled => Error::unavailable(UnavailableReason::Throttled, text),
            AskForState | GrantTokenSpent | OurCredentials | NoAnswer => {
                Error::unavailable(UnavailableReason::Unreachable, text)
            }
        }
    }
}

fn meaning_of(code: &str) -> Meaning {
    let bare = code.strip_suffix("Exception").unwrap_or(code);
    MEANINGS
        .iter()
        .find(|(name, _)| *name == code || *name == bare)
        .map_or(NoAnswer, |(_, meaning)| *meaning)
}

/// An error and what caused it, each by its own short text.
fn causes(error: &dyn StdError) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause.filter(|_| texts.len() < CAUSES_MAX) {
        texts.push(error.to_string());
        cause = error.source();
    }
    readable(&texts.join(": "))
}

/// One line of bounded length.
fn readable(text: &str) -> String {
    text.chars()
        .take(MESSAGE_CHARS_MAX)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{CreateGrant, Decrypt, DescribeKey, GenerateDataKey, GetCallerIdentity};

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status: Some(status),
            code: Some(code.to_owned()),
            message: "no".to_owned(),
            request_id: None,
        }
    }

    #[test]
    fn what_each_name_means() {
        for (code, meaning) in [
            ("DisabledException", Denied(DenialReason::Disabled)),
            ("NotFoundException", Denied(DenialReason::NotFound)),
            ("AccessDeniedException", Denied(DenialReason::AccessDenied)),
            ("KMSInvalidStateException", AskForState),
            ("InvalidCiphertextException", Tampered),
            ("IncorrectKeyException", Tampered),
            ("ExpiredTokenException", OurCredentials),
            ("ExpiredToken", OurCredentials),
            ("UnrecognizedClientException", OurCredentials),
            ("InvalidSignatureException", OurCredentials),
            ("IncompleteSignature", OurCredentials),
            ("IncompleteSignatureException", OurCredentials),
            ("MissingAuthenticationToken", OurCredentials),
            ("MissingAuthenticationTokenException", OurCredentials),
            ("ThrottlingException", Throttled),
            ("LimitExceededException", Throttled),
            ("KMSInternalException", NoAnswer),
            ("DependencyTimeoutException", NoAnswer),
            ("KeyUnavailableException", NoAnswer),
            // Nobody's word, or somebody else's.
            ("AccessDenied", NoAnswer),
            ("403", NoAnswer),
            ("Disabled!", NoAnswer),
            ("KeyOnVacationException", NoAnswer),
            ("", NoAnswer),
        ] {
            assert_eq!(refusal(400, code).meaning(Decrypt), meaning, "{code}");
        }
    }

    #[test]
    fn a_denial_in_an_answer_that_is_no_answer_counts_for_nothing() {
        for status in [200, 302, 500, 503] {
            for code in [
                "DisabledException",
                "NotFoundException",
                "AccessDeniedException",
                "InvalidCiphertextException",
                "KMSInvalidStateException",
            ] {
                assert_eq!(
                    refusal(status, code).meaning(Decrypt),
                    NoAnswer,
                    "{status} {code}"
                );
            }
        }
        assert_eq!(
            refusal(503, "ThrottlingException").meaning(Decrypt),
            Throttled
        );
        assert_eq!(
            refusal(400, "AccessDeniedException").meaning(GetCallerIdentity),
            NoAnswer
        );
    }

    #[test]
    fn too_many_requests_are_throttling_whatever_they_are_called() {
        for code in ["KeyOnVacationException", "429", ""] {
            assert_eq!(refusal(429, code).meaning(Decrypt), Throttled, "{code}");
        }
        let denied = refusal(429, "DisabledException").meaning(Decrypt);
        assert_eq!(denied, Denied(DenialReason::Disabled));
    }

    #[test]
    fn the_limit_of_grants_is_the_requests_fault_and_no_other_limit_is() {
        let limit = refusal(400, "LimitExceededException");
        assert_eq!(limit.meaning(CreateGrant), Invalid);
        assert_eq!(limit.meaning(GenerateDataKey), Throttled);
        assert_eq!(
            refusal(400, "ThrottlingException").meaning(CreateGrant),
            Throttled
        );
    }

    #[test]
    fn a_wrong_request_is_no_damage_of_a_table_that_exists() {
        for code in [
            "ValidationException",
            "InvalidArnException",
            "InvalidKeyUsageException",
        ] {
            assert_eq!(refusal(400, code).meaning(DescribeKey), Invalid);
            assert_eq!(refusal(400, code).meaning(Decrypt), NoAnswer);
        }
    }

    #[test]
    fn an_error_says_what_was_asked_and_what_was_said() {
        let key = CmkRef::parse("arn:aws:kms:eu-west-1:111122223333:key/a").unwrap();
        let error =
            refusal(400, "DisabledException").error(Decrypt, &key, Denied(DenialReason::Disabled));
        assert_eq!(
            error.to_string(),
            "key service refuses: Disabled: Decrypt arn:aws:kms:eu-west-1:111122223333:key/a: DisabledException: no"
        );
        assert_eq!(readable("a\nb\u{7}c"), "a b c");
        assert_eq!(readable(&"x".repeat(1000)).len(), MESSAGE_CHARS_MAX);
    }
}
