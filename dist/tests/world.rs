//! Real processes on loopback: each test starts itself several times, once for each rank.

use dist::{Error, Gradients, Partition, Shard, World};
use std::net::TcpListener;
use std::ops::Range;
use std::process::{Child, Command, Output, Stdio};
use tch::{Device, Kind, Tensor};

/// Runs `work` in `size` processes and returns how they ended; in one of those processes it runs `work` and ends.
fn start(test: &str, size: usize, vars: &[(&str, &str)], work: impl Fn(&World)) -> Option<Vec<Output>> {
    if std::env::var("TEST_OF_RANKS").as_deref() == Ok(test) {
        tch::set_num_threads(1);
        work(&World::from_env(false).unwrap());
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let rank = |rank: usize| -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("TEST_OF_RANKS", test);
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", &port).envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..size).map(rank).collect();
    Some(children.into_iter().map(|c| c.wait_with_output().unwrap()).collect())
}

/// The same, and all must end well.
fn together(test: &str, size: usize, work: impl Fn(&World)) {
    for (rank, output) in start(test, size, &[], work).into_iter().flatten().enumerate() {
        assert!(output.status.success(), "rank {rank}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    Vec::try_from(t.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

fn exchanges(world: &World) {
    let (rank, size) = (world.rank(), world.size());
    let of = |f: &dyn Fn(f64) -> f64| (0..size).map(|r| f(r as f64)).sum::<f64>();
    // Several tensors of several types, one of them not contiguous, in one call.
    let wide = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]) + rank as f64;
    let all = [Tensor::from_slice(&[rank as f32, 1.0]), Tensor::from_slice(&[rank as i64]), Tensor::from_slice(&[0.5f64]), wide];
    world.all_reduce_sum(&all).unwrap();
    assert_eq!(numbers(&all[0]), [of(&|r| r), size as f64]);
    assert_eq!(numbers(&all[1]), [of(&|r| r)]);
    assert_eq!(numbers(&all[2]), [0.5 * size as f64]);
    assert_eq!(numbers(&all[3]), (0..6).map(|i| of(&|r| r + f64::from(i))).collect::<Vec<_>>());
    assert_eq!(world.sum([1.0, rank as f64]).unwrap(), [size as f64, of(&|r| r)]);

    for root in 0..size {
        let t = [Tensor::from_slice(&[rank as f32]), Tensor::from_slice(&[rank as i64 * 2])];
        world.broadcast(&t, root).unwrap();
        assert_eq!((numbers(&t[0]), numbers(&t[1])), (vec![root as f64], vec![2.0 * root as f64]));
    }
    assert!(matches!(world.broadcast(&[], size), Err(Error::NoSuchRank { .. })));

    let words: Vec<Vec<u8>> = (0..size).map(|r| format!("rank {r}").repeat(r).into_bytes()).collect(); // rank 0 has nothing to say
    assert_eq!(world.gather(&words[rank]).unwrap(), words);
    assert_eq!(world.gather(&[]).unwrap(), vec![Vec::<u8>::new(); size]);
    world.barrier().unwrap();

    // Shares cover ten pieces once, whatever the size.
    let mine: Vec<(usize, char, bool)> = world.share("abcdefghij".chars()).collect();
    assert!(mine.iter().all(|(i, c, _)| "abcdefghij".chars().nth(*i) == Some(*c)));
    assert_eq!(mine.iter().map(|m| m.2).collect::<Vec<_>>(), (1..=mine.len()).map(|i| i == mine.len()).collect::<Vec<_>>());
    let mut taken = [0.0; 10];
    mine.iter().for_each(|(i, ..)| taken[*i] += 1.0);
    world.sum_all(&mut taken).unwrap();
    assert_eq!(taken, [1.0; 10]);
}

#[test]
fn two_ranks_exchange() {
    together("two_ranks_exchange", 2, exchanges);
}

#[test]
fn three_ranks_exchange() {
    together("three_ranks_exchange", 3, exchanges);
}

#[test]
fn four_ranks_exchange() {
    together("four_ranks_exchange", 4, exchanges);
}

#[test]
fn one_process_is_the_whole_world() {
    exchanges(&World::single());
    let world = World::single();
    world.on_main(|| Ok::<_, Error>(())).unwrap();
    assert_eq!(world.main_first(|| Ok::<_, Error>(7)).unwrap(), 7);
}

/// A net of two layers over six rows; row i belongs to rank i mod size. Sums over rows, so the sum over ranks is one process's gradient. For each parameter:
/// which values this rank owns, and their gradient.
fn gradient(world: &World, shard: Shard) -> Vec<(Range<i64>, Vec<f64>)> {
    tch::manual_seed(4);
    let leaf = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
    // The wide one fills a bucket of its own; the last is not reached by the loss of rows 4 and 5.
    let params = [leaf(&[16, 8]), leaf(&[16]), leaf(&[1, 16]), leaf(&[300_000]), leaf(&[7])];
    let rows = Tensor::randn([6, 8], (Kind::Float, Device::Cpu));
    if world.rank() > 0 {
        tch::no_grad(|| params.iter().for_each(|p| _ = p.shallow_clone().zero_())); // rank 0's are handed to all
    }
    let mut partition = Partition::new(&params, world, shard).unwrap();
    let gradients = Gradients::new(world, &[&partition]).unwrap();
    let mut found = Vec::new();
    for _ in 0..3 {
        partition.zero_grad().unwrap();
        for (i, _, last) in world.share(0..6) {
            let row = rows.narrow(0, i as i64, 1);
            let net = row.linear(&params[0], Some(&params[1])).tanh().linear::<Tensor>(&params[2], None).square().sum(Kind::Float);
            let mut loss = net * params[3].square().mean(Kind::Float);
            if i < 4 || shard == Shard::Nothing {
                loss += params[4].sum(Kind::Float) * if i < 4 { 1.0 } else { 0.0 };
            }
            gradients.backward(&loss, last).unwrap();
            if partition.shard() == Shard::Gradients {
                assert!(params.iter().all(|p| !p.grad().defined()), "whole gradients are given up at once");
            }
        }
        found = (0..params.len()).map(|i| (partition.range(i), numbers(&partition.gradient(i).unwrap()))).collect();
    }
    found
}

/// Six roundings of numbers below 100 in another order: 1e-4 is far above, and far below what a missing row or a division would make.
fn gradients_are_one_processs(world: &World) {
    let alone = gradient(&World::single(), Shard::Nothing);
    for shard in [Shard::Nothing, Shard::Optimizer, Shard::Gradients] {
        let ours = gradient(world, shard);
        for ((range, values), (_, alone)) in ours.iter().zip(&alone) {
            let alone = &alone[range.start as usize..range.end as usize];
            assert_eq!(values.len(), alone.len());
            assert!(values.iter().zip(alone).all(|(a, b)| (a - b).abs() <= 1e-4), "{shard:?}: {values:?} {alone:?}");
        }
        if shard == Shard::Nothing {
            let bits: Vec<u8> = ours.iter().flat_map(|(_, values)| values).flat_map(|x| x.to_le_bytes()).collect();
            let all = world.gather(&bits).unwrap();
            assert!(all.iter().all(|other| *other == bits), "ranks must have the same bits");
        }
    }
}

#[test]
fn gradients_sum_over_two_ranks() {
    together("gradients_sum_over_two_ranks", 2, gradients_are_one_processs);
}

#[test]
fn gradients_sum_over_four_ranks_of_unequal_shares() {
    together("gradients_sum_over_four_ranks_of_unequal_shares", 4, gradients_are_one_processs);
}

/// A stack of two blocks between an embedding and a head, its weights shared out: values and gradients of the whole, put together from all ranks' parts.
fn in_parts(world: &World, shard: Shard) -> Vec<Vec<f64>> {
    tch::manual_seed(5);
    let leaf = |shape: &[i64]| (Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.3).set_requires_grad(true);
    let (blocks, unit_of) = (2, [0, 1, 1, 2, 2, 0]);
    let params = [leaf(&[8, 16]), leaf(&[16, 16]), leaf(&[16]), leaf(&[16, 16]), leaf(&[16]), leaf(&[1, 16])];
    let rows = Tensor::randn([6, 8], (Kind::Float, Device::Cpu));
    if world.rank() > 0 {
        tch::no_grad(|| params.iter().for_each(|p| _ = p.shallow_clone().zero_())); // rank 0's are everybody's
    }
    let mut partition = Partition::in_units(&params, &unit_of, world, shard).unwrap();
    let gradients = Gradients::new(world, &[&partition]).unwrap();
    let units = partition.units();
    let forward = |row: &Tensor| {
        units.iter().for_each(|u| u.root());
        let mut x = row.mm(&params[0]);
        for block in 1..=blocks {
            x = units.as_ref().map_or_else(|| x.shallow_clone(), |u| u.enter(block, &x).unwrap());
            let y = x.linear(&params[2 * block - 1], Some(&params[2 * block])).tanh() + &x;
            x = units.as_ref().map_or_else(|| y.shallow_clone(), |u| u.leave(block, &y).unwrap());
        }
        x.linear::<Tensor>(&params[5], None).square().sum(Kind::Float)
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        // An evaluation first; whoever has a row less joins in.
        let mut loss = 0.0;
        for (_, i, _) in world.share(0..5) {
            loss += tch::no_grad(|| forward(&rows.narrow(0, i, 1))).double_value(&[]);
        }
        if let (Some(units), true) = (&units, world.lacks_one_of(5)) {
            units.idle_forward(false);
        }
        seen.push(vec![world.sum([loss]).unwrap()[0]]);
        partition.zero_grad().unwrap();
        for (_, i, last) in world.share(0..6) {
            gradients.backward(&forward(&rows.narrow(0, i, 1)), last).unwrap();
            if units.is_some() {
                // Without memory a parameter is at its place in a unit that begins at address 0.
                let gone = |p: &Tensor| !p.grad().defined() && (p.detach().data_ptr() as usize) < 4096;
                assert!(params.iter().all(gone), "nothing whole is left");
            }
        }
        // A step of gradient descent.
        for i in 0..params.len() {
            let (mut values, gradient) = (partition.values(i).unwrap(), partition.gradient(i).unwrap());
            tch::no_grad(|| _ = values.g_sub_(&(gradient * 0.01)));
        }
        partition.gather(world).unwrap();
    }
    seen.extend((0..params.len()).map(|i| numbers(&partition.whole(i).unwrap())));
    if let Some(units) = &units {
        units.hold(true);
        assert!((0..params.len()).all(|i| numbers(&params[i].detach()) == seen[3 + i]));
        tch::no_grad(|| _ = params[5].shallow_clone().fill_(7.0));
        units.store().unwrap();
        units.let_go();
        assert_eq!(numbers(&partition.whole(5).unwrap()), [7.0; 16]);
    }
    seen
}

fn parts_take_the_steps_of_the_whole(world: &World) {
    let (alone, ours) = (in_parts(&World::single(), Shard::Nothing), in_parts(world, Shard::Parameters));
    for (a, b) in alone.iter().flatten().zip(ours.iter().flatten()) {
        assert!((a - b).abs() <= 1e-4, "{a} {b}");
    }
    assert_eq!((alone.len(), alone.concat().len()), (ours.len(), ours.concat().len()));
}

#[test]
fn weights_in_parts_of_two_ranks() {
    together("weights_in_parts_of_two_ranks", 2, parts_take_the_steps_of_the_whole);
}

#[test]
fn weights_in_parts_of_four_ranks_of_unequal_shares() {
    together("weights_in_parts_of_four_ranks_of_unequal_shares", 4, parts_take_the_steps_of_the_whole);
}

/// Each rank changes its own values; then all have all.
#[test]
fn values_are_gathered_from_their_owners() {
    together("values_are_gathered_from_their_owners", 3, |world| {
        let params = [7i64, 300_001, 2].map(|n| Tensor::zeros([n], (Kind::Float, Device::Cpu)).set_requires_grad(true));
        let partition = Partition::new(&params, world, Shard::Optimizer).unwrap();
        for (i, p) in params.iter().enumerate() {
            let range = partition.range(i);
            let numbered = Tensor::arange(p.numel() as i64, (Kind::Float, Device::Cpu)).narrow(0, range.start, range.end - range.start);
            partition.values(i).unwrap().copy_(&numbered);
        }
        partition.gather(world).unwrap();
        for p in &params {
            assert!(p.detach().equal(&Tensor::arange(p.numel() as i64, (Kind::Float, Device::Cpu))));
        }
    });
}

#[test]
fn what_rank_0_does_alone_is_done_before_the_others_go_on() {
    let file = std::env::var("TEST_FILE").unwrap_or_else(|_| {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
        file.display().to_string()
    });
    let test = "what_rank_0_does_alone_is_done_before_the_others_go_on";
    let outputs = start(test, 3, &[("TEST_FILE", &file)], |world| {
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        let read = || std::fs::read_to_string(&file).unwrap();
        let wrote = world.on_main(|| {
            write("written");
            Ok::<_, Error>(())
        });
        wrote.unwrap();
        assert_eq!(read(), "written");
        world.barrier().unwrap();
        let order = world.main_first(|| {
            let before = read();
            if world.is_main() {
                write("again");
            }
            Ok::<_, Error>(before)
        });
        assert_eq!(order.unwrap(), if world.is_main() { "written" } else { "again" });
        // A failure of rank 0 is everybody's, and only rank 0 tells it.
        let failed = world.on_main(|| Err(Error::NoSuchRank { rank: 9, size: 3 })).unwrap_err();
        assert_eq!(matches!(failed, Error::MainFailed), !world.is_main());
    });
    if let Some(outputs) = outputs {
        let _ = std::fs::remove_file(&file);
        outputs.iter().for_each(|o| assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr)));
    }
}

#[test]
fn a_killed_rank_is_named_by_the_others() {
    let outputs = start("a_killed_rank_is_named_by_the_others", 3, &[("DIST_TIMEOUT_S", "30")], |world| {
        let big = [Tensor::zeros([1 << 20], (Kind::Float, Device::Cpu))];
        world.all_reduce_sum(&big).unwrap();
        if world.rank() == 1 {
            native::signal_process(std::process::id(), native::Signal::Kill);
        }
        let error = loop {
            if let Err(error) = world.all_reduce_sum(&big) {
                break error;
            }
        };
        assert!(world.is_broken());
        eprintln!("SAID {error}");
        native::exit_now(9);
    });
    let Some(outputs) = outputs else { return };
    for rank in [0, 2] {
        let said = String::from_utf8_lossy(&outputs[rank].stderr);
        assert_eq!(outputs[rank].status.code(), Some(9), "{said}");
        let line = said.lines().find(|l| l.starts_with("SAID")).unwrap();
        let failed = format!("rank {rank} of 3: a sum over ranks failed: ");
        // Rank 0 serves the rendezvous. It may have left before rank 2 could ask there who is missing.
        let alone = rank == 2 && line.contains(&format!("{failed}the process that serves the rendezvous is gone too"));
        assert!(alone || line.contains(&format!("{failed}no sign of life from rank 1 ")), "{line}");
    }
}

/// A machine that is gone closes no connection: the exchange would wait for it. SIGSTOP does the same to a process.
#[test]
fn a_silent_rank_ends_all_long_before_their_exchange_would() {
    let test = "a_silent_rank_ends_all_long_before_their_exchange_would";
    let begun = std::time::Instant::now();
    let outputs = start(test, 3, &[("DIST_TIMEOUT_S", "90"), ("DIST_SILENCE_S", "4")], |world| {
        let pids = world.gather(std::process::id().to_string().as_bytes()).unwrap();
        let pid = |rank: usize| String::from_utf8_lossy(&pids[rank]).into_owned();
        if world.rank() == 2 {
            // Somebody must end the stopped one, or this test would wait for it.
            let script = format!("sleep 1; while kill -0 {} 2>/dev/null; do sleep 0.1; done; kill -KILL {}", pid(0), pid(2));
            let mut killer = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            Command::new("kill").args(["-STOP", &pid(2)]).status().unwrap();
            killer.wait().unwrap(); // not reached
        }
        let _ = world.all_reduce_sum(&[Tensor::zeros([4], (Kind::Float, Device::Cpu))]);
        native::exit_now(9); // not reached
    });
    let Some(outputs) = outputs else { return };
    assert!(begun.elapsed().as_secs() < 45, "it took {:?}", begun.elapsed());
    for rank in [0, 1] {
        let said = String::from_utf8_lossy(&outputs[rank].stderr);
        assert_eq!(outputs[rank].status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("rank {rank} of 3: error: no sign of life from rank 2 for 4 s")), "{said}");
    }
}

#[test]
fn a_rank_that_ends_with_an_error_has_the_last_word() {
    let outputs = start("a_rank_that_ends_with_an_error_has_the_last_word", 2, &[], |world| {
        world.barrier().unwrap();
        if world.rank() == 0 {
            world.last_words("the disk is full", false);
            return;
        }
        let error = world.sum([1.0]).unwrap_err();
        eprintln!("SAID {error}");
        native::exit_now(9);
    });
    let Some(outputs) = outputs else { return };
    let said = String::from_utf8_lossy(&outputs[1].stderr);
    assert_eq!(outputs[1].status.code(), Some(9), "{said}");
    // Rank 0 served the rendezvous and took its word along, unless the other was quick.
    assert!(said.contains("rank 0 ended: the disk is full") || said.contains("serves the rendezvous is gone"), "{said}");
}

#[test]
fn those_who_did_not_come_are_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = dist::Place {
        rank: 0,
        size: 3,
        local_rank: 0,
        local_size: 1,
        cores: None,
        host: "127.0.0.1".into(),
        port,
        serves: true,
        attempt: "0".into(),
    };
    let second = std::time::Duration::from_secs(1);
    let error = World::join(place, dist::Patience { exchange: second, arrival: second, silence: second }, false).unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}: after 1 s these ranks had not come: 1, 2")), "{error}");
}
