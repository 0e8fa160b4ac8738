//! podgate.
fn main() {}
