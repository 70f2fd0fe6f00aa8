//! Gradients that are brought into autograd's graph.

use tch::{Device, Kind, Tensor};

fn leaf() -> Tensor {
    Tensor::from_slice(&[1.0f32, 2.0, 3.0]).set_requires_grad(true)
}

#[test]
fn each_tensor_gets_its_gradient_times_the_scalars() {
    for factor in [1.0, 0.5] {
        let (x, w) = (leaf(), leaf());
        let states = (&x * 2.0).to_kind(Kind::BFloat16); // a graph behind it, of another type
        let given = [Tensor::from_slice(&[4.0f32, 8.0, -2.0]), Tensor::from_slice(&[0.25f32, -1.0, 5.0])];
        let sum = native::carry(vec![(&states, given[0].to_kind(Kind::BFloat16)), (&w, given[1].copy())]).unwrap();
        assert_eq!((sum.kind(), sum.double_value(&[])), (Kind::Float, 0.0));
        (&sum * factor).backward();
        assert!(x.grad().equal(&(&given[0] * (2.0 * factor))), "{factor}: {:?}", x.grad());
        assert!(w.grad().equal(&(&given[1] * factor)), "{factor}: {:?}", w.grad());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = leaf();
    assert!(native::carry(vec![(&x, Tensor::zeros([2], (Kind::Float, Device::Cpu)))]).is_err(), "another shape");
    assert!(native::carry(vec![]).is_err(), "nothing");
}
