//! Whatever can befall a request on its way: no answer is no denial, and no answer about another key is one about ours.

use std::time::Duration;

use palladium_crypto::UnavailableReason;
use palladium_integration_tests::owners::fault_proxy::{Fault, FaultProxy};
use palladium_integration_tests::owners::simulated_aws::SimulatedAws;
use serde_json::json;

use super::{EUROPE, context, key, open, server_policy, silence, table, with, wrapped};

#[tokio::test]
async fn whatever_befalls_a_request_is_no_answer() {
    let aws = SimulatedAws::start();
    let mut proxy = FaultProxy::start(aws.address());
    let endpoint = format!("http://{}", proxy.address());
    let kms = open(with(table(&aws), json!({ "endpoint": endpoint }))).await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    const JSON: &str = "application/x-amz-json-1.1";
    let answer = |status, content_type, body: &str| Fault::Answer {
        status,
        content_type,
        body: body.into(),
    };
    let faults = [
        answer(
            500,
            JSON,
            r#"{"__type":"KMSInternalException","message":"try again"}"#,
        ),
        answer(503, JSON, r#"{"__type":"ServiceUnavailable"}"#),
        answer(502, "text/html", "<html>Bad Gateway</html>"),
        // What a broken gateway says about a key is not the key service's word.
        answer(
            500,
            JSON,
            r#"{"__type":"DisabledException","message":"is disabled."}"#,
        ),
        answer(
            403,
            "text/xml",
            "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        ),
        answer(403, JSON, "{}"),
        answer(404, "text/plain", "not found"),
        answer(400, JSON, r#"{"__type":"KeyOnVacationException"}"#),
        answer(400, JSON, r#"{"__type":"DependencyTimeoutException"}"#),
        answer(400, JSON, r#"{"__type":"KeyUnavailableException"}"#),
        answer(400, JSON, r#"{"__type":"InvalidSignatureException"}"#),
        answer(400, JSON, r#"{"__type":"DisabledException""#),
        answer(302, JSON, ""),
        answer(200, JSON, ""),
        answer(200, JSON, "{}"),
        answer(200, JSON, r#"{"KeyId":1,"Plaintext":[]}"#),
        answer(200, JSON, r#"{"Plaintext":"%%%"}"#),
        answer(
            200,
            "text/html",
            "<html>Sign in to the airport's network</html>",
        ),
        Fault::Silence,
        Fault::Slow(Duration::from_secs(30)),
        Fault::HalfClosed,
        Fault::Truncated(0),
        Fault::Truncated(20),
        Fault::Truncated(250),
        Fault::Endless,
    ];
    for fault in faults {
        proxy.set(fault.clone());
        assert_eq!(
            silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        assert_eq!(
            silence(kms.describe(&ours).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        assert_eq!(
            silence(kms.generate_data_key(&ours, &context("t")).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        proxy.set(Fault::None);
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
    }
    proxy.set(answer(429, "text/plain", "slow down"));
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Throttled
    );
    proxy.set(Fault::None);
    proxy.refuse();
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Unreachable
    );
    proxy.accept();
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the service is back");
}

#[tokio::test]
async fn an_answer_about_another_key_is_no_answer_and_no_error_quotes_a_key() {
    let aws = SimulatedAws::start();
    let proxy = FaultProxy::start(aws.address());
    let kms = open(with(
        table(&aws),
        json!({ "endpoint": format!("http://{}", proxy.address()) }),
    ))
    .await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    // 32 bytes of 0x07.
    let plaintext = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let other = ours.to_string().replace("key/", "key/x");
    for body in [
        format!(r#"{{"KeyId":"{other}","Plaintext":"{plaintext}"}}"#),
        format!(r#"{{"Plaintext":"{plaintext}"}}"#),
        format!(r#"{{"KeyId":"{ours}","Plaintext":"{plaintext}""#),
        format!(r#"{{"KeyId":"{ours}","Plaintext":"{plaintext}" {plaintext}"#),
    ] {
        proxy.set(Fault::Answer {
            status: 200,
            content_type: "application/x-amz-json-1.1",
            body: body.clone().into(),
        });
        let error = kms
            .decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .err()
            .expect("it is no answer");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("BwcHBwc"), "{text}");
        }
        assert_eq!(
            silence::<()>(Err(error)),
            UnavailableReason::Unreachable,
            "{body}"
        );
    }
}
