//! Which tiers ran, and whether those are all that the CPU has.

use super::Isa;

/// The tiers that this build must offer on this CPU, found without the code under test.
pub(crate) fn expected() -> Vec<&'static str> {
    let mut names = vec!["scalar", "portable"];
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        names.extend(avx2.then_some("avx2"));
        names.extend((avx2 && avx512).then_some("avx512"));
    }
    names
}

/// Whether `isa` must have a fused multiply-add, found without the code under test.
pub(crate) fn is_fused(isa: Isa) -> bool {
    isa.name() != "portable" || cfg!(any(target_arch = "aarch64", target_feature = "fma"))
}

/// Prints which tiers ran and fails if one that the CPU has did not.
pub(crate) fn report(test: &str, ran: &[&str]) {
    println!("{test}: ran on {}", ran.join(", "));
    let missing: Vec<_> = expected().into_iter().filter(|name| !ran.contains(name)).collect();
    assert!(missing.is_empty(), "{test}: this CPU has {}, which did not run", missing.join(", "));
}

/// Runs `test` on every tier.
pub(crate) fn on_every_tier(name: &str, mut test: impl FnMut(Isa)) {
    let mut ran = Vec::new();
    for isa in Isa::available() {
        test(isa);
        ran.push(isa.name());
    }
    report(name, &ran);
}
