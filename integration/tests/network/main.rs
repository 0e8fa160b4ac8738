//! Pods' networks on a machine of the test's own: real namespaces, links, rules and
//! sockets, with the rest of the world beside it.

mod agent;
mod figures;
mod forwards;
mod guards;
mod host;
mod node;
mod ports;
mod reach;
mod recover;
mod sequences;
mod site;
mod speed;
