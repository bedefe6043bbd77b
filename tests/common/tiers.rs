//! Which tiers ran, and whether those are all that the CPU has.

use handgrad::Isa;

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

/// The tiers of this CPU that did not run, as a message.
pub(crate) fn all_ran(ran: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = expected().into_iter().filter(|name| !ran.contains(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("this CPU has {}, which did not run", missing.join(", "))) }
}

/// Runs `test` on every tier, slowest first, prints which ran, and fails if one that the CPU has did not.
pub(crate) fn on_every_tier(name: &str, mut test: impl FnMut(Isa)) {
    let mut ran = Vec::new();
    for isa in Isa::available() {
        test(isa);
        ran.push(isa.name());
    }
    println!("{name}: ran on {}", ran.join(", "));
    all_ran(&ran).unwrap_or_else(|missing| panic!("{name}: {missing}"));
}
