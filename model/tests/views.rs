//! Looking into decoders of every family: the pass from embeddings is the pass from tokens, and attention maps are what transformers gives
//! (`output_attentions`; fixture and generator: scripts/reference/views.py).

use crate::common;
use common::{Expected, FAMILIES, gap, golden};
use model::Model;
use tch::{Device, Kind, Tensor};

const IDS: [u32; 9] = [3, 7, 1, 12, 9, 4, 20, 2, 11];

#[test]
fn embeddings_give_the_states_that_tokens_give() {
    for family in FAMILIES {
        let model = Model::load(&golden(family), Device::Cpu).unwrap();
        let ids = Tensor::from_slice(&IDS.map(i64::from)).unsqueeze(0);
        let states = model.forward_hidden(&ids, None, false);
        let embedded = model.token_embeddings(&IDS).unwrap().unsqueeze(0).set_requires_grad(true);
        let same = model.forward_embedded_rows(&embedded);
        assert!(gap(&states, &same) < 1e-6, "{family}");
        same.square().sum(Kind::Float).backward();
        assert!(embedded.grad().abs().sum(Kind::Double).double_value(&[]) > 0.0, "{family}: embeddings get a gradient");
    }
}

#[test]
fn attention_is_that_of_transformers() {
    let expected = Expected::at(&golden("attention.safetensors"));
    for family in FAMILIES {
        let model = Model::load(&golden(family), Device::Cpu).unwrap();
        let maps = model.attention(&IDS).unwrap();
        for (layer, map) in maps.iter().enumerate() {
            assert!(gap(map, expected.get(&format!("{family}.{layer}"))) < 2e-6, "{family}, layer {layer}");
        }
        assert!(maps.len() == model.config().layers && !expected.names().any(|n| n == format!("{family}.{}", maps.len())));
    }
}
