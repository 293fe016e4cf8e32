//! One line for each event, on standard error; and, in a build with the feature `opentelemetry`, spans for a collector. Events and spans carry ids, names of
//! operations, counts and times; never a value, a literal or key bytes.
//!
//! What must hold: where no collector is named, spans are off, and making one costs a look at a number.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;

#[cfg(feature = "opentelemetry")]
mod otlp;

/// What has to be told when the program ends: spans may still be on their way.
#[derive(Default)]
pub struct Telemetry {
    #[cfg(feature = "opentelemetry")]
    _spans: Option<otlp::Spans>,
}

/// Starts logging, with a filter as the setting `log` has it, and the export of spans, if `otlp_endpoint` names a collector. What is given back ends both.
pub fn start(config: &Config) -> Result<Telemetry, String> {
    check_levels(&config.log)?;
    // Below that level the AWS SDK writes whole requests.
    let filter = EnvFilter::try_new(format!(
        "{},aws_smithy_runtime=info,aws_sdk_kms=info,aws_sdk_sts=info",
        config.log
    ))
    .map_err(|error| format!("log: {error}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A span is a line of its own once it is over, with how long it took: no event stands in it.
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(lines);
    if config.otlp_endpoint.is_empty() {
        subscriber.try_init().map_err(|error| error.to_string())?;
        return Ok(Telemetry::default());
    }
    #[cfg(not(feature = "opentelemetry"))]
    return Err(
        "otlp_endpoint is set, and this build exports no spans: it is made without the feature `opentelemetry`"
            .into(),
    );
    #[cfg(feature = "opentelemetry")]
    {
        let spans = otlp::Spans::to(&config.otlp_endpoint)?;
        subscriber
            .with(spans.layer())
            .try_init()
            .map_err(|error| error.to_string())?;
        Ok(Telemetry {
            _spans: Some(spans),
        })
    }
}

/// A word that is no level would be taken for a target's name, and nothing else be logged any more.
fn check_levels(log: &str) -> Result<(), String> {
    // No word at all is a level to the parser, and none to the filter.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_understood = |part: &str| part.contains('=') || is_level(part);
    match log
        .split(',')
        .map(str::trim)
        .find(|part| !is_understood(part))
    {
        None => Ok(()),
        Some(part) => Err(format!(
            "log: '{part}' is no level: off, error, warn, info, debug, trace, or TARGET=LEVEL"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_does_not_switch_the_log_off() {
        for right in [
            "warn",
            "INFO",
            "info,palladium=debug",
            "warn, palladium::net=trace",
        ] {
            assert_eq!(check_levels(right), Ok(()), "{right}");
        }
        for wrong in ["", " ", "wran", "palladium", "info,wran"] {
            assert!(check_levels(wrong).is_err(), "{wrong}");
        }
    }
}
