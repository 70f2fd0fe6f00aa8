//! A small town of places to eat and to visit, written by chance from a seed. Because it is made up, the true preference is known
//! ([`gold`]), and a reward model trained on the simulated judges' rankings can be held against it.

pub mod chat;
pub mod crowd;
pub mod generate;
mod gold;
pub mod judge;
pub mod people;
pub mod place;
pub mod speak;
mod story;
pub mod vocabulary;

pub use chat::{ChatGold, ChatSize, chat, chat_gold};
pub use crowd::{Crowd, Mix, crowd};
pub use generate::{GenerateError, Size, World, generate};
pub use gold::{Gold, gold, score};
pub use place::Place;
