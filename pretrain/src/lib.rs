//! pretrain.
