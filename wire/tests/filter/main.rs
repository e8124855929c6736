//! The filter's rules one by one, over tables in plain memory. That the kernel does the same is tested in `net`.

#![allow(clippy::unwrap_used)]

mod frames;
mod properties;
mod rules;
mod scene;
