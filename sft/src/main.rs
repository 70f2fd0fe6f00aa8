//! `sft`: base model and demonstrations to a fine-tuned model.

fn main() {
    train::cli::main("sft", "Base model and demonstrations to a fine-tuned model.", sft::run)
}
