//! What the edge does, from the outside: one module for each kind of behaviour.
//!
//! One program, because linking the whole workspace is most of what a test binary
//! costs to build.

mod admin;
mod admission;
mod apps;
mod ceilings;
mod domains;
mod grpc;
mod h2;
mod harness;
mod headers;
mod hsts;
mod idle;
mod issuers;
mod limits;
mod matrix;
mod oidc;
mod outage;
mod reload;
mod revocation;
mod routing;
mod siblings;
mod shutdown;
mod signin;
mod streaming;
mod targets;
mod tls;
mod together;
mod tokens;
mod verify;
mod websocket;
mod wire;
