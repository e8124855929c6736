//! Everything that crosses the air, as somebody sees it who has only the public functions and the bytes.
//!
//! | file | subject |
//! |---|---|
//! | `round_trips` | every kind as written is read as meant, and what the strict decoder refuses |
//! | `hostile` | truncated, flipped and random bytes |
//! | `exhaustive` | every value of every small field of the header |
//! | `bundles` | several messages in one datagram |
//! | `answers` | no request draws an answer larger than itself |
//! | `golden` | the golden vectors and what `docs/wire.md` quotes of them |
//! | `return_tokens` | whom a token was given to, and for how long it holds |
//! | `samples` | a message of every kind, for all of these |

mod answers;
mod bundles;
mod exhaustive;
mod golden;
mod hostile;
mod return_tokens;
mod round_trips;
mod samples;
