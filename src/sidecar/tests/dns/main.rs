//! The pods' DNS on real sockets, before a real name server (knot).

mod knot;
mod world;

mod bounds;
mod flood;
mod latency;
mod names;
mod policy;
mod rebinding;
mod upstreams;
mod wire;
