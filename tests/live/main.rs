//! The agent on this host's kernel: every event is caused by a real system call and read from the feed.

mod alerts;
mod attacks;
mod calls;
mod dns;
mod files;
mod ignored;
mod loss;
mod network;
mod overload;
mod persist;
mod processes;
mod profiles;
mod swap;
