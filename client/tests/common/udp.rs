//! The committee behind real UDP sockets.
