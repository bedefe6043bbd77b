//! How far the functions of one argument, their derivatives and `pow` are from exact ones, through the public kernels.
//!
//! An ordinary run takes every [`walk::STRIDE`]th float and the floats around every power of two. By name, one function
//! is walked over all 2^32 floats: `cargo test --release --test accuracy -- --ignored exp`. The tiers that have a fused
//! multiply-add must agree in every bit, so that one of them is measured; one without is measured by itself.

#[path = "accuracy/functions.rs"]
mod functions;
#[path = "accuracy/pow.rs"]
mod pow;
#[path = "accuracy/spots.rs"]
mod spots;
#[path = "common/tiers.rs"]
mod tiers;
#[path = "accuracy/ulp.rs"]
mod ulp;
#[path = "accuracy/walk.rs"]
mod walk;

/// Makes the tests of functions, one name each.
macro_rules! tests {
    ($($name:ident)*) => {
        /// Samples of the floats.
        mod sampled {
            $(#[test]
            fn $name() {
                crate::walk::sampled(stringify!($name));
            })*
        }

        /// All floats.
        mod all_floats {
            $(#[test]
            #[ignore = "all 2^32 floats: minutes"]
            fn $name() {
                crate::walk::exhaustive(stringify!($name));
            })*
        }

        #[test]
        fn every_function_has_its_tests() {
            let names: Vec<_> = crate::functions::ALL.iter().map(|function| function.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests! {
    exp log tanh sigmoid sin cos sqrt rsqrt reciprocal silu softplus elu gelu_erf gelu_tanh
}
