//! How far people's judgments can be believed: [`panel`] holds who said what of which answer, as numbers; [`fit`] finds the answers' worths and the judges'
//! reliabilities together, from where several judged the same. [`learn`] makes of it what a reward model learns from.

pub mod fit;
pub mod learn;
pub mod panel;
