//! What the edge does, from the outside: one module for each kind of behaviour.
//!
//! One program, because linking the whole workspace is most of what a test binary
//! costs to build.

mod harness;
mod routing;
mod admission;
mod tokens;
mod limits;
mod headers;
mod wire;
mod streaming;
mod websocket;
mod h2;
mod grpc;
mod targets;
