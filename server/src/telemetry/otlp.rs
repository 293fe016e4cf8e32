//! Spans for a collector of OpenTelemetry, by OTLP over HTTP (protobuf).
//!
//! Spans that have ended wait in a bounded queue of the SDK, whose own thread sends them; what finds no room there, or a collector that does not answer, is lost, and
//! no request waits for it. The standard variables (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_MAX_QUEUE_SIZE`, ..) say the rest.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use palladium_storage::SPANS;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The name under which a collector shows us.
const SERVICE: &str = "palladium";

/// An exporter at work. Dropped, it sends what is left.
pub struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    /// To the collector at this address, as `http://127.0.0.1:4318/v1/traces`.
    pub fn to(endpoint: &str) -> Result<Spans, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| format!("otlp_endpoint: {error}"))?;
        let resource = Resource::builder().with_service_name(SERVICE).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Spans { provider })
    }

    /// What hands our spans to it, and nobody else's: events stay in the log.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(SPANS, Level::DEBUG))
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
