//! What recipes need besides the stages: a small world whose true preference is known ([`demo`]), the share of slots said rightly for restaurant
//! descriptions ([`e2e`]), made-up pairs of sentences ([`pairs`]), a task that can only be learned from the prompt ([`in_context`]), and pictures with captions
//! ([`shapes`]). No tensors here: everything is text in, numbers out.

pub mod demo;
pub mod dice;
pub mod e2e;
pub mod in_context;
pub mod judgments;
pub mod pairs;
pub mod phrases;
pub mod samples;
pub mod shapes;
