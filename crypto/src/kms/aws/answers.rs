//! The answers' bodies: bounded, and wiped when the SDK has read them.
//!
//! The SDK collects a body of any length, decodes it, and frees it as it is; the answer to a Decrypt is the key in Base64. So each body is replaced by one
//! that gathers at most [`ANSWER_BYTES_MAX`] and hands them over in a single piece that wipes itself: the SDK takes a single piece as it is, and drops it
//! before it gives us the answer.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_kms::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame};
use zeroize::Zeroizing;

/// Longest answer. The longest that KMS gives is a page of a hundred grants, of about a kilobyte each.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Puts a [`GuardedBody`] in place of each answer's body.
#[derive(Debug)]
pub(super) struct GuardedAnswers;

impl Intercept for GuardedAnswers {
    fn name(&self) -> &'static str {
        "GuardedAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let arriving = mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(GuardedBody::new(arriving));
        Ok(())
    }
}

struct GuardedBody<B> {
    arriving: B,
    arrived: Vec<Zeroizing<Vec<u8>>>,
    length: usize,
    ended: bool,
}

impl<B> GuardedBody<B> {
    fn new(arriving: B) -> Self {
        GuardedBody {
            arriving,
            arrived: Vec::new(),
            length: 0,
            ended: false,
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), BoxError> {
        self.length += data.len();
        if self.length > ANSWER_BYTES_MAX {
            return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes").into());
        }
        self.arrived.push(Zeroizing::new(data.to_vec()));
        Ok(())
    }

    /// All of it in one piece, of exactly this capacity: a vector that grows leaves copies behind.
    fn whole(&mut self) -> Bytes {
        let mut whole = Zeroizing::new(Vec::with_capacity(self.length));
        for piece in mem::take(&mut self.arrived) {
            whole.extend_from_slice(&piece);
        }
        Bytes::from_owner(whole)
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        while !this.ended {
            match ready!(Pin::new(&mut this.arriving).poll_frame(context)) {
                // Trailers say nothing that anybody reads.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && let Err(error) = this.take(&data)
                    {
                        this.ended = true;
                        this.arrived.clear();
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    this.ended = true;
                    return Poll::Ready(Some(Ok(Frame::data(this.whole()))));
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    struct Pieces(VecDeque<Result<Bytes, &'static str>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let piece = self.0.pop_front();
            Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(BoxError::from)))
        }
    }

    async fn read(pieces: Vec<Result<Bytes, &'static str>>) -> Vec<Result<Bytes, String>> {
        let mut body = GuardedBody::new(Pieces(pieces.into()));
        let mut frames = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            frames.push(
                frame
                    .map(|frame| frame.into_data().expect("only data is given"))
                    .map_err(|error| error.to_string()),
            );
        }
        frames
    }

    #[tokio::test]
    async fn an_answer_comes_in_one_piece() {
        let pieces = ["{\"Plain", "text\":", "\"\"}"].map(|text| Ok(Bytes::from(text)));
        let frames = read(pieces.into()).await;
        assert_eq!(frames, [Ok(Bytes::from("{\"Plaintext\":\"\"}"))]);
        assert_eq!(read(Vec::new()).await, [Ok(Bytes::new())]);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_breaks_off_is_an_error() {
        let piece = Bytes::from(vec![b' '; 1 << 16]);
        let frames = read(vec![Ok(piece); 17]).await;
        assert_eq!(
            frames,
            [Err(format!(
                "an answer of more than {ANSWER_BYTES_MAX} bytes"
            ))]
        );
        let frames = read(vec![Ok(Bytes::from("{")), Err("cut off")]).await;
        assert_eq!(frames, [Err("cut off".to_owned())]);
    }
}
