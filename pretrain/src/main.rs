//! `pretrain`: text to base model: next-token pre-training.

fn main() {
    train::cli::main("pretrain", "Text to base model: next-token pre-training.", pretrain::run)
}
