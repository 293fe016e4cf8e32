//! One binary; each module a story about a running server.
