//! evaluate.
fn main() {}
