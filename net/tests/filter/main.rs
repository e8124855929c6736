//! The compiled filter in the real kernel: it loads, and it says what `meshpay_wire::filter` says.

#![allow(clippy::unwrap_used)]

mod equality;
mod evidence;
mod generator;
mod kernel;
mod loads;
mod memory;
