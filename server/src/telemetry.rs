//! One line for each event, on standard error. Events carry ids, names, counts and times; never a value, a literal or key bytes.

use tracing_subscriber::EnvFilter;

/// Starts logging with a filter as the setting `log` has it.
pub fn start(filter: &str) -> Result<(), String> {
    // Below that level the AWS SDK writes whole requests.
    let filter = EnvFilter::try_new(format!(
        "{filter},aws_smithy_runtime=info,aws_sdk_kms=info,aws_sdk_sts=info"
    ))
    .map_err(|error| format!("log: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| error.to_string())
}
