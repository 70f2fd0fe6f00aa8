//! ppo.
