//! The agent on this host's kernel: every event is caused by a real system call and read from the feed.

mod alerts;
mod calls;
mod files;
mod loss;
mod network;
mod processes;
