//! A gRPC client of the service in [`origin::grpc`](crate::origin::grpc), on
//! tonic's own channel.

use futures_util::{Stream, StreamExt};
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoStreamingRequest, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Door, TOKEN_HEADER};
use crate::origin::grpc::{Note, SERVICE};

/// An open channel.
#[derive(Clone)]
pub struct GrpcClient {
    grpc: Grpc<Channel>,
    token: Option<String>,
}

/// Opens a channel to a host through a door.
///
/// # Panics
/// When there is no connection to be had.
pub async fn connect(door: &Door, host: &str) -> GrpcClient {
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{host}").parse().expect("an origin");
    // The channel never resolves this: the connector goes through the door.
    let endpoint = Endpoint::from(Uri::from_static("http://door.invalid")).origin(origin.clone());
    let (door, host) = (door.clone(), host.to_owned());
    let connector = tower::service_fn(move |_: Uri| {
        let (door, host) = (door.clone(), host.clone());
        async move { door.connect(&host).await.map(TokioIo::new) }
    });
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => GrpcClient {
            grpc: Grpc::new(channel),
            token: None,
        },
        Err(e) => panic!("gRPC connection to {origin}: {e:?}"),
    }
}

type Codec = ProstCodec<Note, Note>;

fn path(method: &str) -> PathAndQuery {
    format!("{SERVICE}/{method}").parse().expect("a path")
}

impl GrpcClient {
    /// With a token of ours on every call.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let token = MetadataValue::try_from(token).expect("a token is ASCII");
            request.metadata_mut().insert(TOKEN_HEADER, token);
        }
        request
    }

    /// The unary call.
    ///
    /// # Errors
    /// The call's status.
    pub async fn say(&mut self, note: Note) -> Result<Note, Status> {
        self.ready().await?;
        let request = self.request(note);
        let answer = self.grpc.unary(request, path("Say"), Codec::default()).await?;
        Ok(answer.into_inner())
    }

    /// The call that streams to the client.
    ///
    /// # Errors
    /// The call's status, when it fails before the first note.
    pub async fn count(&mut self, note: Note) -> Result<Streaming<Note>, Status> {
        self.ready().await?;
        let request = self.request(note);
        let answer = self
            .grpc
            .server_streaming(request, path("Count"), Codec::default())
            .await?;
        Ok(answer.into_inner())
    }

    /// The call that streams to the server.
    ///
    /// # Errors
    /// The call's status.
    pub async fn sum(&mut self, notes: impl Stream<Item = Note> + Send + 'static) -> Result<Note, Status> {
        self.ready().await?;
        let request = self.request(notes.boxed()).into_streaming_request();
        let answer = self
            .grpc
            .client_streaming(request, path("Sum"), Codec::default())
            .await?;
        Ok(answer.into_inner())
    }

    /// The call that streams both ways.
    ///
    /// # Errors
    /// The call's status, when it fails at once.
    pub async fn chat(&mut self, notes: impl Stream<Item = Note> + Send + 'static) -> Result<Streaming<Note>, Status> {
        self.ready().await?;
        let request = self.request(notes.boxed()).into_streaming_request();
        let answer = self.grpc.streaming(request, path("Chat"), Codec::default()).await?;
        Ok(answer.into_inner())
    }
}
