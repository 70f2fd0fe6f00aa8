//! Dropout changed after a model was made. Alone in its file: libtorch's generator is one for the whole process.

use model::config::Dropout;
use model::{Config, HeadKind, Model};
use tch::{Device, Tensor};

#[test]
fn changing_it_afterwards_takes_effect_and_is_saved() {
    let shape = |p| Config::gpt2(20, 8, 2, 2, 8, p).unwrap();
    let made_with = Model::new(shape(0.3), HeadKind::Lm, Device::Cpu, 1).unwrap();
    let mut changed = Model::new(shape(0.0), HeadKind::Lm, Device::Cpu, 1).unwrap();
    changed.set_dropout(Dropout::all(0.3));
    let ids = Tensor::from_slice(&[1i64, 2, 3, 4]).view([1, 4]);
    let hidden = |m: &Model| {
        tch::manual_seed(7);
        Vec::<f32>::try_from(m.forward_hidden(&ids, None, true).flatten(0, 2)).unwrap()
    };
    assert_eq!(hidden(&made_with), hidden(&changed));
    changed.set_dropout(Dropout::default());
    assert_ne!(hidden(&made_with), hidden(&changed));
    assert_eq!(changed.config().dropout, Dropout::default());
}
