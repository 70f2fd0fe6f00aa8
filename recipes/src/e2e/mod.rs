//! Restaurant descriptions of the E2E NLG data (arXiv 1706.09254): is everything in the meaning representation said, and nothing else?
//!
//! In the spirit of the slot error rate of the published cleaning scripts (Dušek et al. 2019, arXiv 1911.03905): phrase lists by value, of
//! our own making. A price of `less than £20` counts as said by "cheap", a rating of `5 out of 5` by "highly rated", as people do it.

mod augment;
mod meaning;
mod names;
mod score;
mod tables;
mod vary;

pub use augment::{Augmented, augment};
pub use meaning::{Meaning, MeaningError, Slot};
pub use score::{Score, score, score_meaning};
