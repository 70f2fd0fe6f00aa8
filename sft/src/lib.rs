//! sft.
