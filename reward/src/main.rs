//! reward.
fn main() {}
