//! `reward`: fine-tuned model and human rankings to a reward model.

fn main() -> std::process::ExitCode {
    train::cli::main("reward", "Fine-tuned model and human rankings to a reward model.", reward::run)
}
