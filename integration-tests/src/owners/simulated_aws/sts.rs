//! STS: who somebody is, and roles for those who may have them.

use std::collections::HashMap;

use super::{ACCOUNT, Answer, Caller, World};

/// The fields of a form.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub fn read(body: &[u8]) -> Form {
        let text = String::from_utf8_lossy(body);
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Form(
            pairs
                .map(|(name, value)| (name.to_owned(), decoded(value)))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// `%3A` and the like; a form's names have none.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        match (
            first,
            code.and_then(|code| u8::from_str_radix(code, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn error(code: &str, message: &str, request_id: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
}

impl World {
    pub(super) fn answer_sts(&mut self, caller: &Caller, operation: &str, form: &Form) -> Answer {
        match operation {
            "GetCallerIdentity" => Answer::Xml(format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{}</Arn><UserId>AIDA</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
                caller.arn
            )),
            "AssumeRole" => self.assume_role(caller, form),
            other => panic!("nobody asks STS for {other}"),
        }
    }

    fn assume_role(&mut self, caller: &Caller, form: &Form) -> Answer {
        let role = form.get("RoleArn");
        let may = self.roles.get(role).is_some_and(|(user, external_id)| {
            *user == caller.arn
                && external_id
                    .as_deref()
                    .is_none_or(|id| id == form.get("ExternalId"))
        });
        if !may {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {role}",
                caller.arn
            );
            return Answer::Refused {
                error: "AccessDenied",
                message,
                xml: true,
            };
        }
        let session = role
            .replacen(":iam:", ":sts:", 1)
            .replacen(":role/", ":assumed-role/", 1)
            + "/"
            + form.get("RoleSessionName");
        let access_key = self.new_access_key(&session);
        Answer::Xml(format!(
            "<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{session}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>x</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ))
    }
}
