//! Training allocates nothing once it has begun: an allocator that counts, over a thousand steps.
//!
//! One test only: whatever else ran in this process would be counted too.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]

mod common;

use common::zoo::{self, Animal};
use common::{Way, makemore, tiers};
use handgrad::{Exec, Many, Options, Predictor, Trainer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The system's allocator, which counts what any thread asks it for while [`COUNTING`].
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTING.load(Ordering::SeqCst) {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call goes to the system's allocator as it is; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `block` came from the system's allocator, like all blocks.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTER: Counting = Counting;

/// How often any thread allocates or frees while `f` runs.
fn allocations(f: impl FnOnce()) -> u64 {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    f();
    COUNTING.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}

const STEPS: usize = 1_000;
/// Steps of each network of the zoo.
const ZOO_STEPS: usize = 200;
/// How long a worker may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
const VOCAB: usize = 27;
const CONTEXT: usize = 3;

/// Steps until every worker has had a piece of the work, and then, counted, a thousand, all inside the threads of `exec`.
fn training(exec: &Exec, batch: usize, hidden: usize, way: Way) -> u64 {
    let options = Options { max_batch: batch, lr: 0.01, ..Options::default() };
    let mut trainer = Trainer::new(&makemore(VOCAB, CONTEXT, 10, hidden), options, exec).unwrap();
    let tokens: Vec<i64> = (0..batch * CONTEXT).map(|i| (i * i / 7 % VOCAB) as i64).collect();
    let labels: Vec<i64> = (0..batch).map(|i| (i * 5 % VOCAB) as i64).collect();
    exec.install(|| {
        let mut steps = |count: usize| {
            for i in 0..count {
                // Every tenth batch is smaller, as the last of an epoch is.
                let batch = if i % 10 == 9 { batch - 3 } else { batch };
                let loss = way.run(&mut trainer, &tokens[..batch * CONTEXT], &labels[..batch]).unwrap();
                assert!(loss.is_finite());
            }
        };
        steps(20);
        // A thread allocates while it starts, which may be later than the first steps.
        let begun = Instant::now();
        while exec.threads() > 1 && exec.workers_seen() < exec.threads() && begun.elapsed() < PATIENCE {
            steps(20);
        }
        steps(20);
        allocations(|| steps(STEPS))
    })
}

/// Steps of a network of the zoo, by accumulation and with a hook too: first some that are not counted.
fn zoo_training(exec: &Exec, animal: &Animal, way: Way) -> u64 {
    let mut trainer = Trainer::new(&animal.mlp, animal.options.clone(), exec).unwrap();
    exec.install(|| {
        let mut steps = |count: usize| {
            for step in 0..count {
                let (x, y) = animal.batch(step);
                black_box(way.run(&mut trainer, x, y).unwrap());
            }
            let (x, y) = animal.batch(0);
            trainer.step_with(x, y, |grads| grads[0] *= 0.5).unwrap();
            for part in 0..2 {
                let (x, y) = animal.batch(part);
                trainer.forward(x).unwrap();
                trainer.accumulate(y, 0.5).unwrap();
            }
            black_box(trainer.grad_norm().unwrap());
            trainer.update().unwrap();
        };
        steps(20);
        let begun = Instant::now();
        while exec.threads() > 1 && exec.workers_seen() < exec.threads() && begun.elapsed() < PATIENCE {
            steps(20);
        }
        steps(20);
        allocations(|| steps(ZOO_STEPS))
    })
}

/// Networks side by side.
fn many_training(exec: &Exec, animal: &Animal) -> u64 {
    let mut many = Many::new(&animal.mlp, &animal.options, &[1, 2, 3, 4], exec).unwrap();
    let mut losses = [0.0; 4];
    exec.install(|| {
        let mut steps = |count: usize| {
            for step in 0..count {
                many.step(|network| animal.batch(step + network), &mut losses).unwrap();
            }
        };
        steps(50);
        allocations(|| steps(ZOO_STEPS))
    })
}

/// What is looked at between the passes, and inference.
fn looking(exec: &Exec) -> u64 {
    let options = Options { max_batch: 32, ..Options::default() };
    let mut trainer = Trainer::new(&makemore(VOCAB, CONTEXT, 10, 64), options, exec).unwrap();
    let mut predictor = Predictor::new(&trainer).unwrap();
    let (tokens, labels) = (vec![3; 700 * CONTEXT], vec![5; 700]);
    let mut outputs = vec![0.0; 700 * VOCAB];
    exec.install(|| {
        allocations(|| {
            for lr in [0.1, 0.05] {
                trainer.set_lr(lr).unwrap();
                black_box(trainer.forward(&tokens[..32 * CONTEXT]).unwrap());
                trainer.backward(&labels[..32]).unwrap();
                trainer.grads_mut().unwrap()[0] *= 0.5;
                black_box((trainer.grads().unwrap(), trainer.grad("layers.3.weight").unwrap()));
                black_box((trainer.outputs().unwrap(), trainer.d_input().unwrap()));
                trainer.update().unwrap();
                black_box((
                    trainer.param("embedding.weight").unwrap(),
                    trainer.running("layers.1.running_var").unwrap(),
                ));
                predictor.predict(&tokens[..], &mut outputs).unwrap();
                black_box(predictor.loss(&tokens[..], &labels[..]).unwrap());
            }
        })
    })
}

#[test]
fn steps_allocate_nothing() {
    let seen = allocations(|| drop(black_box(vec![1_u8; 10])));
    assert_eq!(seen, 2, "the counter must see one allocation and its end");
    let seen = allocations(|| std::thread::scope(|s| drop(s.spawn(|| drop(black_box(vec![1_u8; 10]))))));
    assert!(seen > 2, "the counter must see other threads");

    tiers::on_every_tier("allocations, one thread", |isa| {
        let exec = Exec::serial().unwrap().with_isa(isa);
        // The plain tier is there for its meaning; its loops are those of the others.
        let hidden = if isa.name() == "scalar" { 40 } else { 200 };
        for way in Way::ALL {
            report(&exec, 32, hidden, way, training(&exec, 32, hidden, way));
        }
        assert_eq!(looking(&exec), 0, "looking at results on {isa}");
    });
    // All pools live to the end: a worker whose pool is dropped frees what it had, some time later.
    let pools = || Way::ALL.map(|way| (way, Exec::with_threads(2).unwrap()));
    let forced = pools().map(|(way, exec)| (way, exec.with_min_piece(0)));
    let by_itself = pools();
    for (way, exec) in &forced {
        report(exec, 32, 200, *way, training(exec, 32, 200, *way));
        assert_eq!(looking(exec), 0, "looking at results on two threads");
        two_worked(exec);
    }
    zoo_allocates_nothing(&forced[0].1);
    for (way, exec) in &by_itself {
        report(exec, 1024, 512, *way, training(exec, 1024, 512, *way));
        two_worked(exec);
    }
}

/// Every layer, loss and optimiser, on one thread and on two.
fn zoo_allocates_nothing(forced: &Exec) {
    for animal in zoo::animals() {
        for exec in [&Exec::serial().unwrap(), forced] {
            for way in Way::ALL {
                let counted = zoo_training(exec, &animal, way);
                assert_eq!(counted, 0, "{}, {} threads, {way:?}", animal.name, exec.threads());
            }
            assert_eq!(many_training(exec, &animal), 0, "many: {}, {} threads", animal.name, exec.threads());
        }
        println!("0 allocations in {ZOO_STEPS} steps, one thread and two: {}", animal.name);
    }
}

fn report(exec: &Exec, batch: usize, hidden: usize, way: Way, allocations: u64) {
    let (isa, threads, workers) = (exec.isa(), exec.threads(), exec.workers_seen());
    println!(
        "{isa}, {threads} threads ({workers} workers seen), batch {batch}, hidden {hidden}, {way:?}: {allocations} \
         allocations in {STEPS} steps"
    );
    assert_eq!(allocations, 0, "{isa}, {threads} threads, batch {batch}, hidden {hidden}, {way:?}");
}

fn two_worked(exec: &Exec) {
    assert!(exec.workers_seen() >= 2, "only {} workers ran pieces of the work", exec.workers_seen());
}
