//! Dropout. Alone in its file: libtorch's generator is one for the whole process.

mod common;

use common::{gap, same, tiny, tokens};
use model::HeadKind;
use tch::no_grad;

#[test]
fn dropout_only_in_training_and_seeded() {
    let model = tiny(HeadKind::Lm, 0.3);
    let ids = tokens(2, 12, 7);
    let hidden = |seed: i64, train: bool| {
        tch::manual_seed(seed);
        no_grad(|| model.forward_hidden(&ids, None, train))
    };
    assert!(same(&hidden(1, false), &hidden(2, false)));
    assert!(same(&hidden(1, true), &hidden(1, true)));
    assert!(gap(&hidden(1, true), &hidden(2, true)) > 1e-2);
    assert!(gap(&hidden(1, true), &hidden(1, false)) > 1e-2);
}
