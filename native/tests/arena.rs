//! Memory of large tensors: what is freed is taken again, neighbours join, and nothing is given to two tensors at once.

use std::sync::Once;
use tch::{Device, Kind, Tensor};

const MIB: i64 = 1 << 20;

fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(native::keep_freed_pages);
}

fn bytes(n: i64) -> Tensor {
    Tensor::empty([n], (Kind::Uint8, Device::Cpu))
}

/// One test: others would take what this one frees.
#[test]
fn freed_memory_is_taken_again_and_joins_its_neighbours() {
    begin();
    let [a, b, c] = [(); 3].map(|()| bytes(64 * MIB + 100));
    let (first, second) = (a.data_ptr(), b.data_ptr());
    assert_eq!(second as i64 - first as i64, 64 * MIB + 4096, "one behind the other, in whole pages");
    drop(b);
    let again = bytes(64 * MIB);
    assert_eq!(again.data_ptr(), second, "the smallest free piece that is large enough");
    drop(again);
    drop(a);
    let both = bytes(128 * MIB + 8192);
    assert_eq!(both.data_ptr(), first, "two neighbours together");
    drop((both, c));
    native::release_freed_pages();
    let zeros = Tensor::zeros([64 * MIB], (Kind::Uint8, Device::Cpu));
    assert_eq!(zeros.sum(Kind::Int64).int64_value(&[]), 0, "pages that went come back");

    // Many sizes on many threads, each tensor with a number of its own.
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            scope.spawn(move || {
                let mut held: Vec<(Tensor, i64)> = Vec::new();
                for i in 0..200i64 {
                    let (size, mark) = (100_000 + (thread * 7919 + i * 104_729) % (3 * MIB), (thread * 50 + i) % 251);
                    held.push((bytes(size).fill_(mark), mark));
                    if held.len() > 12 {
                        let (tensor, mark) = held.swap_remove((i * 31 % 12) as usize);
                        let (least, most) = (tensor.min().int64_value(&[]), tensor.max().int64_value(&[]));
                        assert_eq!((least, most), (mark, mark), "thread {thread}, tensor {i}");
                    }
                }
            });
        }
    });
}
