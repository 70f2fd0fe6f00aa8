//! ppo.
fn main() {}
