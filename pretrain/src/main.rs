//! pretrain.
fn main() {}
