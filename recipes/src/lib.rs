//! What the two recipes need besides the stages: a small world whose true preference is known ([`demo`]), and the share of slots
//! said rightly for restaurant descriptions ([`e2e`]). No tensors here: everything is text in, numbers out.

pub mod demo;
pub mod dice;
pub mod e2e;
pub mod judgments;
pub mod phrases;
pub mod samples;
