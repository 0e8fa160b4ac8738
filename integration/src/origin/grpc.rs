//! A gRPC service with each kind of call, written by hand so that no protobuf
//! compiler is needed: in effect
//!
//! ```proto
//! package podgate.test;
//! message Note { string text = 1; uint64 number = 2; }
//! service Echo {
//!   rpc Say(Note) returns (Note);              // text "fail": FAILED_PRECONDITION
//!   rpc Count(Note) returns (stream Note);     // 1 to number; text "fail": then ABORTED
//!   rpc Sum(stream Note) returns (Note);       // the sum of the numbers
//!   rpc Chat(stream Note) returns (stream Note); // each note back as it comes
//! }
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use http::{Request as HttpRequest, Response as HttpResponse};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Where the service's calls live: `{SERVICE}/Say` and so on.
pub const SERVICE: &str = "/podgate.test.Echo";

/// The metadata that a failed call carries beside its status.
pub const WHY: &str = "x-why";

/// The one message of the service.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Note {
    /// Some text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// Some number.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

impl Note {
    /// A note.
    pub fn new(text: &str, number: u64) -> Self {
        Self {
            text: text.to_owned(),
            number,
        }
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// Answers a call; the method is the last segment of the path.
pub(super) async fn call(request: HttpRequest<Incoming>) -> Result<HttpResponse<Body>, Infallible> {
    let mut grpc = Grpc::new(ProstCodec::<Note, Note>::default());
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    Ok(match method.as_str() {
        "Say" => grpc.unary(Say, request).await,
        "Count" => grpc.server_streaming(Count, request).await,
        "Sum" => grpc.client_streaming(Sum, request).await,
        "Chat" => grpc.streaming(Chat, request).await,
        other => Status::unimplemented(other).into_http(),
    })
}

fn failure(status: Status) -> Status {
    let mut status = status;
    status
        .metadata_mut()
        .insert(WHY, MetadataValue::from_static("because it was asked to"));
    status
}

struct Say;

impl UnaryService<Note> for Say {
    type Response = Note;
    type Future = Answer<Note>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let note = request.into_inner();
        Box::pin(async move {
            if note.text == "fail" {
                return Err(failure(Status::failed_precondition("not like this")));
            }
            Ok(Response::new(note))
        })
    }
}

struct Count;

impl ServerStreamingService<Note> for Count {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = Answer<Notes>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let Note { text, number } = request.into_inner();
        let end = (text == "fail").then(|| Err(failure(Status::aborted("half way"))));
        let notes = (1..=number).map(move |n| Ok(Note::new(&text, n))).chain(end);
        let notes: Notes = Box::pin(stream::iter(notes));
        Box::pin(async move { Ok(Response::new(notes)) })
    }
}

struct Sum;

impl ClientStreamingService<Note> for Sum {
    type Response = Note;
    type Future = Answer<Note>;

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let mut notes = request.into_inner();
        Box::pin(async move {
            let mut sum = 0;
            while let Some(note) = notes.next().await {
                sum += note?.number;
            }
            Ok(Response::new(Note::new("sum", sum)))
        })
    }
}

struct Chat;

impl StreamingService<Note> for Chat {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = Answer<Notes>;

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let notes: Notes = Box::pin(request.into_inner());
        Box::pin(async move { Ok(Response::new(notes)) })
    }
}
