//! Stands in for the `libz-ng-sys` crate, whose build script runs cmake.
//!
//! pingora-core enables flate2's `zlib-ng` backend, of which flate2 uses only
//! what zlib itself offers in the same C interface. libz-sys builds zlib with the
//! C compiler alone, so a fresh machine needs no cmake. Wired in by
//! `[patch.crates-io]` in the root manifest.
#![no_std]

pub use libz_sys::*;
