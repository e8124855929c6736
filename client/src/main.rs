//! The `meshpay` command.

fn main() {}
