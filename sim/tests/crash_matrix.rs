//! The power goes at every disk operation of a fixed workload: nothing that was told is lost.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use meshpay_sim::crash_matrix;

#[test]
fn the_power_goes_at_every_operation_and_again_in_recovery() {
    // `cargo xtask sim --crash-matrix` enumerates every step of every recovery, as this does under `cargo xtask test --long`.
    let long = std::env::var("MESHPAY_TEST_SCALE").is_ok_and(|scale| scale != "1");
    let counts = crash_matrix(2, if long { 1 } else { 40 }).unwrap();
    println!(
        "{} crashes at {} operations of the disk, {} of them in a recovery, 0 lost",
        counts.crashes, counts.points, counts.double_crashes
    );
    assert!(counts.points > 50 && counts.crashes > counts.points * 20);
}
