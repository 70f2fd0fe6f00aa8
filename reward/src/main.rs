//! `reward`: fine-tuned model and human rankings to a reward model.

fn main() {
    train::cli::main("reward", "Fine-tuned model and human rankings to a reward model.", reward::run)
}
