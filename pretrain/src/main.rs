//! `pretrain`: text to base model: next-token pre-training.

fn main() -> std::process::ExitCode {
    train::cli::main("pretrain", "Text to base model: next-token pre-training.", pretrain::run)
}
