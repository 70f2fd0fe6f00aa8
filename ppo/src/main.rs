//! `ppo`: fine-tuned model and reward model to a policy that people would prefer.

fn main() {
    train::cli::main("ppo", "Fine-tuned model and reward model to a policy that people would prefer.", ppo::run)
}
