//! A model behind the OpenAI-compatible HTTP API, and in the terminal.
//!
//! | file | what it is |
//! |---|---|
//! | `engine` | one thread with the model: continuous batching of all requests |
//! | `question` | from a request's JSON to prompts and sampling, or one clear refusal |
//! | `answer` | from tokens to text: whole characters only, stop strings cut off |
//! | `reply` | the JSON of answers, whole or as a stream |
//! | `http` | addresses, keys, limits; `server`: the socket, from the first line printed to the last answer sent |
//! | `figures` | what Prometheus reads |
//! | `feedback` | what people say of answers, as `label ingest` reads it |
//! | `chat` | a conversation in the terminal |

mod answer;
pub mod chat;
mod engine;
mod feedback;
mod figures;
mod http;
mod open;
mod question;
mod reply;
pub mod server;

pub use open::{ModelArgs, Weights};
