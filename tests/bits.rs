//! The same bits everywhere, and from one version to the next: every kernel and whole trainings are run on each tier
//! that has a fused multiply-add, on 1 to 16 threads, over contiguous and strided operands, whole and a row at a time,
//! and a hash of their results is compared with the one in `bits/hashes.txt`.
//!
//! A change of bits is a decision: `HANDGRAD_BLESS=1 cargo test --release --test bits` writes the file anew. All NaN are
//! one. Inputs are made from integers, without a C library. A tier without a fused multiply-add is outside the promise
//! and has no hashes.

mod common;

#[path = "bits/elementwise.rs"]
mod elementwise;
#[path = "bits/lookup.rs"]
mod lookup;
#[path = "bits/losses.rs"]
mod losses;
#[path = "bits/norms.rs"]
mod norms;
#[path = "bits/optim.rs"]
mod optim;
#[path = "bits/products.rs"]
mod products;
#[path = "bits/run.rs"]
mod run;
#[path = "bits/stored.rs"]
mod stored;
#[path = "bits/tensor.rs"]
mod tensor;
#[path = "bits/training.rs"]
mod training;

use common::tiers;
use handgrad::kernels::op::spec;
use handgrad::{Exec, Isa};
use run::Case;
use stored::Hashes;
use tensor::Layout;

/// Numbers of threads, each with all splitting forced.
const THREADS: [usize; 6] = [1, 2, 3, 4, 7, 16];

/// Every case.
fn cases() -> Vec<Case> {
    let mut cases = elementwise::cases();
    cases.extend(lookup::cases());
    cases.extend(products::cases());
    cases.extend(norms::cases());
    cases.extend(losses::cases());
    cases.extend(optim::cases());
    cases.extend(training::cases());
    cases
}

fn fused() -> impl Iterator<Item = Isa> {
    Isa::available().filter(|isa| isa.is_fused())
}

/// The hashes on one thread of the scalar tier, which says what every method means.
fn plain(cases: &[Case]) -> Hashes {
    let scalar = fused().next().expect("the scalar tier is fused");
    let exec = Exec::serial().unwrap().with_isa(scalar);
    cases.iter().map(|case| (case.name.clone(), case.hash(&exec, Layout::Dense))).collect()
}

/// Runs every case in every way on a tier; what differs from the stored hashes.
fn differing(cases: &[Case], pools: &[Exec], isa: Isa, stored: &Hashes) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |case: &Case, how: &str, hash: u64| {
        wrong.extend(stored.compare(&case.name, hash).err().map(|wrong| format!("{wrong}, {how} on {isa}")));
    };
    for pool in pools {
        let exec = pool.clone().with_isa(isa);
        for layout in Layout::ALL {
            let of_layout = || cases.iter().filter(|case| layout == Layout::Dense || case.has_layouts);
            let hashes: Vec<_> = exec.install(|| of_layout().map(|case| case.hash(&exec, layout)).collect());
            let how = format!("{layout:?}, {} threads", exec.threads());
            of_layout().zip(hashes).for_each(|(case, hash)| check(case, &how, hash));
        }
    }
    let exec = Exec::serial().unwrap().with_isa(isa);
    for case in cases.iter().filter(|case| case.rows > 0) {
        for layout in Layout::ALL {
            check(case, &format!("{layout:?}, each row alone"), case.hash_by_rows(&exec, layout));
        }
    }
    wrong
}

#[test]
fn every_kernel_has_the_bits_it_had() {
    let cases = cases();
    let stored = if std::env::var_os("HANDGRAD_BLESS").is_some() {
        let hashes = plain(&cases);
        hashes.write();
        hashes
    } else {
        Hashes::read()
    };
    stored.has_exactly(cases.iter().map(|case| case.name.as_str())).unwrap_or_else(|wrong| panic!("{wrong}"));
    let pools = THREADS.map(|threads| Exec::with_threads(threads).unwrap().with_min_piece(0));
    tiers::on_every_tier("bits", |isa| {
        if !isa.is_fused() {
            println!("bits: {isa} has no fused multiply-add and is outside the promise");
            return;
        }
        let begun = std::time::Instant::now();
        let wrong = differing(&cases, &pools, isa, &stored);
        let some: Vec<_> = wrong.iter().take(20).map(String::as_str).collect();
        assert!(wrong.is_empty(), "{} hashes differ:\n{}\n{}", wrong.len(), some.join("\n"), stored::ADVICE);
        println!("bits: {} cases on {isa}, {THREADS:?} threads: {:.1?}", cases.len(), begun.elapsed());
    });
    for pool in &pools[1..] {
        assert!(pool.workers_seen() > 1, "only one of {} threads worked", pool.threads());
    }
}

#[test]
fn every_operation_is_there() {
    let cases = cases();
    for spec in spec::ALL {
        let name = match spec {
            spec::Spec::Unary(op) => op.name,
            spec::Spec::Binary(op) => op.name,
            spec::Spec::Along(op) => op.name,
        };
        let name = format!("{}/", run::written_name(name));
        assert!(cases.iter().any(|case| case.name.starts_with(&name)), "no case begins with {name}");
    }
}

#[test]
fn one_bit_is_found() {
    let all = cases();
    let cases: Vec<_> = all.into_iter().filter(|case| case.name.starts_with("exp/")).collect();
    assert_eq!(cases.len(), 2);
    let hashes = plain(&cases);
    let pools = [Exec::with_threads(2).unwrap().with_min_piece(0)];
    let isa = fused().last().expect("the scalar tier is fused");
    assert_eq!(differing(&cases, &pools, isa, &hashes), [""; 0]);
    // The same case with one bit of its result changed.
    let off = |bit| {
        let Case { name, rows, has_layouts, run } = cases_named("exp/batch");
        let wrong: run::Kernel = Box::new(move |r| {
            run(r)?;
            r.flip(bit);
            Ok(())
        });
        vec![Case { name, rows, has_layouts, run: wrong }]
    };
    for bit in [0, 31] {
        let wrong = differing(&off(bit), &pools, isa, &hashes);
        assert_eq!(wrong.len(), 2 * Layout::ALL.len(), "{wrong:?}");
        assert!(wrong[0].contains("exp/batch") && wrong[0].contains(isa.name()), "{}", wrong[0]);
    }
}

fn cases_named(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case is called {name}"))
}
