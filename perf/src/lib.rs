//! What the benches and the comparison share: the platform they pretend to be.

pub mod fleet;
