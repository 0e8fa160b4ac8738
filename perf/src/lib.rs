//! What the benches and the comparison share: the platform they pretend to be, and
//! the edge's own gate over it.

pub mod admission;
pub mod fleet;
pub mod memory;
