//! End-to-end tests against real daemons: one file per subject.
