//! sft.
fn main() {}
