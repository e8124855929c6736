//! End-to-end tests against real daemons: one file per subject.

mod amplification;
mod bundles;
mod certificates;
mod checkpoints;
mod crash;
mod cross_shard;
mod failed_sync;
mod filter;
mod forged;
mod full_disk;
mod hostile_packets;
mod journal_identity;
mod liars;
mod newcomer;
mod operator;
mod orders;
mod retries;
mod scene;
mod torn_tail;
mod wallet;
