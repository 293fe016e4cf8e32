//! Grants: made with a credential of their own, used and retired with the ordinary one.
//!
//! | call | credential | why it may |
//! |---|---|---|
//! | CreateGrant, ListGrants | `grant_role_arn` or `grant_profile` | its policy says so |
//! | RetireGrant | the ordinary one | it is the grantee, and the grant holds the operation RetireGrant |
//!
//! KMS spreads a new grant within about five minutes. Until then its token, sent along with a call, stands for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_kms::types::{GrantConstraints, GrantListEntry, GrantOperation as AwsGrantOperation};

use super::clients::{Clients, RegionClient};
use super::errors::{Meaning, Operation, Refusal};
use super::settings::Grantee;
use super::{AwsKms, answered, pairs};
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::{Answering, Grant, GrantId, GrantOperation, GrantRequest, Grants, Reply};

/// How long AWS may take to spread a grant.
const FRESH: Duration = Duration::from_secs(300);
/// Fresh grants remembered, over all keys. One that is forgotten works as soon as it has spread.
const FRESH_MAX: usize = 1024;
/// Tokens that KMS takes with one call.
const TOKENS_MAX: usize = 10;
/// Longest name of a grant.
const NAME_CHARS_MAX: usize = 256;
/// Grants in one page of a list.
const PAGE: i32 = 100;
/// Pages read: AWS's quota is 50,000 grants for each key.
const PAGES_MAX: usize = 500;

/// What grants are made with.
pub(super) struct Granting {
    pub clients: Clients,
    pub grantee: Grantee,
}

/// Grants that may not have spread yet, oldest first.
#[derive(Default)]
pub(super) struct FreshGrants(Mutex<Fresh>);

#[derive(Default)]
struct Fresh {
    grants: Vec<FreshGrant>,
    /// Whom STS knows the ordinary credentials as.
    caller: Option<String>,
}

struct FreshGrant {
    key: CmkRef,
    context: EncryptionContext,
    id: GrantId,
    token: String,
    made: Instant,
}

impl FreshGrants {
    /// The tokens for a call on `key`, newest first; for a call with a context those of grants for that context.
    pub fn tokens(&self, key: &CmkRef, context: Option<&EncryptionContext>) -> Vec<String> {
        let mut fresh = self.lock();
        fresh.grants.retain(|grant| grant.made.elapsed() < FRESH);
        let fitting = fresh.grants.iter().rev().filter(|grant| {
            grant.key == *key && context.is_none_or(|context| grant.context == *context)
        });
        fitting
            .take(TOKENS_MAX)
            .map(|grant| grant.token.clone())
            .collect()
    }

    /// Sends these no more.
    pub fn forget(&self, tokens: &[String]) {
        self.lock()
            .grants
            .retain(|grant| !tokens.contains(&grant.token));
    }

    fn keep(&self, grant: FreshGrant) {
        let mut fresh = self.lock();
        // Asked again with the same content, KMS gives the same grant and another token.
        fresh
            .grants
            .retain(|kept| kept.id != grant.id || kept.key != grant.key);
        if fresh.grants.len() == FRESH_MAX {
            fresh.grants.remove(0);
        }
        fresh.grants.push(grant);
    }

    fn take(&self, key: &CmkRef, id: &GrantId) -> Option<String> {
        let mut fresh = self.lock();
        let at = fresh
            .grants
            .iter()
            .position(|grant| grant.key == *key && grant.id == *id)?;
        let grant = fresh.grants.remove(at);
        (grant.made.elapsed() < FRESH).then_some(grant.token)
    }

    fn lock(&self) -> MutexGuard<'_, Fresh> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AwsKms {
    fn granting(&self) -> Result<&Granting> {
        self.granting.as_ref().ok_or_else(|| {
            Error::Unsupported("this server has no credential to make grants with".into())
        })
    }

    /// Who grants are made to.
    async fn grantee(&self, granting: &Granting, key: &CmkRef) -> Result<String> {
        if let Grantee::Named(arn) = &granting.grantee {
            return Ok(arn.clone());
        }
        if let Some(arn) = self.fresh.lock().caller.clone() {
            return Ok(arn);
        }
        let client = self.client(key).await?;
        let identity = match client.sts.get_caller_identity().send().await {
            Ok(identity) => identity,
            Err(error) => {
                let refusal = Refusal::of(&error);
                let operation = Operation::GetCallerIdentity;
                return Err(refusal.error(operation, key, Meaning::NoAnswer));
            }
        };
        let arn = identity.arn.as_deref().map(principal).ok_or_else(|| {
            Error::unavailable(
                UnavailableReason::Unreachable,
                "GetCallerIdentity: the answer does not say who this server is",
            )
        })?;
        self.fresh.lock().caller = Some(arn.clone());
        Ok(arn)
    }

    async fn create(&self, key: &CmkRef, request: &GrantRequest) -> Result<Reply<GrantId>> {
        let granting = self.granting()?;
        let client = granting.clients.of(key).await?;
        let grantee = self.grantee(granting, key).await?;
        let constraints = GrantConstraints::builder()
            .set_encryption_context_equals(Some(pairs(&request.context)))
            .build();
        let sent = client
            .kms
            .create_grant()
            .key_id(key.name())
            .grantee_principal(grantee)
            .set_operations(Some(request.operations.iter().map(aws_operation).collect()))
            .constraints(constraints)
            .name(aws_name(&request.name))
            .send()
            .await;
        let output = match sent {
            Ok(output) => output,
            Err(error) => {
                let refusal = Refusal::of(&error);
                return Ok(self
                    .grants_refused(granting, &client, Operation::CreateGrant, key, refusal)
                    .await);
            }
        };
        Ok(answered(output).and_then(|output| {
            let id = output.grant_id.map(GrantId).ok_or_else(|| {
                Error::unavailable(
                    UnavailableReason::Unreachable,
                    "CreateGrant: the answer names no grant",
                )
            })?;
            if let Some(token) = output.grant_token {
                self.fresh.keep(FreshGrant {
                    key: key.clone(),
                    context: request.context.clone(),
                    id: id.clone(),
                    token,
                    made: Instant::now(),
                });
            }
            Ok(id)
        }))
    }

    async fn list(&self, key: &CmkRef) -> Result<Reply<Vec<Grant>>> {
        let granting = self.granting()?;
        let client = granting.clients.of(key).await?;
        let grantee = self.grantee(granting, key).await?;
        let (mut grants, mut marker, mut request_id) = (Vec::new(), None, None);
        for _ in 0..PAGES_MAX {
            let sent = client
                .kms
                .list_grants()
                .key_id(key.name())
                .grantee_principal(&grantee)
                .limit(PAGE)
                .set_marker(marker)
                .send()
                .await;
            let page = match sent {
                Ok(output) => answered(output),
                Err(error) => {
                    let refusal = Refusal::of(&error);
                    return Ok(self
                        .grants_refused(granting, &client, Operation::ListGrants, key, refusal)
                        .await);
                }
            };
            request_id = page.request_id;
            let page = page.outcome?;
            let ours = page.grants.unwrap_or_default();
            grants.extend(
                ours.into_iter()
                    .filter_map(|grant| ours_of(grant, &grantee)),
            );
            marker = page.next_marker.filter(|_| page.truncated);
            if marker.is_none() {
                break;
            }
        }
        Ok(Reply {
            outcome: Ok(grants),
            request_id,
        })
    }

    async fn grants_refused<T>(
        &self,
        granting: &Granting,
        client: &RegionClient,
        operation: Operation,
        key: &CmkRef,
        refusal: Refusal,
    ) -> Reply<T> {
        if refusal.meaning(operation) == Meaning::OurCredentials {
            granting.clients.forget(client);
        }
        self.refused(client, operation, key, refusal).await
    }

    async fn retire(&self, key: &CmkRef, grant: &GrantId) -> Result<Reply<()>> {
        self.granting()?;
        let client = self.client(key).await?;
        let mut token = self.fresh.take(key, grant);
        loop {
            let request = client.kms.retire_grant();
            // The token of a fresh grant is known everywhere at once; its id may not be.
            let request = match &token {
                Some(token) => request.grant_token(token),
                None => request.key_id(key.name()).grant_id(&grant.0),
            };
            let refusal = match request.send().await {
                Ok(output) => return Ok(answered(output).and_then(|_| Ok(()))),
                Err(error) => Refusal::of(&error),
            };
            let meaning = refusal.meaning(Operation::RetireGrant);
            if meaning == Meaning::GrantTokenSpent && token.take().is_some() {
                continue;
            }
            if meaning == Meaning::Denied(DenialReason::NotFound) {
                return Ok(Reply {
                    outcome: Ok(()),
                    request_id: refusal.request_id,
                });
            }
            return Ok(self
                .refused(&client, Operation::RetireGrant, key, refusal)
                .await);
        }
    }
}

impl Grants for AwsKms {
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId> {
        Box::pin(async move { flat(self.create(key, request).await) })
    }

    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()> {
        Box::pin(async move { flat(self.retire(key, grant).await) })
    }

    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>> {
        Box::pin(async move { flat(self.list(key).await) })
    }
}

fn flat<T>(reply: Result<Reply<T>>) -> Reply<T> {
    reply.unwrap_or_else(|error| Err(error).into())
}

fn ours_of(grant: GrantListEntry, grantee: &str) -> Option<Grant> {
    let is_ours = grant
        .grantee_principal
        .is_none_or(|principal| principal == grantee);
    let id = grant.grant_id.filter(|_| is_ours)?;
    Some(Grant {
        id: GrantId(id),
        name: grant.name.unwrap_or_default(),
    })
}

fn aws_operation(operation: &GrantOperation) -> AwsGrantOperation {
    match operation {
        GrantOperation::Describe => AwsGrantOperation::DescribeKey,
        GrantOperation::Generate => AwsGrantOperation::GenerateDataKey,
        GrantOperation::Decrypt => AwsGrantOperation::Decrypt,
        GrantOperation::Encrypt => AwsGrantOperation::Encrypt,
        GrantOperation::Retire => AwsGrantOperation::RetireGrant,
    }
}

/// A grant's name in the letters that AWS allows. Two names that become one do no harm: a grant is the same only if all of it is.
fn aws_name(name: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ':' | '/' | '_' | '-' => c,
        _ => '_',
    };
    name.chars().take(NAME_CHARS_MAX).map(letter).collect()
}

/// A session of an assumed role passes; the role is who is meant.
///
/// ```text
/// arn:aws:sts::111122223333:assumed-role/ROLE/SESSION   ->   arn:aws:iam::111122223333:role/ROLE
/// ```
///
/// STS leaves out a role's path; a role that has one must be named in `grantee_principal`.
fn principal(caller: &str) -> String {
    let role = || {
        let (head, tail) = caller.split_once(":assumed-role/")?;
        let (service, account) = head.rsplit_once("::")?;
        let partition = service.strip_suffix(":sts")?;
        let role = tail.split('/').next()?;
        Some(format!("{partition}:iam::{account}:role/{role}"))
    };
    role().unwrap_or_else(|| caller.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> CmkRef {
        CmkRef::parse(&format!("arn:aws:kms:eu-west-1:111122223333:key/{name}")).unwrap()
    }

    fn grant(name: &str, table: &str, count: usize) -> FreshGrant {
        FreshGrant {
            key: key(name),
            context: EncryptionContext::for_table("ks", table, "me"),
            id: GrantId(format!("grant-{table}-{count}")),
            token: format!("token-{table}-{count}"),
            made: Instant::now(),
        }
    }

    #[test]
    fn the_session_of_a_role_is_the_role() {
        for (caller, wanted) in [
            (
                "arn:aws:sts::111122223333:assumed-role/palladium/i-0abc",
                "arn:aws:iam::111122223333:role/palladium",
            ),
            (
                "arn:aws-cn:sts::111122223333:assumed-role/a/b",
                "arn:aws-cn:iam::111122223333:role/a",
            ),
            (
                "arn:aws:iam::111122223333:user/palladium",
                "arn:aws:iam::111122223333:user/palladium",
            ),
        ] {
            assert_eq!(principal(caller), wanted);
        }
    }

    #[test]
    fn a_fresh_grants_token_goes_with_the_calls_on_its_key_and_context() {
        let fresh = FreshGrants::default();
        fresh.keep(grant("a", "t", 0));
        fresh.keep(grant("a", "u", 0));
        fresh.keep(grant("b", "t", 0));
        let context = EncryptionContext::for_table("ks", "t", "me");
        assert_eq!(fresh.tokens(&key("a"), Some(&context)), ["token-t-0"]);
        assert_eq!(
            fresh.tokens(&key("a"), None),
            ["token-u-0", "token-t-0"],
            "a call without a context"
        );
        fresh.forget(&["token-u-0".to_owned()]);
        assert_eq!(fresh.tokens(&key("a"), None), ["token-t-0"]);
        let id = GrantId("grant-t-0".into());
        assert_eq!(fresh.take(&key("b"), &id).as_deref(), Some("token-t-0"));
        assert_eq!(fresh.tokens(&key("b"), None), [""; 0]);
    }

    #[test]
    fn fresh_grants_are_few_and_are_forgotten() {
        let fresh = FreshGrants::default();
        for count in 0..FRESH_MAX + 5 {
            fresh.keep(grant("a", "t", count));
        }
        assert_eq!(fresh.lock().grants.len(), FRESH_MAX);
        assert_eq!(fresh.tokens(&key("a"), None).len(), TOKENS_MAX);
        for grant in &mut fresh.lock().grants {
            grant.made = Instant::now() - FRESH;
        }
        assert_eq!(fresh.tokens(&key("a"), None), [""; 0]);
    }

    #[test]
    fn a_name_has_the_letters_that_aws_allows() {
        assert_eq!(aws_name("palladium ks.täble/use"), "palladium_ks_t_ble/use");
        assert_eq!(aws_name(&"x".repeat(999)).len(), NAME_CHARS_MAX);
    }
}
