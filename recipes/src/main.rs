//! recipes.
fn main() {}
