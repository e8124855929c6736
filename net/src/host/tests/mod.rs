//! Tests of this folder against the real kernel, in network namespaces of their own.

mod follower;
mod interfaces;
mod redirect_errors;
