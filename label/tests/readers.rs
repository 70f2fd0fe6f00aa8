//! The readers of rows: what they make of real files and of every shape that their formats take.

#[path = "readers/common.rs"]
mod common;
#[path = "readers/mapping.rs"]
mod mapping;
#[path = "readers/real.rs"]
mod real;
#[path = "readers/shapes.rs"]
mod shapes;
