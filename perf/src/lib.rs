//! What the benches and the comparison share: the platform they pretend to be, the edge's
//! own gate over it, and programs under load.

// The platform.
pub mod admission;
pub mod fleet;
pub mod limits;

// A machine of two sides, and what runs on it.
pub mod cpu;
pub mod machine;
pub mod process;
pub mod site;

pub mod backend;
pub mod podgate;

// The measurement.
pub mod load;

pub mod turn;

pub mod median;
pub mod memory;
